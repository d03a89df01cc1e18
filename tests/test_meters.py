"""Counters count, quantiles are of the last samples, usage is handed over whole."""

from ralf_hub.meters import (
    MINUTES,
    ROWS_MAX,
    SAMPLES_MAX,
    Latencies,
    Meters,
    PerMinute,
    Usage,
    count_statuses,
)


def test_quantiles_of_nothing_one_and_many() -> None:
    series = Latencies()
    assert series.quantiles() == {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    series.add(7.12345)
    assert series.quantiles() == {"p50_ms": 7.123, "p95_ms": 7.123, "p99_ms": 7.123}
    series = Latencies()
    for ms in reversed(range(100)):
        series.add(ms)
    assert series.quantiles() == {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}


def test_only_the_last_samples_count() -> None:
    series = Latencies()
    for _ in range(SAMPLES_MAX):
        series.add(1_000)
    for _ in range(SAMPLES_MAX):
        series.add(1)
    assert series.quantiles()["p99_ms"] == 1
    assert series.count == 2 * SAMPLES_MAX


def answered(meters: Meters, status: int = 200, endpoint: str = "GET /x", day: str = "2026-02-01") -> None:
    meters.answered(day=day, key_id="k", endpoint=endpoint, status=status, duration_s=0.002, size=10)


def test_answers_are_counted_by_status_and_by_whose_they_are() -> None:
    meters = Meters(started_ms=0)
    for status in (200, 201, 304, 404, 429, 500, 503):
        answered(meters, status)
    answered(meters, endpoint="GET /y")
    answered(meters, day="2026-02-02")
    assert meters.requests == 9
    assert count_statuses(meters.by_status) == {
        "200": 3,
        "201": 1,
        "304": 1,
        "404": 1,
        "429": 1,
        "500": 1,
        "503": 1,
    }
    assert meters.usage["2026-02-01", "k", "GET /x"] == Usage(7, 2, 2, 14_000, 70)
    assert len(meters.usage) == 3


def test_usage_is_handed_over_once_and_taken_back_added_up() -> None:
    meters = Meters(started_ms=0)
    answered(meters)
    answered(meters, 404)
    taken = meters.take_usage()
    assert meters.take_usage() == {}
    answered(meters, 500)
    answered(meters, endpoint="GET /y")
    meters.give_back(taken)
    assert meters.usage == {
        ("2026-02-01", "k", "GET /x"): Usage(3, 1, 1, 6_000, 30),
        ("2026-02-01", "k", "GET /y"): Usage(1, 0, 0, 2_000, 10),
    }


def test_rows_that_wait_are_bounded_and_known_ones_go_on() -> None:
    meters = Meters(started_ms=0)
    for number in range(ROWS_MAX + 5):
        answered(meters, endpoint=str(number))
    answered(meters, endpoint="0")
    assert len(meters.usage) == ROWS_MAX
    assert meters.usage["2026-02-01", "k", "0"].requests == 2
    assert meters.requests == ROWS_MAX + 6


def test_latencies_of_deliveries_are_kept_by_connector() -> None:
    meters = Meters(started_ms=0)
    meters.delivered("slack", 5, 0)
    meters.delivered("slack", 15, 0)
    meters.delivered("jira", 100, 0)
    assert {name: series.count for name, series in meters.deliveries.items()} == {"slack": 2, "jira": 1}
    assert meters.deliveries["jira"].quantiles()["p50_ms"] == 100


def test_what_happened_in_each_minute_is_forgotten_after_half_an_hour() -> None:
    minutes, minute = PerMinute(), 60_000
    for moment in (0, 59_999, 60_000, 5 * minute):
        minutes.add(moment)
    assert minutes.last(5 * minute)[-6:] == [2, 1, 0, 0, 0, 1]
    assert len(minutes.last(0)) == MINUTES
    assert sum(minutes.last(MINUTES * minute)) == 2
    minutes.add(100 * minute)
    assert minutes.last(100 * minute) == [0] * (MINUTES - 1) + [1]
    assert len(minutes._counts) == 1
