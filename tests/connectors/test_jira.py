"""Jira: what is planned, what is sent, how issues are found again, and where they can go."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Http,
    HttpRequest,
    HttpResponse,
    NotSentError,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.jira_layout import label
from ralf_hub.model import Feature, Link
from tests.connectors.helpers import CLOCK, TASK, connector, fact, nowhere
from tests.connectors.lane import Lane
from tests.doubles.jira import EMAIL, PROJECT, TOKEN, Jira, text_of
from tests.doubles.server import Fault
from tests.support import SettableClock

LINKED = Link("jira", "10001", "RALF-1", state="linked", entity_id=TASK.id)
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def jira(clock: SettableClock) -> AsyncIterator[Jira]:
    async with Jira(now=lambda: clock.ms) as double:
        yield double


def made(base_url: str = "https://ralf.atlassian.net", **more: Any) -> Any:
    given = {"base_url": base_url, "email": EMAIL, "api_token": TOKEN, "project_key": PROJECT}
    return connector("jira", **{**given, **more})


@pytest.fixture
def lane(jira: Jira, http: Http, clock: SettableClock) -> Lane:
    return Lane(made(jira.url, clock=clock.clock), http)


async def linked(lane: Lane) -> Lane:
    """Give the lane's task its issue."""
    await lane.tell("task_created")
    return lane


def only(jira: Jira) -> Any:
    (issue,) = jira.issues.values()
    return issue


# --- what is planned ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "without", "with_one"),
    [
        ("task_created", ["create"], []),
        ("task_started", ["create", "transition"], ["transition"]),
        ("task_completed", ["create", "comment", "transition"], ["comment", "transition"]),
        ("task_failed", ["create", "comment", "label"], ["comment", "label"]),
        ("task_cancelled", [], ["comment", "transition"]),
        ("task_blocked", [], ["comment"]),
        ("agent_note", [], ["comment"]),
        ("webhook_received", [], []),
        ("queue_changed", [], []),
    ],
)
def test_what_an_event_asks_for(kind: str, without: list[str], with_one: list[str]) -> None:
    assert [action.name for action in made().plan(fact(kind))] == without
    assert [action.name for action in made().plan(fact(kind, link=LINKED))] == with_one
    assert made().plan(fact(kind, link=replace(LINKED, state="broken"))) == []


def test_a_status_in_the_settings_moves_where_nothing_did_and_an_empty_one_stops_a_move() -> None:
    chosen = made(statuses={"task_failed": "Blocked", "task_completed": ""})
    assert [a.name for a in chosen.plan(fact("task_failed", link=LINKED))] == [
        "comment",
        "label",
        "transition",
    ]
    assert [a.name for a in chosen.plan(fact("task_completed", link=LINKED))] == ["comment"]


def test_an_event_about_no_task_makes_no_issue() -> None:
    assert made().plan(fact("system_alert", {"code": "x"}, task=None)) == []
    assert made().plan(fact("task_completed", task=None)) == []


def test_a_delivered_feature_is_told_on_the_issues_of_its_tasks() -> None:
    feature = Feature("F-1", "Login")
    others = (LINKED, replace(LINKED, entity_id="T-2", state="creating"), replace(LINKED, state="broken"))
    about = fact("feature_delivered", task=None, feature=feature, task_links=others)
    actions = made().plan(about)
    assert [(action.name, action.lane) for action in actions] == [
        ("comment:TASK-7", "TASK-7"),
        ("link:TASK-7", "TASK-7"),
        ("comment:T-2", "T-2"),
        ("link:T-2", "T-2"),
    ]
    assert actions[1].payload["object"] == {
        "url": "http://127.0.0.1:8080/#/features/F-1",
        "title": "Login",
        "status": {"resolved": True},
    }
    assert made().plan(replace(about, hub_url=""))[1].name == "comment:T-2"  # nothing to link to
    assert made().plan(fact("feature_created", task=None, feature=feature, task_links=others)) == []


def test_the_marker_is_a_label_of_the_event_and_goes_with_the_creation_alone() -> None:
    about = fact("task_completed")
    create, comment, transition = made().plan(about)
    assert create.marker == label(about.event.id)
    assert create.marker in create.payload["fields"]["labels"]
    assert (comment.marker, transition.marker) == (None, None)
    assert label("evt_1") != label("evt_2")


