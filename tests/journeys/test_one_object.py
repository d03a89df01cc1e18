"""Kill -9 of the real program between a service's answer and the hub's commit: still one object per task."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ralf_hub.clock import system_now
from tests.connectors.services import SERVICES, Service
from tests.connectors.table import keeps_one
from tests.doubles import jira
from tests.doubles.server import Seen
from tests.journeys.hub import Hub, HubEndedError
from tests.support import eventually

DELIVERY = """
[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.5
breaker_probe_first_s = 0.1
breaker_probe_max_s = 0.5
"""
SETTLED_WITHIN_S = 300.0
STATUSES = ("in_progress", "failed", "in_progress", "completed")
LOOKS = ("/search/jql", "/conversations.history", "/conversations.replies", "/conversations.list")
"""What is asked by POST and changes nothing."""

EACH_THAT_KEEPS_ONE = [pytest.param(service, id=str(service)) for service in SERVICES if keeps_one(service)]


def settings(service: Service, double: Any) -> str:
    given = service.settings(double)
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    return DELIVERY + f"\n[connectors.{service.kind}]\n" + "\n".join(lines) + "\n"


def step(seen: Seen) -> tuple[object, ...]:
    return (seen.method, seen.path, seen.query, seen.body)


def killer(hub: Hub, killed: list[Seen]) -> Callable[[Seen], None]:
    """Return what kills the hub after each request that changes something, when it is made for the first time."""

    def kill(seen: Seen) -> None:
        changes = seen.method != "GET" and not seen.path.endswith(LOOKS)
        if changes and step(seen) not in [step(before) for before in killed]:
            killed.append(seen)
            hub.kill()

    return kill


def shown(service: Service, double: Any) -> list[str]:
    """Return all that people see there: each text carries the mark of its event, so none may be there twice."""
    match service.kind:
        case "jira":
            (issue,) = double.issues.values()
            assert issue.status == "Done"
            return [jira.text_of(comment["body"]) for comment in issue.comments]
        case "trello":
            assert sorted(card.name for card in double.cards.values()) == ["F-1", "Fix the login"]
            return [found["data"]["text"] for card in double.cards.values() for found in card.comments]
        case "slack":
            (_, _) = service.kept(double)  # the task's thread, and the feature's message
            return [str(message.event_id) for message in double.messages]
        case "pagerduty":
            (incident,) = double.incidents
            assert incident.status == "resolved"
            return [incident.key]
    (issue,) = double.tracker.made
    assert (issue.state, issue.labels) == ("closed", ["ralf"])
    return [comment.body for comment in issue.comments]


@pytest.mark.journey
@pytest.mark.parametrize("service", EACH_THAT_KEEPS_ONE)
async def test_a_hub_killed_after_each_request_that_changes_something_leaves_one_object(
    service: Service, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    killed: list[Seen] = []
    async with service.double(system_now) as double:
        if service.kind == "jira":
            double.index_lag_ms = 0
        async with Hub(tmp_path, settings(service, double)) as hub:
            await hub.ok("POST", f"/api/v1/connectors/{service.kind}/pause")
            task = {"id": "TASK-7", "title": "Fix the login", "feature_id": "F-1"}
            await hub.ok("POST", "/api/v1/tasks", task)
            for status in STATUSES:
                await hub.ok("PATCH", "/api/v1/tasks/TASK-7", {"status": status})
            double.before_answering = killer(hub, killed)
            with contextlib.suppress(aiohttp.ClientError):  # it may be killed before it answers
                await hub.call("POST", f"/api/v1/connectors/{service.kind}/resume")
            await settle(hub)
            assert hub.rows("SELECT DISTINCT state FROM outbox") == [("delivered",)]
            deliveries = hub.value("SELECT count(*) FROM outbox")
    told = shown(service, double)
    assert sorted(told) == sorted(set(told))
    for action, act in service.actions.items():
        assert any(act.is_of(seen) for seen in killed), action
        record_property("shows", (service.name, action, "killed"))
    print(
        f"{service}: {deliveries} deliveries, killed {len(killed)} times, {len(double.seen)} requests, 1 object"
    )


async def settle(hub: Hub) -> None:
    """Start the hub again whenever it was killed, until nothing is pending."""
    deadline = time.monotonic() + SETTLED_WITHIN_S

    def settled() -> bool:
        return hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0

    while not settled():
        assert time.monotonic() < deadline, hub.rows("SELECT action, state, last_error FROM outbox")
        if hub.is_dead():
            with contextlib.suppress(HubEndedError):  # killed again by a request it made before it answered
                await hub.start()
        with contextlib.suppress(AssertionError):
            await eventually(lambda: hub.is_dead() or settled(), within_s=20.0)
