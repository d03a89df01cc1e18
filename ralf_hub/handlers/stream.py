"""The live stream as a WebSocket, and tickets with which browsers open it."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any, Final, Literal

import orjson
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import Field
from pydantic import ValidationError as PydanticError

from ralf_hub.admission import may_stay, take_allowance
from ralf_hub.endpoint import Answer, Body, Call, Endpoint, field_errors, parse_query, read_json, refuse_nul
from ralf_hub.errors import FieldError, HubError, ValidationError
from ralf_hub.handlers import events, tasks
from ralf_hub.handlers.live import (
    CLOSE_WITHIN_S,
    SEQ_MAX,
    STREAM_ERRORS,
    StreamQuery,
    check_since,
    enter,
    need,
)
from ralf_hub.keyring import Principal
from ralf_hub.middleware import problem_document
from ralf_hub.model import Json
from ralf_hub.stream.broadcast import event_message
from ralf_hub.stream.client import NO_LONGER_ALLOWED, Client, SlowReaderError
from ralf_hub.stream.tickets import VALID_S

FRAME_BYTES_MAX: Final = 1024 * 1024
HEARTBEAT_S: Final = 25.0
UNSENT_BYTES_MAX: Final = 16 * 1024
"""What the connection may hold of messages that were written without waiting; the rest is queued, within bounds."""
TOPIC_SCOPES: Final = {"events": "events:read", "deliveries": "deliveries:read", "metrics": "metrics:read"}
_BY_NAME: Final = {endpoint.name: endpoint for endpoint in (*tasks.ENDPOINTS, *events.ENDPOINTS)}
COMMANDS: Final = {
    "task.create": _BY_NAME["createTask"],
    "task.update": _BY_NAME["changeTask"],
    "task.progress": _BY_NAME["noteProgress"],
    "event.emit": _BY_NAME["emitEvent"],
}
"""Each command is an endpoint: the same scope, the same validation, the same answer."""


class Subscribe(Body):
    """What to hear of."""

    op: Literal["subscribe"]
    topics: list[Literal["events", "deliveries", "metrics"]] = Field(min_length=1, max_length=10)
    since: int | None = Field(default=None, ge=0, le=SEQ_MAX)
    id: str | int | None = None


class Unsubscribe(Body):
    """What to hear of no more."""

    op: Literal["unsubscribe"]
    topics: list[Literal["events", "deliveries", "metrics"]] = Field(min_length=1, max_length=10)
    id: str | int | None = None


# --- tickets ---------------------------------------------------------------------------------------


async def issue_ticket(call: Call) -> Answer:
    """Give out a ticket with which a browser opens the stream once."""
    call.kept = True  # not under an Idempotency-Key: a ticket is good once, and is not written down
    ticket = call.hub.tickets.issue(call.principal, call.hub.clock.monotonic())
    return Answer.json({"ticket": ticket, "expires_in_s": VALID_S}, 201)


# --- WebSocket ------------------------------------------------------------------------------------


class _Conversation:
    """One WebSocket: its frames in, its messages out."""

    def __init__(self, call: Call, principal: Principal, ws: web.WebSocketResponse) -> None:
        self.call = replace(call, principal=principal)
        self.hub = call.hub
        self.principal = principal
        self.ws = ws
        self.client = Client(
            send=self._send,
            encode=event_message,
            write_now=self._write_now,
            principal=principal,
        )

    async def _send(self, message: bytes) -> None:
        await self.ws.send_frame(message, WSMsgType.TEXT)

    def _write_now(self, message: bytes) -> bool:
        transport = self.call.request.transport
        if self.ws.closed or transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(message) > UNSENT_BYTES_MAX:
            return False
        transport.write(text_frame(message))
        return True

    async def tell(self, message: dict[str, Json]) -> None:
        await self.client.send_now(orjson.dumps(message))

    async def run(self) -> None:
        """Answer frames until either side ends it."""
        self.hub.stream.clients.add(self.client)
        try:
            while True:
                frame = asyncio.ensure_future(self.ws.receive())
                either: set[asyncio.Future[Any]] = {frame, self.client.dropped}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if self.client.dropped.done() or not may_stay(self.hub, self.principal, self.hub.clock.iso()):
                    self.client.drop(NO_LONGER_ALLOWED)
                    frame.cancel()
                    break
                if not await self._take(frame.result()):
                    break
        except (SlowReaderError, ConnectionError):
            pass
        finally:
            self.hub.stream.clients.discard(self.client)
            why = self.client.dropped.result() if self.client.dropped.done() else None
            await self.client.close()
            if why is not None and not self.ws.closed:
                await self._say_goodbye(why)

    async def _say_goodbye(self, why: str) -> None:
        """Tell a reader why it is let go, if it still takes that; then end the connection either way."""
        code = WSCloseCode.TRY_AGAIN_LATER
        with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                if why == NO_LONGER_ALLOWED:
                    code = WSCloseCode.POLICY_VIOLATION
                    problem = problem_document(HubError(why, code="invalid_key"), self.call.request_id)
                    await self._send(orjson.dumps({"op": "error", "id": None, "problem": problem}))
                await self.ws.close(code=code, message=why.encode())
        transport = self.call.request.transport
        if transport is not None:
            transport.abort()

    async def _take(self, frame: Any) -> bool:
        """Answer one frame; False when it was the last."""
        if frame.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
            return False
        given: Json = None
        try:
            given = _parsed(frame)
            refuse_nul(frame.data.encode(), given, "frame")
            await self._do(given)
        except HubError as error:
            await self._refuse(given, error)
        except PydanticError as error:
            await self._refuse(given, ValidationError(errors=field_errors(error)))
        return True

    async def _refuse(self, given: Json, error: HubError) -> None:
        document = problem_document(error, self.call.request_id)
        frame_id = given.get("id") if isinstance(given, dict) else None
        await self.tell({"op": "error", "id": _plain(frame_id), "problem": document})

    async def _do(self, given: dict[str, Json]) -> None:
        op = given.get("op")
        if op == "ping":
            await self.tell({"op": "pong", "id": _plain(given.get("id"))})
        elif op == "subscribe":
            await self.subscribe(Subscribe.model_validate(given))
        elif op == "unsubscribe":
            frame = Unsubscribe.model_validate(given)
            self.client.topics -= frozenset(frame.topics)
            if "events" in frame.topics:
                self.client.live = False
            await self.tell({"op": "ack", "id": frame.id, "topics": sorted(self.client.topics)})
        elif isinstance(op, str) and op in COMMANDS:
            await self._command(op, given)
        else:
            known = ", ".join(["subscribe", "unsubscribe", "ping", *COMMANDS])
            raise ValidationError(errors=[FieldError("op", f"There is no such op; there are {known}.")])

    async def subscribe(self, frame: Subscribe) -> None:
        for topic in frame.topics:
            need(self.principal, TOPIC_SCOPES[topic])
        stream = self.hub.stream
        await check_since(self.hub, frame.since)
        last = max(self.hub.feed.last_seq, frame.since or 0)
        fresh = "events" in frame.topics and not self.client.live
        self.client.topics |= frozenset(frame.topics)
        await self.tell({"op": "ack", "id": frame.id, "topics": sorted(self.client.topics), "seq": last})
        if not fresh:
            return
        if frame.since is None:
            self.client.position, self.client.live = self.hub.feed.last_seq, True
            return
        async for lost_from, lost_to in stream.replay(self.client, frame.since):
            await self.tell({"op": "gap", "from": lost_from, "to": lost_to})

    async def _command(self, op: str, given: dict[str, Json]) -> None:
        endpoint = COMMANDS[op]
        if self.hub.settings.api.rate_limit.enabled:
            take_allowance(self.hub, self.principal.id)
        need(self.principal, endpoint.scope or "")
        fields, task_id = _fields(op, given)
        body = (endpoint.body or Body).model_validate(fields)
        call = replace(self.call, params={"id": str(task_id)}, body=body, idempotency=None, kept=False)
        answer = await endpoint.handler(call)
        result = orjson.loads(answer.body) if isinstance(answer, Answer) and answer.body else None
        await self.tell({"op": "ack", "id": _plain(given.get("id")), "result": result})


def _fields(op: str, given: dict[str, Json]) -> tuple[dict[str, Json], Json]:
    """Return the fields of a command and whose task it is about. ValidationError.

    They may stand in the frame itself or in its `data`, `task` or `event`; `id` of the frame is the command's own.
    """
    noun = op.partition(".")[0]
    fields = {name: value for name, value in given.items() if name not in {"op", "id"}}
    for name in ("data", noun):
        is_the_events_own = name == "data" and noun == "event" and "type" in fields
        if name not in fields or is_the_events_own:
            continue
        inner = fields.pop(name)
        if not isinstance(inner, dict):
            raise ValidationError(errors=[FieldError(name, "This must be an object.")])
        fields |= inner
    if op not in {"task.update", "task.progress"}:
        return fields, None
    by_id = fields.pop("id", None)
    task_id = fields.pop("task_id", by_id)
    if not isinstance(task_id, str):
        raise ValidationError(errors=[FieldError("task_id", "This field is needed.")])
    return fields, task_id


def text_frame(message: bytes) -> bytes:
    """Return *message* as a server's frame: whole, not masked. https://www.rfc-editor.org/rfc/rfc6455#section-5.2."""
    size = len(message)
    if size < 126:  # noqa: PLR2004 - 126 and 127 say that two or eight bytes of length follow
        return b"\x81%c%b" % (size, message)
    if size < 1 << 16:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), message)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), message)


