"""A verified webhook becomes a receipt, an event and what its rules do, all in one transaction.

The receipt's `UNIQUE (service, dedup_key)` stands in the same commit as what was done, so a delivery acts once however
often it comes and whenever the hub dies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ralf_hub.intake.console import Outcome, carry_out
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import change
from ralf_hub.intake.webhook_actions import Acting, Request, linked
from ralf_hub.model import PENDING, Json
from ralf_hub.store import links, receipts, tasks
from ralf_hub.store.receipts import Receipt
from ralf_hub.texts import cut
from ralf_hub.webhooks.received import Received
from ralf_hub.webhooks.rules import Rule
from ralf_hub.webhooks.senders import ANSWERS, Sender, caused_by_hub

BODY_BYTES_KEPT: Final = 64 * 1024
REASON_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of one call besides what it says."""

    sender: Sender
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those worth keeping, none of them secret."""
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a webhook: its receipt, and whether the same delivery came before."""

    receipt: Receipt
    repeated: bool = False
    resumed: tuple[str, ...] = ()
    """Connectors that go on; the dispatcher has to be told after the commit."""


def take(
    ledger: Ledger,
    arrival: Arrival,
    received: Received,
    rules: Sequence[Rule],
    request: Request | None = None,
) -> Taken:
    """Store and act on *received*. *request* is what a rule `apply` asks for, validated. HubError: nothing happened."""
    sender = arrival.sender
    before = receipts.by_key(ledger.conn, sender.route, received.dedup_key)
    if before is not None:
        receipts.came_again(ledger.conn, before)
        receipts.count(ledger.conn, sender.route, "duplicate")
        return Taken(before, repeated=True)
    link = linked(ledger, sender, received)
    guard = caused_by_hub(sender, received, link.last_state if link is not None else None)
    blank = _receipt(ledger, arrival, received)
    receipts.count(ledger.conn, sender.route, "accepted")
    if guard is not None:
        known = link.entity_id if link is not None else None
        return Taken(_store(ledger, replace(blank, status="ignored", reason=guard, task_id=known)))
    if received.command is not None:
        return _obey(ledger, sender, received, blank)
    acting = Acting(ledger, sender, received, link, request)
    acting.carry_out(rules)
    if link is not None and received.states:
        links.saw_state(ledger.conn, link, received.states[0], now=ledger.now)
    event = ledger.record(
        "webhook_received",
        source=sender.source,
        task=tasks.get(ledger.conn, acting.task_id) if acting.task_id else None,
        data=_data(sender, received, blank.id, did=acting.did),
    )
    reason = cut("; ".join(acting.problems), REASON_LENGTH_MAX) or None
    stored = replace(blank, reason=reason, event_id=event.id, task_id=acting.task_id)
    return Taken(_store(ledger, stored))


def _obey(ledger: Ledger, sender: Sender, received: Received, blank: Receipt) -> Taken:
    """Carry out a command from a chat; the answer is stored, so that a repeat gets the same."""
    assert received.command is not None  # noqa: S101 - the caller has looked
    outcome = carry_out(ledger, sender, received.command)
    event = ledger.record(
        "webhook_received",
        source=sender.source,
        task=tasks.get(ledger.conn, outcome.task_id) if outcome.task_id else None,
        data={
            **_data(sender, received, blank.id),
            "by": received.command.by,
            "command": received.command.text,
        },
    )
    _show(ledger, sender, received, outcome)
    stored = replace(blank, event_id=event.id, task_id=outcome.task_id, answer={"text": outcome.text})
    return Taken(_store(ledger, stored), resumed=outcome.resumed)


def _show(ledger: Ledger, sender: Sender, received: Received, outcome: Outcome) -> None:
    """Put what became of a button into its message, by the connector that wrote it: a delivery like any other."""
    message = received.command.message if received.command is not None else {}
    connector = ledger.router.connectors.get(str(message.get("connector", "")))
    if connector is None or connector.name not in sender.connectors or not message.get("ts"):
        return
    ledger.record(
        "notification",
        source=sender.source,
        task_id=outcome.task_id,
        data={"text": outcome.text, "message": dict(message)},
        only=connector,
    )


def give_up(ledger: Ledger, arrival: Arrival, received: Received, reason: str) -> Taken:
    """Store a genuine webhook that the hub failed to act on, with its event, so that a person sees it."""
    sender = arrival.sender
    before = receipts.by_key(ledger.conn, sender.route, received.dedup_key)
    if before is not None:
        receipts.came_again(ledger.conn, before)
        return Taken(before, repeated=True)
    blank = _receipt(ledger, arrival, received)
    receipts.count(ledger.conn, sender.route, "accepted")
    event = ledger.record(
        "webhook_received",
        source=sender.source,
        data={**_data(sender, received, blank.id), "error": reason},
    )
    return Taken(_store(ledger, replace(blank, status="failed", reason=reason, event_id=event.id)))


def reject(ledger: Ledger, arrival: Arrival, reason: str, hint: str, *, keep: bool) -> None:
    """Count a call that is not genuine or cannot be read, and where *keep* store it without its body."""
    service = arrival.sender.route
    receipts.count(ledger.conn, service, f"rejected:{reason}")
    if not keep:
        return
    receipts.insert(
        ledger.conn,
        Receipt(
            id=ledger.clock.id("whk"),
            service=service,
            dedup_key=None,
            status="rejected",
            received_at=ledger.now,
            reason=reason,
            hint=hint or None,
            headers=arrival.headers,
            body_bytes=len(arrival.body),
            remote=arrival.remote,
        ),
    )
    receipts.trim_rejected(ledger.conn)


def release_held(ledger: Ledger, limits: Mapping[str, int | None]) -> list[str]:
    """Unblock held tasks as far as their services may have more open; returns their ids.

    *limits* is `max_concurrent` by route; a service without one, or that is gone, holds nothing back.
    """
    receipts.forget_ended(ledger.conn)
    room: dict[str, int] = {}
    released = []
    for service, task_id in receipts.held_tasks(ledger.conn):
        limit = limits.get(service)
        if limit is not None:
            if service not in room:
                room[service] = limit - receipts.open_tasks(ledger.conn, service)
            if room[service] <= 0:
                continue
            room[service] -= 1
        receipts.let_go(ledger.conn, task_id)
        change(ledger, task_id, {"status": PENDING, "error": None}, source="hub", data={"reason": "its turn"})
        released.append(task_id)
    return released


def _receipt(ledger: Ledger, arrival: Arrival, received: Received) -> Receipt:
    kept = arrival.sender.service not in ANSWERS and len(arrival.body) <= BODY_BYTES_KEPT
    return Receipt(
        id=ledger.clock.id("whk"),
        service=arrival.sender.route,
        dedup_key=received.dedup_key,
        status="accepted",
        received_at=ledger.now,
        event_type=received.event_type,
        headers=arrival.headers,
        body=arrival.body if kept else None,
        body_bytes=len(arrival.body),
        remote=arrival.remote,
        processed_at=ledger.now,
    )


def _store(ledger: Ledger, receipt: Receipt) -> Receipt:
    receipts.insert(ledger.conn, receipt)
    return receipt


def _data(sender: Sender, received: Received, receipt_id: str, did: Sequence[str] = ()) -> dict[str, Json]:
    data: dict[str, Json] = {"service": sender.route, "event": received.event_type, **received.facts}
    if did:
        data["did"] = "; ".join(did)
    data["receipt_id"] = receipt_id
    return data
