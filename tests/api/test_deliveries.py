"""Deliveries: seen, explained, replayed one by one and in bulk, cancelled."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ralf_hub import bulk
from tests.api.conftest import Start
from tests.api.helpers import CANARY, Api, webhook
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.support import SettableClock, eventually, rows


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as double:
        yield double


@pytest.fixture
async def hub(start: Start, sink: Receiver) -> Api:
    """A hub that posts every event to the sink."""
    return await start(connectors={"sink": webhook(f"{sink.url}/{CANARY}")})


async def settled(api: Api, state: str, count: int, **more: str) -> list[dict[str, Any]]:
    """Wait until so many deliveries are in *state* and return them, newest first."""
    query = "".join(f"&{name}={value}" for name, value in more.items())
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = (await api.get(f"/deliveries?limit=200&state={state}{query}")).json["deliveries"]
        return len(found) == count

    await eventually(there)
    return found


async def one(api: Api, number: int) -> dict[str, Any]:
    return dict((await api.get(f"/deliveries/{number}")).json)


async def test_a_delivery_from_its_event_to_its_end(hub: Api, sink: Receiver, clock: SettableClock) -> None:
    task = await hub.task("Fix the login")
    (listed,) = await settled(hub, "delivered", 1)
    (event,) = await hub.events()
    wanted = {
        "event_id": event["id"],
        "event_type": "task_created",
        "task_id": task["id"],
        "connector": "sink",
        "action": "notify",
        "state": "delivered",
        "attempts": 1,
        "next_attempt_at": None,
        "last_error": None,
        "created_at": clock.iso(),
        "delivered_at": clock.iso(),
    }
    assert {name: listed[name] for name in wanted} == wanted
    detail = await one(hub, listed["id"])
    assert {name: detail[name] for name in wanted if name != "attempts"} == {
        name: value for name, value in wanted.items() if name != "attempts"
    }
    (attempt,) = detail["attempts"]
    assert (attempt["outcome"], attempt["status_code"], attempt["error"]) == ("delivered", 204, None)
    assert detail["attempts_counted"] == listed["attempts_counted"] == 1
    assert detail["payload"]["data"]["task"]["title"] == "Fix the login"
    assert detail["explain"].startswith("Delivered at ")
    assert sink.ids == [event["id"]]


async def test_a_rejected_one_is_dead_with_a_reason_and_shows_no_address(hub: Api, sink: Receiver) -> None:
    sink.faults.append(Fault(status=422, body=f"No such thing at {sink.url}/{CANARY}"))
    task = await hub.task()
    (listed,) = await settled(hub, "dead", 1)
    reply = await hub.get(f"/deliveries/{listed['id']}")
    assert reply.json["explain"].startswith("Dead: ")
    assert "422" in reply.json["explain"]
    assert reply.json["attempts"][0]["status_code"] == 422
    assert CANARY.encode() not in reply.body
    for query in (f"task_id={task['id']}", "connector=sink", "connector=sink&state=dead"):
        assert (await hub.get(f"/deliveries?{query}")).json["total"] == 1
    for query in ("task_id=T-none", "connector=other", "state=pending"):
        page = (await hub.get(f"/deliveries?{query}")).json
        assert (page["deliveries"], page["total"]) == ([], 0)
    assert (await hub.get("/deliveries?state=done")).fields == ["state"]


async def test_a_failed_one_says_when_it_goes_next(hub: Api, sink: Receiver, clock: SettableClock) -> None:
    sink.faults.append(Fault(status=503, headers={"Retry-After": "120"}))
    await hub.task()

    async def tried() -> bool:
        return bool((await one(hub, 1))["attempts"])

    await eventually(tried)
    detail = await one(hub, 1)
    assert (detail["state"], detail["next_attempt_at"]) == ("pending", clock.iso(120))
    assert clock.iso(120) in detail["explain"]
    assert "503" in detail["last_error"]
    replayed = await hub.post("/deliveries/1/replay")
    assert (replayed.status, replayed.json["state"]) == (202, "pending")
    await settled(hub, "delivered", 1)
    assert len((await one(hub, 1))["attempts"]) == 2


async def test_replay_of_one_that_is_dead_and_of_one_that_is_delivered(hub: Api, sink: Receiver) -> None:
    sink.faults.append(Fault(status=400))
    await hub.task()
    await settled(hub, "dead", 1)
    for posts in (1, 2):
        reply = await hub.post("/deliveries/1/replay")
        assert (reply.status, reply.json["id"], reply.json["state"]) == (202, 1, "pending")
        await settled(hub, "delivered", 1)
        assert len(sink.accepted) == posts
    assert len(set(sink.ids)) == 1
    assert len((await one(hub, 1))["attempts"]) == 3


async def test_cancel(hub: Api, sink: Receiver) -> None:
    await hub.post("/connectors/sink/pause")
    await hub.task()
    number = (await settled(hub, "pending", 2))[0]["id"]
    reply = await hub.post(f"/deliveries/{number}/cancel")
    assert (reply.status, reply.json["state"]) == (200, "cancelled")
    assert (await hub.post(f"/deliveries/{number}/cancel")).json == reply.json
    assert "cancelled by everything" in (await one(hub, number))["explain"]
    await hub.post("/connectors/sink/resume")
    (other, *_) = await settled(hub, "delivered", 2)
    refused = await hub.post(f"/deliveries/{other['id']}/cancel")
    assert (refused.status, refused.code) == (409, "conflict")
    assert (await one(hub, number))["state"] == "cancelled"
    assert (await hub.post(f"/deliveries/{number}/replay")).status == 202
    await settled(hub, "delivered", 3)
    assert len(sink.accepted) == 3


async def test_pages_of_deliveries_under_new_ones(hub: Api) -> None:
    for number in range(5):
        await hub.task(id=f"T-{number}")
    await settled(hub, "delivered", 5)
    first = (await hub.get("/deliveries?limit=2")).json
    await hub.task(id="T-new")
    rest = (await hub.get(f"/deliveries?limit=200&cursor={first['next_cursor']}")).json
    assert [d["task_id"] for d in first["deliveries"] + rest["deliveries"]] == [
        f"T-{n}" for n in (4, 3, 2, 1, 0)
    ]


# --- in bulk --------------------------------------------------------------------------------------


def dead_ones(db_path: Path, count: int, connector: str = "sink") -> None:
    """Put dead deliveries into the outbox by hand, each created a second after the one before."""
    conn = sqlite3.connect(db_path)
    conn.executemany(
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, state, next_attempt_at, "
        "last_error, created_at) VALUES (?, 0, 'x', ?, 'notify', '{\"n\":1}', 'dead', '2026-01-01T00:00:00.000Z', 'x', ?)",
        [
            (f"evt_{connector}_{n}", connector, f"2026-01-01T00:{n // 60:02}:{n % 60:02}.000Z")
            for n in range(count)
        ],
    )
    conn.commit()
    conn.close()


async def done(api: Api, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = {}

    async def ended() -> bool:
        job.update((await api.get(f"/jobs/{job_id}")).json)
        return job["state"] != "running"

    await eventually(ended, within_s=10)
    return job


async def test_a_bulk_replay_counts_first_and_then_goes_through(
    hub: Api, sink: Receiver, db_path: Path
) -> None:
    dead_ones(db_path, 250)
    dead_ones(db_path, 30, "gone")
    dry = await hub.post("/deliveries/replay", {"state": "dead", "connector": "sink", "dry_run": True})
    assert (dry.status, dry.json) == (200, {"count": 250, "job": None})
    reply = await hub.post("/deliveries/replay", {"state": "dead", "connector": "sink"})
    job = reply.json["job"]
    assert (reply.status, reply.json["count"], job["count"], job["done"]) == (202, 250, 250, 0)
    assert (job["state"], job["kind"], job["created_by"]) == ("running", "replay", "everything")
    assert reply.headers["Location"] == f"/api/v1/jobs/{job['id']}"
    ended = await done(hub, job["id"])
    assert (ended["state"], ended["done"]) == ("done", 250)
    await eventually(lambda: len(sink.accepted) == 250)
    assert rows(db_path, "SELECT count(*) FROM outbox WHERE connector = 'gone' AND state = 'dead'") == [(30,)]
    refused = await hub.delete(f"/jobs/{job['id']}")
    assert (refused.status, refused.code) == (409, "conflict")


async def test_a_bulk_replay_of_a_window_of_time(hub: Api, db_path: Path) -> None:
    dead_ones(db_path, 100)

    async def count(**more: str) -> int:
        return int((await hub.post("/deliveries/replay", {**more, "dry_run": True})).json["count"])

    assert await count() == 100
    assert await count(since="2026-01-01T00:00:10Z", until="2026-01-01T00:00:20Z") == 10
    assert await count(since="2026-01-01T01:01:00+01:00") == 40
    assert await count(until="2026-01-01") == 0
    assert await count(state="delivered") == 0
    assert await count(connector="other") == 0


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"state": "pending"}, ["state"]),
        ({"state": None, "since": "soon", "until": 5, "limit": 3}, ["limit", "since", "state", "until"]),
        ({"dry_run": "yes"}, ["dry_run"]),
        ({"connector": "x" * 201}, ["connector"]),
    ],
)
async def test_bulk_replays_that_cannot_be(hub: Api, body: dict[str, Any], fields: list[str]) -> None:
    reply = await hub.post("/deliveries/replay", body)
    assert (reply.status, sorted(reply.fields)) == (422, fields)


async def test_a_bulk_replay_lives_through_a_restart(
    start: Start, sink: Receiver, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REPLAY_STEP_S", -1)  # one delivery a step
    connectors = {"sink": webhook(sink.url)}
    api = await start(connectors=connectors)
    dead_ones(db_path, 600)
    job_id = (await api.post("/deliveries/replay", {"state": "dead"})).json["job"]["id"]

    async def begun() -> bool:
        return bool((await api.get(f"/jobs/{job_id}")).json["done"])

    await eventually(begun)
    api = await start(connectors=connectors)
    found = (await api.get(f"/jobs/{job_id}")).json
    assert (found["state"], found["done"] < 600) == ("running", True)
    monkeypatch.undo()
    ended = await done(api, job_id)
    assert (ended["state"], ended["done"], ended["count"]) == ("done", 600, 600)
    await eventually(lambda: len(set(sink.ids)) == 600)
    await settled(api, "delivered", 200)  # a full page


async def test_a_cancelled_bulk_replay_keeps_what_it_has_done(hub: Api, db_path: Path) -> None:
    dead_ones(db_path, 1_000)
    job_id = (await hub.post("/deliveries/replay", {"state": "dead"})).json["job"]["id"]
    reply = await hub.delete(f"/jobs/{job_id}")
    assert (reply.status, reply.json["state"]) == (200, "cancelled")
    assert (await hub.delete(f"/jobs/{job_id}")).json["state"] == "cancelled"
    replayed = reply.json["done"]
    await asyncio.gather(*(hub.task() for _ in range(5)))
    assert (await hub.get(f"/jobs/{job_id}")).json["done"] == replayed
    assert rows(db_path, "SELECT count(*) FROM outbox WHERE state = 'dead'") == [(1_000 - replayed,)]
    assert (await hub.delete("/jobs/job_none")).status == 404
    assert (await hub.get("/jobs/job_none")).status == 404


async def test_jobs_are_listed_newest_first(hub: Api, db_path: Path, clock: SettableClock) -> None:
    dead_ones(db_path, 3)
    made = []
    for _ in range(4):
        clock.advance(1)
        made.append((await hub.post("/deliveries/replay", {"state": "dead"})).json["job"]["id"])
    for job_id in made:
        await done(hub, job_id)
    assert [job["id"] for job in await hub.listed("/jobs", "jobs")] == made[::-1]
    assert (await hub.get("/jobs?state=done&limit=1")).json["total"] == 4
    assert (await hub.get("/jobs?state=running")).json == {"jobs": [], "total": 0, "next_cursor": None}
    assert (await hub.get("/jobs?state=late")).fields == ["state"]


async def test_replay_is_no_delivery(api: Api) -> None:
    reply = await api.get("/deliveries/replay")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
