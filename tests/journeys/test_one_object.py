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
from tests.connectors.test_one_object import EACH_SERVICE, Service
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
SETTLED_WITHIN_S = 90.0


def settings(service: Service, double: Any) -> str:
    given = service.settings(double)
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    return DELIVERY + f"\n[connectors.{service.kind}]\n" + "\n".join(lines) + "\n"


def killer(hub: Hub, killed: list[str]) -> Callable[[Seen], None]:
    """Return what kills the hub after the first request of each kind that changes something."""

    def kill(seen: Seen) -> None:
        step = f"{seen.method} {seen.path}"
        if seen.method != "GET" and not seen.path.endswith("/search/jql") and step not in killed:
            killed.append(step)
            hub.kill()

    return kill


@pytest.mark.journey
@pytest.mark.parametrize("service", EACH_SERVICE)
async def test_a_hub_killed_after_each_request_that_changes_something_leaves_one_object(
    service: Service, tmp_path: Path
) -> None:
    killed: list[str] = []
    async with service.double(system_now) as double:
        if service.kind == "jira":
            double.index_lag_ms = 0  # type: ignore[attr-defined]
        async with Hub(tmp_path, settings(service, double)) as hub:
            await hub.ok("POST", f"/api/v1/connectors/{service.kind}/pause")
            await hub.ok("POST", "/api/v1/tasks", {"id": "TASK-7", "title": "Fix the login"})
            await hub.ok("PATCH", "/api/v1/tasks/TASK-7", {"status": "completed", "result": "done"})
            double.before_answering = killer(hub, killed)
            with contextlib.suppress(aiohttp.ClientError):  # it may be killed before it answers
                await hub.call("POST", f"/api/v1/connectors/{service.kind}/resume")
            await settle(hub)
            assert hub.rows("SELECT DISTINCT state FROM outbox") == [("delivered",)]
    (made,) = service.kept(double).values()
    assert len(made.comments) == 1
    assert len(killed) >= 3
    print(f"{service.kind}: killed {len(killed)} times, {len(double.seen)} requests, one object")


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