def _parsed(frame: Any) -> dict[str, Json]:
    if frame.type is not WSMsgType.TEXT:
        raise HubError("Send JSON in text frames.", code="invalid_json")
    given = read_json(frame.data.encode(), "frame")
    if not isinstance(given, dict):
        raise HubError("A frame is a JSON object.", code="invalid_json")
    return given


def _plain(frame_id: Json) -> Json:
    """Return a frame's id to send back, None where it is no text or number."""
    return frame_id if isinstance(frame_id, (str, int)) and len(str(frame_id)) <= 200 else None  # noqa: PLR2004


async def stream(call: Call) -> web.StreamResponse:
    """Open the WebSocket."""
    query: StreamQuery = parse_query(StreamQuery, call.request)
    principal = await enter(call, query)
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT_S, max_msg_size=FRAME_BYTES_MAX, compress=False)
    if not ws.can_prepare(call.request).ok:
        raise HubError("This is a WebSocket: send an upgrade request.", code="bad_request")
    await ws.prepare(call.request)
    conversation = _Conversation(call, principal, ws)
    if query.since is not None:
        need(principal, "events:read")
        await conversation.subscribe(Subscribe(op="subscribe", topics=["events"], since=query.since))
    await conversation.run()
    return ws


_STREAM = "/api/v1/stream"

STREAM: Final = Endpoint(
    "GET",
    _STREAM,
    "stream",
    "Open the live stream (WebSocket)",
    stream,
    None,
    "stream",
    query=StreamQuery,
    raw=True,
    status=101,
    errors=STREAM_ERRORS,
)
ENDPOINTS = (
    STREAM,
    Endpoint(
        "POST",
        _STREAM + "/tickets",
        "issueTicket",
        "Get a one-time ticket for the stream",
        issue_ticket,
        "events:read",
        "stream",
        answer="Ticket",
        status=201,
    ),
)
