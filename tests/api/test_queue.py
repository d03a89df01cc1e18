"""The queue: its order, and taking work with several agents at once."""

import asyncio

from tests.api.conftest import Start
from tests.api.helpers import Api, Reply
from tests.support import SettableClock, eventually


async def ids(api: Api, of: str = "tasks") -> list[str]:
    return [task["id"] for task in (await api.get("/queue")).json[of]]


async def claim(api: Api, agent: str = "ralf", lease_s: int = 60) -> Reply:
    return await api.post("/queue/claim", {"agent": agent, "lease_s": lease_s})


async def claim_all(api: Api) -> list[str]:
    taken = []
    while (reply := await claim(api)).status == 200:
        taken.append(reply.json["id"])
    assert (reply.status, reply.body) == (204, b"")
    return taken


async def test_order_unblocked_first_then_priority_then_age(api: Api, clock: SettableClock) -> None:
    for number, priority in enumerate(("low", "medium", "critical", "high", "critical", "medium")):
        clock.advance(1)
        await api.task(id=f"T-{number}", priority=priority)
    clock.advance(1)
    await api.task(id="T-waits", priority="critical", depends_on=["T-0"])
    await api.task(id="T-stuck", priority="high")
    await api.patch("/tasks/T-stuck", {"status": "blocked"})
    queue = (await api.get("/queue")).json
    order = ["T-2", "T-4", "T-3", "T-1", "T-5", "T-0"]
    assert [task["id"] for task in queue["tasks"]] == order
    assert [task["id"] for task in queue["blocked"]] == ["T-waits", "T-stuck"]
    assert queue["depth"] == 7
    assert queue["by_priority"] == {"critical": 3, "high": 1, "medium": 2, "low": 1}
    assert queue["oldest_pending_age_s"] == 6.0
    assert await claim_all(api) == order
    assert await ids(api) == []


async def test_an_empty_queue(api: Api) -> None:
    queue = (await api.get("/queue")).json
    assert queue == {"depth": 0, "tasks": [], "blocked": [], "by_priority": {}, "oldest_pending_age_s": None}
    assert (await claim(api)).status == 204
    assert await api.events() == []


async def test_a_task_waits_until_what_it_depends_on_has_ended(api: Api) -> None:
    await api.task(id="T-1")
    await api.task(id="T-2")
    await api.task(id="T-3", depends_on=["T-1", "T-2"])
    await api.patch("/tasks/T-1", {"status": "completed"})
    assert (await ids(api), await ids(api, "blocked")) == (["T-2"], ["T-3"])
    await api.patch("/tasks/T-2", {"status": "failed"})
    assert (await ids(api), await ids(api, "blocked")) == ([], ["T-3"])
    await api.patch("/tasks/T-2", {"status": "pending"})
    await api.delete("/tasks/T-2")
    assert (await ids(api), await ids(api, "blocked")) == (["T-3"], [])


async def test_claim_is_one_change_with_its_event(api: Api, clock: SettableClock) -> None:
    task = await api.task()
    reply = await claim(api, "agent-7", 90)
    assert (reply.status, reply.etag) == (200, '"v2"')
    taken = reply.json
    assert (taken["id"], taken["status"], taken["assignee"]) == (task["id"], "in_progress", "agent-7")
    assert (taken["started_at"], taken["lease_expires_at"]) == (clock.iso(), clock.iso(90))
    event = (await api.events())[-1]
    assert (event["type"], event["data"]["agent"]) == ("task_started", "agent-7")


async def test_fifty_claims_at_once_take_no_task_twice(api: Api) -> None:
    for number in range(30):
        await api.task(id=f"T-{number}")
    replies = await asyncio.gather(*(claim(api, f"agent-{number}") for number in range(50)))
    taken = {reply.json["id"]: reply.json["assignee"] for reply in replies if reply.status == 200}
    assert sorted(taken) == sorted(f"T-{number}" for number in range(30))
    assert len(set(taken.values())) == 30
    assert [reply.status for reply in replies].count(204) == 20
    for task in (await api.get("/tasks?limit=200")).json["tasks"]:
        assert (task["status"], task["assignee"]) == ("in_progress", taken[task["id"]])


async def test_heartbeat_prolongs_and_is_no_event(api: Api, clock: SettableClock) -> None:
    task = await api.task()
    await claim(api, "ralf", 10)
    seq = (await api.events())[-1]["seq"]
    clock.advance(9)
    reply = await api.post("/queue/heartbeat", {"task_id": task["id"], "agent": "ralf", "lease_s": 30})
    assert (reply.status, reply.json["lease_expires_at"]) == (200, clock.iso(30))
    assert await api.events(seq) == []


async def test_release_gives_the_task_to_the_next(api: Api) -> None:
    task = await api.task()
    await claim(api, "one")
    reply = await api.post("/queue/release", {"task_id": task["id"], "agent": "one"})
    assert (reply.status, reply.json["status"], reply.json["assignee"]) == (200, "pending", None)
    assert reply.json["lease_expires_at"] is None
    assert (await claim(api, "two")).json["assignee"] == "two"


