"""Why a delivery is where it is and when it goes next, in words. Pure."""

from dataclasses import dataclass

from ralf_hub.model import CANCELLED, DEAD, DELIVERED, Delivery
from ralf_hub.store.connectors import ConnectorState


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that bears on a delivery: its connector's state, what is ahead of it, the time."""

    state: ConnectorState
    known: bool
    ahead: int | None
    now: str
    max_attempts: int
    in_hand: bool = False


def explain(delivery: Delivery, around: Circumstances) -> str:
    """Return one or two sentences an operator can act on."""
    tried = f"{delivery.attempts} of {around.max_attempts} attempts have counted"
    last = f" The last error was: {delivery.last_error}" if delivery.last_error else ""
    if delivery.state == DELIVERED:
        return f"Delivered at {delivery.delivered_at} with attempt {delivery.attempts}."
    if delivery.state == DEAD:
        why = delivery.last_error or "no reason was recorded"
        return f"Dead: {why}. Nothing more happens until someone replays it (ralf-hub outbox replay {delivery.id})."
    if delivery.state == CANCELLED:
        return f"Cancelled: {delivery.last_error or 'someone decided so'}."
    return f"Pending: {_wait(delivery, around)}; {tried}.{last}"


def _wait(delivery: Delivery, around: Circumstances) -> str:
    state = around.state
    reasons = (
        (not around.known, f"there is no connector {delivery.connector} in the settings"),
        (state.paused, f"connector {delivery.connector} was paused by {state.paused_by or 'someone'}"),
        (
            state.breaker == "disabled",
            f"connector {delivery.connector} is disabled ({state.reason}) until someone resumes it",
        ),
        (around.in_hand, "it is being sent right now"),
        (
            around.ahead is not None,
            f"it waits for delivery {around.ahead} of the same task, which goes first",
        ),
        (
            state.breaker == "open",
            f"the breaker of {delivery.connector} is open ({state.reason}); the next probe goes at {state.probe_at}",
        ),
        (
            state.held_until is not None and state.held_until > around.now,
            f"{delivery.connector} asked the hub to keep quiet until {state.held_until}",
        ),
        (delivery.next_attempt_at > around.now, f"the next attempt is due at {delivery.next_attempt_at}"),
    )
    return next(
        (text for applies, text in reasons if applies), "it is due and goes as soon as a hand is free"
    )
