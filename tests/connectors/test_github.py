"""What is GitHub's own: its limits, its refusals, its permissions. The rest stands in `test_issues.py`."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ralf_hub.connectors.base import CredentialsBroken, Delivered, Gone, Http, HttpResponse, Rejected, Retry
from tests.connectors.helpers import NOW_MS, TASK, nowhere
from tests.connectors.lane import LATER, Case, Lane, cases, fail

NOW_S = NOW_MS // 1000 + 10


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    found = next(case for case in cases() if case.kind == "github")
    async with found.double:
        yield found


def answer(status: int, body: str = "{}", **headers: Any) -> HttpResponse:
    return HttpResponse(
        status, {name.replace("_", "-"): str(value) for name, value in headers.items()}, body.encode()
    )


@pytest.mark.parametrize(
    ("response", "wait_s"),
    [
        (answer(403, retry_after=30), 30.0),
        (answer(429, retry_after=30, x_ratelimit_remaining=0, x_ratelimit_reset=NOW_S + 900), 30.0),
        (answer(403, x_ratelimit_remaining=0, x_ratelimit_reset=NOW_S + 900), 900.0),
        (answer(429, x_ratelimit_remaining=0, x_ratelimit_reset=NOW_S + 900), 900.0),
        (answer(403, x_ratelimit_remaining=0, x_ratelimit_reset=NOW_S - 900), 1.0),
        (answer(403, x_ratelimit_remaining=0, x_ratelimit_reset=NOW_S + 10**9), 86_400.0),
        (answer(403, x_ratelimit_remaining=0, x_ratelimit_reset="soon"), 60.0),
        (answer(403, x_ratelimit_remaining=0), 60.0),
        (answer(429), 60.0),
        (answer(429, x_ratelimit_remaining=55, x_ratelimit_reset=NOW_S + 900), 60.0),
        (answer(403, '{"message":"You have exceeded a secondary rate limit. Please wait."}'), 60.0),
        (
            answer(422, '{"message":"Validation Failed","errors":[{"message":"was submitted too quickly"}]}'),
            60.0,
        ),
        (answer(429, "<html>"), 60.0),
    ],
)
def test_every_form_of_limit_holds_the_connector(case: Case, response: HttpResponse, wait_s: float) -> None:
    outcome = case.made().api.judge(response)
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (wait_s, False, True)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (answer(403, '{"message":"Resource not accessible by personal access token"}'), CredentialsBroken),
        (answer(403, x_ratelimit_remaining=4999), CredentialsBroken),
        (answer(403, "[]"), CredentialsBroken),
        (answer(401), CredentialsBroken),
        (answer(307, location="https://api.github.com/repositories/1"), CredentialsBroken),
        (answer(404), Rejected),
        (answer(410, '{"message":"Issues are disabled for this repo"}'), Rejected),
        (answer(422, '{"message":"Validation Failed"}'), Rejected),
        (answer(451), Rejected),
        (answer(408), Retry),
        (answer(503), Retry),
        (answer(204), Delivered),
    ],
)
def test_what_is_no_limit_is_judged_for_what_it_is(case: Case, response: HttpResponse, kind: type) -> None:
    assert isinstance(case.made().api.judge(response), kind)


async def test_a_repository_without_issues_is_not_a_receiver_that_is_gone(case: Case, http: Http) -> None:
    case.tracker.has_issues = False
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert not isinstance(outcome, Gone)
    assert "Issues are disabled" in outcome.reason


async def test_without_the_right_to_label_an_issue_is_found_all_the_same(case: Case, http: Http) -> None:
    """GitHub drops the labels in silence, so they are no way to find an issue again."""
    case.double.may_label = False
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    fail(case.double, drop="after")
    assert [outcome.name for outcome in await lane.until_settled(row)] == ["ambiguous", "delivered"]
    assert [issue.labels for issue in case.tracker.made] == [[]]
    check = await lane.made.validate(http)
    assert (check.ok, "GitHub leaves labels out" in check.message) == (True, True)


async def test_every_request_is_one_of_the_api_version_the_hub_knows(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    for kind in ("task_started", "task_failed", "task_completed"):
        await lane.tell(kind)
    assert {seen.headers["x-github-api-version"] for seen in case.double.seen} == {"2022-11-28"}
    assert {seen.headers["accept"] for seen in case.double.seen} == {"application/vnd.github+json"}
    assert all(seen.headers["user-agent"].startswith("ralf-hub/") for seen in case.double.seen)


async def test_a_label_with_odd_characters_is_taken_away_by_its_name(case: Case, http: Http) -> None:
    label = "in progress/ä?#%"
    lane = Lane(case.made(in_progress_label=label), http)
    await lane.tell("task_started")
    assert label in case.tracker.made[0].labels
    await lane.tell("task_failed")
    assert label not in case.tracker.made[0].labels


async def test_a_body_as_long_as_may_be_is_taken(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    about = lane.about("task_created", task=replace(TASK, description="word " * 50_000))
    (row,) = lane.plan(about)
    assert len(row.payload["body"]) <= 60_000
    assert isinstance(await lane.once(row), Delivered)


@pytest.mark.parametrize(
    "given",
    [
        "octo/village",
        " octo/village ",
        "https://github.com/octo/village",
        "https://github.com/octo/village.git",
        "git@github.com:octo/village.git",
        "https://github.com/octo/village/",
    ],
)
def test_a_repository_may_be_named_as_people_copy_it(case: Case, given: str) -> None:
    assert case.made(repository=given).settings.repository == "octo/village"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "village",
        "octo/",
        "/village",
        "octo/vil lage",
        "octo/village/issues",
        "-octo/x",
        "octo/..",
        "o/r?x=1",
    ],
)
def test_what_names_no_repository_is_refused(case: Case, given: str) -> None:
    with pytest.raises(ValidationError, match="owner/name"):
        case.made(repository=given)


def test_a_server_of_ones_own_has_its_own_address(case: Case) -> None:
    lane = Lane(case.made(base_url="https://ghe.example.com/api/v3/"), nowhere)
    (row,) = lane.plan(lane.about("task_created"))
    request = lane.made.api.create(row.payload)
    assert request.url == "https://ghe.example.com/api/v3/repos/octo/village/issues"
    assert LATER.now() > 0
