"""The live stream as server-sent events, for readers without a WebSocket."""

import asyncio
from typing import Final

import orjson
from aiohttp import web

from ralf_hub.endpoint import Call, Endpoint, parse_query
from ralf_hub.errors import FieldError, HubError
from ralf_hub.handlers.live import STREAM_ERRORS, StreamQuery, enter, need
from ralf_hub.middleware import SECURITY_HEADERS
from ralf_hub.model import Event, event_json
from ralf_hub.services import Services
from ralf_hub.stream.client import Client, SlowReaderError

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
    if since is not None and since > hub.feed.last_seq:
        raise HubError(code="invalid_parameter", errors=[FieldError("since", "This lies in the future.")])
    response = web.StreamResponse(
        headers={**SECURITY_HEADERS, "Content-Type": "text/event-stream", "X-Request-ID": call.request_id}
    )
    await response.prepare(call.request)
    client = Client(send=response.write, encode=sse_message, topics=frozenset({"events"}))
    hub.stream.clients.add(client)
    try:
        await _replay_sse(hub, client, since)
        await _stay(call, client)
    except (SlowReaderError, ConnectionError):
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
