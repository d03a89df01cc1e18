"""Writing down what tries came to: attempts, verdicts, links, breaker states and alerts, in one transaction."""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from ralf_hub.clock import Clock, iso
from ralf_hub.connectors.base import CredentialsBroken, Delivered, Gone, Outcome, Rejected, Retry
from ralf_hub.delivery import breaker
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.channel import Finished
from ralf_hub.delivery.judge import Judgement, blames_service, judge
from ralf_hub.model import Attempt, Delivery, Event, Json, Link
from ralf_hub.store import connectors as connector_states
from ralf_hub.store import links, verdicts
from ralf_hub.store.connectors import ConnectorState

EXCERPT_MAX: Final = 2_000
HOLD_DEFAULT_S: Final = 5.0
"""How long a connector keeps quiet after a rate limit that names no time."""


class Recorder(Protocol):
    """The part of a `Ledger` that is needed here."""

    conn: sqlite3.Connection
    now: str

    def record(self, event_type: str, *, source: str, data: Mapping[str, Json]) -> Event:
        """Append an event and its deliveries."""


class Policy(Protocol):
    """The part of the dispatcher's policy that is needed here."""

    @property
    def backoff(self) -> Backoff:
        """When to try again."""

    @property
    def breaker(self) -> BreakerPolicy:
        """When to stop trying."""


def record(
    ledger: Recorder,
    finished: list[Finished],
    *,
    states: Mapping[str, ConnectorState],
    failed_ids: Mapping[str, set[int]],
    policy: Policy,
    clock: Clock,
    random: Callable[[], float],
    redact: Callable[[str], str],
) -> dict[str, ConnectorState]:
    """Record *finished* and return the connectors' new states."""
    now_ms = clock.now()
    written: list[verdicts.Verdict] = []
    new: dict[str, ConnectorState] = {}
    for item in finished:
        delivery, outcome = item.claimed.delivery, item.outcome
        verdict = judge(
            delivery,
            outcome,
            now_ms=now_ms,
            backoff=policy.backoff,
            random=random,
            probing=item.claimed.probing,
        )
        written.append(_verdict(item, verdict, redact))
        _keep_link(ledger, delivery, outcome)
        state = new.get(delivery.connector) or states.get(delivery.connector)
        if state is None:  # the connector left the settings while this was on its way
            continue
        failed = failed_ids[delivery.connector]
        new[delivery.connector] = _state_after(
            state, item, failed, now_ms=now_ms, policy=policy, redact=redact
        )
    verdicts.record(ledger.conn, written, now=iso(now_ms))
    for name, state in new.items():
        connector_states.save(ledger.conn, state, now=ledger.now)
        _announce(ledger, states[name], state)
    return new


def _verdict(item: Finished, judgement: Judgement, redact: Callable[[str], str]) -> verdicts.Verdict:
    delivery, outcome = item.claimed.delivery, item.outcome
    reason = None if isinstance(outcome, Delivered) else redact(outcome.reason)
    attempt = Attempt(
        delivery_id=delivery.id,
        started_at=item.started_at,
        duration_ms=item.duration_ms,
        outcome=outcome.name,
        status_code=outcome.status_code,
        error=reason[: verdicts.ERROR_LENGTH_MAX] if reason else None,
        response=redact(outcome.response)[:EXCERPT_MAX] or None,
    )
    return verdicts.Verdict(
        attempt=attempt,
        state=judgement.state,
        attempts_before=delivery.attempts,
        attempts=judgement.attempts,
        next_attempt_at=judgement.next_attempt_at,
        last_error=redact(judgement.error) if judgement.error else None,
        lane=delivery.lane,
        connector=delivery.connector,
    )


def _keep_link(ledger: Recorder, delivery: Delivery, outcome: Outcome) -> None:
    if not isinstance(outcome, (Delivered, Rejected)) or outcome.link is None:
        return
    link: Link = outcome.link
    if not link.entity_id:
        kind, _, name = (delivery.lane or "").partition(":")
        entity = ("task", delivery.task_id) if delivery.task_id else (kind, name)
        if not entity[1]:
            return
        link = replace(link, entity_type=entity[0], entity_id=entity[1])
    links.save(ledger.conn, replace(link, connector=delivery.connector), now=ledger.now)


def _state_after(
    state: ConnectorState,
    item: Finished,
    failed: set[int],
    *,
    now_ms: int,
    policy: Policy,
    redact: Callable[[str], str],
) -> ConnectorState:
    outcome = item.outcome
    if isinstance(outcome, Gone):
        return breaker.on_gone(state, iso(now_ms), redact(outcome.reason))
    if isinstance(outcome, Retry) and outcome.holds_connector:
        return breaker.hold(state, now_ms, outcome.retry_after_s or HOLD_DEFAULT_S)
    if blames_service(outcome) and not isinstance(outcome, (Delivered, Rejected)):
        failed.add(item.claimed.delivery.id)
        return breaker.on_failure(
            state,
            now_ms,
            redact(outcome.reason),
            policy.breaker,
            distinct=len(failed),
            credentials=isinstance(outcome, CredentialsBroken),
        )
    failed.clear()
    if isinstance(outcome, Rejected):  # the service works; it was this one delivery it would not take
        return replace(
            breaker.on_delivered(state, iso(now_ms)),
            last_delivered_at=state.last_delivered_at,
            last_error=redact(outcome.reason),
            last_error_at=iso(now_ms),
        )
    return breaker.on_delivered(state, iso(now_ms)) if isinstance(outcome, Delivered) else state


def _announce(ledger: Recorder, was: ConnectorState, state: ConnectorState) -> None:
    """Tell the other connectors when one stops working or works again."""
    if was.breaker == state.breaker:
        return
    if state.breaker == "closed":
        data: dict[str, Json] = {
            "code": "connector_recovered",
            "connector": state.name,
            "severity": "info",
            "message": f"Connector {state.name} works again; what was held is being delivered.",
        }
    elif state.breaker == "open":
        data = {
            "code": "connector_down",
            "connector": state.name,
            "severity": "error",
            "message": f"Connector {state.name} does not work ({state.reason}); its deliveries are held and probed.",
        }
    else:
        data = {
            "code": "connector_disabled",
            "connector": state.name,
            "severity": "error",
            "message": f"Connector {state.name} was disabled: {state.reason}. Resume it when its address is right.",
        }
    ledger.record("system_alert", source="hub", data=data)
