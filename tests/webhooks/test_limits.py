"""`max_concurrent` over time, a flood of large bodies, and receipts that grow old."""

import asyncio

from ralf_hub.store import retention
from tests.api.conftest import Start
from tests.api.helpers import Api
from tests.support import SettableClock, eventually
from tests.webhooks.signing import JSON, SIGN, github, incoming, packed, receipts, send
from tests.webhooks.test_github import issue


async def statuses(api: Api, ids: list[str]) -> list[str]:
    return [(await api.get(f"/tasks/{task_id}")).json["status"] for task_id in ids]


async def opened(api: Api, numbers: range) -> list[str]:
    return [
        (await github(api, issue("opened", number), delivery=str(number))).json["task_id"]
        for number in numbers
    ]


async def becomes(api: Api, ids: list[str], wanted: list[str]) -> None:
    async def so() -> bool:
        return await statuses(api, ids) == wanted

    await eventually(so)


async def test_a_limit_that_is_taken_away_lets_all_go(start: Start) -> None:
    door = await start(webhooks=incoming(github={"max_concurrent": 1}))
    ids = await opened(door, range(1, 4))
    assert await statuses(door, ids) == ["pending", "blocked", "blocked"]
    door = await start(webhooks=incoming())
    await becomes(door, ids, ["pending"] * 3)


async def test_the_most_urgent_goes_first_and_a_person_may_decide_otherwise(start: Start) -> None:
    door = await start(webhooks=incoming(github={"max_concurrent": 1}))
    ids = await opened(door, range(1, 5))
    await door.patch(f"/tasks/{ids[3]}", {"priority": "critical"})
    await door.patch(f"/tasks/{ids[1]}", {"status": "cancelled"})
    await door.patch(f"/tasks/{ids[0]}", {"status": "in_progress"})
    await door.patch(f"/tasks/{ids[0]}", {"status": "failed"})
    await becomes(door, ids, ["failed", "cancelled", "blocked", "pending"])
    await door.patch(f"/tasks/{ids[2]}", {"status": "pending"})
    assert await statuses(door, ids) == ["failed", "cancelled", "pending", "pending"]


async def test_each_service_has_its_own_room(start: Start) -> None:
    door = await start(webhooks=incoming(github={"max_concurrent": 1}, ralf={"max_concurrent": 1}))
    first = await opened(door, range(1, 2))
    ids = []
    for name in ("a", "b"):
        body = packed({"type": "task.create", "data": {"title": name}})
        ids.append((await send(door, "ralf", body, SIGN.standard(body, name))).json["task_id"])
    assert await statuses(door, [*first, *ids]) == ["pending", "pending", "blocked"]


async def test_large_bodies_wait_for_each_other_and_small_ones_for_nobody(door: Api) -> None:
    large = [packed({"type": "big", "number": n, "text": "x" * 3_000_000}) for n in range(8)]
    sends = [asyncio.create_task(send(door, "ci", body, SIGN.ci(body))) for body in large]
    assert (await github(door, {"zen": "x"}, "ping")).status == 202
    assert {reply.status for reply in await asyncio.gather(*sends)} == {202}


async def test_somebody_slow_with_large_bodies_stops_no_small_ones(door: Api) -> None:
    head = b"POST /api/v1/webhooks/ci HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n{"
    opened_here = [await asyncio.open_connection("127.0.0.1", door.client.server.port) for _ in range(6)]
    for _, writer in opened_here:
        writer.write(head)
        await writer.drain()
    for number in range(20):
        assert (await github(door, {"zen": number}, "ping", f"d-{number}")).status == 202
    for _, writer in opened_here:
        writer.close()
        await writer.wait_closed()


async def test_old_receipts_are_forgotten(door: Api, clock: SettableClock) -> None:
    await github(door, {"zen": "x"}, "ping")
    await send(door, "github", b"{}", {"Content-Type": JSON})
    clock.advance(31 * 86_400)
    await github(door, {"zen": "y"}, "ping", "d-2")
    old = retention.cutoffs(door.hub.settings.retention, clock.ms)
    assert await door.hub.db.write(retention.steps(old)["webhook_receipts"]) == 2
    assert [receipt["delivery"] for receipt in await receipts(door)] == ["d-2"]
