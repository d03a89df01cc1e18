"""Whatever a service answers, a try ends with a verdict: connectors that keep an object per task never raise."""

import asyncio
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ralf_hub.connectors.base import (
    Check,
    HttpRequest,
    HttpResponse,
    Outcome,
    SendContext,
)
from ralf_hub.model import Link
from tests.connectors.helpers import CLOCK, TASK, connector, delivery, fact
from tests.doubles import github, gitlab, jira, trello

KINDS = {
    "jira": {
        "base_url": "https://x.atlassian.net", "email": jira.EMAIL, "api_token": jira.TOKEN, "project_key": "P",
    },
    "trello": {"api_key": trello.KEY, "token": trello.TOKEN, "board_id": trello.BOARD},
    "github": {"token": github.TOKEN, "repository": github.REPOSITORY},
    "gitlab": {"token": gitlab.TOKEN, "project": gitlab.PROJECT},
}  # fmt: skip
NAMES = st.sampled_from([
    "id", "key", "name", "desc", "fields", "status", "statusCategory", "labels", "issues", "transitions", "to",
    "issueTypes", "values", "comments", "errorMessages", "errors", "message", "error", "boards", "shortLink",
    "shortUrl", "project", "issuetype", "number", "iid", "title", "body", "html_url", "web_url", "state", "notes",
])  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.sampled_from(["done", "10001", "To Do", "ralf:evt_0123456789abcdef"])
    | st.text(max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
BODIES = JSON.map(orjson.dumps) | st.binary(max_size=40)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["retry-after", "x-ratelimit-reset", "x-ratelimit-remaining", "ratelimit-reason", "link"]
    ),
    st.text(max_size=10),
    max_size=3,
)
STATUSES = st.sampled_from([
    200, 200, 200, 200, 201, 204, 301, 302, 400, 401, 403, 404, 408, 409, 410, 413, 422, 429, 500, 502, 503, 504, 599,
])  # fmt: skip
ANSWERS = st.lists(st.builds(HttpResponse, STATUSES, HEADERS, BODIES), min_size=1, max_size=6)


def answering(answers: list[HttpResponse]) -> Any:
    left = iter(answers)

    async def http(_: HttpRequest) -> HttpResponse:
        return next(left, answers[-1])

    return http


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=150)
@given(
    answers=ANSWERS,
    again=st.booleans(),
    event=st.sampled_from(["task_started", "task_failed", "task_completed"]),
)
def test_every_try_ends_with_a_verdict(
    kind: str, answers: list[HttpResponse], again: Any, event: str
) -> None:
    made = connector(kind, **KINDS[kind])
    about = fact(event)
    for number, action in enumerate(made.plan(about)):
        link = Link(kind, "10001", "X-1", state="linked", entity_id=TASK.id) if number else None
        context = SendContext(answering(answers), CLOCK, link, again)
        outcome = asyncio.run(made.send(delivery(action, about), context))
        assert isinstance(outcome, get_args(Outcome))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(answers=ANSWERS)
def test_every_check_ends_with_an_answer(kind: str, answers: list[HttpResponse]) -> None:
    check = asyncio.run(connector(kind, **KINDS[kind]).validate(answering(answers)))
    assert isinstance(check, Check)
    assert check.message
