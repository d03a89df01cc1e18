"""A limit of so many a minute means that many: at once, and from then on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.limits import NAMES_MAX, WINDOW_S, RateLimiter

clocks = st.one_of(st.floats(0, 10), st.floats(1e5, 1e8))
limits = st.integers(1, 600)


@given(per_minute=limits, now=clocks)
def test_exactly_so_many_at_once(per_minute: int, now: float) -> None:
    limiter = RateLimiter(per_minute)
    left = [limiter.take("a", now).remaining for _ in range(per_minute)]
    assert left == list(range(per_minute - 1, -1, -1))
    refused = limiter.take("a", now)
    assert (refused.allowed, refused.remaining) == (False, 0)


@given(per_minute=limits, now=clocks)
def test_whoever_waits_as_told_may_call_and_no_earlier_second_would_do(per_minute: int, now: float) -> None:
    limiter = RateLimiter(per_minute)
    for _ in range(per_minute):
        limiter.take("a", now)
    wait = limiter.take("a", now).retry_after_s
    assert wait >= 1
    if wait > 1:
        assert not limiter.take("a", now + wait - 1).allowed
    assert limiter.take("a", now + wait).allowed


@given(per_minute=limits, now=clocks, gaps=st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_minute_ever_sees_more_than_twice_the_limit(
    per_minute: int, now: float, gaps: list[float]
) -> None:
    limiter = RateLimiter(per_minute)
    passed = []
    for gap in gaps:
        now += gap
        if limiter.take("a", now).allowed:
            passed.append(now)
    for begin in passed:
        assert sum(begin <= moment < begin + WINDOW_S for moment in passed) <= 2 * per_minute


@given(per_minute=limits, now=clocks, calls=st.integers(1, 700))
def test_the_numbers_shown_are_within_bounds(per_minute: int, now: float, calls: int) -> None:
    limiter = RateLimiter(per_minute)
    for _ in range(calls):
        shown = limiter.take("a", now)
        assert 0 <= shown.remaining < per_minute
        assert 0 < shown.reset_s <= WINDOW_S + 1
        assert 1 <= shown.retry_after_s <= WINDOW_S
    assert limiter.take("a", now + WINDOW_S + 1).remaining == per_minute - 1


def test_names_do_not_share() -> None:
    limiter = RateLimiter(1)
    assert limiter.take("a", 0).allowed
    assert not limiter.take("a", 0).allowed
    assert limiter.take("b", 0).allowed


def test_refused_calls_cost_nothing() -> None:
    limiter = RateLimiter(60)
    for _ in range(1_000):
        limiter.take("a", 0)
    assert limiter.take("a", 1).allowed


def test_memory_is_bounded_and_forgetting_hits_the_one_unused_for_longest() -> None:
    limiter = RateLimiter(1)
    limiter.take("first", 0)
    limiter.take("second", 0)
    limiter.take("first", 61)
    for number in range(NAMES_MAX - 1):
        limiter.take(str(number), 61)
    assert len(limiter._empty_at) == NAMES_MAX
    assert not limiter.take("first", 61).allowed
    assert limiter.take("second", 61).allowed


@pytest.mark.parametrize(("before", "after"), [(60, 6), (6, 60)])
def test_a_new_limit_counts_from_the_next_call(before: int, after: int) -> None:
    limiter = RateLimiter(before)
    for _ in range(before):
        limiter.take("a", 0)
    limiter.per_minute = after
    shown = limiter.take("a", 0)
    assert (shown.allowed, shown.limit) == (False, after)
    assert limiter.take("a", WINDOW_S / after).allowed


def test_headers() -> None:
    limiter = RateLimiter(2)
    assert limiter.take("a", 0).headers() == {
        "RateLimit": '"default";r=1;t=30',
        "RateLimit-Policy": '"default";q=2;w=60',
    }
    limiter.take("a", 0)
    assert limiter.take("a", 0.5).headers() == {
        "RateLimit": '"default";r=0;t=60',
        "RateLimit-Policy": '"default";q=2;w=60',
        "Retry-After": "30",
    }
