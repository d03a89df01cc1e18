"""Writing down what tries came to: attempts, verdicts, links, breaker states and alerts, in one transaction."""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from ralf_hub.clock import Clock, iso
from ralf_hub.connectors.base import CredentialsBroken, Delivered, Gone, Outcome, Rejected, Retry
from ralf_hub.delivery import breaker
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.channel import Finished, Standing
from ralf_hub.delivery.judge import Judgement, blames_service, judge
from ralf_hub.model import Attempt, Delivery, Event, Json, Link
from ralf_hub.store import connectors as connector_states
from ralf_hub.store import links, verdicts
from ralf_hub.store.connectors import ConnectorState

log = logging.getLogger(__name__)

EXCERPT_MAX: Final = 2_000


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
    finished: Sequence[Finished],
    *,
    failed_ids: Mapping[str, frozenset[int]],
    policy: Policy,
    clock: Clock,
    random: Callable[[], float],
    redact: Callable[[str], str],
) -> dict[str, Standing]:
    """Record *finished* and return how its connectors stand now.

    *failed_ids* are, for each connector that is in the settings, the deliveries that failed in a row. The states are
    read here, inside the transaction: whatever someone else decided meanwhile is built upon, never overwritten.
    """
    now_ms = clock.now()
    written: list[verdicts.Verdict] = []
    known: dict[str, ConnectorState] = {}
    new: dict[str, Standing] = {}
    for item in finished:
        delivery = item.claimed.delivery
        verdict = judge(
            delivery,
            item.outcome,
            now_ms=now_ms,
            backoff=policy.backoff,
            random=random,
            probing=item.claimed.probing,
        )
        written.append(_verdict(item, verdict, redact))
        _keep_link(ledger, delivery, item.outcome)
        name = delivery.connector
        if name not in failed_ids:  # the connector left the settings while this was on its way
            continue
        if name not in new:
            known[name] = connector_states.get(ledger.conn, name)
            new[name] = Standing(known[name], failed_ids[name])
        new[name] = standing_after(new[name], item, now_ms=now_ms, policy=policy.breaker, redact=redact)
    verdicts.record(ledger.conn, written, now=iso(now_ms))
    for name, standing in new.items():
        connector_states.save(ledger.conn, standing.state, now=ledger.now)
        _announce(ledger, known[name], standing.state)
    return new


def _shown(text: str, redact: Callable[[str], str], length_max: int) -> str | None:
    """Return *text* without secrets as the database can hold it, None where nothing is left."""
    return redact(text).encode("utf-8", "replace").decode()[:length_max] or None if text else None


def _verdict(item: Finished, judgement: Judgement, redact: Callable[[str], str]) -> verdicts.Verdict:
    delivery, outcome = item.claimed.delivery, item.outcome
    reason = "" if isinstance(outcome, Delivered) else outcome.reason
    attempt = Attempt(
        delivery_id=delivery.id,
        started_at=item.started_at,
        duration_ms=item.duration_ms,
        outcome=outcome.name,
        status_code=outcome.status_code,
        error=_shown(reason, redact, verdicts.ERROR_LENGTH_MAX),
        response=_shown(outcome.response, redact, EXCERPT_MAX),
    )
    return verdicts.Verdict(
        attempt=attempt,
        state=judgement.state,
        attempts_before=delivery.attempts,
        attempts=judgement.attempts,
        next_attempt_at=judgement.next_attempt_at,
        last_error=_shown(judgement.error or "", redact, verdicts.ERROR_LENGTH_MAX),
    )


def _keep_link(ledger: Recorder, delivery: Delivery, outcome: Outcome) -> None:
    if not isinstance(outcome, (Delivered, Rejected)) or outcome.link is None:
        return
    link = replace(outcome.link, connector=delivery.connector)
    if not link.entity_id:
        if delivery.entity is None:
            return
        link = replace(link, entity_type=delivery.entity[0], entity_id=delivery.entity[1])
    if link.state == "broken":
        _tell_broken(ledger, link)
    known = (
        None if link.external_id is None else links.by_external(ledger.conn, link.connector, link.external_id)
    )
    if known is not None and (known.entity_type, known.entity_id) != (link.entity_type, link.entity_id):
        log.warning(
            "the link of delivery %s is not kept: %s already stands for %s %s",
            delivery.id, link.external_id, known.entity_type, known.entity_id,
        )  # fmt: skip
        return
    links.save(ledger.conn, link, now=ledger.now)


def _tell_broken(ledger: Recorder, link: Link) -> None:
    """Tell the other connectors, once, that what stood outside for a task or feature is gone."""
    known = links.get(ledger.conn, link.connector, link.entity_type, link.entity_id)
    if known is not None and known.state == "broken":
        return
    what = link.external_key or link.external_id or "what it made"
    data: dict[str, Json] = {
        "code": "link_broken",
        "connector": link.connector,
        "severity": "warning",
        "message": f"{what} is gone from {link.connector}: {link.entity_type} {link.entity_id} is kept up to date "
        "there no more.",
        link.entity_type: link.entity_id,
    }
    ledger.record("system_alert", source="hub", data=data)


def standing_after(
    standing: Standing,
    item: Finished,
    *,
    now_ms: int,
    policy: BreakerPolicy,
    redact: Callable[[str], str],
) -> Standing:
    """Return how a connector stands after one more try. Pure."""
    state, outcome, now = standing.state, item.outcome, iso(now_ms)
    reason = "" if isinstance(outcome, Delivered) else _shown(outcome.reason, redact, EXCERPT_MAX) or ""
    if isinstance(outcome, Gone):
        return replace(standing, state=breaker.on_gone(state, now, reason))
    if isinstance(outcome, Retry) and outcome.holds_connector:
        return replace(standing, state=breaker.hold(state, now_ms, outcome.retry_after_s))
    if isinstance(outcome, Delivered):
        works = breaker.on_delivered(state, now)
        return standing if works is state and not standing.failed_ids else Standing(works)
    if isinstance(outcome, Rejected):  # the service works; it was this one delivery it would not take
        works = breaker.on_delivered(state, now)
        return Standing(
            replace(works, last_delivered_at=state.last_delivered_at, last_error=reason, last_error_at=now)
        )
    if not blames_service(outcome):
        return standing
    failed_ids = standing.failed_ids | {item.claimed.delivery.id}
    failed = breaker.on_failure(
        state,
        now_ms,
        reason,
        policy,
        distinct=len(failed_ids),
        credentials=isinstance(outcome, CredentialsBroken),
        probing=item.claimed.probing,
    )
    return Standing(failed, failed_ids)


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
