"""What is GitLab's own: its limits, its refusals, its names of projects. The rest stands in `test_issues.py`."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Http,
    HttpResponse,
    Rejected,
    Retry,
)
from ralf_hub.connectors.gitlab import GitLabSettings
from tests.connectors.helpers import NOW_MS, nowhere
from tests.connectors.lane import Case, Lane, cases, fail
from tests.doubles.gitlab import PROJECT_ID

NOW_S = NOW_MS // 1000 + 10


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    found = next(case for case in cases() if case.kind == "gitlab")
    async with found.double:
        yield found


def answer(status: int, body: str = "{}", **headers: Any) -> HttpResponse:
    return HttpResponse(
        status, {name.replace("_", "-"): str(value) for name, value in headers.items()}, body.encode()
    )


@pytest.mark.parametrize(
    ("response", "wait_s"),
    [
        (answer(429, retry_after=30), 30.0),
        (answer(429, ratelimit_reset=NOW_S + 45), 45.0),
        (answer(429, ratelimit_reset=NOW_S - 45), 1.0),
        (answer(429, ratelimit_reset=NOW_S + 10**9), 86_400.0),
        (answer(429, ratelimit_reset="soon"), 60.0),
        (answer(429, "Retry later\n"), 60.0),
    ],
)
def test_a_limit_holds_the_connector(case: Case, response: HttpResponse, wait_s: float) -> None:
    outcome = case.made().api.judge(response)
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (wait_s, False, True)


@pytest.mark.parametrize(
    ("response", "creates", "kind"),
    [
        (answer(401, '{"message":"401 Unauthorized"}'), False, CredentialsBroken),
        (answer(403, '{"error":"insufficient_scope"}'), True, CredentialsBroken),
        (answer(302, location="https://gitlab.com/users/sign_in"), False, CredentialsBroken),
        (answer(400, '{"message":{"title":["is too long"]}}'), True, Rejected),
        (answer(400, '{"message":{"base":["Maximum number of comments exceeded"]}}'), True, Rejected),
        (answer(409), True, Rejected),
        (answer(409), False, Retry),
        (answer(500), True, Ambiguous),
        (answer(500), False, Retry),
        (answer(504), False, Ambiguous),
        (answer(201), True, Delivered),
    ],
)
def test_answers(case: Case, response: HttpResponse, creates: Any, kind: type) -> None:
    assert isinstance(case.made().api.judge(response, creates=creates), kind)


@pytest.mark.parametrize(
    ("given", "project"),
    [
        ("harbour/village", "harbour/village"),
        ("harbour/boats/village", "harbour/boats/village"),
        (PROJECT_ID, str(PROJECT_ID)),
        (str(PROJECT_ID), str(PROJECT_ID)),
        ("https://gitlab.com/harbour/village.git", "harbour/village"),
        ("git@gitlab.com:harbour/village.git", "harbour/village"),
        ("https://gitlab.com/harbour/boats/village/", "harbour/boats/village"),
    ],
)
def test_a_project_may_be_named_as_people_copy_it(given: str | int, project: str) -> None:
    assert GitLabSettings(token="t", project=given).project == project  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    ["", "village", "harbour/", "/x", 0, -3, True, "a/b c", "a//b", "a/../b", "a/..", "a/./b", "a/b?x"],
)
def test_what_names_no_project_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        GitLabSettings(token="t", project=given)


@pytest.mark.parametrize("project", [PROJECT_ID, "harbour/village"])
async def test_a_project_is_reached_by_number_and_by_path(case: Case, http: Http, project: Any) -> None:
    lane = Lane(case.made(project=project), http)
    assert await lane.tell("task_completed") == ["create", "comment", "close"]
    assert case.tracker.made[0].state == "closed"


async def test_a_late_replay_need_not_read_what_was_made_since(case: Case, http: Http) -> None:
    case.tracker.page_size_max = 2
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    fail(case.double, drop="after")
    await lane.once(row)
    for number in range(9):
        case.tracker.add(f"Made later {number}")
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert len([seen for seen in case.double.seen if seen.method == "GET"]) == 1


@pytest.mark.parametrize(
    "base", ["https://git.example.com", "https://git.example.com/", "https://git.example.com/api/v4"]
)
def test_the_server_may_be_named_with_or_without_its_api(case: Case, base: str) -> None:
    lane = Lane(case.made(base_url=base), nowhere)
    (row,) = lane.plan(lane.about("task_created"))
    request = lane.made.api.create(row.payload)
    assert request.url == "https://git.example.com/api/v4/projects/harbour%2Fvillage/issues"


def test_a_server_below_a_path_keeps_it(case: Case) -> None:
    made = case.made(base_url="https://example.com/gitlab")
    assert made.api.project_request().url.startswith("https://example.com/gitlab/api/v4/projects/")
