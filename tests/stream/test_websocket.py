"""The live stream over a real WebSocket: subscriptions, replay, commands, tickets, and all that must be refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from ralf_hub.keyring import ANONYMOUS
from ralf_hub.stream import client
from ralf_hub.stream.tickets import TICKETS_MAX, VALID_S, Tickets
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, ONLY, ORIGIN, V1, Api
from tests.support import eventually, rows

STREAM = f"{V1}/stream"
Socket = aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def opened(
    api: Api, *, key: str | None = EVERYTHING, query: str = "", **headers: str
) -> AsyncIterator[Socket]:
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        shown["Authorization"] = f"Bearer {key}"
    async with api.client.session.ws_connect(api.client.make_url(STREAM + query), headers=shown) as ws:
        yield ws


async def told(ws: Socket) -> Any:
    return await ws.receive_json(timeout=5)


async def ask(ws: Socket, **frame: Any) -> Any:
    await ws.send_json(frame)
    return await told(ws)


async def seqs(ws: Socket, n: int) -> list[int]:
    return [(await told(ws))["seq"] for _ in range(n)]


async def test_events_are_told_as_they_are_committed(api: Api) -> None:
    async with opened(api) as ws:
        ack = await ask(ws, op="subscribe", topics=["events"], id="a")
        assert ack == {"op": "ack", "id": "a", "topics": ["events"], "seq": 0}
        task = await api.task()
        message = await told(ws)
        assert message["topic"] == "events"
        assert message["seq"] == message["event"]["seq"] == 1
        assert message["event"]["type"] == "task_created"
        assert message["event"]["task_id"] == task["id"]
        assert message["event"] == (await api.get("/events")).json["events"][0]


async def test_since_replays_what_is_stored_and_goes_on_live(api: Api) -> None:
    for _ in range(5):
        await api.task()
    async with opened(api) as ws:
        await ask(ws, op="subscribe", topics=["events"], since=2)
        assert await seqs(ws, 3) == [3, 4, 5]
        await api.task()
        assert await seqs(ws, 1) == [6]


async def test_replay_and_live_join_without_gap_or_repeat_under_load(api: Api) -> None:
    async def write(n: int) -> None:
        for _ in range(n):
            await api.task()

    await write(300)
    writing = asyncio.create_task(write(100))
    readers = []
    async with asyncio.TaskGroup() as group:

        async def read(since: int) -> None:
            async with opened(api) as ws:
                await ask(ws, op="subscribe", topics=["events"], since=since)
                assert await seqs(ws, 400 - since) == list(range(since + 1, 401))

        readers = [group.create_task(read(since)) for since in (0, 1, 199, 200, 250)]
        await writing
    assert len(readers) == 5


async def test_what_another_process_writes_is_told_in_order(api: Api) -> None:
    async with opened(api) as ws:
        await ask(ws, op="subscribe", topics=["events"])
        await api.task()
        insert = (
            "INSERT INTO events (id, type, source, occurred_at, recorded_at) "
            "VALUES (?, 'by_hand', 'sqlite3', '2026-02-02T00:00:00.000Z', '2026-02-02T00:00:00.000Z')"
        )
        rows(api.hub.db.path, insert, ("evt_hand",))
        await api.task()  # a hole: 2 was appended by someone else, 3 by the hub
        await api.task()
        assert await seqs(ws, 4) == [1, 2, 3, 4]


async def test_a_gap_is_told_where_retention_has_passed(api: Api) -> None:
    for _ in range(6):
        await api.task()
    rows(api.hub.db.path, "DELETE FROM events WHERE seq <= 3")
    async with opened(api) as ws:
        await ask(ws, op="subscribe", topics=["events"], since=1)
        assert await told(ws) == {"op": "gap", "from": 2, "to": 3}
        assert await seqs(ws, 3) == [4, 5, 6]


async def test_the_future_is_refused_and_the_socket_lives_on(api: Api) -> None:
    await api.task()
    async with opened(api) as ws:
        answer = await ask(ws, op="subscribe", topics=["events"], since=2, id=7)
        assert answer["op"] == "error"
        assert answer["id"] == 7
        assert answer["problem"]["code"] == "invalid_parameter"
        assert (await ask(ws, op="ping", id=8)) == {"op": "pong", "id": 8}


async def test_unsubscribed_topics_are_quiet(api: Api) -> None:
    async with opened(api) as ws:
        await ask(ws, op="subscribe", topics=["events"])
        assert (await ask(ws, op="unsubscribe", topics=["events"]))["topics"] == []
        await api.task()
        assert (await ask(ws, op="ping"))["op"] == "pong"


async def test_deliveries_and_metrics_are_told(start: Start) -> None:
    api = await start(connectors={"console": {}})
    async with opened(api) as ws:
        await ask(ws, op="subscribe", topics=["deliveries", "metrics"])
        await api.task()
        message = await told(ws)
        while message["topic"] != "deliveries":
            message = await told(ws)
        assert message["delivery"]["connector"] == "console"
        assert message["delivery"]["outcome"] == "delivered"
        stored = (await api.get("/deliveries?limit=1")).json["deliveries"][0]
        assert {name: message["delivery"][name] for name in stored} == stored
        assert stored["state"] == "delivered"
        while message["topic"] != "metrics":
            message = await told(ws)
        assert message["metrics"]["tasks"]["total"] == 1


async def test_commands_do_what_rest_does(api: Api) -> None:
    async with opened(api) as ws:
        made = await ask(ws, op="task.create", id="1", data={"id": "T-1", "title": "By frame"})
        assert made["op"] == "ack"
        assert made["result"]["id"] == "T-1"
        changed = await ask(ws, op="task.update", id="2", task_id="T-1", data={"status": "in_progress"})
        assert changed["result"]["status"] == "in_progress"
        further = await ask(ws, op="task.progress", id="3", task_id="T-1", data={"percent": 40})
        assert further["result"]["progress"] == 40
        emitted = await ask(ws, op="event.emit", id="4", data={"type": "thing_happened", "data": {"n": 1}})
        assert emitted["result"]["type"] == "thing_happened"
    assert (await api.get("/tasks/T-1")).json["progress"] == 40


@pytest.mark.parametrize(
    ("frame", "code", "fields"),
    [
        ({"op": "task.create", "data": {"titel": "x"}}, "validation_failed", {"title", "titel"}),
        ({"op": "task.create", "data": ["x"]}, "validation_failed", {"data"}),
        ({"op": "task.update", "data": {"title": "x"}}, "validation_failed", {"task_id"}),
        ({"op": "task.update", "task_id": "nobody", "data": {"title": "x"}}, "not_found", set()),
        ({"op": "fly"}, "validation_failed", {"op"}),
        ({"op": 5}, "validation_failed", {"op"}),
        ({}, "validation_failed", {"op"}),
        ({"op": "subscribe", "topics": ["secrets"]}, "validation_failed", {"topics[0]"}),
        ({"op": "subscribe", "topics": []}, "validation_failed", {"topics"}),
        ({"op": "subscribe", "topics": ["events"], "since": -1}, "validation_failed", {"since"}),
        ({"op": "subscribe", "topics": ["events"], "since": "1"}, "validation_failed", {"since"}),
        ({"op": "subscribe", "topics": ["events"], "more": 1}, "validation_failed", {"more"}),
        ({"op": "task.create", "data": {"title": "a\0b"}}, "validation_failed", {"data.title"}),
    ],
)
async def test_a_bad_frame_is_told_what_is_wrong_with_it(
    api: Api, frame: dict[str, Any], code: str, fields: set[str]
) -> None:
    async with opened(api) as ws:
        answer = await ask(ws, id="x", **frame)
        assert answer["op"] == "error"
        assert answer["id"] == "x"
        assert answer["problem"]["code"] == code
        assert {error["field"] for error in answer["problem"].get("errors", [])} == fields
        assert (await ask(ws, op="ping"))["op"] == "pong"


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "null", "[" * 3000, '{"op":"\\ud800"}'])
async def test_what_is_no_json_object_is_refused(api: Api, text: str) -> None:
    async with opened(api) as ws:
        await ws.send_str(text)
        answer = await told(ws)
        assert answer["problem"]["code"] in {"invalid_json", "validation_failed"}
        await ws.send_bytes(b'{"op":"ping"}')
        assert (await told(ws))["problem"]["code"] == "invalid_json"


async def test_a_frame_that_is_too_large_ends_the_conversation(api: Api) -> None:
    async with opened(api) as ws:
        await ws.send_str("x" * (2**20 + 10))
        assert (await ws.receive(timeout=5)).type in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}
    await eventually(lambda: not api.hub.stream.clients)


# --- who may come in ------------------------------------------------------------------------------


async def test_without_a_key_nobody_comes_in(api: Api) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        async with opened(api, key=None):
            pass
    assert refused.value.status == 401


async def test_scopes_hold_for_topics_and_commands(api: Api) -> None:
    async with opened(api, key=ONLY["events:read"]) as ws:
        assert (await ask(ws, op="subscribe", topics=["deliveries"]))["problem"]["code"] == "missing_scope"
        refused = await ask(ws, op="task.create", data={"title": "x"})
        assert refused["problem"]["code"] == "missing_scope"
        assert refused["problem"]["scope"] == "tasks:write"
        assert (await ask(ws, op="subscribe", topics=["events"]))["op"] == "ack"
    with pytest.raises(WSServerHandshakeError) as denied:
        async with opened(api, key=ONLY["tasks:read"]):
            pass
    assert denied.value.status == 403


async def test_a_ticket_opens_the_stream_once(api: Api) -> None:
    reply = await api.post("/stream/tickets")
    assert reply.status == 201
    ticket = reply.json["ticket"]
    await api.task()
    async with opened(api, key=None, query=f"?ticket={ticket}&since=0") as ws:
        assert (await told(ws))["op"] == "ack"
        assert await seqs(ws, 1) == [1]
    with pytest.raises(WSServerHandshakeError) as used:
        async with opened(api, key=None, query=f"?ticket={ticket}"):
            pass
    assert used.value.status == 401


async def test_a_ticket_ends_after_half_a_minute() -> None:
    tickets = Tickets()
    early = tickets.issue(ANONYMOUS, 0.0)
    assert tickets.take(early, VALID_S) is None
    kept = [tickets.issue(ANONYMOUS, 1.0) for _ in range(TICKETS_MAX + 1)]
    assert tickets.take(kept[0], 1.0) is None
    assert tickets.take(kept[-1], 1.0) == ANONYMOUS
    assert tickets.take("never was", 1.0) is None


async def test_foreign_origins_are_refused(start: Start) -> None:
    api = await start()
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        with pytest.raises(WSServerHandshakeError) as refused:
            async with opened(api, Origin=origin):
                pass
        assert refused.value.status == 403
    own = str(api.client.make_url("/")).rstrip("/")
    async with opened(api, Origin=own) as ws:
        assert (await ask(ws, op="ping"))["op"] == "pong"
    api = await start(api={"cors": {"enabled": True, "origins": [ORIGIN]}})
    async with opened(api, Origin=ORIGIN) as ws:
        assert (await ask(ws, op="ping"))["op"] == "pong"


async def test_commands_are_limited_as_rest_is(start: Start) -> None:
    api = await start(api={"rate_limit": {"enabled": True, "requests_per_minute": 5}})
    async with opened(api) as ws:  # the first of the five
        answers = [await ask(ws, op="task.create", id=n, data={"title": "x"}) for n in range(8)]
    assert [answer["op"] for answer in answers] == ["ack"] * 4 + ["error"] * 4
    assert answers[-1]["problem"]["code"] == "rate_limited"


async def test_a_plain_request_is_told_that_this_is_a_websocket(api: Api) -> None:
    assert (await api.get("/stream")).status == 400


# --- readers that do not read ---------------------------------------------------------------------


async def test_a_reader_that_never_reads_is_dropped_and_costs_nobody_else(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "QUEUED_MESSAGES_MAX", 50)
    reader, writer = await asyncio.open_connection("127.0.0.1", api.client.port)
    writer.write(
        f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {EVERYTHING}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    frame = b'{"op":"subscribe","topics":["events"]}'
    writer.write(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)
    await eventually(lambda: any(found.live for found in api.hub.stream.clients))
    stuck = next(iter(api.hub.stream.clients))
    async with opened(api) as ws:
        await ask(ws, op="subscribe", topics=["events"])
        written = 0
        while not stuck.dropped.done() and written < 3_000:
            await api.post("/events", {"type": "big", "data": {"x": "x" * 20_000}})
            written += 1
            assert await seqs(ws, 1) == [written]
    assert stuck.dropped.done()
    await eventually(lambda: stuck not in api.hub.stream.clients)
    writer.close()


# --- server-sent events ---------------------------------------------------------------------------


async def sse(api: Api, n: int, *, query: str = "", **headers: str) -> list[dict[str, str]]:
    """Read *n* server-sent events."""
    shown = {"Authorization": f"Bearer {EVERYTHING}", **{k.replace("_", "-"): v for k, v in headers.items()}}
    found: list[dict[str, str]] = []
    url = api.client.make_url(f"{V1}/events/stream{query}")
    async with api.client.session.get(url, headers=shown) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        while len(found) < n:
            block = (await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5)).decode().strip()
            if not block.startswith(":"):
                found.append(dict(line.split(": ", 1) for line in block.splitlines()))
    return found


async def test_server_sent_events_resume_where_the_reader_stopped(api: Api) -> None:
    for _ in range(5):
        await api.task()
    assert [event["id"] for event in await sse(api, 3, Last_Event_ID="2")] == ["3", "4", "5"]
    assert [event["id"] for event in await sse(api, 5, query="?since=0")] == ["1", "2", "3", "4", "5"]
    live = asyncio.create_task(sse(api, 1))
    await eventually(lambda: any(reader.live for reader in api.hub.stream.clients))
    await api.task()
    assert (await live)[0]["event"] == "task_created"
    rows(api.hub.db.path, "DELETE FROM events WHERE seq <= 3")
    gap, first = await sse(api, 2, query="?since=1")
    assert gap == {"event": "gap", "data": '{"from":2,"to":3}'}
    assert first["id"] == "4"
    await eventually(lambda: not api.hub.stream.clients)


@pytest.mark.parametrize("header", ["x", "-1", "99999999999999999", "1.5"])
async def test_a_last_event_id_that_is_none_is_refused(api: Api, header: str) -> None:
    reply = await api.get("/events/stream", headers={"Last-Event-ID": header})
    assert reply.status == 400
    assert reply.fields == ["Last-Event-ID"]
    assert (await api.get("/events/stream?since=99")).status == 400


async def test_how_long_a_stream_is_open_is_no_latency(api: Api) -> None:
    async with opened(api) as ws:
        await ask(ws, op="ping")
    await eventually(lambda: api.hub.meters.by_status.get(101))
    assert api.hub.meters.api.count == 0
