from dataclasses import replace

import pytest

from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.delivery.channel import Channel, Claimed, Standing, limiter
from ralf_hub.model import Delivery
from ralf_hub.store.connectors import ConnectorState
from tests.delivery.house import Poster, PosterSettings

NOW, SOON, LATER = "2026-02-01T10:00:00.000Z", "2026-02-01T10:00:05.000Z", "2026-02-01T11:00:00.000Z"
BEFORE = "2026-02-01T09:59:59.000Z"


def channel(concurrency: int = 4, rate_per_minute: int | None = None, **state: object) -> Channel:
    connector = Poster("a", PosterSettings(rate_per_minute=rate_per_minute), ConnectorEnv())
    return Channel(connector, concurrency, Standing(replace(ConnectorState("a"), **state)))


def claimed(number: int) -> Claimed:
    return Claimed(Delivery(number, "e", "note", "a", "post", {}))


def hold(what: Channel, *numbers: int) -> None:
    what.ready.extend(claimed(number) for number in numbers)
    what.held.update(numbers)


def test_it_wants_twice_what_it_can_send_less_what_it_has() -> None:
    made = channel()
    assert made.wants(NOW) == 8
    hold(made, 1, 2, 3)
    assert made.wants(NOW) == 5
    hold(made, *range(4, 20))
    assert made.wants(NOW) == 0


def test_it_looks_when_woken_or_when_something_falls_due() -> None:
    made = channel()
    made.woken = False
    assert made.wants(NOW) == 0
    made.look_again_at = SOON
    assert (made.wants(NOW), made.wants(SOON)) == (0, 8)
    assert made.wakes_at(NOW) == SOON


@pytest.mark.parametrize(
    "state", [{"paused": True}, {"breaker": "disabled"}, {"held_until": SOON}], ids=lambda s: next(iter(s))
)
def test_it_neither_claims_nor_sends_while_it_may_not(state: dict[str, object]) -> None:
    made = channel(**state)
    hold(made, 1)
    assert made.wants(NOW) == 0
    assert not made.may_start(NOW)


def test_an_open_breaker_lets_one_probe_out_when_it_is_time() -> None:
    made = channel(breaker="open", probe_at=SOON)
    assert (made.wants(NOW), made.wants(SOON)) == (0, 1)
    assert made.wakes_at(NOW) == SOON
    hold(made, 1)
    assert made.wants(SOON) == 0


def test_an_open_breaker_with_nothing_due_is_not_asked_again_and_again() -> None:
    made = channel(breaker="open", probe_at=BEFORE)
    made.woken, made.look_again_at = False, LATER
    assert made.wants(NOW) == 0
    assert made.wakes_at(NOW) == LATER
    assert made.wants(LATER) == 1


def test_a_probe_is_not_put_off_by_what_was_to_be_due_before_it_was_woken() -> None:
    made = channel(breaker="open", probe_at=SOON)
    made.woken, made.look_again_at = True, LATER
    assert made.wakes_at(NOW) == SOON


def test_a_hold_is_waited_out() -> None:
    made = channel(held_until=SOON)
    assert made.wakes_at(NOW) == SOON
    assert made.wants(SOON) == 8


def test_a_failure_whose_verdict_is_not_on_disk_stops_it() -> None:
    made = channel()
    hold(made, 1)
    assert made.may_start(NOW)
    made.troubles = 1
    assert not made.may_start(NOW)
    assert made.wants(NOW) == 0


def test_no_more_are_sent_at_once_than_allowed() -> None:
    made = channel(concurrency=2)
    hold(made, 1, 2, 3)
    made.sending = 2
    assert not made.may_start(NOW)


def test_what_has_not_begun_is_put_back() -> None:
    made = channel()
    hold(made, 1, 2, 3)
    made.ready.popleft()
    made.sending, made.woken = 1, False
    made.put_back()
    assert (list(made.ready), made.held, made.woken) == ([], {1}, True)


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ({}, 2),
        ({"failures": 3}, 2),
        ({"held_until": BEFORE}, 2),
        ({"held_until": SOON}, 0),
        ({"breaker": "open", "probe_at": SOON}, 0),
        ({"breaker": "disabled"}, 0),
        ({"paused": True}, 0),
    ],
    ids=str,
)
def test_a_new_standing_lets_go_of_what_must_not_go_out_under_it(state: dict[str, object], kept: int) -> None:
    made = channel()
    hold(made, 1, 2)
    made.stand(Standing(replace(ConnectorState("a"), **state)), NOW)
    assert len(made.ready) == kept


def test_a_reload_keeps_the_limit_that_has_not_changed() -> None:
    made = channel(rate_per_minute=60)
    same = Poster("a", PosterSettings(rate_per_minute=60, url="x"), ConnectorEnv())
    made.serve(made.connector, 4)
    first = made.limiter
    made.serve(same, 4)
    assert made.limiter is first is not None
    made.serve(Poster("a", PosterSettings(rate_per_minute=61, concurrency=9), ConnectorEnv()), 4)
    assert made.limiter is not first
    assert made.concurrency == 9
    made.serve(Poster("a", PosterSettings(), ConnectorEnv()), 4)
    assert made.limiter is None
    assert made.concurrency == 4


@pytest.mark.parametrize(
    ("rate", "burst", "period_s"), [(1, 1, 60), (6, 1, 10), (60, 1, 1), (600, 10, 1), (90, 1.5, 1)]
)
def test_a_rate_is_spread_evenly(rate: int, burst: float, period_s: float) -> None:
    made = limiter(rate)
    assert made is not None
    assert (made.max_rate, made.time_period) == (burst, period_s)
