"""Services that are told of events: nothing is lost and nothing told twice, whatever fails and whenever the hub dies."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ralf_hub.model import Feature
from tests.connectors.helpers import TASK
from tests.connectors.outside import Outside, outside
from tests.doubles import discord, pagerduty
from tests.doubles.server import Double, Fault, Seen
from tests.support import SettableClock, rows

FEATURE = Feature("F-1", "Login", created_at=TASK.created_at, updated_at=TASK.created_at)
LIFE = ("task_failed", "task_completed")
DEADLINE_S = 10.0
PAGERDUTY_KEY = "ralf/ralf-hub/task/TASK-7"


@dataclass(frozen=True)
class Service:
    """A service: its double, the settings for it, its actions' requests, and whether all was told just once."""

    kind: str
    double: Callable[[Callable[[], int]], Double]
    settings: Callable[[Any], dict[str, Any]]
    actions: Mapping[str, tuple[str, str]]
    """The end of the path of an action's own request, and what its body holds."""
    check: Callable[[Any], None]
    requests: int
    """How many a whole life takes when nothing fails."""
    looks: bool = True
    """Whether what was told once can be told apart from what was not."""


def check_discord(double: discord.Discord) -> None:
    titles = [posted.embed["title"] for posted in double.messages]
    assert sorted(titles) == [
        "Feature delivered: Login", "Task completed: Fix the login", "Task failed: Fix the login",
    ]  # fmt: skip
    by_title = {posted.embed["title"]: posted for posted in double.messages}
    root = by_title["Task failed: Fix the login"]
    if root.webhook_id is None:
        assert by_title["Task completed: Fix the login"].answers == root.id


def check_pagerduty(double: pagerduty.PagerDuty) -> None:
    (incident,) = double.incidents
    assert (incident.payload["summary"], incident.status) == ("Task failed: Fix the login", "resolved")
    changes = {change["payload"]["summary"] for change in double.changes}
    assert changes == {"Feature delivered: Login"}
    assert double.dropped == [PAGERDUTY_KEY] * len(double.dropped)  # a repeated resolve changes nothing


SERVICES = (
    Service(
        "pagerduty",
        lambda _: pagerduty.PagerDuty(),
        lambda double: {"routing_key": pagerduty.ROUTING_KEY, "base_url": double.api_url},
        {
            "trigger": ("/enqueue", '"trigger"'),
            "resolve": ("/enqueue", '"resolve"'),
            "change": ("/change/enqueue", ""),
        },
        check_pagerduty,
        3,
    ),
    Service(
        "discord",
        lambda now: discord.Discord(now=now),
        lambda double: {"bot_token": discord.TOKEN, "channel": discord.CHANNEL, "base_url": double.api_url},
        {"post": ("/messages", "")},
        check_discord,
        3,
    ),
    Service(
        "discord",
        lambda now: discord.Discord(now=now),
        lambda double: {"webhook_url": double.webhook_url},
        {"post": (discord.WEBHOOK_TOKEN, "")},
        check_discord,
        3,
        looks=False,
    ),
)


def name_of(service: Service) -> str:
    return f"{service.kind}-{'-'.join(service.actions)}{'' if service.looks else '-blind'}"


EACH_SERVICE = [pytest.param(service, id=name_of(service)) for service in SERVICES]
EACH_ACTION = [
    pytest.param(service, action, id=f"{name_of(service)}-{action}")
    for service in SERVICES
    for action in service.actions
]
EACH_REQUEST = [
    pytest.param(service, number, id=f"{name_of(service)}-{number}")
    for service in SERVICES
    if service.looks
    for number in range(service.requests)
]


@pytest.fixture
async def double(request: pytest.FixtureRequest, clock: SettableClock) -> AsyncIterator[Any]:
    async with request.getfixturevalue("service").double(lambda: clock.ms) as running:
        yield running


def start(service: Service, double: Any, path: Path, clock: SettableClock) -> Any:
    return outside(path, clock, service.kind, concurrency=1, **service.settings(double))


async def live(out: Outside) -> None:
    for kind in LIFE:
        await out.tell(kind)
    await out.feature("feature_delivered", FEATURE)


@pytest.mark.parametrize("service", EACH_SERVICE)
async def test_a_whole_life(service: Service, double: Any, db_path: Path, clock: SettableClock) -> None:
    async with start(service, double, db_path, clock) as out:
        await live(out)
        await out.settle()
        assert out.outcomes() == ["delivered"] * service.requests
    service.check(double)
    assert len(double.seen) == service.requests


@pytest.mark.parametrize(("service", "number"), EACH_REQUEST)
async def test_an_answer_lost_at_any_request(
    service: Service, double: Any, db_path: Path, clock: SettableClock, number: int
) -> None:
    double.faults.append(Fault(skip=number, drop="after", times=2))
    async with start(service, double, db_path, clock) as out:
        await live(out)
        await out.settle()
        assert {state for _, state in out.states()} == {"delivered"}
    assert double.faults == []
    service.check(double)


@pytest.mark.parametrize(("service", "number"), EACH_REQUEST)
async def test_a_hub_killed_between_answer_and_commit(
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
            return checked(running, seen)

        monkeypatch.setattr(type(double), "violation", fatal)
        await live(first)
        await asyncio.wait_for(first.unrecorded.wait(), DEADLINE_S)
        await first.crashes()
        monkeypatch.undo()
    clock.advance(3600)
    async with start(service, double, db_path, clock) as second:
        await second.settle()
        assert {state for _, state in second.states()} == {"delivered"}
    service.check(double)


def on(service: Service, action: str, **fault: Any) -> Fault:
    """Return a fault that meets an action's own request."""
    path, holding = service.actions[action]
    return Fault(path, method="POST", holding=holding, **fault)


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_is_tried_again(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock
) -> None:
    async with start(service, double, db_path, clock) as out:
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
        assert len(failed) == 5
        assert set(failed) <= {"retry", "ambiguous"}
    assert double.faults == []
    service.check(double)


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_dies_of_a_permanent_error(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock
) -> None:
    async with start(service, double, db_path, clock) as out:
        double.faults.append(on(service, action, status=400, body='{"message":"never","errors":["never"]}'))
        await live(out)
        await out.settle()
        ((name, error),) = [(name, error) for name, state, error in out.rows() if state == "dead"]
    assert name == action
    assert "(400)" in str(error)


@pytest.mark.parametrize(("service", "action"), EACH_ACTION)
async def test_every_action_parks_the_connector(
    service: Service, action: str, double: Any, db_path: Path, clock: SettableClock
) -> None:
    async with start(service, double, db_path, clock) as out:
        double.faults.append(on(service, action, status=401, body="invalid token", times=20))
        await live(out)
        for _ in range(20):
            await out.next_attempt()
            if out.outcomes()[-1] == "credentials_broken":
                break
        assert out.house.state_of(service.kind)[0] == "open"
        assert rows(db_path, "SELECT max(attempts) FROM outbox WHERE state = 'pending'") == [(0,)]
        alerts = rows(db_path, "SELECT data ->> 'code' FROM events WHERE type = 'system_alert'")
        assert alerts == [("connector_down",)]
        double.faults.clear()
        await out.settle()
        assert {state for _, state in out.states()} == {"delivered"}
    service.check(double)
