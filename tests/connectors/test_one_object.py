"""Nothing is lost and nothing made or told twice, whatever fails and whenever the hub dies, on real inner rooms."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.outside import Outside, outside
from tests.connectors.services import EACH_WITH_OBJECTS, SERVICES, Service, live
from tests.doubles import trello
from tests.doubles.contract import needs_specs
from tests.doubles.server import Fault, Seen
from tests.support import SettableClock, rows

DEADLINE_S = 30.0

EACH_COUNTED = [pytest.param(service, id=str(service)) for service in SERVICES if service.requests]
EACH_REQUEST = [
    pytest.param(service, number, id=f"{service}-{number}")
    for service in SERVICES
    if service.once
    for number in range(service.requests)
]


@pytest.fixture
async def double(request: pytest.FixtureRequest, clock: SettableClock) -> AsyncIterator[Any]:
    async with request.getfixturevalue("service").double(lambda: clock.ms) as running:
        yield running


def start(service: Service, double: Any, path: Path, clock: SettableClock) -> Any:
    return outside(path, clock, service.kind, env=service.env, concurrency=1, **service.settings(double))


def delivered(out: Outside) -> bool:
    return {state for _, state in out.states()} == {"delivered"}


@pytest.mark.parametrize("service", EACH_COUNTED)
async def test_a_whole_life_takes_no_more_requests_than_it_needs(
    service: Service, double: Any, db_path: Path, clock: SettableClock
) -> None:
    async with start(service, double, db_path, clock) as out:
        await live(out, service)
        await out.settle()
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
    (service,) = (service for service in SERVICES if service.name == kind)
    assert service.double(lambda: 0).violation(seen) is not None


# --- an answer that never comes -------------------------------------------------------------------


@pytest.mark.parametrize(("service", "number"), EACH_REQUEST)
async def test_an_answer_lost_at_any_request_changes_nothing_outside(
    service: Service, double: Any, db_path: Path, clock: SettableClock, number: int
) -> None:
    double.faults.append(Fault(skip=number, drop="after", times=2))
    async with start(service, double, db_path, clock) as out:
        await live(out, service)
        await out.settle()
        assert delivered(out)
    assert double.faults == []
    service.check(double)


@pytest.mark.parametrize(("service", "number"), EACH_REQUEST)
async def test_a_hub_killed_between_answer_and_commit_changes_nothing_outside(
    service: Service,
    double: Any,
    db_path: Path,
    clock: SettableClock,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    async with start(service, double, db_path, clock) as first:
        checked = type(double).violation

        def fatal(running: Any, seen: Seen) -> str | None:
            if len(running.seen) == number + 1:
                first.loses_its_disk()
            found: str | None = checked(running, seen)
            return found

        monkeypatch.setattr(type(double), "violation", fatal)
        await live(first, service)
        await asyncio.wait_for(first.unrecorded.wait(), DEADLINE_S)
        await first.crashes()
        monkeypatch.undo()
    if not service.one_object:
        clock.advance(3600)  # longer than a service remembers what it has had
    async with start(service, double, db_path, clock) as second:
        await second.settle()
        assert delivered(second)
    service.check(double)


# --- an object that is gone -----------------------------------------------------------------------


@pytest.mark.parametrize("service", EACH_WITH_OBJECTS)
async def test_an_object_someone_deleted_breaks_the_link_and_is_told_once(
    service: Service, double: Any, db_path: Path, clock: SettableClock
) -> None:
    kept = service.kept(double)
    async with start(service, double, db_path, clock) as out:
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
        assert delivered(out)
        link = await out.link()
        assert link is not None
        assert link.state == "linked"