# --- what is sent ---------------------------------------------------------------------------------


async def test_an_issue_as_it_is_made(jira: Jira, lane: Lane) -> None:
    task = replace(TASK, title="Fix\nthe   login", description="It fails.\n\nAlways:\nsince Monday")
    (row,) = lane.plan(lane.about("task_created", task=task))
    outcome = await lane.once(row)
    issue = only(jira)
    assert isinstance(outcome, Delivered)
    assert outcome.link == Link(
        "jira", issue.id, issue.key, f"{jira.url}/browse/RALF-1", "linked", marker=label(row.event_id)
    )
    assert issue.fields["summary"] == "Fix the login"
    assert text_of(issue.fields["description"]) == (
        "It fails.\nAlways:\nsince Monday\nTask: TASK-7 · Priority: high\n"
        f"Open in ralf-hub · ralf:{row.event_id}"
    )
    assert issue.labels == ["ralf", label(row.event_id)]
    assert issue.properties == {"ralf": {"task_id": "TASK-7", "event_id": row.event_id}}
    assert issue.fields["project"] == {"key": "RALF"}
    assert issue.fields["issuetype"] == {"name": "Task"}


async def test_project_and_type_are_those_of_the_settings_when_it_is_sent(
    jira: Jira, http: Http, clock: SettableClock
) -> None:
    wrong = Lane(made(jira.url, project_key="NONE", clock=clock.clock), http)
    (row,) = wrong.plan(wrong.about("task_created"))
    assert isinstance(await wrong.once(row), Rejected)
    right = Lane(made(jira.url, default_issue_type="Bug", clock=clock.clock), http)
    assert isinstance(await right.once(row), Delivered)
    assert only(jira).fields["issuetype"] == {"name": "Bug"}


def test_a_dry_run_shows_the_first_request_of_each_action_and_no_secret() -> None:
    chosen = made()
    lane = Lane(chosen, nowhere)
    rows = lane.plan(lane.about("task_failed"))
    context = SendContext(nowhere, CLOCK, LINKED)
    requests = [chosen.prepare(row, context) for row in rows]
    assert [(request.method, request.url) for request in requests] == [
        ("POST", "https://ralf.atlassian.net/rest/api/3/issue"),
        ("POST", "https://ralf.atlassian.net/rest/api/3/issue/10001/comment"),
        ("PUT", "https://ralf.atlassian.net/rest/api/3/issue/10001"),
    ]
    pair = base64.b64encode(f"{EMAIL}:{TOKEN}".encode()).decode()
    assert requests[0].headers["authorization"] == f"Basic {pair}"
    assert {TOKEN, pair} <= set(chosen.settings.secret_values())
    for secret in (TOKEN, pair):
        assert secret not in f"{requests!r}{chosen!r}{chosen.settings!r}{rows!r}"
    assert chosen.prepare(rows[1], SendContext(nowhere, CLOCK)) is None


def test_behind_the_gateway_for_scoped_tokens_there_is_no_address_for_people(jira: Jira) -> None:
    behind = made("https://api.atlassian.com/ex/jira/0a1b")
    (row,) = Lane(behind, nowhere).plan(fact("task_created"))
    assert behind._link(row, {"id": "1", "key": "RALF-1"}).url is None


