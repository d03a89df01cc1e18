"""Health, and what the API says while the database cannot be written: no promise it cannot keep."""

import asyncio
import contextlib
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ralf_hub import __version__
from ralf_hub.handlers.health import LATE_AFTER_S
from ralf_hub.store import schema, write_check
from ralf_hub.store.write_check import WRITE_CHECK_EVERY_S
from tests.api.conftest import Start
from tests.api.helpers import CANARY, Api, Reply, webhook
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.support import SettableClock, eventually, rows


async def health(api: Api) -> Reply:
    return await api.call("GET", "/health", key=None)


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as double:
        yield double


@pytest.fixture
async def hub(start: Start, sink: Receiver, clock: SettableClock, monkeypatch: pytest.MonkeyPatch) -> Api:
    """A hub that posts to the sink, and asks the disk anew for every `/health`."""
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_MS", 20)
    seconds = iter(range(10_000))
    return await start(
        own_clock=replace(clock.clock, monotonic=lambda: next(seconds) * WRITE_CHECK_EVERY_S),
        connectors={"sink": webhook(sink.url)},
    )


async def test_all_is_well(api: Api) -> None:
    reply = await health(api)
    assert (reply.status, reply.json) == (
        200,
        {
            "status": "ok",
            "version": __version__,
            "settings": api.hub.loaded.fingerprint,
            "checks": dict.fromkeys(("database", "deliveries", "background", "disk", "settings"), "ok"),
        },
    )


# --- the database ---------------------------------------------------------------------------------


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow: what a full disk is like, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Someone else writes and does not come to an end."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        conn.execute("ROLLBACK")
        conn.close()


@contextlib.asynccontextmanager
async def broken(api: Api, how: str) -> AsyncIterator[None]:
    if how == "no room":
        with no_room():
            yield
    elif how == "locked":
        with locked(api.hub.db.path):
            yield
    else:
        await api.hub.db.run_alone(lambda conn: conn.execute("PRAGMA query_only = ON"))
        try:
            yield
        finally:
            await api.hub.db.run_alone(lambda conn: conn.execute("PRAGMA query_only = OFF"))


WORDS = {
    "no room": "The disk",
    "locked": "Another program holds the database locked",
    "read-only": "The database is read-only",
}


@pytest.mark.parametrize("how", WORDS)
async def test_what_cannot_be_written_is_not_promised(hub: Api, how: str) -> None:
    task = await hub.task()
    async with broken(hub, how):
        for reply in (
            await hub.post("/tasks", {"title": "Lost?"}),
            await hub.patch(f"/tasks/{task['id']}", {"title": "Lost?"}),
            await hub.delete(f"/tasks/{task['id']}"),
            await hub.post("/queue/claim", {"agent": "ralf"}),
            await hub.post("/events", {"type": "x"}, headers={"Idempotency-Key": "k-1"}),
            await hub.post("/keys", {"name": "x", "scopes": ["*"]}),
            await hub.post("/connectors/sink/pause"),
            await hub.post("/deliveries/replay"),
        ):
            assert (reply.status, reply.code) == (503, "storage_unavailable")
            assert reply.json["detail"].startswith(WORDS[how])
        sick = await health(hub)
        assert (sick.status, sick.json["status"]) == (503, "failing")
        assert sick.json["checks"]["database"].startswith(WORDS[how])
        assert str(hub.hub.db.path).encode() not in sick.body
        assert (await hub.get(f"/tasks/{task['id']}")).json == task
        assert (await hub.get("/events")).json["total"] == 1
    assert (await health(hub)).status == 200
    assert (await hub.post("/events", {"type": "x"}, headers={"Idempotency-Key": "k-1"})).status == 202
    assert (await hub.task())["version"] == 1
    assert (await hub.get("/keys")).json["total"] == 0
    assert [event["type"] for event in await hub.events()] == ["task_created", "x", "task_created"]


async def test_bad_requests_are_told_so_even_then(hub: Api) -> None:
    async with broken(hub, "read-only"):
        assert (await hub.post("/tasks", {"title": ""})).status == 422
        assert (await hub.get("/tasks/T-none")).status == 404
        assert (await hub.get("/tasks", key="rh_wrong")).status == 401


