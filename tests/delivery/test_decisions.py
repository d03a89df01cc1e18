"""Backoff, judge and breaker: pure decisions, held to what they promise for whatever comes in."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.clock import FAR_FUTURE, iso, parse_iso
from ralf_hub.connectors.base import Ambiguous, CredentialsBroken, Delivered, Gone, Outcome, Rejected, Retry
from ralf_hub.delivery import breaker
from ralf_hub.delivery.backoff import HORIZON_MS, RETRY_AFTER_MAX_S, Backoff, patience_s
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.judge import blames_service, is_trouble, judge
from ralf_hub.model import DEAD, DELIVERED, PENDING, Delivery
from ralf_hub.store.connectors import ConnectorState
from tests.support import START_MS

NOW = iso(START_MS)
chances = st.floats(0, 1, exclude_max=True)
asked = st.none() | st.floats(allow_nan=True, allow_infinity=True)
backoffs = st.builds(
    lambda first, more, tries: Backoff(first, first + more, tries),
    st.floats(0.01, 86_400),
    st.floats(0, 604_800),
    st.integers(1, 1000),
)
moments = st.integers(START_MS - 30 * 86_400_000, START_MS).map(iso)


def delivery(**given: Any) -> Delivery:
    return Delivery(
        1, "evt", "task_completed", "a", "post", {}, **{"created_at": NOW, "next_attempt_at": NOW, **given}
    )


deliveries = st.builds(
    delivery,
    attempts=st.integers(0, 1000),
    first_attempt_at=st.none() | moments,
    replayed_at=st.none() | moments,
)
retries = st.builds(
    Retry, st.just("no"), retry_after_s=asked, counts=st.booleans(), holds_connector=st.booleans()
)
ambiguous = st.builds(Ambiguous, st.just("no"), retry_after_s=asked)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.just(Delivered(200)),
    retries,
    ambiguous,
    st.just(Rejected("never")),
    st.just(CredentialsBroken("expired")),
    st.just(Gone("gone")),
)


# --- backoff --------------------------------------------------------------------------------------


@given(backoffs, st.integers(0, 5000), chances)
def test_a_wait_is_between_nothing_and_the_ceiling(backoff: Backoff, failures: int, chance: float) -> None:
    wait = backoff.delay_s(failures, lambda: chance)
    assert 0 <= wait <= backoff.ceiling_s(failures) <= backoff.max_s


@given(backoffs, st.integers(1, 40))
def test_ceilings_double_until_the_longest(backoff: Backoff, failures: int) -> None:
    assert backoff.ceiling_s(1) == backoff.first_s
    assert backoff.ceiling_s(failures + 1) == min(backoff.max_s, 2 * backoff.ceiling_s(failures))
    assert backoff.ceiling_s(10**9) == backoff.ceiling_s(41)


@given(backoffs, st.integers(1, 100), chances, asked)
def test_a_service_is_never_called_before_it_wants_to_be_nor_a_day_later_than_we_would(
    backoff: Backoff, failures: int, chance: float, asked_s: float | None
) -> None:
    wait = backoff.delay_s(failures, lambda: chance, asked_s)
    assert math.isfinite(wait)
    assert wait <= max(backoff.max_s, RETRY_AFTER_MAX_S)
    if asked_s is not None and not math.isnan(asked_s):
        assert wait >= min(asked_s, RETRY_AFTER_MAX_S)


def test_jitter_uses_the_whole_range() -> None:
    backoff = Backoff(10, 1000, 5)
    assert backoff.delay_s(3, lambda: 0.0) == 0
    assert backoff.delay_s(3, lambda: 0.999) == pytest.approx(39.96)


@pytest.mark.parametrize(
    ("asked_s", "patience"),
    [
        (None, 0),
        (0, 0),
        (-5, 0),
        (7.5, 7.5),
        (1e300, RETRY_AFTER_MAX_S),
        (math.inf, RETRY_AFTER_MAX_S),
        (math.nan, 0),
    ],
)
def test_patience_has_its_bounds(asked_s: float | None, patience: float) -> None:
    assert patience_s(asked_s) == patience


def test_the_last_attempt_is_the_one_that_was_named() -> None:
    assert [Backoff(1, 1, 3).is_spent(n) for n in range(5)] == [False, False, False, True, True]


# --- judge ----------------------------------------------------------------------------------------


def judged(row: Delivery, outcome: Outcome, *, probing: bool = False, backoff: Backoff | None = None) -> Any:
    return judge(
        row,
        outcome,
        now_ms=START_MS,
        backoff=backoff or Backoff(5, 3600, 12),
        random=lambda: 0.5,
        probing=probing,
    )


@given(deliveries, outcomes, st.booleans(), backoffs)
def test_every_verdict_is_sound(row: Delivery, outcome: Outcome, probing: bool, backoff: Backoff) -> None:  # noqa: FBT001
    verdict = judged(row, outcome, probing=probing, backoff=backoff)
    assert verdict.state in {PENDING, DELIVERED, DEAD}
    assert (verdict.state == DELIVERED) == isinstance(outcome, Delivered)
    assert verdict.attempts - row.attempts in {0, 1}
    if isinstance(outcome, Retry | Ambiguous):
        assert verdict.next_attempt_at >= iso(START_MS + math.ceil(patience_s(outcome.retry_after_s) * 1000))
    assert NOW <= verdict.next_attempt_at <= FAR_FUTURE
    assert (verdict.error is None) == isinstance(outcome, Delivered)
    if verdict.state == PENDING and verdict.attempts > row.attempts:
        assert verdict.attempts < backoff.max_attempts


@given(deliveries, st.booleans(), asked, st.booleans())
def test_nothing_dies_of_broken_credentials_or_of_a_rate_limit(
    row: Delivery,
    probing: bool,  # noqa: FBT001
    asked_s: float | None,
    holds: bool,  # noqa: FBT001
) -> None:
    limited = Retry("429", retry_after_s=asked_s, counts=False, holds_connector=holds)
    for outcome in (CredentialsBroken("expired"), limited):
        verdict = judged(row, outcome, probing=probing)
        assert (verdict.state, verdict.attempts) == (PENDING, row.attempts)


@given(deliveries, st.one_of(retries, ambiguous))
def test_a_probe_burns_no_attempt(row: Delivery, outcome: Outcome) -> None:
    assert judged(row, outcome, probing=True).attempts == row.attempts


@given(deliveries, st.one_of(ambiguous, st.builds(Retry, st.just("no"))), st.integers(1, 20))
def test_a_failure_counts_and_the_last_one_ends_it(row: Delivery, outcome: Outcome, tries: int) -> None:
    verdict = judged(row, outcome, backoff=Backoff(1, 1, tries))
    assert verdict.attempts == row.attempts + 1
    assert verdict.state == (DEAD if row.attempts + 1 >= tries else PENDING)
    if verdict.state == DEAD:
        assert verdict.error == f"gave up after {row.attempts + 1} attempts; the last: no"


@pytest.mark.parametrize("outcome", [Rejected("never"), Gone("gone")])
def test_what_the_service_will_never_take_is_dead_with_its_reason(outcome: Rejected | Gone) -> None:
    verdict = judged(delivery(), outcome)
    assert (verdict.state, verdict.attempts, verdict.error) == (DEAD, 1, outcome.reason)


LONG_AGO = iso(START_MS - HORIZON_MS - 1)
LATELY = iso(START_MS - HORIZON_MS + 1)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (delivery(first_attempt_at=LONG_AGO), DEAD),
        (delivery(first_attempt_at=LATELY), PENDING),
        (delivery(first_attempt_at=None, created_at=LONG_AGO), PENDING),
        (delivery(first_attempt_at=LONG_AGO, replayed_at=LATELY), PENDING),
        (delivery(first_attempt_at=LONG_AGO, replayed_at=LONG_AGO), DEAD),
        (delivery(first_attempt_at="by hand"), PENDING),
    ],
    ids=["long ago", "lately", "never tried", "replayed lately", "replayed long ago", "no time"],
)
def test_a_failing_probe_ends_a_delivery_first_tried_and_last_replayed_three_days_ago(
    row: Delivery, state: str
) -> None:
    verdict = judged(row, Retry("still down"), probing=True)
    assert verdict.state == state
    if state == DEAD:
        assert verdict.error == "gave up after three days; the last: still down"


def test_what_blames_the_service() -> None:
    counted, uncounted = Retry("a"), Retry("a", counts=False)
    listed = (
        Delivered(),
        counted,
        uncounted,
        Ambiguous("a"),
        Rejected("a"),
        CredentialsBroken("a"),
        Gone("a"),
    )
    assert [blames_service(outcome) for outcome in listed] == [False, True, False, True, False, True, False]
    assert [is_trouble(outcome) for outcome in listed] == [False, True, True, True, False, True, True]


# --- breaker --------------------------------------------------------------------------------------

POLICY = BreakerPolicy(failures=3, probe_first_s=10, probe_max_s=300)
CLOSED = ConnectorState("a")


def fail(
    state: ConnectorState,
    after_s: float = 0,
    *,
    distinct: int = 5,
    credentials: bool = False,
    probing: bool = False,
) -> ConnectorState:
    now_ms = START_MS + round(after_s * 1000)
    return breaker.on_failure(
        state, now_ms, "no", POLICY, distinct=distinct, credentials=credentials, probing=probing
    )


def in_s(moment: str | None) -> float:
    assert moment is not None
    return (parse_iso(moment) - START_MS) / 1000


def test_enough_failures_of_different_deliveries_open_it() -> None:
    state = fail(fail(CLOSED))
    assert (state.breaker, state.failures) == ("closed", 2)
    state = fail(state)
    assert (state.breaker, state.reason, state.opened_at, in_s(state.probe_at)) == ("open", "no", NOW, 10)


def test_one_delivery_alone_never_opens_it() -> None:
    state = CLOSED
    for _ in range(50):
        state = fail(state, distinct=1)
    assert state.breaker == "closed"
    assert fail(state, distinct=2).breaker == "open"


def test_a_delivery_in_between_starts_the_count_anew() -> None:
    state = breaker.on_delivered(fail(fail(CLOSED)), NOW)
    assert state.failures == 0
    assert fail(fail(state)).breaker == "closed"


def test_broken_credentials_open_it_at_once() -> None:
    state = fail(CLOSED, distinct=1, credentials=True)
    assert (state.breaker, in_s(state.probe_at)) == ("open", 20)


def test_probes_come_ever_later_up_to_the_longest() -> None:
    state, waits = fail(fail(fail(CLOSED))), []
    for n in range(1, 9):
        state = fail(state, n, probing=True)
        waits.append(in_s(state.probe_at) - n)
    assert waits == [20, 40, 80, 160, 300, 300, 300, 300]
    assert state.probes == 8


def test_the_failures_of_what_was_under_way_are_no_probes() -> None:
    opened = fail(fail(fail(CLOSED)))
    state = opened
    for n in range(30):
        state = fail(state, n)
    assert (state.probes, state.probe_at) == (0, opened.probe_at)
    assert state.failures == 33


def test_a_probe_that_arrives_closes_it_and_forgets() -> None:
    state = breaker.on_delivered(fail(fail(fail(fail(CLOSED)), probing=True)), NOW)
    assert state == ConnectorState("a", last_delivered_at=NOW, last_error="no", last_error_at=NOW)


@given(asked)
def test_a_hold_holds_and_ends(asked_s: float | None) -> None:
    held = breaker.hold(CLOSED, START_MS, asked_s)
    assert held.held_until is not None
    assert NOW < held.held_until <= iso(START_MS + round(RETRY_AFTER_MAX_S * 1000))
    assert not breaker.may_send(held, NOW)
    assert breaker.may_send(held, held.held_until)
    assert breaker.wakes_at(held) == held.held_until


def test_a_rate_limit_that_names_no_time_holds_for_a_moment() -> None:
    assert in_s(breaker.hold(CLOSED, START_MS, None).held_until) == breaker.HOLD_DEFAULT_S


def test_a_shorter_hold_does_not_end_a_longer_one() -> None:
    held = breaker.hold(breaker.hold(CLOSED, START_MS, 60), START_MS, 5)
    assert in_s(held.held_until) == 60


def test_a_delivery_does_not_end_a_hold() -> None:
    held = breaker.on_delivered(breaker.hold(CLOSED, START_MS, 60), NOW)
    assert in_s(held.held_until) == 60


def test_gone_disables_until_someone_resumes() -> None:
    state = breaker.on_gone(CLOSED, NOW, "410")
    for later in (fail(state, credentials=True), breaker.on_delivered(state, NOW), fail(state, probing=True)):
        assert later.breaker == "disabled"
        assert not breaker.may_send(later, FAR_FUTURE)
        assert breaker.wakes_at(later) is None
        assert later.reason == "410"
        assert later.opened_at == NOW
    assert breaker.may_send(breaker.reset(state), NOW)


def test_paused_sends_nothing_and_wakes_by_itself_never() -> None:
    paused = replace(breaker.hold(CLOSED, START_MS, 5), paused=True)
    assert not breaker.may_send(paused, FAR_FUTURE)
    assert breaker.wakes_at(paused) is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("fail"), st.booleans(), st.booleans(), st.integers(0, 5)),
            st.tuples(st.just("deliver"), st.booleans(), st.booleans(), st.just(0)),
            st.tuples(st.just("hold"), st.booleans(), st.booleans(), st.integers(0, 100)),
            st.tuples(st.just("gone"), st.booleans(), st.booleans(), st.just(0)),
            st.tuples(st.just("reset"), st.booleans(), st.booleans(), st.just(0)),
        ),
        max_size=30,
    )
)
def test_whatever_happens_it_either_sends_wakes_by_itself_or_waits_for_a_person(
    happenings: list[tuple[str, bool, bool, int]],
) -> None:
    state, now_ms = CLOSED, START_MS
    for what, first, second, number in happenings:
        now_ms += 1000
        match what:
            case "fail":
                state = breaker.on_failure(
                    state, now_ms, "no", POLICY, distinct=number, credentials=first, probing=second
                )
            case "deliver":
                state = breaker.on_delivered(state, iso(now_ms))
            case "hold":
                state = breaker.hold(state, now_ms, number)
            case "gone":
                state = breaker.on_gone(state, iso(now_ms), "410")
            case _:
                state = breaker.reset(state)
        assert (state.breaker == "open") == (state.probe_at is not None)
        assert state.breaker != "closed" or state.reason is None
        if state.breaker != "disabled":
            wakes = breaker.wakes_at(state)
            assert breaker.may_send(state, iso(now_ms)) or wakes is not None
            assert wakes is None or parse_iso(wakes) <= now_ms + 400_000
