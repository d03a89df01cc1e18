"""Contract 3, the live stream: WebSocket and SSE over a real socket, restarts included."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.contract.box import Box, until

pytestmark = pytest.mark.journey

Frames = aiohttp.ClientWebSocketResponse


@contextlib.asynccontextmanager
async def opened(
    box: Box, *, key: str | None = "", path: str = "/api/v1/stream", **more: Any
) -> AsyncIterator[Frames]:
    headers = {} if key is None else {"Authorization": f"Bearer {key or box.hub.key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(box.hub.url + path, headers=headers, **more) as frames,
    ):
        yield frames


async def hear(frames: Frames, wanted: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
    """Return the next frame that is wanted."""
    async with asyncio.timeout(20):
        while True:
            frame = json.loads(await frames.receive_str())
            if wanted(frame):
                return dict(frame)


async def ask(frames: Frames, **frame: Any) -> dict[str, Any]:
    """Send a command and return what answers it."""
    await frames.send_json(frame)
    return await hear(frames, lambda f: f.get("id") == frame["id"] or f.get("op") == "error")


def in_thread(work: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
    return asyncio.to_thread(work, *arguments)


def test_stored_events_come_first_then_live_ones_also_across_a_restart(box: Box) -> None:
    seen: list[int] = []

    async def scene() -> None:
        last = (await in_thread(box.get, "/events?limit=1")).json["last_seq"]
        for n in range(5):
            await in_thread(box.post, "/events", {"type": "before", "data": {"n": n}})
        async with opened(box) as frames:
            await frames.send_json({"op": "subscribe", "topics": ["events"], "since": last})
            writing = asyncio.ensure_future(asyncio.gather(*(
                in_thread(box.post, "/events", {"type": "meanwhile", "data": {"n": n}}) for n in range(10)
            )))  # fmt: skip
            while len(seen) < 15:
                frame = await hear(frames, lambda f: f.get("topic") == "events")
                assert frame["seq"] == frame["event"]["seq"]
                seen.append(frame["seq"])
            await writing
        await in_thread(box.hub.kill)
        await in_thread(box.again)
        await in_thread(box.post, "/events", {"type": "after"})
        async with opened(box) as frames:
            await frames.send_json({"op": "subscribe", "topics": ["events"], "since": seen[-1]})
            seen.append((await hear(frames, lambda f: f.get("topic") == "events"))["seq"])
        assert seen == list(range(last + 1, last + 17))

    asyncio.run(scene())


def test_commands_are_acknowledged_and_refused_by_their_id(box: Box) -> None:
    async def scene() -> None:
        async with opened(box) as frames:
            made = await ask(frames, op="task.create", id="c1", data={"title": "over the stream"})
            assert (made["op"], made["id"]) == ("ack", "c1"), made
            wrong = await ask(frames, op="task.create", id="c2", data={"title": ""})
            assert (wrong["op"], wrong["problem"]["status"]) == ("error", 422)
            assert wrong["problem"]["errors"]
            pong = await ask(frames, op="ping", id=5)
            assert pong["op"] in {"pong", "ack"}
            await frames.send_str("nonsense")
            assert (await hear(frames, lambda f: f.get("op") == "error"))["problem"]["status"] == 400
            await frames.send_json({"op": "nonsense"})
            assert (await hear(frames, lambda f: f.get("op") == "error"))["problem"]["status"] in {400, 422}

    asyncio.run(scene())


def test_each_topic_brings_what_it_says_and_ends_when_asked(box: Box) -> None:
    async def scene() -> None:
        async with opened(box) as frames:
            await frames.send_json({"op": "subscribe", "topics": ["metrics"]})
            first = await hear(frames, lambda f: f.get("topic") == "metrics")
            second = await hear(frames, lambda f: f.get("topic") == "metrics")
            assert {"topic", "metrics"} <= set(first) or len(first) > 1
            assert second
            await frames.send_json({"op": "unsubscribe", "topics": ["metrics"], "id": "u"})
            await hear(frames, lambda f: f.get("op") == "ack")
            await frames.send_json({"op": "subscribe", "topics": ["events"], "id": "s"})
            await hear(frames, lambda f: f.get("op") == "ack")
            event = (await in_thread(box.post, "/events", {"type": "after"})).json
            frame = await hear(frames, lambda f: "topic" in f)
            assert (frame["topic"], frame["seq"]) == ("events", event["seq"])

    asyncio.run(scene())


def test_a_commands_fields_stand_wherever_a_client_puts_them(box: Box) -> None:
    async def scene() -> None:
        async with opened(box) as frames:
            for n, frame in enumerate(({"title": "x"}, {"data": {"title": "x"}}, {"task": {"title": "x"}})):
                made = await ask(frames, op="task.create", id=n, **frame)
                assert made["result"]["title"] == "x", made
            task_id = made["result"]["id"]
            for frame in (
                {"task_id": task_id, "status": "in_progress"},
                {"task_id": task_id, "data": {"title": "y"}},
                {"data": {"task_id": task_id, "priority": "high"}},
                {"task": {"id": task_id, "description": "d"}},
            ):
                assert (await ask(frames, op="task.update", id="u", **frame))["op"] == "ack", frame
            assert (await ask(frames, op="task.progress", id="p", task_id=task_id, percent=5))["result"][
                "progress"
            ] == 5
            for frame in (
                {"type": "told", "data": {"a": 1}},
                {"data": {"type": "told", "data": {"a": 1}}},
                {"event": {"type": "told", "data": {"a": 1}}},
            ):
                emitted = await ask(frames, op="event.emit", id="e", **frame)
                assert (emitted["result"]["type"], emitted["result"]["data"]) == ("told", {"a": 1}), emitted
            for frame in (
                {"status": "failed"},
                {"task_id": 5},
                {"data": 5},
                {"task_id": task_id, "task": []},
            ):
                refused = await ask(frames, op="task.update", id="r", **frame)
                assert (refused["id"], refused["problem"]["status"]) == ("r", 422), refused

    asyncio.run(scene())


def test_scopes_count_on_the_stream_too(box: Box) -> None:
    reader = box.key("events:read")

    async def scene() -> None:
        async with opened(box, key=reader) as frames:
            refused = await ask(frames, op="task.create", id="x", data={"title": "no"})
            assert refused["problem"]["code"] == "missing_scope"
            refused = await ask(frames, op="subscribe", id="y", topics=["deliveries"])
            assert refused["problem"]["code"] == "missing_scope"

    asyncio.run(scene())


def test_a_ticket_opens_once_and_a_key_in_the_address_never(box: Box) -> None:
    ticket = box.post("/stream/tickets").json["ticket"]

    async def scene() -> None:
        async with opened(box, key=None, path=f"/api/v1/stream?ticket={ticket}") as frames:
            await frames.send_json({"op": "ping", "id": 1})
            assert await hear(frames)
        for path in (
            f"/api/v1/stream?ticket={ticket}",
            f"/api/v1/stream?key={box.hub.key}",
            "/api/v1/stream",
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with opened(box, key=None, path=path):
                    pass
            assert refused.value.status in {400, 401}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with opened(box, origin="https://evil.example.org"):
                pass
        assert refused.value.status == 403

    asyncio.run(scene())


def test_server_sent_events_go_on_after_the_last_id(box: Box) -> None:
    box.post("/events", {"type": "for_sse"})
    last = box.get("/events?limit=1").json["last_seq"]

    async def scene() -> None:
        headers = {"Authorization": f"Bearer {box.hub.key}", "Last-Event-ID": str(last - 1)}
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{box.hub.url}/api/v1/events/stream", headers=headers) as answer,
        ):
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            await in_thread(box.post, "/events", {"type": "live_sse"})
            ids: list[int] = []
            async with asyncio.timeout(20):
                async for raw in answer.content:
                    line = raw.decode().strip()
                    if line.startswith("id:"):
                        ids.append(int(line[3:]))
                    if len(ids) == 2:
                        break
            assert ids == [last, last + 1]

    asyncio.run(scene())


def test_what_retention_took_is_told_as_a_gap(box: Box) -> None:
    box.post("/events", {"type": "kept"})
    last = box.get("/events?limit=1").json["last_seq"]
    box.rows("DELETE FROM events WHERE seq < ?", last)
    until(lambda: box.get("/events").json["events"][0]["seq"] == last)

    async def scene() -> None:
        async with opened(box) as frames:
            await frames.send_json({"op": "subscribe", "topics": ["events"], "since": 0})
            gap = await hear(frames, lambda f: f.get("op") == "gap" or f.get("topic") == "events")
            assert (gap["op"], gap["to"]) == ("gap", last - 1)
            assert (await hear(frames, lambda f: f.get("topic") == "events"))["seq"] == last

    asyncio.run(scene())
