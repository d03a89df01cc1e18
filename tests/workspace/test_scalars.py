from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from ralf_hub.workspace.scalars import canonical, fingerprint, json_safe, time_iso


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-02-01T16:01:00Z", "2026-02-01T16:01:00.000Z"),
        ("2026-02-03T23:16:31+07:00", "2026-02-03T16:16:31.000Z"),
        ("2026-02-03T21:40:32+0000", "2026-02-03T21:40:32.000Z"),
        ("2026-02-06T08:28:20+0700", "2026-02-06T01:28:20.000Z"),
        ("2026-02-05T01:57:10.180571", "2026-02-05T01:57:10.180Z"),
        ("2026-02-01 16:01:00", "2026-02-01T16:01:00.000Z"),
        ("2026-02-01 16:01:00 +07:00", "2026-02-01T09:01:00.000Z"),
        ("2026-02-01 16:01:00-5", "2026-02-01T21:01:00.000Z"),
        ("2026-2-1T6:01:00z", "2026-02-01T06:01:00.000Z"),
        ("2026-02-01T16:01", "2026-02-01T16:01:00.000Z"),
        ("2026-02-01", "2026-02-01T00:00:00.000Z"),
        ("2026-02-01T16:01:00.123456789Z", "2026-02-01T16:01:00.123Z"),
        (datetime(2026, 2, 1, 16, 1, tzinfo=timezone(timedelta(hours=7))), "2026-02-01T09:01:00.000Z"),
        (date(2026, 2, 1), "2026-02-01T00:00:00.000Z"),
        (1769916001, "2026-02-01T03:20:01.000Z"),
        (1769916001500, "2026-02-01T03:20:01.500Z"),
        ("1769916001", "2026-02-01T03:20:01.000Z"),
    ],
)
def test_every_spelling_of_a_time(value, expected):
    assert time_iso(value, UTC) == expected


@pytest.mark.parametrize(
    "value",
    ["", "now", "{TIMESTAMP}", "2026-13-01", "2026-02-30T00:00:00Z", "25:00", None, True, [], -5, 10**15, float("nan"),
     "2026-02-01T16:01:00+99:00", "2026-02-01T24:61:00", "0000-01-01", "YYYY-MM-DDTHH:MM:SSZ"],
)  # fmt: skip
def test_what_is_no_time(value):
    assert time_iso(value, UTC) is None


def test_the_edges_of_the_calendar_do_not_raise():
    assert time_iso("0001-01-01T00:00:00", ZoneInfo("Asia/Bangkok")) is None or True
    assert time_iso("9999-12-31T23:59:59-11:00", UTC) is None or True
    assert canonical(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))))


def test_a_naive_time_is_in_the_workspaces_zone():
    assert time_iso("2026-02-01T16:01:00", ZoneInfo("Asia/Bangkok")) == "2026-02-01T09:01:00.000Z"
    assert time_iso("2026-02-01T16:01:00Z", ZoneInfo("Asia/Bangkok")) == "2026-02-01T16:01:00.000Z"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2026-02-01T12:44:42Z", datetime(2026, 2, 1, 12, 44, 42, tzinfo=UTC)),
        ("2026-02-01T12:44:42Z", "2026-02-01T19:44:42+07:00"),
        ("2026-02-01T12:44:42Z", "2026-02-01 12:44:42+00:00"),
        ("2026-02-01T12:44:42Z", datetime(2026, 2, 1, 12, 44, 42)),  # noqa: DTZ001 - as old PyYAML has it
        (47, "47"),
        (7.5, "7.5"),
        (True, "true"),
        (None, ""),
        (date(2026, 2, 1), "2026-02-01"),
        ({"a": 1, "b": [None]}, {"b": [""], "a": "1"}),
    ],
)
def test_what_means_the_same_has_one_spelling(one, other):
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"), ("a", "A"), ("a ", "a"), (1, 2), ([1, 2], [2, 1]), ([[1], 2], [1, [2]]), ({"a": 1}, {"a": 2}),
        ({"a": "b"}, {"ab": ""}), (["ab"], ["a", "b"]), ("2026-02-01T12:44:42Z", "2026-02-01T12:44:43Z"), ("007", "7"),
    ],
)  # fmt: skip
def test_what_differs_has_two(one, other):
    assert canonical(one) != canonical(other)


def test_a_fingerprint_knows_its_fields_apart():
    assert fingerprint({"a": "b", "c": "d"}) == fingerprint({"c": "d", "a": "b"})
    assert fingerprint({"a": "b"}) != fingerprint({"b": "a"})
    assert fingerprint({"a": ""}) != fingerprint({})


def test_what_goes_too_deep_is_cut():
    value = "end"
    for _ in range(2000):
        value = [value]
    assert "..." in str(json_safe(value))
    assert canonical(value)
