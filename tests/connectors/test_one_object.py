"""One external object per task, whatever fails and whenever the hub dies: each service on real inner rooms."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ralf_hub.model import Feature
from ralf_hub.store import features, tasks
from tests.connectors.helpers import TASK
from tests.connectors.outside import Outside, outside
from tests.doubles import github, gitlab, jira, trello
from tests.doubles.contract import needs_specs
from tests.doubles.server import Double, Fault, Seen
from tests.doubles.tracker import Tracker
from tests.support import SettableClock, rows

FEATURE = Feature("F-1", "Login", created_at=TASK.created_at, updated_at=TASK.created_at)
OWNED = replace(TASK, feature_id=FEATURE.id)
LIFE = ("task_created", "task_started", "task_failed", "task_completed")
DEADLINE_S = 10.0


@dataclass(frozen=True)
class Service:
    """A service: its double, the settings for it, which requests each action makes, whether all is there just once."""

    kind: str
    double: Callable[[Callable[[], int]], Double]
    settings: Callable[[Any], dict[str, Any]]
    actions: Mapping[str, tuple[str, ...]]
    """Method and path's end of an action's own request and, where these are another's too, what its body holds."""
    kept: Callable[[Any], dict[Any, Any]]
    check: Callable[[Any], None]
    requests: int
    """How many a whole life takes when nothing fails."""


def check_jira(double: jira.Jira) -> None:
    (issue,) = double.issues.values()
    said = [jira.text_of(comment["body"]).split("\n")[0] for comment in issue.comments]
    assert said == ["Task failed: Fix the login", "Task completed: Fix the login", "Feature delivered: Login"]
    assert issue.status == "Done"
    assert "ralf-failed" not in issue.labels
    assert [link["title"] for link in issue.links.values()] == ["Login"]


def check_trello(double: trello.Trello) -> None:
    card, feature = sorted(double.cards.values(), key=lambda item: item.name)
    assert [card.name, feature.name] == ["Fix the login", "Login"]
    said = [comment["data"]["text"].split("\n")[0] for item in (card, feature) for comment in item.comments]
    assert said == [
        "**Task failed: Fix the login**", "**Task completed: Fix the login**", "**Feature delivered: Login**",
    ]  # fmt: skip
    assert [double.list_of(card), double.list_of(feature)] == ["Done", "Done"]


def check_tracker(double: github.GitHub | gitlab.GitLab) -> None:
    (issue,) = double.tracker.made
    said = [comment.body.split("**")[1].split(" ", 1)[1] for comment in issue.comments]
    assert said == ["Task failed: Fix the login", "Task completed: Fix the login"]
    assert (issue.state, issue.labels) == ("closed", ["ralf"])


SERVICES = (
    Service(
        "jira",
        lambda now: jira.Jira(now=now),
        lambda double: {
            "base_url": double.url,
            "email": jira.EMAIL,
            "api_token": jira.TOKEN,
            "project_key": jira.PROJECT,
            "concurrency": 1,
        },
        {
            "create": ("POST", "/rest/api/3/issue"),
            "comment": ("POST", "/comment"),
            "label": ("PUT", "/issue/10001"),
            "transition": ("POST", "/transitions"),
            "link:TASK-7": ("POST", "/remotelink"),
        },
        lambda double: double.issues,
        check_jira,
        13,
    ),
    Service(
        "trello",
        lambda now: trello.Trello(now=now),
        lambda double: {
            "base_url": f"{double.url}/1",
            "api_key": trello.KEY,
            "token": trello.TOKEN,
            "board_id": trello.BOARD,
            "concurrency": 1,
        },
        {"create": ("POST", "/1/cards"), "comment": ("POST", "/comments"), "move": ("PUT", "*")},
        lambda double: double.cards,
        check_trello,
        9,
    ),
    Service(
        "github",
        lambda now: github.GitHub(tracker=Tracker(now)),
        lambda double: {
            "base_url": double.url,
            "token": github.TOKEN,
            "repository": github.REPOSITORY,
            "events": ["task_*", "feature_delivered"],
            "concurrency": 1,
        },
        {
            "create": ("POST", "/issues"),
            "comment": ("POST", "/comments"),
            "label": ("POST", "/labels"),
            "close": ("PATCH", "/issues/1"),
        },
        lambda double: double.tracker.issues,
        check_tracker,
        10,
    ),
    Service(
        "gitlab",
        lambda now: gitlab.GitLab(tracker=Tracker(now)),
        lambda double: {
            "base_url": double.url,
            "token": gitlab.TOKEN,
            "project": gitlab.PROJECT,
            "events": ["task_*", "feature_delivered"],
            "concurrency": 1,
        },
        {
            "create": ("POST", "/issues"),
            "comment": ("POST", "/notes"),
            "label": ("PUT", "/issues/1", "_labels"),
            "close": ("PUT", "/issues/1", "state_event"),
        },
        lambda double: double.tracker.issues,
        check_tracker,
        7,
    ),
)
EACH_SERVICE = [pytest.param(service, id=service.kind) for service in SERVICES]
EACH_ACTION = [
    pytest.param(service, action, id=f"{service.kind}-{action}")
    for service in SERVICES
    for action in service.actions
]
EACH_REQUEST = [
    pytest.param(service, number, id=f"{service.kind}-{number}")
    for service in SERVICES
    for number in range(service.requests)
]


