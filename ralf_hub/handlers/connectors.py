"""Connectors: how they are, trying them, pausing them, sending a word through one."""

import asyncio
from typing import Final

from pydantic import AliasChoices, Field

from ralf_hub.clock import iso
from ralf_hub.connectors.base import Connector, NotSentError, UnknownAnswerError
from ralf_hub.connectors.budget import Budget
from ralf_hub.delivery.channel import Channel
from ralf_hub.delivery.sending import noting
from ralf_hub.endpoint import Answer, Body, Call, Endpoint
from ralf_hub.errors import NotFoundError
from ralf_hub.handlers.shared import PageQuery, Text, Title, slice_answer
from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import Event, Json
from ralf_hub.store import connectors as connector_states
from ralf_hub.store.metrics import delivery_numbers

TEST_TIMEOUT_S: Final = 20.0


class Notify(Body):
    """A word to send through one connector."""

    text: Text = Field(
        min_length=1,
        validation_alias=AliasChoices("text", "message"),
        description="What to say; `message` means the same.",
    )
    title: Title | None = Field(default=None, description="A headline.")


def connector_json(channel: Channel, numbers: dict[str, Json], now: str) -> dict[str, Json]:
    """Return one connector as the API shows it: never its settings' secrets."""
    state, connector = channel.state, channel.connector
    events = connector.default_events if connector.settings.events is None else connector.settings.events
    return {
        "name": channel.name,
        "type": connector.service,
        "enabled": True,
        "events": list(events),
        "breaker": state.breaker,
        "paused": state.paused,
        "paused_by": state.paused_by,
        "reason": state.reason,
        "probe_at": state.probe_at,
        "held_until": state.held_until,
        "rate_budget": _budget_json(channel.budget, now),
        "identity": None
        if channel.identity is None
        else {"names": list(channel.identity.names), "is_bot": channel.identity.is_bot},
        "in_flight": channel.sending,
        "concurrency": channel.concurrency,
        "rate_per_minute": connector.settings.rate_per_minute,
        "last_delivered_at": state.last_delivered_at,
        "last_error": state.last_error,
        "last_error_at": state.last_error_at,
        **numbers,
    }


def _budget_json(left: Budget | None, now: str) -> dict[str, Json] | None:
    """Return what is left of the service's rate limit; None where it has not said so, or all of it is there again."""
    if left is None or (left.resets_at is not None and left.resets_at <= now):
        return None
    return {"remaining": left.remaining, "limit": left.limit, "resets_at": left.resets_at}


def _channel(call: Call) -> Channel:
    name = call.params["name"]
    channel = call.hub.dispatcher.channels.get(name)
    if channel is None:
        raise NotFoundError(f"There is no enabled connector {name[:100]}.")
    return channel


async def list_connectors(call: Call) -> Answer:
    """Answer with the enabled connectors by name."""
    channels = call.hub.dispatcher.channels
    now_ms = call.hub.clock.now()
    now = iso(now_ms)
    numbers = await call.hub.db.read(lambda conn: delivery_numbers(conn, now_ms, list(channels)))
    return slice_answer(
        "connectors",
        sorted(channels.values(), key=lambda channel: channel.name),
        lambda channel: channel.name,
        lambda channel: connector_json(channel, numbers[channel.name], now),
        call.query,
    )


async def test_connector(call: Call) -> Answer:
    """Ask the service whether the credentials work; people see nothing of it."""
    channel = _channel(call)
    connector: Connector = channel.connector
    try:
        async with asyncio.timeout(TEST_TIMEOUT_S):
            check = await connector.validate(noting(call.hub.transport, channel, call.hub.clock))
    except (NotSentError, UnknownAnswerError) as error:
        return Answer.json({"ok": False, "message": call.hub.redact(str(error))})
    except TimeoutError:
        return Answer.json({"ok": False, "message": f"no answer within {TEST_TIMEOUT_S:.0f} s"})
    return Answer.json({"ok": check.ok, "message": call.hub.redact(check.message)})


async def _set_paused(call: Call, *, paused: bool) -> Answer:
    channel = _channel(call)
    name, by = channel.name, call.principal.name
    changes = channel.state.paused != paused or (not paused and channel.state.breaker != "closed")

    def change(ledger: Ledger) -> bool:
        connector_states.set_paused(
            ledger.conn, name, paused=paused, by=by if paused else None, now=ledger.now
        )
        if changes:
            kind = "connector_paused" if paused else "connector_resumed"
            ledger.record(kind, source=call.source, data={"connector": name, "by": by})
        return paused

    def answer(_: bool) -> Answer:  # noqa: FBT001 - the change's result
        return Answer.json({"name": name, "paused": paused})

    if not paused:
        reply = await call.accept(change, answer)
        await call.hub.dispatcher.reset(name)
        return reply
    call.hub.dispatcher.hold(name)  # before the commit: its own notice must not slip out
    try:
        return await call.accept(change, answer)
    finally:
        await call.hub.dispatcher.refresh()


async def pause_connector(call: Call) -> Answer:
    """Hold a connector's deliveries until it is resumed."""
    return await _set_paused(call, paused=True)


async def resume_connector(call: Call) -> Answer:
    """Let a connector go on: unpaused, its breaker closed."""
    return await _set_paused(call, paused=False)


async def notify(call: Call) -> Answer:
    """Send a word through one connector, as a delivery like any other."""
    body: Notify = call.body
    connector = _channel(call).connector
    data: dict[str, Json] = {"text": body.text, **({"title": body.title} if body.title else {})}

    def record(ledger: Ledger) -> Event:
        return ledger.record("notification", source=call.source, data=data, only=connector)

    return await call.accept(
        record,
        lambda event: Answer.json({"event_id": event.id, "seq": event.seq, "connector": connector.name}, 202),
    )


_ONE = "/api/v1/connectors/{name}"

ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/connectors",
        "listConnectors",
        "List connectors",
        list_connectors,
        "connectors:read",
        "connectors",
        query=PageQuery,
        answer="ConnectorList",
    ),
    Endpoint(
        "POST",
        _ONE + "/test",
        "testConnector",
        "Check a connector's credentials",
        test_connector,
        "connectors:write",
        "connectors",
        answer="ConnectorCheck",
        errors=("not_found",),
    ),
    Endpoint(
        "POST",
        _ONE + "/pause",
        "pauseConnector",
        "Pause a connector",
        pause_connector,
        "connectors:write",
        "connectors",
        answer="ConnectorPause",
        errors=("not_found",),
    ),
    Endpoint(
        "POST",
        _ONE + "/resume",
        "resumeConnector",
        "Resume a connector",
        resume_connector,
        "connectors:write",
        "connectors",
        answer="ConnectorPause",
        errors=("not_found",),
    ),
    Endpoint(
        "POST",
        _ONE + "/notify",
        "notifyConnector",
        "Send a word through a connector",
        notify,
        "connectors:write",
        "connectors",
        body=Notify,
        answer="Notified",
        status=202,
        errors=("not_found", "validation_failed"),
    ),
)