async def test_a_lease_is_nobody_elses(api: Api) -> None:
    task = await api.task()
    for end in ("heartbeat", "release"):
        body = {"task_id": task["id"], "agent": "one"}
        assert (await api.post(f"/queue/{end}", body)).code == "lease_lost"  # not taken yet
    await claim(api, "one")
    for end in ("heartbeat", "release"):
        for body, code in (
            ({"task_id": task["id"], "agent": "two"}, "lease_lost"),
            ({"task_id": "T-none", "agent": "one"}, "not_found"),
            ({"task_id": "a b", "agent": " "}, "validation_failed"),
        ):
            assert (await api.post(f"/queue/{end}", body)).code == code
    await api.patch(f"/tasks/{task['id']}", {"status": "completed"})
    reply = await api.post("/queue/heartbeat", {"task_id": task["id"], "agent": "one"})
    assert (reply.status, reply.code) == (409, "lease_lost")


async def test_work_done_by_hand_has_no_lease_to_lose(api: Api, clock: SettableClock) -> None:
    task = await api.task()
    await api.patch(f"/tasks/{task['id']}", {"status": "in_progress", "assignee": "me"})
    reply = await api.post("/queue/heartbeat", {"task_id": task["id"], "agent": "me"})
    assert reply.code == "lease_lost"
    clock.advance(1_000_000)
    assert (await api.get(f"/tasks/{task['id']}")).json["status"] == "in_progress"


async def test_a_silent_agents_task_goes_to_the_next(api: Api, clock: SettableClock) -> None:
    task = await api.task()
    await claim(api, "one", 30)
    clock.advance(30)
    assert (await claim(api, "two")).status in {200, 204}  # whichever comes first, it is taken once

    async def given_back() -> bool:
        return (await api.get(f"/tasks/{task['id']}")).json["assignee"] == "two" or (
            await claim(api, "two")
        ).status == 200

    await eventually(given_back)
    reply = await api.post("/queue/heartbeat", {"task_id": task["id"], "agent": "one"})
    assert (reply.status, reply.code) == (409, "lease_lost")
    assert [event["data"].get("reason") for event in await api.events()].count("lease_expired") == 1


async def test_two_agents_work_a_queue_off_while_leases_end(api: Api, clock: SettableClock) -> None:
    """One agent loses every third lease; each task is completed exactly once in the end."""
    for number in range(20):
        await api.task(id=f"T-{number}")
    done: list[str] = []

    async def work(agent: str, *, careless: bool) -> None:
        turn = 0
        while len(done) < 20:
            reply = await claim(api, agent, 5)
            if reply.status == 204:
                clock.advance(6)
                await asyncio.sleep(0.01)
                continue
            turn += 1
            if careless and turn % 3 == 0:
                continue  # it goes silent
            match = {"If-Match": reply.etag}
            ended = await api.patch(f"/tasks/{reply.json['id']}", {"status": "completed"}, headers=match)
            if ended.status == 200:
                done.append(reply.json["id"])

    async with asyncio.timeout(15):
        await asyncio.gather(work("careful", careless=False), work("careless", careless=True))
    assert sorted(done) == sorted(f"T-{number}" for number in range(20))
    completed = [event["task_id"] for event in await api.events() if event["type"] == "task_completed"]
    assert sorted(completed) == sorted(done)


async def test_bad_claims(api: Api) -> None:
    await api.task()
    for body, fields in (
        ({}, ["agent"]),
        ({"agent": ""}, ["agent"]),
        ({"agent": "x", "lease_s": 0}, ["lease_s"]),
        ({"agent": "x", "lease_s": 86_401}, ["lease_s"]),
        ({"agent": "x", "lease_s": "60"}, ["lease_s"]),
        ({"agent": "x" * 201, "lease_s": -1, "task_id": "T"}, ["agent", "lease_s", "task_id"]),
    ):
        reply = await api.post("/queue/claim", body)
        assert (reply.status, sorted(reply.fields)) == (422, fields)
    assert (await api.get("/queue")).json["depth"] == 1


async def test_leases_live_through_a_restart(start: Start, clock: SettableClock) -> None:
    api = await start()
    task = await api.task()
    await claim(api, "one", 30)
    api = await start()
    assert (await claim(api, "two")).status == 204
    assert (await api.post("/queue/heartbeat", {"task_id": task["id"], "agent": "one"})).status == 200


async def test_the_queue_is_shown_up_to_a_limit(api: Api) -> None:
    for number in range(5):
        await api.task(id=f"T-{number}")
    queue = (await api.get("/queue?limit=2")).json
    assert (len(queue["tasks"]), queue["depth"]) == (2, 5)
    assert (await api.get("/queue?limit=201")).status == 400
