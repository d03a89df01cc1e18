"""Events: gap-free by seq, waited for, emitted."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from time import monotonic

import pytest

from ralf_hub.handlers import events as handler
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, V1, Api
from tests.support import SettableClock, eventually


async def emit(api: Api, kind: str = "deploy_done", **more: object) -> dict[str, object]:
    reply = await api.post("/events", {"type": kind, **more})
    assert reply.status == 202, reply.body
    return dict(reply.json)


async def test_emit_and_read(api: Api, clock: SettableClock) -> None:
    event = await emit(
        api, "deploy_done", data={"to": "prod", "n": [1]}, occurred_at="2026-01-01T10:00:00+02:00"
    )
    assert event == {
        "seq": 1,
        "id": event["id"],
        "type": "deploy_done",
        "source": "api:everything",
        "task_id": None,
        "occurred_at": "2026-01-01T08:00:00.000Z",
        "recorded_at": clock.iso(),
        "data": {"to": "prod", "n": [1]},
    }
    now = await emit(api, "a.b:C_d-9", task_id="T-unknown")
    assert (now["occurred_at"], now["task_id"], now["data"]) == (clock.iso(), "T-unknown", {})
    assert await api.events() == [event, now]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["type"]),
        ({"type": ""}, ["type"]),
        ({"type": "1x"}, ["type"]),
        ({"type": "a b"}, ["type"]),
        ({"type": "x" * 101}, ["type"]),
        ({"type": 5, "data": [], "task_id": "a b", "occurred_at": "soon", "seq": 9}, ["data", "occurred_at", "seq", "task_id", "type"]),
        ({"type": "x", "data": {str(n): n for n in range(201)}}, ["data"]),
    ],
)  # fmt: skip
async def test_events_that_cannot_be(api: Api, body: dict[str, object], fields: list[str]) -> None:
    reply = await api.post("/events", body)
    assert (reply.status, sorted(reply.fields)) == (422, fields)
    assert await api.events() == []


async def test_read_after_a_seq_by_type_and_task(api: Api) -> None:
    for number in range(6):
        await emit(api, f"kind_{number % 2}", task_id=f"T-{number % 3}")

    async def seqs(query: str) -> list[int]:
        return [event["seq"] for event in (await api.get(f"/events?{query}")).json["events"]]

    assert await seqs("after=2") == [3, 4, 5, 6]
    assert await seqs("after=6") == []
    assert await seqs("after=9007199254740992") == []
    assert await seqs("type=kind_1") == [2, 4, 6]
    assert await seqs("type=kind_1,kind_0&after=4") == [5, 6]
    assert await seqs("type=,%20kind_1%20,&limit=2") == [2, 4]
    assert await seqs("task_id=T-1") == [2, 5]
    assert await seqs("task_id=T-1&type=kind_0&after=1") == [5]
    page = (await api.get("/events?type=kind_1&limit=2")).json
    assert (page["total"], page["last_seq"], page["next_cursor"]) == (3, 6, "4")
    page = (await api.get(f"/events?type=kind_1&limit=2&after=99&cursor={page['next_cursor']}")).json
    assert ([event["seq"] for event in page["events"]], page["next_cursor"]) == ([6], None)


@pytest.mark.parametrize("query", ["after=-1", "after=x", "after=9007199254740993", "wait=-1", "wait=61", "wait=nan", "wait=inf", "wait=x", "wait=", "type=" + "a," * 60 + "b"])  # fmt: skip
async def test_bad_questions(api: Api, query: str) -> None:
    if query.startswith("type"):
        query = "type=" + ",".join(f"t{n}" for n in range(51))
    reply = await api.get(f"/events?{query}")
    assert (reply.status, reply.code, reply.fields) == (400, "invalid_parameter", [query.split("=")[0]])


# --- no gaps --------------------------------------------------------------------------------------


async def test_seq_has_no_gap_under_two_hundred_writers_of_which_some_fail(api: Api) -> None:
    async def one(number: int) -> int:
        if number % 4 == 0:
            return (await api.post("/tasks", {"title": "x", "depends_on": ["T-none"]})).status
        if number % 4 == 1:
            return (await api.task(id=f"T-{number}"))["version"]
        await emit(api)
        return 0

    following: list[int] = []

    async def follow() -> None:
        while len(following) < 150:
            after = following[-1] if following else 0
            page = (await api.get(f"/events?after={after}&wait=5&limit=7")).json
            following.extend(event["seq"] for event in page["events"])

    follower = asyncio.create_task(follow())
    await asyncio.gather(*(one(number) for number in range(200)))
    async with asyncio.timeout(10):
        await follower
    assert [event["seq"] for event in await api.events()] == list(range(1, 151))
    assert following == list(range(1, 151))


async def test_seq_goes_on_after_a_restart(start: Start) -> None:
    api = await start()
    await emit(api)
    api = await start()
    assert (await emit(api))["seq"] == 2
    assert (await api.get("/events?after=1")).json["last_seq"] == 2


# --- waiting --------------------------------------------------------------------------------------


async def test_a_wait_ends_with_the_event(api: Api) -> None:
    waiting = asyncio.create_task(api.get("/events?after=0&wait=30"))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    begun = monotonic()
    await emit(api)
    page = (await waiting).json
    assert monotonic() - begun < 1
    assert [event["seq"] for event in page["events"]] == [1]


async def test_a_wait_is_not_ended_by_other_events(api: Api) -> None:
    waiting = asyncio.create_task(api.get("/events?type=wanted&wait=30"))
    for _ in range(3):
        await emit(api, "other")
    assert not waiting.done()
    await emit(api, "wanted")
    assert [event["type"] for event in (await waiting).json["events"]] == ["wanted"]


async def test_a_wait_that_finds_nothing_says_where_to_go_on(api: Api) -> None:
    await emit(api, "other")
    begun = monotonic()
    page = (await api.get("/events?type=wanted&wait=0.2")).json
    assert 0.15 < monotonic() - begun < 2
    assert (page["events"], page["next_cursor"], page["last_seq"]) == ([], None, 1)


async def test_what_is_there_is_not_waited_for(api: Api) -> None:
    await emit(api)
    begun = monotonic()
    assert (await api.get("/events?wait=30")).json["events"]
    assert monotonic() - begun < 2


async def test_many_wait_at_once(api: Api) -> None:
    waiting = [asyncio.create_task(api.get("/events?wait=30")) for _ in range(50)]
    await asyncio.sleep(0.05)
    await emit(api)
    async with asyncio.timeout(3):
        pages = await asyncio.gather(*waiting)
    assert all(len(page.json["events"]) == 1 for page in pages)


@pytest.mark.parametrize("look", ["first", "later"])
async def test_an_event_committed_while_the_table_is_looked_at_is_not_slept_through(
    api: Api, look: str
) -> None:
    """The look found nothing, then came the event, then the wait began: it must not wait for the next event."""
    question = "/events?type=wanted&wait=30"
    if look == "later":
        waiting = asyncio.create_task(api.get(question))
        await eventually(lambda: api.hub.feed._news._waiters)
    first, behind = [Hold(), Hold()], [Hold(), Hold()]
    reads = [asyncio.create_task(api.hub.db.read(hold)) for hold in first]
    await eventually(lambda: all(hold.reached.is_set() for hold in first))
    if look == "first":
        waiting = asyncio.create_task(api.get(question))
    else:
        await emit(api, "other")
    await eventually(lambda: sum(len(reader.waiting) for reader in api.hub.db._readers) == 1)
    # These share the look's batch, one on either thread: its result comes back only when they are through.
    reads += [asyncio.create_task(api.hub.db.read(hold)) for hold in behind]
    await asyncio.sleep(0)
    for hold in first:
        hold.released.set()
    await eventually(lambda: all(hold.reached.is_set() for hold in behind))
    await emit(api, "wanted")
    for hold in behind:
        hold.released.set()
    async with asyncio.timeout(handler.LOOK_AGAIN_S / 2):
        assert len((await waiting).json["events"]) == 1
    await asyncio.gather(*reads)


class Hold:
    """A read that keeps its thread until it is released."""

    def __init__(self) -> None:
        self.reached, self.released = threading.Event(), threading.Event()

    def __call__(self, _: sqlite3.Connection) -> None:
        self.reached.set()
        assert self.released.wait(10)


async def test_nobody_is_waited_for_who_has_left(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "LOOK_AGAIN_S", 0.05)
    before = api.hub.meters.requests
    head = f"GET {V1}/events?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {EVERYTHING}\r\n\r\n"
    await api.leave(head.encode())
    await eventually(lambda: api.hub.meters.requests == before + 1, within_s=3)
    assert (await api.get("/events")).status == 200


async def test_a_wait_does_not_hold_up_the_stop(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "LOOK_AGAIN_S", 0.05)
    api = await start()
    waiting = asyncio.create_task(api.get("/events?wait=60"))
    await asyncio.sleep(0.05)
    api.hub.stopping = True
    async with asyncio.timeout(3):
        assert (await waiting).json["events"] == []


async def test_an_event_someone_else_writes_ends_a_wait_within_a_second(api: Api, db_path: Path) -> None:
    waiting = asyncio.create_task(api.get("/events?wait=30"))
    await asyncio.sleep(0.05)
    conn = sqlite3.connect(db_path, isolation_level=None)
    conn.execute(
        "INSERT INTO events (id, type, source, occurred_at, recorded_at) VALUES "
        "('evt_x', 'by_hand', 'sql', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z')"
    )
    conn.close()
    async with asyncio.timeout(1):
        assert [event["id"] for event in (await waiting).json["events"]] == ["evt_x"]


async def test_the_last_ones_first(api: Api) -> None:
    for number in range(1, 8):
        await api.post("/events", {"type": "odd" if number % 2 else "even"})

    async def seqs(query: str) -> list[int]:
        return [event["seq"] for event in (await api.get(f"/events?{query}")).json["events"]]

    assert await seqs("before=9007199254740992&limit=3") == [7, 6, 5]
    assert await seqs("before=5&type=odd") == [3, 1]
    assert await seqs("before=7&after=4&wait=60") == [6, 5]
    assert await seqs("before=0") == await seqs("before=1") == []
    assert [event["seq"] for event in await api.listed("/events?before=8", "events")] == [7, 6, 5, 4, 3, 2, 1]
    for bad in ("before=-1", "before=x", "before=1&before=2", "before=3&cursor=x"):
        assert (await api.get(f"/events?{bad}")).status == 400