@pytest.mark.parametrize("answer", ["<html>signed in</html>", "[]", '{"id": 5}'])
async def test_a_creation_that_is_answered_strangely_is_looked_for(
    jira: Jira, lane: Lane, clock: SettableClock, answer: str
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    jira.faults.append(Fault("/issue", status=201, body=answer))
    assert isinstance(await lane.once(row), Ambiguous)
    assert isinstance(await lane.once(row, again=True), Retry)
    assert jira.calls("/search/jql") != []


# --- what may have been made before ---------------------------------------------------------------


async def test_a_workflow_with_many_ways_on_is_read_whole(jira: Jira, lane: Lane) -> None:
    await linked(lane)
    described = {"self": "https://x.atlassian.net/rest/api/3/status/1", "description": "x" * 1_500}
    ways = [
        {
            "id": str(n),
            "name": f"Way {n}",
            "to": {"name": f"Way {n}", "statusCategory": {"key": "new"}, **described},
        }
        for n in range(60)
    ]
    last = {
        "id": "21",
        "name": "Go",
        "to": {"name": "In Progress", "statusCategory": {"key": "indeterminate"}},
    }
    body = json.dumps({"transitions": [*ways, last]})
    jira.faults.append(Fault("/transitions", method="GET", status=200, body=body))
    (row,) = lane.plan(lane.about("task_started"))
    await lane.once(row)
    assert [seen.json for seen in jira.calls("/transitions") if seen.method == "POST"] == [
        {"transition": {"id": "21"}}
    ]


async def test_after_a_lost_answer_the_issue_is_found_once_the_index_shows_it(
    jira: Jira, lane: Lane, clock: SettableClock
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    jira.faults.append(Fault("/issue", drop="after"))
    assert isinstance(await lane.once(row), Ambiguous)
    too_soon = await lane.once(row, again=True)
    assert isinstance(too_soon, Retry)
    assert (too_soon.counts, too_soon.retry_after_s, too_soon.holds_connector) == (False, 30.0, False)
    clock.advance(30)
    found = await lane.once(row, again=True)
    assert isinstance(found, Delivered)
    assert found.link is not None
    assert found.link.external_key == only(jira).key
    assert len(jira.calls("/rest/api/3/issue")) == 1


async def test_an_issue_is_made_again_only_after_two_looks_with_the_lag_in_between(
    jira: Jira, lane: Lane, clock: SettableClock
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    jira.faults.append(Fault("/issue", drop="before"))
    assert isinstance(await lane.once(row), Ambiguous)
    for _ in range(2):
        assert isinstance(await lane.once(row, again=True), Retry)
        assert isinstance(await lane.once(row, again=True), Retry)  # looking sooner does not count
        clock.advance(30)
    assert jira.issues == {}
    outcome = await lane.once(row, again=True)
    assert isinstance(outcome, Delivered)
    assert len(jira.issues) == 1


async def test_a_hub_that_starts_anew_looks_from_the_beginning(
    jira: Jira, lane: Lane, http: Http, clock: SettableClock
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    for _ in range(2):
        assert isinstance(await lane.once(row, again=True), Retry)
        clock.advance(30)
    restarted = Lane(made(jira.url, clock=clock.clock), http)
    restarted.link = lane.link
    assert isinstance(await restarted.once(row, again=True), Retry)


@pytest.mark.parametrize("status", [429, 401, 403])
async def test_what_was_refused_is_made_without_a_look(jira: Jira, lane: Lane, status: int) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    jira.faults.append(Fault("/issue", status=status, body='{"errorMessages":["no"]}'))
    assert not isinstance(await lane.once(row), Delivered)
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert jira.calls("/search/jql") == []


async def test_what_was_never_sent_is_made_without_a_look(
    jira: Jira, lane: Lane, clock: SettableClock
) -> None:
    (row,) = lane.plan(lane.about("task_created"))

    async def unreachable(request: HttpRequest) -> HttpResponse:
        raise NotSentError("no connection")

    with pytest.raises(NotSentError):
        await lane.made.send(row, SendContext(unreachable, clock.clock, lane.link))
    assert isinstance(await lane.once(row, again=True), Delivered)
    assert jira.calls("/search/jql") == []


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, '{"errorMessages":["no"]}', CredentialsBroken),
        (429, "", Retry),
        (500, "", Retry),
        (400, '{"errorMessages":["the field labels is unknown"]}', Rejected),
        (200, "<html>", Retry),
        (200, '{"issues": 5}', Retry),
    ],
)
async def test_nothing_is_made_while_the_search_does_not_work(
    jira: Jira, lane: Lane, status: int, body: str, kind: type
) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    jira.faults.append(Fault("/search/jql", status=status, body=body))
    assert isinstance(await lane.once(row, again=True), kind)
    assert jira.issues == {}


async def test_a_creation_that_is_replayed_makes_no_second_issue(jira: Jira, lane: Lane) -> None:
    (row,) = lane.plan(lane.about("task_created"))
    await lane.once(row)
    again = await lane.once(row, again=True)
    assert isinstance(again, Delivered)
    assert again.response == "RALF-1 stands for it already"
    assert len(jira.seen) == 1


async def test_a_comment_is_written_once(jira: Jira, lane: Lane) -> None:
    row, _ = (await linked(lane)).plan(lane.about("task_completed"))
    jira.faults.append(Fault("/comment", drop="after", method="POST"))
    assert isinstance(await lane.once(row), Ambiguous)
    found = await lane.once(row, again=True)
    assert isinstance(found, Delivered)
    assert found.response == "found: an earlier try had written it"
    assert len(only(jira).comments) == 1


async def test_a_try_that_a_crash_left_at_work_is_given_time(lane: Lane, clock: SettableClock) -> None:
    row, _ = (await linked(lane)).plan(lane.about("task_completed"))
    row = replace(row, first_attempt_at=clock.iso(-1))
    outcome = await lane.made.send(row, SendContext(nowhere, clock.clock, lane.link, may_have_been_sent=True))
    assert outcome == Retry("an earlier try may still be at work", retry_after_s=4.0, counts=False)


async def test_what_was_never_made_cannot_be_updated(lane: Lane) -> None:
    _, row, _ = lane.plan(lane.about("task_completed"))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == (
        "there is no issue to update: the delivery 'create' of TASK-7 is dead or was cancelled; "
        "replay that one first, then this"
    )


# --- the workflow ---------------------------------------------------------------------------------


async def test_an_issue_goes_where_the_task_goes(jira: Jira, lane: Lane) -> None:
    await linked(lane)
    await lane.tell("task_started")
    assert only(jira).status == "In Progress"
    assert lane.link is not None
    assert lane.link.last_state == "In Progress"
    await lane.tell("task_failed")
    assert "ralf-failed" in only(jira).labels
    await lane.tell("task_completed")
    assert (only(jira).status, lane.link.last_state) == ("Done", "Done")
    assert "ralf-failed" not in only(jira).labels


async def test_an_issue_that_is_there_already_is_left_there(jira: Jira, lane: Lane) -> None:
    await linked(lane)
    only(jira).status = "Won't Do"  # somebody closed it: that is a status of the category done
    await lane.tell("task_completed")
    assert only(jira).status == "Won't Do"
    assert lane.link is not None
    assert lane.link.last_state == "Won't Do"
    assert not any(seen.method == "POST" for seen in jira.calls("/transitions"))


async def test_a_cancelled_task_is_declined(jira: Jira, lane: Lane) -> None:
    await linked(lane)
    await lane.tell("task_cancelled")
    assert only(jira).status == "Won't Do"


async def test_a_status_by_name_whatever_its_case(jira: Jira, http: Http, clock: SettableClock) -> None:
    lane = Lane(made(jira.url, statuses={"task_started": "in progress"}, clock=clock.clock), http)
    await lane.tell("task_started")
    assert only(jira).status == "In Progress"


async def test_a_status_that_cannot_be_reached_is_answered_with_those_that_can(
    jira: Jira, http: Http, clock: SettableClock
) -> None:
    lane = Lane(made(jira.url, statuses={"task_started": "Doing"}, clock=clock.clock), http)
    create, row = lane.plan(lane.about("task_started"))
    await lane.once(create)
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == (
        "no transition leads to 'Doing'; from where the issue stands there are: "
        "'Start -> In Progress', \"Decline -> Won't Do\""
    )


async def test_a_workflow_that_never_arrives_is_given_up(jira: Jira, lane: Lane) -> None:
    jira.workflow = {"To Do": {"11": ("Start", "In Progress")}, "In Progress": {"12": ("Block", "Blocked")}}
    create, _, row = lane.plan(lane.about("task_completed"))
    await lane.once(create)
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert "category 'done'" in outcome.reason
    assert "'Block -> Blocked'" in outcome.reason


async def test_a_move_the_settings_no_longer_ask_for_is_done(
    jira: Jira, lane: Lane, http: Http, clock: SettableClock
) -> None:
    create, row = lane.plan(lane.about("task_started"))
    await lane.once(create)
    changed = Lane(made(jira.url, statuses={"task_started": ""}, clock=clock.clock), http)
    changed.link = lane.link
    assert isinstance(await changed.once(row), Delivered)
    assert only(jira).status == "To Do"


async def test_two_who_move_an_issue_at_once_do_not_lose_the_move(jira: Jira, lane: Lane) -> None:
    await linked(lane)
    (row,) = lane.plan(lane.about("task_started"))
    jira.faults.append(
        Fault("/transitions", status=409, body='{"errorMessages":["conflict"]}', method="POST")
    )
    outcome = await lane.once(row)
    assert isinstance(outcome, Retry)
    assert "somebody else" in outcome.reason
    assert isinstance(await lane.once(row, again=True), Delivered)


# --- names that do not exist ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"project_key": "RLAF"}, "projects the account sees: 'OPS', 'RALF'"),
        ({"default_issue_type": "Story"}, "issue types of RALF: 'Task', 'Bug'"),
    ],
)
async def test_a_wrong_name_is_answered_with_those_that_exist(
    jira: Jira, http: Http, clock: SettableClock, settings: Any, words: str
) -> None:
    chosen = made(jira.url, clock=clock.clock, **settings)
    lane = Lane(chosen, http)
    (row,) = lane.plan(lane.about("task_created"))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.reason.startswith("Jira refuses it: ")
    assert words in outcome.reason
    check = await chosen.validate(http)
    assert not check.ok
    assert words.partition(": ")[2] in check.message


