"""GitHub and GitLab by the same tests: what they promise does not depend on whose issues they are."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from ralf_hub.clock import Clock
from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Fact,
    Http,
    HttpRequest,
    HttpResponse,
    NotSentError,
    Rejected,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.connectors.issues import LOOK_UP_PAGES_MAX, SETTLE_S
from ralf_hub.delivery.transport import Transport
from ralf_hub.model import Event, Feature, Link, Task
from tests.connectors.helpers import AT, CLOCK, HUB, NOW_MS, TASK, nowhere
from tests.connectors.lane import LATER, Case, Lane, cases, fail
from tests.doubles.contract import needs_specs
from tests.doubles.server import Fault
from tests.doubles.tracker import MERGE_NUMBER
from tests.support import eventually

JOURNEY = ("task_started", "task_failed", "task_started", "task_completed")
SECRET = re.compile("github_pat_|glpat-")
IN_FLIGHT = [{"drop": "before"}, {"drop": "after"}, {"status": 502}, {"status": 504}]


@pytest.fixture(params=list(cases()), ids=lambda case: str(case.kind))
async def case(request: pytest.FixtureRequest) -> AsyncIterator[Case]:
    kind = request.param.kind
    fresh = next(case for case in cases() if case.kind == kind)
    async with fresh.double:
        yield fresh


@pytest.fixture
async def impatient() -> AsyncIterator[Http]:
    async with Transport(allowed_networks=("127.0.0.0/8",), timeout_s=0.3) as transport:
        yield transport


def comments(case: Case) -> list[str]:
    return [comment.body for issue in case.tracker.made for comment in issue.comments]


async def linked(case: Case, http: Http, **settings: Any) -> Lane:
    """Return a lane whose task has its issue."""
    lane = Lane(case.made(**settings), http)
    await lane.tell("task_created")
    return lane


# --- one issue per task -----------------------------------------------------------------------------


async def test_a_tasks_life_is_one_issue(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    assert await lane.tell("task_started") == ["create", "label"]
    (issue,) = case.tracker.made
    assert (issue.title, sorted(issue.labels), issue.state) == (
        "Fix the login",
        ["in-progress", "ralf"],
        "open",
    )
    assert await lane.tell("task_failed", {"error": "exit 1"}) == ["comment", "label"]
    assert (sorted(issue.labels), issue.state) == (["ralf", "ralf-failed"], "open")
    assert await lane.tell("task_started") == ["label"]
    assert sorted(issue.labels) == ["in-progress", "ralf"]
    assert await lane.tell("task_completed") == ["comment", "label", "close"]
    assert (issue.labels, issue.state) == (["ralf"], "closed")
    assert [re.findall(r"Task \w+", body)[0] for body in comments(case)] == ["Task failed", "Task completed"]
    assert len(case.tracker.made) == 1


async def test_the_link_is_what_people_and_webhooks_know_the_issue_by(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    rows = lane.plan(lane.about("task_completed"))
    outcomes = [await lane.once(row) for row in rows]
    assert isinstance(outcomes[0], Delivered)
    link = outcomes[0].link
    assert link is not None
    assert (link.connector, link.external_id, link.external_key, link.state, link.last_state) == (
        case.kind, "1", f"{case.project}#1", "linked", "open" if case.kind == "github" else "opened",
    )  # fmt: skip
    assert (link.url or "").endswith("/issues/1")
    assert link.marker == f"ralf:{rows[0].event_id}"
    assert isinstance(outcomes[-1], Delivered)
    assert outcomes[-1].link == replace(link, last_state="closed", entity_id="TASK-7")


@pytest.mark.parametrize(
    ("kind", "without", "with_one"),
    [
        ("task_created", ["create"], []),
        ("task_started", ["create", "label"], ["label"]),
        ("task_completed", ["create", "comment", "close"], ["comment", "label", "close"]),
        ("task_failed", ["create", "comment", "label"], ["comment", "label"]),
        ("task_cancelled", [], ["comment", "label", "close"]),
        ("task_blocked", [], ["comment"]),
        ("agent_note", [], ["comment"]),
        ("webhook_received", [], []),
        ("system_alert", [], []),
        ("queue_changed", [], []),
    ],
)
def test_what_an_event_asks_for(case: Case, kind: str, without: list[str], with_one: list[str]) -> None:
    lane = Lane(case.made(), nowhere)
    assert [action.name for action in lane.made.plan(lane.about(kind))] == without
    lane.link = Link(case.kind, "1", f"{case.project}#1", state="linked")
    assert [action.name for action in lane.made.plan(lane.about(kind))] == with_one


def test_only_a_creation_has_a_marker_and_it_is_the_events(case: Case) -> None:
    lane = Lane(case.made(), nowhere)
    about = lane.about("task_completed")
    assert [action.marker for action in lane.made.plan(about)] == [f"ralf:{about.event.id}", None, None]


def test_without_create_issues_only_what_has_an_issue_is_kept_up_to_date(case: Case) -> None:
    lane = Lane(case.made(create_issues=False), nowhere)
    assert lane.made.plan(lane.about("task_failed")) == []
    lane.link = Link(case.kind, "1", state="linked")
    assert len(lane.made.plan(lane.about("task_failed"))) == 2


def test_an_event_of_no_task_makes_nothing(case: Case) -> None:
    lane = Lane(case.made(), nowhere)
    assert lane.made.plan(lane.about("task_completed", task=None)) == []


def test_an_issue_that_is_gone_is_left_alone(case: Case) -> None:
    lane = Lane(case.made(), nowhere)
    lane.link = Link(case.kind, "1", state="broken")
    assert lane.made.plan(lane.about("task_completed")) == []


def test_labels_may_be_switched_off(case: Case) -> None:
    lane = Lane(case.made(in_progress_label="", failed_label=""), nowhere)
    lane.link = Link(case.kind, "1", state="linked")
    assert lane.made.plan(lane.about("task_started")) == []
    assert [action.name for action in lane.made.plan(lane.about("task_completed"))] == ["comment", "close"]


async def test_a_cancelled_task_closes_its_issue(case: Case, http: Http) -> None:
    lane = await linked(case, http)
    await lane.tell("task_cancelled", {"reason": "not needed"})
    (issue,) = case.tracker.made
    assert (issue.state, issue.reason) == ("closed", "not_planned" if case.kind == "github" else None)


# --- features ---------------------------------------------------------------------------------------


def delivered(data: dict[str, Any] | None = None, **metadata: Any) -> Fact:
    feature = Feature("F-1", "Login", metadata=metadata, tasks_total=4, tasks_completed=4)
    return Fact(Event("evt_feature", "feature_delivered", AT, data=data or {}), feature=feature, hub_url=HUB)


@pytest.mark.parametrize("name", [MERGE_NUMBER, str(MERGE_NUMBER), "sign", "url"])
@pytest.mark.parametrize("where", ["data", "metadata"])
async def test_a_feature_is_told_on_what_it_was_delivered_with(
    case: Case, http: Http, name: int | str, where: str
) -> None:
    github = case.kind == "github"
    url = f"https://{case.kind}.com/{case.project}/{'pull' if github else '-/merge_requests'}/{MERGE_NUMBER}"
    number = {"url": url, "sign": f"{'#' if github else '!'}{MERGE_NUMBER}"}.get(str(name), name)
    about = delivered({"pr": number}) if where == "data" else delivered(merge_request=number)
    lane = Lane(case.made(), http)
    (row,) = lane.plan(about)
    (outcome,) = await lane.until_settled(row)
    assert isinstance(outcome, Delivered)
    assert outcome.link is None
    assert "Feature delivered: Login" in case.tracker.merge.comments[0].body
    assert case.tracker.made == []


async def test_a_feature_is_told_on_the_requests_of_its_tasks(case: Case, http: Http) -> None:
    url = f"https://{case.kind}.com/x/{'pull' if case.kind == 'github' else '-/merge_requests'}"
    links = tuple(
        Link(case.kind, str(number), url=f"{url}/{number}", state="linked") for number in (MERGE_NUMBER, 7, 7)
    )
    issue = Link(case.kind, "1", url="https://x/issues/1", state="linked")
    gone = replace(links[0], external_id="8", state="broken")
    lane = Lane(case.made(), http)
    rows = lane.plan(replace(delivered({"pr": 9}), task_links=(*links, issue, gone)))
    assert [row.action for row in rows] == ["comment:9", f"comment:{MERGE_NUMBER}", "comment:7"]
    assert isinstance(await lane.once(rows[1]), Delivered)
    assert len(case.tracker.merge.comments) == 1


async def test_a_feature_that_has_an_issue_is_told_there(case: Case, http: Http) -> None:
    case.tracker.add("The feature")
    lane = Lane(case.made(), http)
    lane.link = Link(
        case.kind, "1", f"{case.project}#1", state="linked", entity_type="feature", entity_id="F-1"
    )
    (row,) = lane.plan(replace(delivered(), link=lane.link))
    assert isinstance(await lane.once(row), Delivered)
    assert len(comments(case)) == 1


def test_a_request_a_task_was_made_of_is_never_closed(case: Case) -> None:
    """Closing it would throw the work away that the task was to review."""
    lane = Lane(case.made(), nowhere)
    lane.link = Link(case.kind, "7", url=f"https://x/{case.project}/pull/7", state="linked")
    for kind in ("task_completed", "task_cancelled"):
        assert [action.name for action in lane.made.plan(lane.about(kind))] == ["comment", "label"]


@pytest.mark.parametrize(
    "number", [0, -1, True, None, [], "", "twelve", "https://github.com/someone/else/pull/12", "https://x/1"]
)
def test_a_feature_without_a_request_it_is_known_by_asks_for_nothing(case: Case, number: Any) -> None:
    assert case.made().plan(delivered({"pull_request": number})) == []


async def test_a_repeated_feature_comment_is_found(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(delivered({"pr": MERGE_NUMBER}))
    fail(case.double, drop="after")
    assert [outcome.name for outcome in await lane.until_settled(row)] == ["ambiguous", "delivered"]
    assert len(case.tracker.merge.comments) == 1


async def test_a_request_that_is_not_there_breaks_no_link(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(delivered({"pr": 77}))
    lane.link = Link(case.kind, "1", f"{case.project}#1", state="linked")
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.link is None


# --- faults at every step of every action -----------------------------------------------------------


@pytest.mark.parametrize("how", IN_FLIGHT, ids=str)
@pytest.mark.parametrize("kind", ["task_started", "task_completed", "task_failed"])
async def test_whatever_is_lost_on_the_way_each_thing_is_made_once(
    case: Case, http: Http, kind: str, how: dict[str, Any]
) -> None:
    lane = Lane(case.made(), http)
    for row in lane.plan(lane.about(kind)):
        method = lane.made.prepare(row, SendContext(nowhere, LATER, lane.link)).method
        fail(case.double, **how)
        outcomes = await lane.until_settled(row)
        if (
            method == "PUT" and "drop" in how
        ):  # aiohttp itself repeats what is idempotent once on a new connection
            assert [outcome.name for outcome in outcomes][-1] == "delivered"
            continue
        assert [outcome.name for outcome in outcomes] == ["ambiguous", "delivered"]
        assert isinstance(outcomes[0], Ambiguous)
        assert outcomes[0].retry_after_s == SETTLE_S
    (issue,) = case.tracker.made
    assert len(comments(case)) == (kind != "task_started")
    assert len(issue.labels) == len(set(issue.labels))
    assert issue.state == ("closed" if kind == "task_completed" else "open")


@pytest.mark.parametrize("kind", JOURNEY)
@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"status": 429, "headers": {"Retry-After": "3"}}, "retry"),
        ({"status": 500}, None),
        ({"status": 503}, None),
        ({"delay_s": 0.6, "drop": "before"}, "ambiguous"),
    ],
    ids=["429", "500", "503", "timeout"],
)
async def test_every_action_is_tried_again(
    case: Case, http: Http, impatient: Http, kind: str, how: dict[str, Any], name: str | None
) -> None:
    """A 5xx leaves open whether something was made, and only that: what changes nothing twice is simply repeated."""
    lane = await linked(case, http)
    for row in lane.plan(lane.about(kind)):
        lane.http = impatient if "delay_s" in how else http
        fail(case.double, **how)
        outcomes = await lane.until_settled(row)
        expected = name or ("ambiguous" if row.action == "comment" else "retry")
        assert [outcome.name for outcome in outcomes] == [expected, "delivered"]
    assert len(case.tracker.made) == 1
    assert len(comments(case)) == (kind != "task_started")


@pytest.mark.parametrize("status", [500, 503])
async def test_a_creation_is_tried_again(case: Case, http: Http, status: int) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    fail(case.double, status=status)
    assert [outcome.name for outcome in await lane.until_settled(row)] == ["ambiguous", "delivered"]
    assert len(case.tracker.made) == 1


async def test_a_creation_that_takes_too_long_is_looked_for(case: Case, impatient: Http) -> None:
    lane = Lane(case.made(), impatient)
    (row,) = lane.plan(lane.about("task_created"))
    fail(case.double, delay_s=0.5)
    assert isinstance(await lane.once(row), Ambiguous)
    # The double goes on with it, as a service does. What is too early to be found would be made a second time.
    await eventually(lambda: case.tracker.made)
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert len(case.tracker.made) == 1


async def test_a_request_that_is_lost_and_then_an_answer(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    fail(case.double, drop="before", method="POST")
    fail(case.double, drop="after", method="POST")
    outcomes = await lane.until_settled(row)
    assert [outcome.name for outcome in outcomes] == ["ambiguous", "ambiguous", "delivered"]
    assert len(case.tracker.made) == 1


async def test_a_second_request_of_an_action_is_repeated_alone_in_effect(case: Case, http: Http) -> None:
    lane = await linked(case, http)
    await lane.tell("task_failed")
    (row,) = lane.plan(lane.about("task_started"))
    fail(case.double, "ralf-failed" if case.kind == "github" else "/1", status=503)
    assert [outcome.name for outcome in await lane.until_settled(row)] == ["retry", "delivered"]
    assert sorted(case.tracker.made[0].labels) == ["in-progress", "ralf"]


async def test_a_refused_creation_is_dead_and_so_is_what_follows_it(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    first, *rest = lane.plan(lane.about("task_completed"))
    fail(case.double, status=422, body='{"message":"Validation Failed","errors":[{"field":"labels"}]}')
    outcome = await lane.once(first)
    assert isinstance(outcome, Rejected)
    assert "(422): Validation Failed; field: labels" in outcome.reason
    for row in rest:
        followed = await lane.once(row)
        assert isinstance(followed, Rejected)
        assert "replay that one first" in followed.reason
    assert case.tracker.made == []
    # Someone mends it and replays them in their order.
    for row in (first, *rest):
        assert isinstance(await lane.once(replace(row, replayed_at=AT), again=True), Delivered)
    assert (len(case.tracker.made), len(comments(case))) == (1, 1)


@pytest.mark.parametrize("status", [400, 409, 413, 422])
@pytest.mark.parametrize("action", ["create", "comment", "close"])
async def test_what_the_service_will_not_take_is_dead(
    case: Case, http: Http, action: str, status: int
) -> None:
    lane = Lane(case.made(), http) if action == "create" else await linked(case, http)
    row = next(row for row in lane.plan(lane.about("task_completed")) if row.action == action)
    fail(case.double, status=status, body='{"message":{"title":["is odd"]},"error":"why"}')
    outcome = await lane.once(row)
    if (case.kind, status, action) == ("gitlab", 409, "close"):
        assert isinstance(outcome, Retry)  # someone else changes it in this moment
    else:
        assert isinstance(outcome, Rejected)
    assert "title: is odd; why" in outcome.reason
    assert outcome.status_code == status


@pytest.mark.parametrize("action", ["create", "comment", "label", "close"])
async def test_a_token_that_is_not_taken_parks_the_connector(case: Case, http: Http, action: str) -> None:
    lane = Lane(case.made(), http) if action == "create" else await linked(case, http)
    row = next(row for row in lane.plan(lane.about("task_completed")) if row.action == action)
    case.tracker.revoked = True
    outcome = await lane.once(row)
    assert isinstance(outcome, CredentialsBroken)
    assert not SECRET.search(repr(outcome))
    case.tracker.revoked, case.tracker.archived = False, True
    assert isinstance(await lane.once(row, again=True), CredentialsBroken)
    case.tracker.archived = False
    assert isinstance(await lane.once(row, again=True), Delivered)


# --- what an earlier try may have made --------------------------------------------------------------


async def lost(case: Case, lane: Lane, action: str = "create") -> Any:
    """Let an action happen and its answer be lost."""
    row = next(row for row in lane.plan(lane.about("task_completed")) if row.action == action)
    fail(case.double, drop="after")
    assert isinstance(await lane.once(row), Ambiguous)
    return row


async def test_after_a_crash_what_may_still_be_at_work_is_given_time(case: Case, http: Http) -> None:
    moment = NOW_MS
    lane = Lane(case.made(clock=Clock(now=lambda: moment)), http)
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(row, again=True)
    assert outcome == Retry("an earlier try may still be at work", retry_after_s=SETTLE_S, counts=False)
    assert case.double.seen == []
    moment += 5_000
    assert isinstance(await lane.once(row, again=True), Delivered)


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_it_looks_on_every_page(case: Case, http: Http, size: int) -> None:
    case.tracker.page_size_max = size
    lane = Lane(case.made(), http)
    row = await lost(case, lane)
    for number in range(7):
        case.tracker.add(f"Another {number}")
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert lane.link is not None
    assert lane.link.external_id == "1"
    assert len(case.tracker.made) == 8


async def test_it_looks_on_every_page_of_comments(case: Case, http: Http) -> None:
    case.tracker.page_size_max = 2
    lane = await linked(case, http)
    row = await lost(case, lane, "comment")
    for number in range(5):
        case.tracker.comment(case.tracker.issues[1], f"Another {number}")
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert len(comments(case)) == 6


async def test_it_looks_no_further_back_among_comments_than_it_must(case: Case, http: Http) -> None:
    case.tracker.page_size_max = 2
    lane = await linked(case, http)
    row = lane.plan(lane.about("task_blocked"))[0]
    for _ in range(9):
        case.tracker.comment(case.tracker.issues[1], "old").created_at = "2025-01-01T00:00:00.000Z"
    assert isinstance(await lane.once(row, again=True), Delivered)
    path = "/comments" if case.kind == "github" else "/notes"
    assert len([seen for seen in case.double.calls(path) if seen.method == "GET"]) == 1
    assert len(comments(case)) == 10


async def test_it_looks_no_further_back_than_it_must(case: Case, http: Http) -> None:
    case.tracker.page_size_max = 2
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    for _ in range(9):  # made long ago, changed today: GitHub lists them still
        case.tracker.add("old").created_at = "2025-01-01T00:00:00.000Z"
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert len([seen for seen in case.double.calls("/issues") if seen.method == "GET"]) == 1


async def test_it_does_not_look_for_ever(case: Case, http: Http) -> None:
    case.tracker.page_size_max = 1
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    for number in range(LOOK_UP_PAGES_MAX + 5):
        case.tracker.add(f"Another {number}")
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert len([seen for seen in case.double.calls("/issues") if seen.method == "GET"]) == LOOK_UP_PAGES_MAX


async def test_an_issue_that_only_looks_like_it_is_not_adopted(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    case.tracker.add("Not ours", f"see {row.payload['mark']} and <!-- {row.payload['mark']}x -->")
    case.tracker.merge.body = row.payload["body"]
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert lane.link is not None
    assert lane.link.external_id == "2"


async def test_of_two_that_were_made_the_first_is_adopted(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    for _ in range(2):
        case.tracker.add("Twice", row.payload["body"])
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert lane.link is not None
    assert lane.link.external_id == "1"


async def test_an_adopted_issue_keeps_the_state_it_has(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    row = await lost(case, lane)
    case.tracker.issues[1].state = "closed"
    await lane.once(row, again=True)
    assert lane.link is not None
    assert lane.link.last_state == "closed"


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"status": 429}, "retry"),
        ({"status": 503}, "retry"),
        ({"status": 502}, "ambiguous"),
        ({"drop": "before"}, "ambiguous"),
        ({"status": 401}, "credentials_broken"),
        ({"status": 200, "body": "<html>"}, "retry"),
        ({"status": 200, "body": '{"message":"odd"}'}, "retry"),
        ({"status": 422}, "rejected"),
    ],
    ids=str,
)
@pytest.mark.parametrize("action", ["create", "comment"])
async def test_nothing_is_repeated_before_it_was_looked_for(
    case: Case, http: Http, action: str, how: dict[str, Any], name: str
) -> None:
    lane = Lane(case.made(), http) if action == "create" else await linked(case, http)
    row = await lost(case, lane, action)
    fail(case.double, times=2 if "drop" in how else 1, **how)  # aiohttp itself repeats a GET once
    assert (await lane.once(row, again=True)).name == name
    case.double.faults.clear()
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert (len(case.tracker.made), len(comments(case))) == (1, int(action == "comment"))


async def test_a_list_that_holds_odd_things_is_read_all_the_same(case: Case) -> None:
    sent: list[str] = []

    async def http(request: HttpRequest) -> HttpResponse:
        sent.append(request.method)
        odd = b'[1,null,{"body":7},{"body":"<!-- ralf:evt -->","number":"x","iid":"x","created_at":"never"}]'
        if request.method == "GET":
            return HttpResponse(200, {}, odd)
        return HttpResponse(201, {}, b'{"number":null}')

    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    row = replace(row, payload={**row.payload, "mark": "ralf:evt"})
    outcome = await lane.once(row, again=True)
    assert sent == ["GET", "POST"]
    assert outcome == Ambiguous("the answer names no issue", 201, '{"number":null}', SETTLE_S)


async def test_a_replayed_creation_makes_no_second_issue(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    await lane.once(row)
    outcome = await lane.once(replace(row, replayed_at=AT), again=True)
    assert isinstance(outcome, Delivered)
    assert "stands for it already" in outcome.response
    assert len(case.tracker.made) == 1


# --- issues and projects that are gone --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["task_started", "task_failed", "task_completed"])
async def test_a_deleted_issue_breaks_its_link_and_is_not_made_again(
    case: Case, http: Http, kind: str
) -> None:
    lane = await linked(case, http)
    rows = lane.plan(lane.about(kind))
    case.tracker.issues[1].deleted = True
    outcome = await lane.once(rows[0])
    assert isinstance(outcome, Rejected)
    assert outcome.link is not None
    assert outcome.link.state == "broken"
    assert outcome.reason.startswith(
        f"the issue {case.project}#1 is gone, or the account may no longer see it"
    )
    asked = len(case.double.seen)
    for row in rows[1:]:
        assert isinstance(await lane.once(row), Rejected)
    assert len(case.double.seen) == asked
    assert len(case.tracker.made) == 1


async def test_an_issue_deleted_between_two_tries_breaks_its_link(case: Case, http: Http) -> None:
    lane = await linked(case, http)
    row = await lost(case, lane, "comment")
    case.tracker.issues[1].deleted = True
    outcome = await lane.once(row, again=True)
    assert isinstance(outcome, Rejected)
    assert outcome.link is not None
    assert outcome.link.state == "broken"


async def test_an_issue_that_is_there_again_is_linked_again(case: Case, http: Http) -> None:
    lane = await linked(case, http)
    (row,) = lane.plan(lane.about("task_blocked"))
    case.tracker.issues[1].deleted = True
    await lane.once(row)
    case.tracker.issues[1].deleted = False
    assert isinstance(await lane.once(replace(row, replayed_at=AT), again=True), Delivered)
    assert lane.link is not None
    assert lane.link.state == "linked"


@pytest.mark.parametrize("action", ["create", "comment", "close"])
async def test_a_project_that_is_not_there_is_dead_and_names_those_that_are(
    case: Case, http: Http, action: str
) -> None:
    lane = Lane(case.made(), http) if action == "create" else await linked(case, http)
    row = next(row for row in lane.plan(lane.about("task_completed")) if row.action == action)
    case.tracker.hidden = True
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert (
        f"there is no {'repository' if case.kind == 'github' else 'project'} {case.project}" in outcome.reason
    )
    assert all(name in outcome.reason for name in case.others)
    assert outcome.link is None


async def test_the_names_are_asked_for_once_in_a_while(case: Case, http: Http) -> None:
    case.tracker.hidden = True
    moment = NOW_MS
    lane = Lane(case.made(clock=Clock(now=lambda: moment)), http)
    (row,) = lane.plan(lane.about("task_created"))
    path = "/user/repos" if case.kind == "github" else "/api/v4/projects"
    for _ in range(3):
        await lane.once(row)
    assert len(case.double.calls(path)) == 1
    moment += 301_000
    await lane.once(row)
    assert len(case.double.calls(path)) == 2


@pytest.mark.parametrize("error", [NotSentError("no"), UnknownAnswerError("no"), None])
async def test_without_the_names_the_error_stands_alone(case: Case, error: Exception | None) -> None:
    async def http(request: HttpRequest) -> HttpResponse:
        if request.method == "POST":
            return HttpResponse(404, {}, b"{}")
        if error is not None:
            raise error
        return HttpResponse(403, {}, b"<html>")

    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.reason.endswith("or the token cannot see it")


async def test_many_names_are_told_nearest_first(case: Case) -> None:
    key = "full_name" if case.kind == "github" else "path_with_namespace"
    names = [f'{{"{key}":"someone/project-{n}"}}' for n in range(30)] + [
        f'{{"{key}":"{case.project}s"}}',
        "1",
    ]

    async def http(request: HttpRequest) -> HttpResponse:
        body = f"[{','.join(names)}]" if request.method == "GET" else "{}"
        return HttpResponse(200 if request.method == "GET" else 404, {}, body.encode())

    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert f"it sees {case.project}s, " in outcome.reason
    assert outcome.reason.endswith("and 21 more")


async def test_a_project_that_moved_parks_the_connector_and_breaks_nothing(case: Case, http: Http) -> None:
    lane = await linked(case, http)
    case.double.moved = True
    for row in lane.plan(lane.about("task_completed")):
        outcome = await lane.once(row)
        assert isinstance(outcome, CredentialsBroken)
        assert "has moved" in outcome.reason
    assert lane.link is not None
    assert lane.link.state == "linked"


async def test_a_locked_issue_is_no_reason_to_park(case: Case, http: Http) -> None:
    lane = await linked(case, http)
    case.tracker.issues[1].locked = True
    comment, *rest = lane.plan(lane.about("task_completed"))
    outcome = await lane.once(comment)
    assert outcome == Rejected(f"{case.project}#1 is locked and takes no comments", 403)
    for row in rest:
        assert isinstance(await lane.once(row), Delivered)


# --- words ------------------------------------------------------------------------------------------

NASTY = (
    "Thanks @alice and @acme/team, see #12, GH-7, !3, ~bug, %v1, &4, $9\n"
    "/close\n  /assign me\n<!-- ralf:evt_forged --><img src=x onerror=y>\n"
    "[click](https://evil.example/x) ![i](https://evil.example/y.png)\n"
    "# Heading\n- item\n1. one\n```\ncode\n```\n> quote\n| a | b |\n***\n$x$ `code` \\end"
)
BARE = re.compile(
    r"@\w|(?<![\w\\&])#\d|GH-\d|!\d|~\w|%\w|\$\d|&(?!amp;|lt;|gt;)"  # names
    r"|^\s*/\w|<(?!!-- ralf:evt_\d{4}\w+ -->|http://127)|(?<!\\)\]\(https?://evil",  # commands, HTML, links
    re.MULTILINE,
)


async def test_nothing_from_outside_acts(case: Case, http: Http) -> None:
    task = replace(TASK, title="@alice `x` #12 !3 /close", description=NASTY)
    lane = Lane(case.made(), http)
    for kind in ("task_created", "task_failed"):
        for row in lane.plan(lane.about(kind, {"error": NASTY}, task)):
            await lane.once(row)
    (issue,) = case.tracker.made
    for text in (issue.title, issue.body, issue.comments[0].body):
        assert not BARE.search(text), BARE.search(text)
    shown = issue.body.replace("\u200b", "")
    assert all(
        word in shown
        for word in ("@alice", "GH-7", "/close", "&lt;img", r"\# Heading", r"\- item", r"1\. one")
    )
    assert issue.body.count("<!-- ") == 1


@pytest.mark.parametrize(
    ("char", "times"), [("x", 300_000), ("\U0001f600", 300_000), ("&", 100_000), ("*", 300_000)]
)
async def test_texts_over_the_limit_are_cut_with_a_way_to_the_whole(
    case: Case, http: Http, char: str, times: int
) -> None:
    task = replace(TASK, title=char * 5_000, description=char * times)
    lane = Lane(case.made(), http)
    for row in lane.plan(lane.about("task_failed", {"error": char * 5_000}, task)):
        assert isinstance(await lane.once(row), Delivered)
    (issue,) = case.tracker.made
    assert len(issue.title) <= 250
    assert "the whole text is in ralf-hub](<http://127.0.0.1:8080/#/tasks/TASK-7>)" in issue.body
    assert issue.body.endswith("-->")


async def test_without_an_address_of_the_hub_there_is_no_link(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    about = replace(lane.about("task_created", task=replace(TASK, description="x" * 400_000)), hub_url="")
    (row,) = lane.plan(about)
    assert isinstance(await lane.once(row), Delivered)
    assert "(Cut here: the whole text is in ralf-hub.)" in case.tracker.made[0].body
    assert "](" not in case.tracker.made[0].body


async def test_a_task_that_is_not_known_is_named_by_its_id(case: Case, http: Http) -> None:
    event = Event("evt_1", "task_created", AT, task_id="T-9")
    for data, title in (({}, "T-9"), ({"title": "From the event"}, "From the event"), ({"title": 7}, "T-9")):
        lane = Lane(case.made(), http)
        (row,) = lane.plan(Fact(replace(event, data=data)))
        await lane.once(row)
        assert case.tracker.made[-1].title == title


async def test_a_title_of_nothing_still_has_one(case: Case, http: Http) -> None:
    lane = Lane(case.made(), http)
    (row,) = lane.plan(lane.about("task_created", task=Task("T-9", "\u202e\x07 ")))
    assert isinstance(await lane.once(row), Delivered)
    assert case.tracker.made[0].title == "Task T-9"


async def test_a_template_is_used_and_what_it_prints_is_harmless(case: Case, http: Http) -> None:
    template = {"task_created": "## {{ task.title }}", "task_failed": "**Failed:** {{ event.data.error }}"}
    lane = Lane(case.made(template=template), http)
    for kind in ("task_created", "task_failed"):
        for row in lane.plan(lane.about(kind, {"error": "@alice <b>"}, replace(TASK, title="a*b"))):
            await lane.once(row)
    (issue,) = case.tracker.made
    assert issue.body.startswith(r"## a\*b")
    assert issue.comments[0].body.startswith("**Failed:** @\u200balice &lt;b&gt;\n\n")


async def test_a_template_that_fails_says_so_under_the_default_wording(case: Case, http: Http) -> None:
    lane = await linked(case, http, template={"task_failed": "{{ event.data.missing }}"})
    await lane.tell("task_failed", {"error": "exit 1"})
    (body,) = comments(case)
    assert "exit 1" in body
    assert "The template failed" in body


async def test_a_templates_text_is_cut_before_the_mark(case: Case, http: Http) -> None:
    lane = await linked(case, http, template={"task_failed": "{{ 'x' * 9000 }}" * 30})
    await lane.tell("task_failed")
    (body,) = comments(case)
    assert body.endswith("-->")
    assert "Open in ralf-hub" in body


# --- settings, checks, dry runs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"token": ""}, "the token is empty"),
        ({"token": "s3cret with blank"}, "no token has"),
        ({"token": "s3cret\u00e9"}, "no token has"),
        ({"base_url": "ftp://x/s3cret"}, "must start with https://"),
        ({"labels": ["a,b"]}, "a comma"),
        ({"labels": [""]}, "a label is empty"),
        ({"labels": ["x" * 51]}, "may have 50"),
        ({"failed_label": " x"}, "white space"),
        ({"in_progress_label": "a\nb"}, "control character"),
        ({"tokne": "s3cret"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_showing_secrets(
    case: Case, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        case.made(**given)
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_token_is_not_shown(case: Case) -> None:
    made = case.made()
    assert not SECRET.search(repr(made) + repr(made.settings) + repr(made.destinations()))
    assert made.settings.secret_values() == [case.given["token"]]


def test_two_instances_of_one_project_are_one_place(case: Case) -> None:
    other = case.made(token="another-token")
    assert case.made().destinations() == other.destinations()
    key = "repository" if case.kind == "github" else "project"
    assert case.made().destinations() != case.made(**{key: "octo/other"}).destinations()


async def test_validate_reads_the_project_and_changes_nothing(case: Case, http: Http) -> None:
    check = await case.made().validate(http)
    assert check.ok
    assert case.project in check.message
    assert {seen.method for seen in case.double.seen} == {"GET"}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("has_issues", "has no issues"),
        ("archived", "is archived"),
        ("revoked", "refuses the token (401)"),
        ("hidden", "it sees "),
    ],
)
async def test_validate_says_what_stands_in_the_way(case: Case, http: Http, state: str, words: str) -> None:
    setattr(case.tracker, state, state != "has_issues")
    check = await case.made().validate(http)
    assert not check.ok
    assert words in check.message


async def test_validate_knows_when_it_is_not_the_service_that_answers(case: Case, http: Http) -> None:
    fail(case.double, status=200, body="<html>")
    check = await case.made().validate(http)
    assert not check.ok
    assert "the answer is not a" in check.message


async def test_the_dry_run_shows_the_first_request(case: Case) -> None:
    lane = Lane(case.made(), nowhere)
    create, comment, close = lane.plan(lane.about("task_completed"))
    context = SendContext(nowhere, CLOCK)
    assert lane.made.prepare(create, context).method == "POST"
    assert lane.made.prepare(comment, context) is None
    assert lane.made.prepare(comment, replace(context, link=lane.link)) is None
    context = SendContext(nowhere, CLOCK, Link(case.kind, "7", state="linked"))
    request = lane.made.prepare(close, context)
    assert request.url.endswith("/issues/7")
    assert not SECRET.search(request.url + repr(request))


# --- the contract -----------------------------------------------------------------------------------


@needs_specs
@pytest.mark.shared
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/issues", {"body": "no title"}),
        ("POST", "/issues", {"title": "x", "labels": "not a list"}),
        ("PATCH", "/issues/1", {"state": "done"}),
        ("POST", "/issues/1/comments", {"text": "x"}),
        ("POST", "/issues/1/notes", {"text": "x"}),
        ("PUT", "/issues/1", {"add_labels": "x"}),
        ("GET", "/issues?page=first", None),
        ("GET", "/nothing", None),
    ],
)
async def test_a_request_the_description_does_not_know_is_refused(
    case: Case, http: Http, method: str, path: str, body: Any
) -> None:
    """The doubles' check is awake: every other test here rests on it."""
    made = case.made()
    request = made.api._call(method, path, body)
    assert (await http(request)).status == 400
    assert len(case.double.violations) == 1
    case.double.violations.clear()


async def test_faults_are_used_up(case: Case, http: Http) -> None:
    """What is programmed to fail must have been asked for, or a test above would show nothing."""
    case.double.faults.append(Fault("/nowhere"))
    await linked(case, http)
    assert len(case.double.faults) == 1
    assert LATER.now() > NOW_MS
