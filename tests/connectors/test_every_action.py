"""Every action of every connector, one trouble after the other. `make connector-table` writes down what was shown.

A test hands `shows` the cell of the table that it stands for; see `tests/connectors/table.py`.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.outside import Outside, outside
from tests.connectors.services import SERVICES, Service, live
from tests.connectors.troubles import TWICE
from tests.doubles.contract import needs_specs
from tests.support import SettableClock, rows

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""Apprise imports it when its services are loaded."""

Shows = Callable[[Service, str, str], None]

EACH_ACTION = [
    pytest.param(service, action, id=f"{service}-{action.partition(':')[0]}")
    for service in SERVICES
    for action in service.actions
]
EACH_THAT_PARKS = [param for param in EACH_ACTION if param.values[0].parks]  # type: ignore[union-attr]
TIMEOUT_S = 1.0
TRIES_MAX = 30


@pytest.fixture
async def double(request: pytest.FixtureRequest, clock: SettableClock) -> AsyncIterator[Any]:
    async with request.getfixturevalue("service").double(lambda: clock.ms) as running:
        yield running


@pytest.fixture
def shows(record_property: Callable[[str, object], None]) -> Shows:
    def note(service: Service, action: str, column: str) -> None:
        record_property("shows", (service.name, action, column))

    return note


def start(service: Service, double: Any, path: Path, clock: SettableClock) -> Any:
    return outside(path, clock, service.kind, env=service.env, concurrency=1, **service.settings(double))


def is_of(action: str, row: str) -> bool:
    """Return whether *row* is the action; apprise names its rows by a hash of where they go."""
    return action.partition(":")[0] == row.partition(":")[0]


def delivered(out: Outside) -> bool:
    return {state for _, state in out.states()} == {"delivered"}


@needs_specs
@pytest.mark.shared
@pytest.mark.parametrize("service", [pytest.param(service, id=str(service)) for service in SERVICES])
async def test_every_request_is_as_the_service_describes_it(
    service: Service, double: Any, db_path: Path, clock: SettableClock, shows: Shows
) -> None:
    async with start(service, double, db_path, clock) as out:
        await live(out, service)
        await out.settle()
        assert delivered(out)
    service.check(double)
    for action, act in service.actions.items():
        if hasattr(double, "seen"):
            assert any(act.is_of(seen) for seen in double.seen), action
            assert double.violations == []
        shows(service, action, "contract")


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_is_tried_again(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock, shows: Shows
) -> None:
    async with start(service, double, db_path, clock) as out:
        out.house.transport.allow(["127.0.0.0/8"], TIMEOUT_S)
        for trouble in service.failures:
            service.trouble(double, service.actions[action], trouble)
        await live(out, service)
        await out.settle()
        assert delivered(out)
        failed = [outcome for outcome in out.outcomes() if outcome != "delivered"]
        # aiohttp repeats a PUT by itself when its connection dies.
        assert len(failed) >= len(service.failures) - (service.actions[action].method == "PUT")
        assert set(failed) <= {"retry", "ambiguous"}
    service.check(double)
    shows(service, action, "retried")


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_whose_answer_is_lost(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock, shows: Shows
) -> None:
    service.trouble(double, service.actions[action], "lost")
    async with start(service, double, db_path, clock) as out:
        await live(out, service)
        await out.settle()
        assert delivered(out)
        if service.actions[action].method != "PUT":
            assert "ambiguous" in out.outcomes() or service.actions[action].lost == TWICE
    service.check(double)
    shows(service, action, "lost")


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_dies_of_a_permanent_error_and_says_why(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock, shows: Shows
) -> None:
    known = service.permanent == "yes"  # else all five tries of all three deliveries are needed to see it
    async with start(service, double, db_path, clock) as out:
        service.trouble(double, service.actions[action], "400", 1 if known else 15)
        await live(out, service)
        await out.settle()
        dead = [(name, str(error)) for name, state, error in out.rows() if state == "dead"]
    assert is_of(action, dead[0][0])
    assert "(400)" in dead[0][1] or "given up after 5 attempts" in dead[0][1]
    if action == "create":  # what should have followed says what it waits for
        assert all("replay that one first" in error for _, error in dead[1:])
        assert len(dead) > 4
    else:
        assert len(dead) == (1 if known else 3)
    shows(service, action, "permanent")


@pytest.mark.parametrize(("service", "action"), EACH_THAT_PARKS)
async def test_every_action_parks_the_connector_when_the_credentials_are_refused(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock, shows: Shows
) -> None:
    async with start(service, double, db_path, clock) as out:
        service.trouble(double, service.actions[action], "401", TRIES_MAX)
        await live(out, service)
        for _ in range(TRIES_MAX):
            await out.next_attempt()
            if out.outcomes()[-1] == "credentials_broken":
                break
        assert out.house.state_of(service.kind)[0] == "open"
        assert rows(db_path, "SELECT max(attempts) FROM outbox WHERE state = 'pending'") == [(0,)]
        alerts = rows(db_path, "SELECT data ->> 'code' FROM events WHERE type = 'system_alert'")
        assert alerts == [("connector_down",)]
        getattr(double, "faults", []).clear()
        getattr(double, "replies", {}).clear()
        await out.settle()
        assert delivered(out)
    service.check(double)
    shows(service, action, "credentials")
