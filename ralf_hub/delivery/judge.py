"""What an outcome means for its delivery: the one place where a retry is decided. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from ralf_hub.clock import MS_PER_S, iso
from ralf_hub.connectors.base import Ambiguous, CredentialsBroken, Delivered, Gone, Outcome, Rejected, Retry
from ralf_hub.delivery.backoff import HORIZON_MS, Backoff
from ralf_hub.model import DEAD, DELIVERED, PENDING, Delivery


@dataclass(frozen=True, slots=True)
class Judgement:
    """The delivery's next state, how many attempts have counted, when it goes again, and the error to show."""

    state: str
    attempts: int
    next_attempt_at: str
    error: str | None


def judge(
    delivery: Delivery,
    outcome: Outcome,
    *,
    now_ms: int,
    backoff: Backoff,
    random: Callable[[], float],
    probing: bool,
) -> Judgement:
    """Return what becomes of *delivery* after *outcome*.

    While the breaker is open (*probing*) a failed try is the service's fault and burns no attempt, for three days.
    Broken credentials and rate limits never end a delivery.
    """
    now = iso(now_ms)
    match outcome:
        case Delivered():
            return Judgement(DELIVERED, delivery.attempts + 1, now, None)
        case Rejected() | Gone():
            return Judgement(DEAD, delivery.attempts + 1, now, outcome.reason)
        case CredentialsBroken():
            return Judgement(PENDING, delivery.attempts, now, outcome.reason)
        case Retry() | Ambiguous():
            return _again(delivery, outcome, now_ms=now_ms, backoff=backoff, random=random, probing=probing)


def _again(
    delivery: Delivery,
    outcome: Retry | Ambiguous,
    *,
    now_ms: int,
    backoff: Backoff,
    random: Callable[[], float],
    probing: bool,
) -> Judgement:
    failed = blames_service(outcome)
    attempts = delivery.attempts + (failed and not probing)
    wait_s = backoff.delay_s(max(attempts, 1), random, outcome.retry_after_s)
    again_at = iso(now_ms + ceil(wait_s * MS_PER_S))  # never before it was asked for
    if failed and not probing and backoff.is_spent(attempts):
        return Judgement(
            DEAD, attempts, again_at, f"gave up after {attempts} attempts; the last: {outcome.reason}"
        )
    if failed and probing and _is_beyond_horizon(delivery, now_ms):
        return Judgement(DEAD, attempts, again_at, f"gave up after three days; the last: {outcome.reason}")
    return Judgement(PENDING, attempts, again_at, outcome.reason)


def _is_beyond_horizon(delivery: Delivery, now_ms: int) -> bool:
    """Return whether the delivery was first tried, and last replayed, too long ago."""
    if delivery.first_attempt_at is None:
        return False
    return max(delivery.first_attempt_at, delivery.replayed_at or "") < iso(now_ms - HORIZON_MS)


def blames_service(outcome: Outcome) -> bool:
    """Return whether the outcome says the service, not this one delivery, is in trouble."""
    return isinstance(outcome, (Ambiguous, CredentialsBroken)) or (
        isinstance(outcome, Retry) and outcome.counts
    )


def is_trouble(outcome: Outcome) -> bool:
    """Return whether the connector should send no more until the outcome is recorded and its state is known."""
    return not isinstance(outcome, (Delivered, Rejected))