@pytest.fixture
async def double(request: pytest.FixtureRequest, clock: SettableClock) -> AsyncIterator[Any]:
    async with request.getfixturevalue("service").double(lambda: clock.ms) as running:
        yield running


async def live(out: Outside) -> None:
    """Let one task and its feature live from beginning to end."""

    def known(ledger: Any) -> None:
        features.save(ledger.conn, FEATURE)
        tasks.insert(ledger.conn, OWNED)

    await out.house.intake.accept(known)
    for kind in LIFE:
        await out.tell(kind, task=OWNED)
    await out.feature("feature_delivered", FEATURE)


@pytest.mark.parametrize("service", EACH_SERVICE)
async def test_a_whole_life(service: Service, double: Any, db_path: Path, clock: SettableClock) -> None:
    async with outside(db_path, clock, service.kind, **service.settings(double)) as out:
        await live(out)
        await out.settle()
        assert {state for _, state in out.states()} == {"delivered"}
        assert out.outcomes() == ["delivered"] * len(out.states())
    service.check(double)
    assert len(double.seen) == service.requests


BROKEN = [
    ("jira", Seen("POST", "/no/such/path", {}, {}, b"{}")),
    ("jira", Seen("POST", "/rest/api/3/issue", {}, {"content-type": "application/json"}, b'{"fields":"x"}')),
    (
        "jira",
        Seen("POST", "/rest/api/3/search/jql", {}, {"content-type": "application/json"}, b'{"startAt":0}'),
    ),
    ("trello", Seen("POST", "/1/cards", {"key": "k", "token": "t", "idList": "zz"}, {}, b"")),
    ("trello", Seen("POST", "/1/cards", {"idList": trello.BOARD}, {}, b"")),
    ("trello", Seen("POST", "/1/cards", {"key": "k", "token": "t"}, {}, b"")),
    (
        "github",
        Seen("PATCH", "/repos/o/r/issues/1", {}, {"content-type": "application/json"}, b'{"state":"done"}'),
    ),
    (
        "gitlab",
        Seen("GET", "/api/v4/projects/7/issues", {"page": "first"}, {"authorization": "Bearer t"}, b""),
    ),
]


@needs_specs
@pytest.mark.shared
@pytest.mark.parametrize(("kind", "seen"), BROKEN)
def test_the_doubles_refuse_what_the_services_own_descriptions_do_not_know(kind: str, seen: Seen) -> None:
    """Every request of the tests here goes through this check; leaving a double that refused one fails the test."""
    (service,) = (service for service in SERVICES if service.kind == kind)
    assert service.double(lambda: 0).violation(seen) is not None


# --- an answer that never comes -------------------------------------------------------------------


@pytest.mark.parametrize(("service", "number"), EACH_REQUEST)
async def test_an_answer_lost_at_any_step_leaves_one_object(
    service: Service, double: Any, db_path: Path, clock: SettableClock, number: int
) -> None:
    double.faults.append(Fault(skip=number, drop="after", times=2))
    async with outside(db_path, clock, service.kind, **service.settings(double)) as out:
        await live(out)
        await out.settle()
        assert {state for _, state in out.states()} == {"delivered"}
    assert double.faults == []
    service.check(double)


