"""The live stream as server-sent events, for readers without a WebSocket."""

import asyncio
from typing import Final

import orjson
from aiohttp import web

from ralf_hub.endpoint import Call, Endpoint, parse_query
from ralf_hub.errors import FieldError, HubError
from ralf_hub.handlers.live import (
    CLOSE_WITHIN_S,
    STREAM_ERRORS,
    StreamQuery,
    check_since,
    enter,
    need,
)
from ralf_hub.middleware import SECURITY_HEADERS, problem_document
from ralf_hub.model import Event, event_json
from ralf_hub.services import Services
from ralf_hub.stream.client import NO_LONGER_ALLOWED, Client, SlowReaderError

HEARTBEAT_S: Final = 15.0
LOOK_EVERY_S: Final = 1.0
"""A reader that has left is noticed this soon: nothing else wakes a connection that only writes."""


def sse_message(event: Event) -> bytes:
    """Return one event as a server-sent event. https://html.spec.whatwg.org/multipage/server-sent-events.html."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (
        event.seq,
        event.type.encode(),
        orjson.dumps(event_json(event)),
    )


async def event_stream(call: Call) -> web.StreamResponse:
    """Open the stream of server-sent events; `Last-Event-ID` or `since` replays first."""
    query: StreamQuery = parse_query(StreamQuery, call.request)
    principal = await enter(call, query)
    need(principal, "events:read")
    hub = call.hub
    since = _since(call.request.headers.get("Last-Event-ID"), query.since)
    await check_since(hub, since)
    response = web.StreamResponse(
        headers={**SECURITY_HEADERS, "Content-Type": "text/event-stream", "X-Request-ID": call.request_id}
    )
    await response.prepare(call.request)
    client = Client(
        send=response.write,
        encode=sse_message,
        topics=frozenset({"events"}),
        principal=principal,
    )
    hub.stream.clients.add(client)
    try:
        await _replay_sse(hub, client, since)
        await _stay(call, client)
        if client.dropped.done() and client.dropped.result() == NO_LONGER_ALLOWED:
            await _say_goodbye(call, response)
    except (SlowReaderError, ConnectionError, TimeoutError):
        pass
    finally:
        hub.stream.clients.discard(client)
        await client.close()
    return response


async def _stay(call: Call, client: Client) -> None:
    """Keep the connection until the reader leaves, is too slow, or the hub stops."""
    quiet_since = call.hub.clock.monotonic()
    while not (client.dropped.done() or call.hub.stopping or _has_left(call)):
        await asyncio.wait({client.dropped}, timeout=LOOK_EVERY_S)
        if call.hub.clock.monotonic() - quiet_since >= HEARTBEAT_S:
            quiet_since = call.hub.clock.monotonic()
            client.push(b": still here\n\n")


async def _say_goodbye(call: Call, response: web.StreamResponse) -> None:
    document = problem_document(HubError(NO_LONGER_ALLOWED, code="invalid_key"), call.request_id)
    async with asyncio.timeout(CLOSE_WITHIN_S):
        await response.write(b"event: error\ndata: %b\n\n" % orjson.dumps(document))


def _has_left(call: Call) -> bool:
    transport = call.request.transport
    return transport is None or transport.is_closing()


async def _replay_sse(hub: Services, client: Client, since: int | None) -> None:
    if since is None:
        client.position, client.live = hub.feed.last_seq, True
        await client.send_now(b": from now on\n\n")
        return
    async for lost_from, lost_to in hub.stream.replay(client, since):
        await client.send_now(b"event: gap\ndata: %b\n\n" % orjson.dumps({"from": lost_from, "to": lost_to}))


def _since(header: str | None, query: int | None) -> int | None:
    if header is None or header == "":
        return query
    if not header.isascii() or not header.isdigit() or len(header) > 16:  # noqa: PLR2004 - 2**53 has 16 digits
        raise HubError(
            code="invalid_parameter", errors=[FieldError("Last-Event-ID", "This must be a `seq`.")]
        )
    return int(header)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/events/stream",
        "streamEvents",
        "Open the live stream (server-sent events)",
        event_stream,
        None,
        "stream",
        query=StreamQuery,
        raw=True,
        errors=STREAM_ERRORS,
    ),
)
