"""The numbers are those of what was done."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.conftest import Start
from tests.api.helpers import ONLY, Api, webhook
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.support import SettableClock, eventually, rows


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as double:
        yield double


async def metrics(api: Api) -> dict[str, dict[str, object]]:
    return dict((await api.get("/metrics")).json)


async def test_a_hub_that_did_nothing(api: Api) -> None:
    numbers = await metrics(api)
    statuses = dict.fromkeys(("pending", "in_progress", "blocked", "completed", "failed", "cancelled"), 0)
    assert numbers["tasks"] == {
        "total": 0,
        "by_status": statuses,
        "completed_24h": 0,
        "success_rate": None,
        "mean_duration_s": None,
        "p95_duration_s": None,
    }
    assert numbers["queue"] == {"depth": 0, "by_priority": {}, "oldest_pending_age_s": None}
    assert numbers["deliveries"] == {}
    assert numbers["webhooks"] == {"accepted": 0, "duplicate": 0, "rejected": {}}
    assert numbers["api"] == {"requests": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "by_status": {}}
    assert numbers["process"]["rss_bytes"] > 10_000_000
    assert numbers["process"]["db_bytes"] > 10_000


async def test_tasks_and_queue(api: Api, clock: SettableClock) -> None:
    for number in range(8):
        await api.task(id=f"T-{number}", priority="high" if number % 2 else "low")
    for number, seconds in ((0, 10), (1, 20), (2, 60)):
        await api.patch(f"/tasks/T-{number}", {"status": "in_progress"})
        clock.advance(seconds)
        await api.patch(f"/tasks/T-{number}", {"status": "completed"})
    await api.patch("/tasks/T-3", {"status": "failed"})
    await api.patch("/tasks/T-4", {"status": "blocked"})
    await api.delete("/tasks/T-5")
    numbers = await metrics(api)
    assert numbers["tasks"] == {
        "total": 8,
        "by_status": {
            "pending": 2,
            "in_progress": 0,
            "blocked": 1,
            "completed": 3,
            "failed": 1,
            "cancelled": 1,
        },
        "completed_24h": 3,
        "success_rate": 0.75,
        "mean_duration_s": 30.0,
        "p95_duration_s": 60.0,
    }
    assert numbers["queue"] == {
        "depth": 2,
        "by_priority": {"high": 1, "low": 1},
        "oldest_pending_age_s": 90.0,
    }
    assert numbers["process"]["uptime_s"] == 90.0
    clock.advance(86_400 - 59)
    assert (await metrics(api))["tasks"]["completed_24h"] == 1


async def test_deliveries_by_connector(start: Start, sink: Receiver, clock: SettableClock) -> None:
    api = await start(
        connectors={"sink": webhook(sink.url), "idle": webhook(sink.url + "/idle", events=["never"])}
    )
    sink.faults.append(Fault(status=400))
    for _ in range(4):
        await api.task()

    async def settled() -> bool:
        return (await metrics(api))["deliveries"]["sink"]["pending"] == 0

    await eventually(settled)
    await api.post("/connectors/sink/pause")
    await api.task()
    clock.advance(7)
    numbers = (await metrics(api))["deliveries"]
    sink_numbers = numbers["sink"]
    assert sink_numbers["success_rate"] == 0.75
    counted = ("pending", "delivered", "dead", "cancelled", "oldest_pending_age_s")
    assert [sink_numbers[name] for name in counted] == [2, 3, 1, 0, 7.0]
    assert (sink_numbers["breaker"], sink_numbers["paused"], numbers["idle"]["paused"]) == (
        "closed",
        True,
        False,
    )
    assert sum((await metrics(api))["delivered_per_minute"]) == 3
    assert 0 <= sink_numbers["p50_ms"] <= sink_numbers["p95_ms"] <= sink_numbers["p99_ms"]
    assert [numbers["idle"][name] for name in (*counted, "success_rate", "p50_ms")] == [
        0,
        0,
        0,
        0,
        None,
        None,
        None,
    ]


async def test_requests_by_status_and_what_is_kept_of_them(start: Start, db_path: Path) -> None:
    api = await start()
    for _ in range(3):
        await api.get("/tasks")
    await api.get("/tasks/none", key=ONLY["tasks:read"])
    await api.get("/tasks/none2", key=ONLY["tasks:read"])
    await api.post("/tasks", {})
    await api.get("/tasks", key=None)
    await api.call("GET", "/nowhere")
    numbers = (await metrics(api))["api"]
    assert (numbers["requests"], numbers["by_status"]) == (8, {"200": 3, "401": 1, "404": 3, "422": 1})
    assert 0 < numbers["p50_ms"] <= numbers["p95_ms"] <= numbers["p99_ms"]
    await api.client.close()
    kept = rows(
        db_path, "SELECT key_id, endpoint, requests, errors_4xx, errors_5xx FROM api_usage ORDER BY 1, 2"
    )
    assert kept == [
        ("anonymous", "GET /api/v1/tasks", 1, 1, 0),
        ("anonymous", "other", 1, 1, 0),
        ("settings:everything", "GET /api/v1/metrics", 1, 0, 0),
        ("settings:everything", "GET /api/v1/tasks", 3, 0, 0),
        ("settings:everything", "POST /api/v1/tasks", 1, 1, 0),
        ("settings:only-tasks-read", "GET /api/v1/tasks/{id}", 2, 2, 0),
    ]
    assert rows(db_path, "SELECT min(duration_us) > 0, min(bytes_out) > 0, min(day) FROM api_usage") == [
        (1, 1, "2026-02-02")
    ]


async def test_the_workspace_without_one(api: Api) -> None:
    workspace = (await api.get("/workspace")).json
    assert (workspace["path"], workspace["scanning"], workspace["problems"]) == (None, False, [])
    assert workspace["counts"] == {
        "tasks": 0,
        "tasks_by_status": {},
        "events": 0,
        "events_by_type": {},
        "queue": 0,
        "features": 0,
    }
