from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.clock import FAR_FUTURE, Clock, iso, parse_iso, system_now, system_token

moments = st.integers(parse_iso("1900-01-01T00:00:00Z"), parse_iso(FAR_FUTURE))


@given(moments)
def test_a_moment_survives_being_text(ms: int) -> None:
    assert parse_iso(iso(ms)) == ms
    assert len(iso(ms)) == 24


@given(moments, moments)
def test_text_sorts_as_time_does(one: int, other: int) -> None:
    assert (iso(one) < iso(other)) == (one < other)


@given(moments)
def test_the_text_is_what_the_library_says(ms: int) -> None:
    expected = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"
    assert iso(ms) == expected


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-02-01T16:01:00Z", "2026-02-01T16:01:00.000Z"),
        ("2026-02-01T16:01:00", "2026-02-01T16:01:00.000Z"),
        ("2026-02-01 16:01", "2026-02-01T16:01:00.000Z"),
        ("2026-02-01T18:01:00+02:00", "2026-02-01T16:01:00.000Z"),
        ("2026-02-01T16:01:00.1234567Z", "2026-02-01T16:01:00.123Z"),
        ("2026-02-01", "2026-02-01T00:00:00.000Z"),
    ],
)
def test_other_ways_of_writing_a_moment(text: str, same: str) -> None:
    assert iso(parse_iso(text)) == same


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01T00:00:00Z", "2026-02-01T25:00:00Z", "12:00", "1770000000"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_iso(text)


def test_ids_sort_by_time_and_are_never_the_same() -> None:
    ticks = iter(range(1_770_000_000_000, 1_770_000_005_000))
    clock = Clock(now=lambda: next(ticks))
    made = [clock.id("evt") for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == 5000
    assert {len(one) for one in made} == {len("evt_") + 12 + 16}
    assert len({Clock(now=lambda: 1).id("evt") for _ in range(5000)}) == 5000


def test_the_systems_clock_and_chance() -> None:
    assert abs(system_now() - datetime.now(UTC).timestamp() * 1000) < 5000
    assert {len(system_token(size)) for size in (1, 4, 8)} == {2, 8, 16}
    assert parse_iso(Clock().iso()) <= system_now()