async def test_a_refusal_stands_without_the_names(jira: Jira, http: Http, clock: SettableClock) -> None:
    lane = Lane(made(jira.url, project_key="NONE", clock=clock.clock), http)
    (row,) = lane.plan(lane.about("task_created"))
    jira.faults.append(Fault("/project/search", drop="before", times=3))
    outcome = await lane.once(row)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "Jira refuses it: project: valid project is required (400)"


async def test_the_check_says_whose_token_it_is_and_posts_nothing(jira: Jira, http: Http) -> None:
    check = await made(jira.url).validate(http)
    assert (check.ok, check.message) == (True, "the token works: Ralf")
    assert {seen.method for seen in jira.seen} == {"GET"}
    wrong = await made(jira.url, api_token="other").validate(http)
    assert not wrong.ok
    assert wrong.message == "Jira refuses the e-mail or the API token (401)"
    jira.faults.append(Fault("/myself", status=200, body="<html>welcome</html>"))
    assert (await made(jira.url).validate(http)).message == "no Jira answers there: check base_url"
    jira.faults.append(Fault("/project/RALF", status=500))
    assert (await made(jira.url).validate(http)).message == "the service failed (500)"


async def test_a_project_of_many_versions_is_read_whole(jira: Jira, http: Http) -> None:
    jira.padding = "x" * 200_000
    assert (await made(jira.url).validate(http)).ok


