"""POSTs that are sent again: one effect, one answer, for a day, whatever happens in between."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Start
from tests.api.helpers import ONLY, OTHER, Api, Reply
from tests.support import SettableClock, rows

DAY_S = 86_400


async def create(api: Api, body: Any = None, idem: str = "k-1", **more: Any) -> Reply:
    return await api.post("/tasks", body or {"title": "Once"}, headers={"Idempotency-Key": idem}, **more)


def replayed(reply: Reply) -> bool:
    value = reply.headers.get("Idempotency-Replayed")
    assert value in {None, "true"}
    return value is not None


async def test_again_is_the_same_answer_and_no_second_effect(api: Api) -> None:
    first = await create(api)
    again = await create(api)
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert (again.headers["Location"], again.etag) == (first.headers["Location"], first.etag)
    assert (replayed(first), replayed(again)) == (False, True)
    assert again.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert (await api.get("/tasks")).json["total"] == 1
    assert len(await api.events()) == 1


async def test_the_first_answer_stays_though_the_task_moves_on(api: Api) -> None:
    first = await create(api)
    await api.patch(f"/tasks/{first.json['id']}", {"status": "completed"})
    assert (await create(api)).body == first.body


async def test_another_request_under_the_same_key_is_422(api: Api) -> None:
    task = (await create(api)).json
    for reply in (
        await create(api, {"title": "Other"}),
        await create(api, {"title": "Once", "priority": "high"}),
        await api.post("/tasks", raw=b'{"title": "Once"}', headers={"Idempotency-Key": "k-1"}),
        await api.post(f"/tasks/{task['id']}/progress", {"percent": 5}, headers={"Idempotency-Key": "k-1"}),
        await api.post("/events", {"type": "x"}, headers={"Idempotency-Key": "k-1"}),
    ):
        assert (reply.status, reply.code) == (422, "idempotency_mismatch")
        assert not replayed(reply)
    assert len(await api.events()) == 1


async def test_another_caller_has_keys_of_its_own(api: Api) -> None:
    first, second = await create(api), await create(api, key=OTHER)
    assert first.json["id"] != second.json["id"]
    assert not replayed(second)
    assert (await create(api, {"title": "x"}, key=ONLY["tasks:write"])).status == 201


async def test_many_at_once_have_one_effect(api: Api) -> None:
    replies = await asyncio.gather(*(create(api) for _ in range(30)))
    assert {reply.status for reply in replies} == {201}
    assert len({reply.body for reply in replies}) == 1
    assert [replayed(reply) for reply in replies].count(False) == 1
    assert (await api.get("/tasks")).json["total"] == 1


async def test_many_at_once_with_different_bodies_have_one_effect(api: Api) -> None:
    replies = await asyncio.gather(*(create(api, {"title": f"T{n}"}) for n in range(20)))
    assert sorted(reply.status for reply in replies) == [201] + [422] * 19
    assert (await api.get("/tasks")).json["total"] == 1


async def test_errors_are_not_kept(api: Api) -> None:
    assert (await create(api, {"title": ""})).status == 422
    assert (await create(api, {"title": "x", "depends_on": ["T-1"]})).status == 422
    assert (await create(api, key=ONLY["tasks:read"])).status == 403
    await api.task(id="T-1")
    fixed = await create(api, {"title": "x", "depends_on": ["T-1"]})
    assert (fixed.status, replayed(fixed)) == (201, False)


async def test_it_lives_through_a_restart(start: Start) -> None:
    api = await start()
    first = await create(api)
    api = await start()
    again = await create(api)
    assert (again.body, replayed(again)) == (first.body, True)


async def test_after_a_day_it_is_forgotten(api: Api, clock: SettableClock) -> None:
    first = await create(api)
    clock.advance(DAY_S)
    assert replayed(await create(api))
    clock.advance(0.001)
    second = await create(api)
    assert (second.status, replayed(second)) == (201, False)
    assert second.json["id"] != first.json["id"]
    assert (await create(api)).body == second.body
    clock.advance(DAY_S + 1)
    assert (await create(api, {"title": "Another"})).status == 201


@pytest.mark.parametrize("idem", ["", " ", "x" * 256, "a\tb"])
async def test_keys_that_are_none(api: Api, idem: str) -> None:
    reply = await create(api, idem=idem)
    assert (reply.status, reply.fields) == (422, ["Idempotency-Key"])
    assert (await api.get("/tasks")).json["total"] == 0


async def test_keys_that_are_odd_but_keys(api: Api) -> None:
    for idem in ("x" * 255, "é🐎", "' OR 1=1", '{"a":1}', "0"):
        assert (await create(api, idem=idem)).status == 201
        assert replayed(await create(api, idem=idem))


async def test_every_post_takes_one(api: Api) -> None:
    task = await api.task()
    seq = len(await api.events())
    for path, body in (
        (f"/tasks/{task['id']}/progress", {"percent": 5}),
        ("/events", {"type": "deploy_done"}),
        ("/queue/claim", {"agent": "ralf"}),
        ("/queue/heartbeat", {"agent": "ralf", "task_id": task["id"]}),
        ("/queue/release", {"agent": "ralf", "task_id": task["id"]}),
        ("/deliveries/replay", {"state": "dead"}),
        ("/deliveries/replay", {"state": "dead", "dry_run": True}),
    ):
        headers = {"Idempotency-Key": f"{path}{body}"}
        first, again = (
            await api.post(path, body, headers=headers),
            await api.post(path, body, headers=headers),
        )
        assert (first.status, replayed(first), replayed(again)) == (again.status, False, True), path
        assert first.body == again.body
    assert len(await api.events(seq)) == 4


async def test_a_claim_that_found_nothing_stays_so_under_its_key(api: Api) -> None:
    headers = {"Idempotency-Key": "c-1"}
    assert (await api.post("/queue/claim", {"agent": "ralf"}, headers=headers)).status == 204
    await api.task()
    again = await api.post("/queue/claim", {"agent": "ralf"}, headers=headers)
    assert (again.status, again.body, replayed(again)) == (204, b"", True)
    assert (await api.post("/queue/claim", {"agent": "ralf"})).status == 200


async def test_other_methods_pass_it_over(api: Api) -> None:
    task = await api.task()
    headers = {"Idempotency-Key": "k-1"}
    path = f"/tasks/{task['id']}"
    assert (await api.patch(path, {"title": "A"}, headers=headers)).json["title"] == "A"
    assert (await api.patch(path, {"title": "B"}, headers=headers)).json["title"] == "B"
    assert (await api.delete(path, headers=headers)).status == 200


async def test_a_new_api_key_is_made_once_and_never_written_down(api: Api, db_path: Path) -> None:
    headers = {"Idempotency-Key": "k-1"}
    body = {"name": "ci", "scopes": ["tasks:read"]}
    first, again = [await api.post("/keys", body, headers=headers) for _ in range(2)]
    assert first.json["key"].startswith("rh_")
    assert (again.status, replayed(again), again.json) == (201, True, {**first.json, "key": None})
    assert again.headers["Location"] == first.headers["Location"]
    assert (await api.get("/keys")).json["total"] == 1
    assert (await api.get("/tasks", key=first.json["key"])).status == 200
    secret = first.json["key"].encode()
    kept = rows(db_path, "SELECT body FROM idempotency_keys")
    assert len(kept) == 1
    await api.client.close()
    assert not any(secret in path.read_bytes() for path in db_path.parent.glob("hub.db*"))


async def test_the_same_new_api_key_twice_at_once(api: Api) -> None:
    headers = {"Idempotency-Key": "k-1"}
    body = {"name": "ci", "scopes": ["tasks:read"]}
    replies = await asyncio.gather(*(api.post("/keys", body, headers=headers) for _ in range(10)))
    keys = [reply.json["key"] for reply in replies if reply.json["key"] is not None]
    assert len(keys) == 1
    assert (await api.get("/keys")).json["total"] == 1
    assert (await api.get("/tasks", key=keys[0])).status == 200


async def test_a_new_api_key_without_an_idempotency_key(api: Api) -> None:
    for _ in range(2):
        assert (await api.post("/keys", {"name": "ci", "scopes": ["*"]})).json["key"]
    assert (await api.get("/keys")).json["total"] == 2


async def test_a_stream_ticket_is_never_given_twice_nor_written_down(api: Api, db_path: Path) -> None:
    headers = {"Idempotency-Key": "k-1"}
    tickets = [(await api.post("/stream/tickets", headers=headers)).json["ticket"] for _ in range(2)]
    assert len(set(tickets)) == 2
    assert rows(db_path, "SELECT * FROM idempotency_keys") == []