async def test_deliveries_go_on_by_themselves_when_there_is_room_again(
    hub: Api, sink: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    sink.faults.append(Fault(delay_s=0.1))
    await hub.task(id="T-1")
    await eventually(lambda: sink.seen)
    async with broken(hub, "no room"):
        await eventually(lambda: "wait for the disk" in caplog.text)
        assert rows(hub.hub.db.path, "SELECT state FROM outbox") == [("pending",)]
    await hub.task(id="T-2")
    await eventually(lambda: rows(hub.hub.db.path, "SELECT DISTINCT state FROM outbox") == [("delivered",)])
    assert len(sink.accepted) == 2


async def test_the_disk_is_asked_once_a_second_however_often_health_is(api: Api) -> None:
    writes = []
    write = api.hub.db.write

    async def counted(fn, **more):
        writes.append(fn)
        return await write(fn, **more)

    api.hub.db.write = counted  # type: ignore[method-assign]
    await asyncio.gather(*(health(api) for _ in range(30)))
    assert len(writes) <= 2


async def test_a_disk_that_hangs_is_not_well_and_does_not_hang_health(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_check, "ANSWER_WITHIN_S", 0.05)
    released = threading.Event()
    hanging = asyncio.create_task(api.hub.db.run_alone(lambda _: released.wait(10)))
    async with asyncio.timeout(5):
        replies = await asyncio.gather(*(health(api) for _ in range(10)))
    assert {reply.status for reply in replies} == {503}
    assert {reply.json["checks"]["database"] for reply in replies} == {
        "The disk has not answered for 0.05 s."
    }
    released.set()
    await hanging

    async def well() -> bool:
        return (await health(api)).status == 200

    await eventually(well)


# --- deliveries, loops, settings ------------------------------------------------------------------


def put_due(
    clock: SettableClock, late_s: float, connector: str = "sink"
) -> Callable[[sqlite3.Connection], object]:
    """Return what puts a delivery into the outbox behind the dispatcher's back."""
    sql = (
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, next_attempt_at, created_at) "
        "VALUES (?, 0, 'x', ?, 'notify', '{\"type\": \"x\"}', ?, ?)"
    )
    at = clock.iso(-late_s)
    return lambda conn: conn.execute(sql, (f"evt_{late_s}{connector}", connector, at, at))


async def test_a_delivery_that_is_late_without_cause(hub: Api, sink: Receiver, clock: SettableClock) -> None:
    await eventually(lambda: not hub.hub.dispatcher.channels["sink"].woken)
    await hub.hub.db.write(put_due(clock, LATE_AFTER_S - 1))
    await hub.hub.db.write(put_due(clock, LATE_AFTER_S * 9, "no such connector"))
    assert (await health(hub)).status == 200
    await hub.hub.db.write(put_due(clock, LATE_AFTER_S + 1))
    reply = await health(hub)
    assert (reply.status, reply.json["checks"]["deliveries"]) == (503, "late without cause: sink")
    hub.hub.dispatcher.wake()
    await eventually(lambda: len(sink.accepted) == 2)

    async def well() -> bool:
        return (await health(hub)).status == 200

    await eventually(well)


async def test_a_delivery_that_is_late_with_a_cause(hub: Api, clock: SettableClock) -> None:
    await hub.post("/connectors/sink/pause")
    await hub.hub.db.write(put_due(clock, LATE_AFTER_S * 100))
    assert (await health(hub)).status == 200


async def test_a_loop_that_has_ended(api: Api) -> None:
    (loop,) = [task for task in asyncio.all_tasks() if task.get_name() == "dispatcher"]
    loop.cancel()
    await asyncio.wait({loop})
    reply = await health(api)
    assert (reply.status, reply.json["checks"]["background"]) == (503, "stopped: dispatcher")


async def test_settings_that_were_not_taken_are_told_without_their_text(api: Api) -> None:
    api.hub.settings_problem = f"/home/x/ralf-hub.toml: api.port: {CANARY}"
    reply = await health(api)
    assert reply.status == 200
    assert reply.json["checks"]["settings"] != "ok"
    assert b"/home" not in reply.body
    assert CANARY.encode() not in reply.body


async def test_a_hub_that_stops_is_not_well(api: Api) -> None:
    api.hub.stopping = True
    assert (await health(api)).status == 503