# --- an issue that is gone ------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["comment", "label"])
async def test_an_issue_that_is_gone_breaks_the_link(jira: Jira, lane: Lane, action: str) -> None:
    rows = {row.action: row for row in (await linked(lane)).plan(lane.about("task_failed"))}
    kept = dict(jira.issues)
    jira.issues.clear()
    outcome = await lane.once(rows[action])
    assert isinstance(outcome, Rejected)
    assert outcome.reason.startswith("the issue RALF-1 is gone, or the account may no longer see it: ")
    assert outcome.link is not None
    assert outcome.link.state == "broken"
    jira.issues.update(kept)
    waiting = await lane.once(rows[action])
    assert isinstance(waiting, Rejected)
    assert waiting.reason == "the issue RALF-1 is gone; replay this when it is there again"
    healed = await lane.once(replace(rows[action], replayed_at="2026-02-01T17:00:00.000Z"))
    assert isinstance(healed, Delivered)
    assert healed.link is not None
    assert healed.link.state == "linked"


async def test_a_page_for_people_is_no_verdict_on_an_issue(jira: Jira, lane: Lane) -> None:
    row, _ = (await linked(lane)).plan(lane.about("task_completed"))
    jira.faults.append(Fault("/comment", status=404, body="<html>Site not found</html>"))
    outcome = await lane.once(row)
    assert outcome == CredentialsBroken(
        "no Jira answers there: check base_url (404)", 404, "<html>Site not found</html>"
    )


async def test_a_stranger_is_told_404_of_everything_and_that_is_no_verdict_either(
    jira: Jira, lane: Lane
) -> None:
    row, _ = (await linked(lane)).plan(lane.about("task_completed"))
    body = orjson.dumps({"errorMessages": ["Issue does not exist"], "errors": {}}).decode()
    headers = {**JSON, "X-Seraph-LoginReason": "AUTHENTICATED_FAILED"}
    jira.faults.append(Fault("/comment", status=404, body=body, headers=headers))
    assert isinstance(await lane.once(row), CredentialsBroken)
