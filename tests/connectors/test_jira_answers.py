"""What Jira's answers mean for a delivery."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from ralf_hub.connectors.base import HttpResponse, Retry
from ralf_hub.connectors.jira_answers import judge, words
from tests.connectors.helpers import NOW_MS

SAID = orjson.dumps({"errorMessages": ["No."], "errors": {"summary": "is missing"}})


def answer(status: int, body: bytes = SAID, **headers: str) -> HttpResponse:
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("status", "body", "creates", "name"),
    [
        (201, b"{}", True, "delivered"),
        (204, b"", False, "delivered"),
        (400, SAID, True, "rejected"),
        (401, SAID, True, "credentials_broken"),
        (403, SAID, True, "credentials_broken"),
        (404, SAID, False, "rejected"),
        (404, b"<html>", False, "credentials_broken"),
        (408, b"", True, "retry"),
        (409, SAID, False, "retry"),
        (410, SAID, False, "rejected"),
        (413, SAID, True, "rejected"),
        (422, SAID, False, "rejected"),
        (429, b"", True, "retry"),
        (500, b"", True, "ambiguous"),
        (500, b"", False, "retry"),
        (502, b"", False, "ambiguous"),
        (503, b"", True, "ambiguous"),
        (503, b"", False, "retry"),
        (504, b"", False, "ambiguous"),
        (302, b"", True, "retry"),
    ],
)
def test_a_status(status: int, body: bytes, creates: Any, name: str) -> None:
    outcome = judge(answer(status, body), NOW_MS, creates=creates)
    assert (outcome.name, outcome.status_code) == (name, status)


@pytest.mark.parametrize(
    ("headers", "wait_s", "holds"),
    [
        ({"retry_after": "12"}, 12.0, True),
        ({"retry_after": "12", "ratelimit_reason": "jira-burst-based"}, 12.0, True),
        ({"retry_after": "3", "ratelimit_reason": "jira-per-issue-on-write"}, 3.0, False),
        ({"x_ratelimit_reset": "2026-02-01T16:02Z"}, 60.0, True),
        ({"x_ratelimit_reset": "2026-02-01T15:00Z"}, 0.0, True),
        ({"x_ratelimit_reset": "2199-01-01T00:00Z"}, 86_400.0, True),
        ({"x_ratelimit_reset": "soon"}, None, True),
        ({}, None, True),
    ],
)
def test_a_limit_is_obeyed_and_one_issues_own_holds_no_other(
    headers: Mapping[str, str], wait_s: float | None, holds: Any
) -> None:
    outcome = judge(answer(429, b"", **headers), NOW_MS)
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.holds_connector, outcome.counts) == (wait_s, holds, False)


def test_an_unknown_end_is_given_time_to_settle() -> None:
    outcomes: list[Any] = [judge(answer(502, b"", **h), NOW_MS) for h in ({}, {"retry_after": "60"})]
    assert [outcome.retry_after_s for outcome in outcomes] == [5.0, 60.0]


def test_jiras_own_words_are_told() -> None:
    assert words(answer(400)) == "No.; summary: is missing"
    assert getattr(judge(answer(400), NOW_MS), "reason", "") == (
        "Jira refuses it: No.; summary: is missing (400)"
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"5", b"[]", b'{"errorMessages": 5, "errors": []}'])
def test_what_says_nothing_is_told_as_such(body: bytes) -> None:
    assert words(answer(400, body)) == ""
    assert getattr(judge(answer(400, body), NOW_MS), "reason", "") == (
        "Jira refuses it: no reason given (400)"
    )


def test_long_words_are_cut() -> None:
    said = words(answer(400, orjson.dumps({"errorMessages": ["x" * 10_000], "errors": {}})))
    assert len(said) == 300


@pytest.mark.parametrize("reason", ["AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED", "authenticated_failed"])
def test_a_call_taken_as_a_strangers_is_one_of_credentials(reason: str) -> None:
    assert judge(answer(404, SAID, x_seraph_loginreason=reason), NOW_MS).name == "credentials_broken"
    assert judge(answer(200, b"{}", x_seraph_loginreason="OK"), NOW_MS).name == "delivered"
