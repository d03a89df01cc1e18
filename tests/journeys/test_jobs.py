"""Bulk jobs of the real program: killed in the middle they go on, show how far they are, and can be cancelled."""

from pathlib import Path
from typing import Any

import pytest

from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub
from tests.support import eventually

COUNT = 6_000


def settings(sink: Receiver) -> str:
    return f'[connectors.sink]\ntype = "webhook"\nurl = "{sink.url}/hook"\nevents = ["task_created"]\n'


def put_dead(hub: Hub) -> None:
    """Put dead letters into the outbox, as a service leaves them that refused for a day."""
    hub.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, state, attempts, last_error, "
        "next_attempt_at, created_at) SELECT 'old_' || i, 0, 'task_created', 'sink', 'notify', "
        "json_object('type', 'task_created', 'timestamp', '2026-02-02T02:40:00.000Z', 'data', json_object('n', i)), 'dead', 12, "
        "'HTTP 500', '2026-02-02T02:40:00.000Z', '2026-02-02T02:40:00.000Z' FROM n",
        COUNT,
    )


async def job(hub: Hub, job_id: str) -> Any:
    return await hub.ok("GET", f"/api/v1/jobs/{job_id}")


@pytest.mark.journey
async def test_a_replay_that_is_killed_goes_on_and_shows_how_far_it_is(tmp_path: Path) -> None:
    async with Receiver() as sink, Hub(tmp_path, settings(sink)) as hub:
        await hub.ok(
            "POST", "/api/v1/connectors/sink/pause"
        )  # what is replayed waits, so that the job is what is seen
        put_dead(hub)
        begun = await hub.ok("POST", "/api/v1/deliveries/replay", {"state": "dead", "connector": "sink"})
        assert begun["count"] == COUNT
        job_id = begun["job"]["id"]
        progress = "SELECT done, state FROM jobs"
        kills = 0
        seen = [0]
        while hub.rows(progress)[0][1] == "running":
            known = seen[-1]
            await eventually(lambda known=known: hub.rows(progress)[0][0] > known, within_s=20)
            hub.kill()
            kills += 1
            done, _ = hub.rows(progress)[0]
            assert hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'") == done, (
                "a step is one commit"
            )
            seen.append(done)
            await hub.start()
            if kills == 4:
                break
        ended = "SELECT state = 'done' FROM jobs"
        await eventually(lambda: hub.value(ended), within_s=60)
        shown = await job(hub, job_id)
        assert (shown["state"], shown["done"], shown["count"]) == ("done", COUNT, COUNT)
        assert seen == sorted(seen)
        assert seen[1] < COUNT, "the first kill was in the middle"
        assert hub.value("SELECT count(*) FROM outbox WHERE state = 'dead'") == 0
        print(f"{kills} kills; done when killed: {seen[1:]} of {COUNT}")


@pytest.mark.journey
async def test_a_replay_that_is_cancelled_leaves_the_rest(tmp_path: Path) -> None:
    async with Receiver() as sink, Hub(tmp_path, settings(sink)) as hub:
        await hub.ok("POST", "/api/v1/connectors/sink/pause")
        put_dead(hub)
        begun = await hub.ok("POST", "/api/v1/deliveries/replay", {"state": "dead", "connector": "sink"})
        cancelled = await hub.ok("DELETE", f"/api/v1/jobs/{begun['job']['id']}")
        assert cancelled["state"] == "cancelled"
        assert cancelled["done"] < COUNT
        await hub.ok("POST", "/api/v1/tasks", {"title": "Something else"})
        left = hub.value("SELECT count(*) FROM outbox WHERE state = 'dead'")
        assert left == COUNT - cancelled["done"]
        assert (await job(hub, begun["job"]["id"]))["done"] == cancelled["done"]
