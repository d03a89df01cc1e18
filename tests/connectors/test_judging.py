import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.connectors.base import Ambiguous, HttpResponse, Rejected, Retry
from ralf_hub.connectors.judging import EXCERPT_BYTES_MAX, excerpt, judge_status, retry_after_s
from tests.connectors.helpers import NOW_MS


def answer(status: int, body: bytes = b"", **headers: str) -> HttpResponse:
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 12.5 ", 12.5),
        ("Sun, 01 Feb 2026 16:02:00 GMT", 60.0),
        ("Sunday, 01-Feb-26 16:02:00 GMT", 60.0),
        ("Sun Feb  1 16:02:00 2026", 60.0),
        ("Sun, 01 Feb 2026 15:00:00 GMT", 0.0),
        ("999999999999", 86_400.0),
        ("Sun, 01 Feb 9999 16:02:00 GMT", 86_400.0),
    ],
)
def test_retry_after_as_seconds_and_as_date(value: str, seconds: float) -> None:
    assert retry_after_s({"retry-after": value}, NOW_MS) == seconds


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "1e9", "nan", "\u0663", "Sun, 99 Feb 2026 16:02:00 GMT", "9" * 400]
)
def test_retry_after_that_says_nothing(value: str) -> None:
    assert retry_after_s({"retry-after": value}, NOW_MS) is None


@given(st.text(max_size=60), st.integers(0, 4 * 10**12))
def test_retry_after_never_raises_and_stays_within_a_day(value: str, now_ms: int) -> None:
    seconds = retry_after_s({"retry-after": value}, now_ms)
    assert seconds is None or 0 <= seconds <= 86_400


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (301, "retry"),
        (304, "retry"),
        (308, "retry"),
        (400, "rejected"),
        (401, "credentials_broken"),
        (403, "credentials_broken"),
        (404, "rejected"),
        (405, "rejected"),
        (407, "credentials_broken"),
        (408, "retry"),
        (409, "rejected"),
        (410, "gone"),
        (413, "rejected"),
        (422, "rejected"),
        (425, "retry"),
        (429, "retry"),
        (500, "retry"),
        (502, "ambiguous"),
        (503, "retry"),
        (504, "ambiguous"),
        (599, "retry"),
        (999, "rejected"),
    ],
)
def test_classes_of_status(status: int, name: str) -> None:
    outcome = judge_status(answer(status), NOW_MS)
    assert outcome.name == name
    assert outcome.status_code == status


def test_a_rate_limit_holds_the_connector_and_burns_no_attempt() -> None:
    outcome = judge_status(answer(429, retry_after="30"), NOW_MS)
    assert outcome == Retry("too many requests (429)", 429, "", 30.0, counts=False, holds_connector=True)


@pytest.mark.parametrize("status", [500, 503, 599])
def test_a_failed_create_leaves_open_whether_it_happened(status: int) -> None:
    outcome = judge_status(answer(status, retry_after="3"), NOW_MS, creates=True)
    assert isinstance(outcome, Ambiguous)
    assert outcome.retry_after_s == 3.0


def test_a_redirect_shows_only_the_host_it_points_to() -> None:
    outcome = judge_status(answer(302, location="https://user:pass@login.example/x?token=s3cret"), NOW_MS)
    assert isinstance(outcome, Retry)
    assert "login.example" in outcome.reason
    assert "s3cret" not in outcome.reason
    assert "pass" not in outcome.reason


@pytest.mark.parametrize("location", ["", "http://[half", "\x1b[31m", "/relative"])
def test_a_redirect_to_nowhere(location: str) -> None:
    outcome = judge_status(answer(307, location=location), NOW_MS)
    assert isinstance(outcome, Retry)
    assert "\x1b" not in outcome.reason


def test_excerpts_are_bounded_and_clean() -> None:
    assert excerpt(answer(500, b"\x1b[2Jno\x00pe")) == "nope"
    long = excerpt(answer(500, "\u00e9".encode() * 5000))
    assert len(long.encode()) <= EXCERPT_BYTES_MAX
    assert set(long) == {"\u00e9"}
    outcome = judge_status(answer(400, b"bad field"), NOW_MS)
    assert isinstance(outcome, Rejected)
    assert outcome.response == "bad field"
