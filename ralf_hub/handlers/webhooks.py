"""Webhooks in: the raw body verified before anything is parsed, stored and acted on in one commit, then answered."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, Literal, NoReturn

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import Field
from pydantic import ValidationError as PydanticError

from ralf_hub.admission import address_of
from ralf_hub.clock import MS_PER_S
from ralf_hub.endpoint import Answer, Body, Call, Endpoint, field_errors
from ralf_hub.errors import FieldError, HubError, NotFoundError, StorageError, ValidationError
from ralf_hub.handlers.shared import PageQuery, TaskId, page_answer
from ralf_hub.handlers.tasks import TaskChange, TaskCreate, changes_of, draft_of
from ralf_hub.intake import webhooks as intake
from ralf_hub.intake.webhook_actions import Request
from ralf_hub.intake.webhooks import Arrival, Taken
from ralf_hub.limits import Allowance
from ralf_hub.model import Json
from ralf_hub.store import receipts
from ralf_hub.store.receipts import Receipt
from ralf_hub.verdicts import Signed, Verdict
from ralf_hub.webhooks.console import read_order
from ralf_hub.webhooks.received import Received, Reply
from ralf_hub.webhooks.rules import Rule
from ralf_hub.webhooks.senders import ANSWERS, GREETED, Sender

log = logging.getLogger(__name__)

LARGE_BYTES: Final = 1 << 20
"""Larger bodies are hashed and parsed on a thread: other calls must not wait for them."""
READ_WITHIN_S: Final = 30.0

KEPT_HEADERS: Final = (
    "Content-Type",
    "User-Agent",
    "X-GitHub-Delivery",
    "X-GitHub-Event",
    "X-GitHub-Hook-ID",
    "X-Gitlab-Event",
    "X-Gitlab-Event-UUID",
    "Idempotency-Key",
    "X-Atlassian-Webhook-Identifier",
    "X-Atlassian-Webhook-Retry",
    "X-Webhook-Id",
    "X-Slack-Request-Timestamp",
    "X-Slack-Retry-Num",
    "X-Slack-Retry-Reason",
    "X-Signature-Timestamp",
    "webhook-id",
    "webhook-timestamp",
)
"""What a receipt keeps of the headers: never signatures, tokens or cookies."""
HEADER_LENGTH_MAX: Final = 200


class _Named(Body):
    """Which task."""

    id: TaskId = Field(description="Its id.")


class ReceiptQuery(PageQuery):
    """Filters of the receipts."""

    service: str | None = Field(default=None, max_length=100, description="Only of this service.")
    status: Literal["accepted", "ignored", "failed", "rejected"] | None = Field(
        default=None, description="Only of this status."
    )


def receipt_json(receipt: Receipt) -> dict[str, Json]:
    """Return *receipt* as the API shows it."""
    return {
        "id": receipt.id,
        "service": receipt.service,
        "status": receipt.status,
        "reason": receipt.reason,
        "hint": receipt.hint,
        "event_type": receipt.event_type,
        "event_id": receipt.event_id,
        "task_id": receipt.task_id,
        "delivery": receipt.dedup_key,
        "duplicates": receipt.duplicates,
        "headers": dict(receipt.headers),
        "body_bytes": receipt.body_bytes,
        "remote": receipt.remote,
        "received_at": receipt.received_at,
    }


async def list_receipts(call: Call) -> Answer:
    """Answer with receipts, newest first; the rejected ones with the reason and a hint."""
    query: ReceiptQuery = call.query
    page = await call.hub.db.read(lambda conn: receipts.page(conn, **query.model_dump()))
    return page_answer("webhooks", page, receipt_json)


# --- taking one -----------------------------------------------------------------------------------


async def take_webhook(call: Call) -> Answer:
    """Verify, store, act, answer. Callers are not known yet: so many large bodies at once, and no more."""
    sender = _sender(call)
    length = call.request.content_length
    if length is not None and length <= LARGE_BYTES:
        return await _take_from(call, sender)
    async with call.hub.large_webhooks:
        return await _take_from(call, sender)


async def _take_from(call: Call, sender: Sender) -> Answer:
    body = await _read(call)
    headers = call.request.headers
    signed = Signed(body, headers, call.hub.clock.now() // MS_PER_S)
    arrival = Arrival(sender, body, _kept(headers), address_of(call.hub, call.request))
    verdict = await _aside(body, sender.verify, signed)
    if not verdict.ok:
        await _refuse(call, arrival, verdict)
    try:
        received, rules = await _aside(body, sender.understand, signed)
        request = _request(received) if any(rule.do == "apply" for rule in rules) else None
    except HubError as error:
        await _reject(call, arrival, error.code, "; ".join(item.message for item in error.errors))
        raise
    if received.handshake is not None:
        return _replied(received.handshake)
    taken = await _take_held(call, arrival, received, rules, request)
    word = ANSWERS.get(sender.service)
    if word is not None and taken.receipt.answer is not None:
        return _replied(word(taken.receipt.answer["text"], received))
    return _answer(taken)


async def greet(call: Call) -> Answer:
    """Answer a service that only looks whether anybody is there."""
    if _sender(call).service not in GREETED:
        raise NotFoundError("No webhook is configured here.")
    return Answer()


def _sender(call: Call) -> Sender:
    sender = call.hub.senders.get(call.params["service"])
    if sender is None:
        raise NotFoundError("No webhook is configured here.")
    return sender


async def _read(call: Call) -> bytes:
    """Return the body as it was sent. HubError `body_too_large`, `bad_request`."""
    request, limit = call.request, call.hub.settings.api.webhook_bytes_max
    too_large = HubError(f"A webhook may have {limit:,} bytes.", code="body_too_large")
    if (request.content_length or 0) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except (web.RequestPayloadError, HttpProcessingError, TimeoutError):
        raise HubError("The body cannot be read as its headers describe it.", code="bad_request") from None
    return bytes(body)


async def _aside(body: bytes, work: Any, signed: Signed) -> Any:
    """Run *work* on *signed*: at once where it is quick, on a thread where the body is large."""
    return await asyncio.to_thread(work, signed) if len(body) > LARGE_BYTES else work(signed)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: headers[name].encode("utf-8", "replace").decode()[:HEADER_LENGTH_MAX]
        for name in KEPT_HEADERS
        if name in headers
    }


async def _take_held(
    call: Call, arrival: Arrival, received: Received, rules: list[Rule], request: Request | None
) -> Taken:
    """Take it; a connector that a command pauses is held from before the commit, so that nothing slips out."""
    dispatcher = call.hub.dispatcher
    order = read_order(received.command.text) if received.command is not None else None
    pauses = order is not None and order.verb == "pause"
    if pauses and order is not None:
        dispatcher.hold(order.argument)
    try:
        taken = await _take(call, arrival, received, rules, request)
    finally:
        if pauses:
            await dispatcher.refresh()
    for name in taken.resumed:
        await dispatcher.reset(name)
    return taken


async def _take(
    call: Call, arrival: Arrival, received: Received, rules: list[Rule], request: Request | None
) -> Taken:
    """Store and act. What the hub fails to act on is stored as failed: the sender could do nothing about it."""
    accept = call.hub.intake.accept
    try:
        return await accept(lambda ledger: intake.take(ledger, arrival, received, rules, request))
    except StorageError:
        raise
    except HubError as error:  # only what a body asks for by itself is refused
        await _reject(call, arrival, error.code, error.detail)
        raise
    except Exception as error:
        log.exception("webhook %s %s could not be acted on", arrival.sender.route, received.event_type)
        reason = f"could not be acted on: {type(error).__name__}"
        return await accept(lambda ledger: intake.give_up(ledger, arrival, received, reason))


def _request(received: Received) -> Request:
    """Return what the body asks for under `data`: a task, or with an event `...update` changes of one."""
    data = received.payload.get("data")
    if not isinstance(data, dict):
        raise ValidationError(errors=[FieldError("data", "This must be an object.")])
    try:
        if not received.event_type.endswith("update"):
            return Request(draft=draft_of(TaskCreate.model_validate(data)))
        changes = TaskChange.model_validate({key: value for key, value in data.items() if key != "id"})
        named = _Named.model_validate({"id": data.get("id", "")})
    except PydanticError as error:
        flaws = [FieldError(f"data.{item.field}", item.message) for item in field_errors(error)]
        raise ValidationError(errors=flaws) from None
    return Request(task_id=named.id, changes=changes_of(changes))


# --- saying no ------------------------------------------------------------------------------------


async def _refuse(call: Call, arrival: Arrival, verdict: Verdict) -> NoReturn:
    """Answer 401; an address that keeps trying has to wait."""
    allowance = await _reject(call, arrival, verdict.reason, verdict.hint)
    if not allowance.allowed:
        raise HubError(
            "Too many webhooks from this address could not be verified.",
            code="rate_limited",
            headers=allowance.headers(),
        )
    raise HubError(code="invalid_signature")


async def _reject(call: Call, arrival: Arrival, reason: str, hint: str) -> Allowance:
    """Count and keep what was wrong; of an address beyond its limit it is only counted."""
    hub = call.hub
    allowance = hub.auth_limits.take(f"webhook {arrival.remote}", hub.clock.monotonic())
    shown = hub.redact(hint)
    await hub.intake.accept(
        lambda ledger: intake.reject(ledger, arrival, reason, shown, keep=allowance.allowed)
    )
    return allowance


# --- answering ------------------------------------------------------------------------------------


def _replied(reply: Reply) -> Answer:
    return Answer(reply.status) if reply.body is None else Answer.json(reply.body, reply.status)


def _answer(taken: Taken) -> Answer:
    receipt = taken.receipt
    status = "duplicate" if taken.repeated else receipt.status
    body: dict[str, Json] = {
        "id": receipt.id,
        "status": status,
        "event_id": receipt.event_id,
        "task_id": receipt.task_id,
    }
    if receipt.status != "accepted":
        body["reason"] = receipt.reason
    return Answer.json(body, 200 if taken.repeated else 202)


_WEBHOOK = "/api/v1/webhooks/{service}"

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/webhooks",
        "listWebhooks",
        "List received webhooks",
        list_receipts,
        "events:read",
        "webhooks",
        query=ReceiptQuery,
        answer="WebhookList",
    ),
    Endpoint(
        "POST",
        _WEBHOOK,
        "takeWebhook",
        "Take a webhook",
        take_webhook,
        None,
        "webhooks",
        answer="WebhookTaken",
        status=202,
        errors=(
            "invalid_signature",
            "not_found",
            "body_too_large",
            "unsupported_media_type",
            "validation_failed",
            "rate_limited",
        ),
        raw=True,
    ),
    *(
        Endpoint(method, _WEBHOOK, name, summary, greet, None, "webhooks", errors=("not_found",), raw=True)
        for method, name, summary in (
            ("HEAD", "lookForWebhook", "Look whether a webhook is taken (Trello)"),
            ("GET", "checkWebhook", "Check that a webhook is taken (Slack)"),
        )
    ),
)
