"""The breaker: pure decisions on `ConnectorState`.

Closed: deliveries flow. Open: they are held and burn no attempts; from time to time one goes out as a probe, and the
first that succeeds closes it. Disabled (the receiver said 410): nothing goes out until someone resumes it.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from ralf_hub.clock import MS_PER_S, iso
from ralf_hub.delivery.backoff import patience_s
from ralf_hub.store.connectors import ConnectorState

PROBE_MAX_S: Final = 300.0
CREDENTIALS_PROBE_MAX_S: Final = 900.0
DISTINCT_MIN: Final = 2
"""Failures of one delivery alone say nothing about the service: it takes two different ones to open the breaker."""
HOLD_DEFAULT_S: Final = 5.0
"""How long a connector keeps quiet after a rate limit that names no time."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """`failures` in a row open it; the first probe comes after `probe_first_s`, then ever later."""

    failures: int
    probe_first_s: float
    probe_max_s: float


def may_send(state: ConnectorState, now: str) -> bool:
    """Return whether anything may go out at all: not paused, not disabled, not held by a rate limit."""
    return (
        not state.paused
        and state.breaker != "disabled"
        and (state.held_until is None or state.held_until <= now)
    )


def is_probe(state: ConnectorState) -> bool:
    """Return whether the next delivery would be a probe."""
    return state.breaker == "open"


def wakes_at(state: ConnectorState) -> str | None:
    """Return when a connector that may not send now may do so again; None when someone must act or nothing waits."""
    if state.paused or state.breaker == "disabled":
        return None
    moments = [moment for moment in (state.held_until, state.probe_at) if moment is not None]
    return max(moments, default=None)


def on_delivered(state: ConnectorState, now: str) -> ConnectorState:
    """Close, forget failures. A rate limit stays in force: what was under way before it says nothing about it."""
    if state.breaker == "disabled":
        return replace(state, last_delivered_at=now)
    if state.last_delivered_at == now and state.breaker == "closed" and not state.failures:
        return state  # as nearly all of a batch find it
    return replace(
        state,
        breaker="closed",
        reason=None,
        failures=0,
        opened_at=None,
        probe_at=None,
        probes=0,
        last_delivered_at=now,
    )


def on_failure(
    state: ConnectorState,
    now_ms: int,
    reason: str,
    policy: BreakerPolicy,
    *,
    distinct: int,
    credentials: bool,
    probing: bool,
) -> ConnectorState:
    """Count a failure of the service; open when there were enough, put the next probe off when *probing* failed.

    What was under way when the breaker opened is no probe: its failures are the same trouble, not more of it.
    """
    now = iso(now_ms)
    noted = replace(state, failures=state.failures + 1, last_error=reason, last_error_at=now)
    if state.breaker == "disabled" or (state.breaker == "open" and not probing):
        return noted
    if state.breaker == "open":
        probes = state.probes + 1
        return replace(
            noted, probes=probes, probe_at=_probe_at(now_ms, probes, policy, credentials=credentials)
        )
    enough = noted.failures >= policy.failures and distinct >= DISTINCT_MIN
    if not (credentials or enough):
        return noted
    return replace(
        noted,
        breaker="open",
        reason=reason,
        opened_at=now,
        probes=0,
        probe_at=_probe_at(now_ms, 0, policy, credentials=credentials),
    )


def on_gone(state: ConnectorState, now: str, reason: str) -> ConnectorState:
    """Disable: the receiver wants nothing more."""
    return replace(
        state,
        breaker="disabled",
        reason=reason,
        opened_at=now,
        probe_at=None,
        last_error=reason,
        last_error_at=now,
    )


def hold(state: ConnectorState, now_ms: int, asked_s: float | None) -> ConnectorState:
    """Keep quiet as long as the service asked, a moment where it named no time: it limits the whole destination."""
    until = iso(now_ms + ceil((patience_s(asked_s) or HOLD_DEFAULT_S) * MS_PER_S))
    return replace(state, held_until=max(until, state.held_until or until))


def reset(state: ConnectorState) -> ConnectorState:
    """Start over: someone resumed the connector, or its settings changed."""
    return replace(
        state,
        breaker="closed",
        reason=None,
        failures=0,
        opened_at=None,
        probe_at=None,
        probes=0,
        paused=False,
        paused_by=None,
        held_until=None,
    )


def _probe_at(now_ms: int, probes: int, policy: BreakerPolicy, *, credentials: bool) -> str:
    longest = min(policy.probe_max_s, CREDENTIALS_PROBE_MAX_S if credentials else PROBE_MAX_S)
    wait_s = min(longest, policy.probe_first_s * (2.0 if credentials else 1.0) * 2.0 ** min(probes, 30))
    return iso(now_ms + round(wait_s * MS_PER_S))