@pytest.mark.parametrize(("service", "number"), EACH_REQUEST)
async def test_a_hub_killed_between_answer_and_commit_leaves_one_object(
    service: Service,
    double: Any,
    db_path: Path,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    async with outside(db_path, clock, service.kind, **service.settings(double)) as first:
        checked = type(double).violation

        def fatal(running: Any, seen: Seen) -> str | None:
            if len(running.seen) == number + 1:
                first.loses_its_disk()
            return checked(running, seen)

        monkeypatch.setattr(type(double), "violation", fatal)
        await live(first)
        await asyncio.wait_for(first.unrecorded.wait(), DEADLINE_S)
        await first.crashes()
        monkeypatch.undo()
    async with outside(db_path, clock, service.kind, **service.settings(double)) as second:
        await second.settle()
        assert {state for _, state in second.states()} == {"delivered"}
    service.check(double)


# --- every action: what is tried again, what dies, what parks -------------------------------------


def on(service: Service, action: str, **fault: Any) -> Fault:
    """Return a fault that meets an action's own request."""
    method, path, *holding = service.actions[action]
    return Fault(path, method=method, holding="".join(holding), **fault)


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_is_tried_again(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock
) -> None:
    async with outside(db_path, clock, service.kind, **service.settings(double)) as out:
        double.faults += [
            on(service, action, status=429, headers={"Retry-After": "7"}),
            on(service, action, status=500),
            on(service, action, status=502, body="<html>bad gateway</html>"),
            on(service, action, status=503, headers={"Retry-After": "3"}),
            on(service, action, drop="before"),
        ]
        await live(out)
        await out.settle()
        assert {state for _, state in out.states()} == {"delivered"}
        failed = [outcome for outcome in out.outcomes() if outcome != "delivered"]
        assert len(failed) >= 4  # aiohttp repeats a PUT by itself when its connection dies
        assert set(failed) == {"retry", "ambiguous"}
    assert double.faults == []
    service.check(double)


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_dies_of_a_permanent_error_and_says_why(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock
) -> None:
    async with outside(db_path, clock, service.kind, **service.settings(double)) as out:
        double.faults.append(on(service, action, status=400, body='{"errorMessages":["never"]}'))
        await live(out)
        await out.settle()
        dead = [(name, error) for name, state, error in out.rows() if state == "dead"]
    assert dead[0][0] == action
    assert "(400)" in str(dead[0][1])
    if action == "create":  # what should have followed says what it waits for
        assert all("replay that one first" in str(error) for _, error in dead[1:])
        assert len(dead) > 4
    else:
        assert len(dead) == 1


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_parks_the_connector_when_the_credentials_are_refused(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock
) -> None:
    async with outside(db_path, clock, service.kind, **service.settings(double)) as out:
        double.faults.append(on(service, action, status=401, body="invalid token", times=20))
        await live(out)
        for _ in range(20):
            await out.next_attempt()
            if out.outcomes()[-1] == "credentials_broken":
                break
        assert out.house.state_of(service.kind)[0] == "open"
        tried = rows(db_path, "SELECT max(attempts) FROM outbox WHERE state = 'pending'")
        assert tried == [(0,)]
        alerts = rows(db_path, "SELECT data ->> 'code' FROM events WHERE type = 'system_alert'")
        assert alerts == [("connector_down",)]
        double.faults.clear()
        await out.settle()
        assert {state for _, state in out.states()} == {"delivered"}
    service.check(double)


# --- an object that is gone -----------------------------------------------------------------------


@pytest.mark.parametrize("service", EACH_SERVICE)
async def test_an_object_someone_deleted_breaks_the_link_and_is_told_once(
    service: Service, double: Any, db_path: Path, clock: SettableClock
) -> None:
    kept = service.kept(double)
    async with outside(db_path, clock, service.kind, **service.settings(double)) as out:
        await out.tell("task_created")
        await out.settle()
        removed = dict(kept)
        kept.clear()
        await out.tell("task_completed")
        await out.settle()
        link = await out.link()
        assert link is not None
        assert link.state == "broken"
        states = [state for _, state in out.states()]
        assert (states[0], set(states[1:])) == ("delivered", {"dead"})
        assert all("is gone" in str(error) for _, state, error in out.rows() if state == "dead")
        await out.tell("task_failed")  # nothing more is planned for what is gone
        assert len(out.states()) == len(states)
        told = rows(db_path, "SELECT data ->> 'code' FROM events WHERE type = 'system_alert'")
        assert told == [("link_broken",)]
        kept.update(removed)
        await out.replay()
        assert {state for _, state in out.states()} == {"delivered"}
        link = await out.link()
        assert link is not None
        assert link.state == "linked"
