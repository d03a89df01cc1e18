"""Commands beside a running hub: it takes over within a second what they change."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import Place, interrupt, running
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.journeys.hub import Hub
from tests.support import eventually

pytestmark = pytest.mark.journey

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SOON_S = 1.0
"""What is promised; the tests allow for a busy machine on top."""
PATIENCE_S = 10.0


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver([SECRET]) as double:
        yield double


@pytest.fixture
async def hub(tmp_path: Path, sink: Receiver) -> AsyncIterator[Hub]:
    settings = (
        f'[connectors.sink]\ntype = "webhook"\nurl = "{sink.url}/hook"\nsecret = "{SECRET}"\nevents = ["*"]\n'
        "[delivery]\nmax_attempts = 1\nbreaker_failures = 1000\n"
    )
    async with Hub(tmp_path, settings) as started:
        yield started


async def run(hub: Hub, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(hub.command, *arguments)


async def ok(hub: Hub, *arguments: str) -> Any:
    done = await run(hub, *arguments, "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


async def test_an_emitted_event_is_delivered(hub: Hub, sink: Receiver) -> None:
    event = await ok(hub, "emit", "task_completed", "--task", "T-1", "--data", '{"title": "By hand"}')
    begun = time.monotonic()
    await eventually(lambda: sink.ids == [event["id"]], within_s=PATIENCE_S)
    assert time.monotonic() - begun < PATIENCE_S
    assert sink.accepted[0].json["data"]["title"] == "By hand"
    answer = await hub.ok("GET", "/api/v1/events?after=0")
    assert [found["id"] for found in answer["events"]] == [event["id"]]


async def test_the_hub_is_quick_to_see_what_a_command_wrote(hub: Hub, sink: Receiver) -> None:
    """From the commit on, without the time the command itself takes to end."""
    await ok(hub, "emit", "agent_start")
    await eventually(lambda: len(sink.accepted) == 1, within_s=PATIENCE_S)
    await eventually(
        lambda: hub.rows("SELECT 1 FROM outbox WHERE state = 'delivered'") != [], within_s=PATIENCE_S
    )
    [(waited_s,)] = hub.rows(
        "SELECT (julianday(a.started_at) - julianday(o.created_at)) * 86400.0 "
        "FROM attempts a JOIN outbox o ON o.id = a.delivery_id"
    )
    assert waited_s < SOON_S * 3


async def test_a_waiting_client_hears_of_an_emitted_event(hub: Hub) -> None:
    waiting = asyncio.create_task(hub.ok("GET", "/api/v1/events?after=0&wait=30"))
    event = await ok(hub, "emit", "agent_start")
    answer = await asyncio.wait_for(waiting, PATIENCE_S)
    assert [found["id"] for found in answer["events"]] == [event["id"]]


async def test_a_key_made_beside_the_hub_works_and_a_revoked_one_does_not(hub: Hub) -> None:
    key = await ok(hub, "keys", "create", "--name", "ops", "--scopes", "tasks:read")

    async def status(given: str) -> int:
        return (await hub.call("GET", "/api/v1/tasks", Authorization=f"Bearer {given}"))[0]

    async def works() -> bool:
        return await status(key["key"]) == 200

    async def refused() -> bool:
        return await status(key["key"]) == 401

    await eventually(works, within_s=PATIENCE_S)
    assert (await hub.call("GET", "/api/v1/queue", Authorization=f"Bearer {key['key']}"))[0] == 403
    new = await ok(hub, "keys", "rotate", key["id"])
    await eventually(refused, within_s=PATIENCE_S)
    assert await status(new["key"]) == 200
    await ok(hub, "keys", "revoke", new["id"])

    async def gone() -> bool:
        return await status(new["key"]) == 401

    await eventually(gone, within_s=PATIENCE_S)


async def test_replay_beside_the_hub_delivers_again(hub: Hub, sink: Receiver) -> None:
    sink.faults.append(Fault(status=400, body="no", times=3))
    for number in range(3):
        await ok(hub, "emit", "task_completed", "--task", f"T-{number}")

    def dead() -> bool:
        return bool(hub.value("SELECT count(*) = 3 FROM outbox WHERE state = 'dead'"))

    await eventually(dead, within_s=PATIENCE_S)
    why = await ok(hub, "why", "1")
    assert why["explain"].startswith("Dead: ")
    assert [attempt["status_code"] for attempt in why["attempts"]] == [400]
    assert (await ok(hub, "outbox", "replay", "1"))["replayed"] == 1
    await eventually(lambda: len(sink.accepted) == 1, within_s=PATIENCE_S)
    assert (await ok(hub, "outbox", "replay", "--state", "dead", "--yes"))["replayed"] == 2
    await eventually(lambda: len(sink.accepted) == 3, within_s=PATIENCE_S)

    def all_delivered() -> bool:
        return bool(hub.value("SELECT count(*) = 3 FROM outbox WHERE state = 'delivered'"))

    await eventually(all_delivered, within_s=PATIENCE_S)
    assert (await ok(hub, "outbox", "stats"))["connectors"]["sink"]["delivered"] == 3


async def test_commands_and_the_hub_write_at_once_and_nothing_is_lost(hub: Hub, sink: Receiver) -> None:
    async def create(number: int) -> None:
        await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": "t"})

    async def emit(number: int) -> None:
        await ok(hub, "emit", "agent_start", "--task", f"E-{number}")

    await asyncio.gather(*(create(number) for number in range(200)), *(emit(number) for number in range(8)))
    await eventually(lambda: len(set(sink.ids)) == 208, within_s=60)

    def settled() -> bool:
        return not hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'")

    await eventually(settled, within_s=PATIENCE_S)
    report = await ok(hub, "verify")
    assert report["clean"]
    assert (report["events"], report["routed"], report["deliveries"]) == (208, 208, 208)
    # The hub noted its routes when it started, and the command's settings are the same: all were routed again.
    assert report["rerouted"] == 208
    assert report["notes"] == []


async def test_verify_finds_what_someone_deleted_beside_the_hub(hub: Hub, sink: Receiver) -> None:
    await ok(hub, "emit", "agent_start")
    await eventually(lambda: len(sink.accepted) == 1, within_s=PATIENCE_S)
    hub.rows("DELETE FROM outbox")
    done = await run(hub, "verify")
    assert done.returncode == 1
    assert "agent_start: 0 of 1 delivery to sink" in done.stdout


async def test_routes_that_change_while_the_hub_runs_are_held_from_then_on(hub: Hub, sink: Receiver) -> None:
    await ok(hub, "emit", "agent_start")
    settings = f'[connectors.sink]\ntype = "webhook"\nurl = "{sink.url}/hook"\nsecret = "{SECRET}"\nevents = ["task_*"]\n'
    hub.write_settings(settings)

    def noted() -> bool:
        return json.loads(hub.value("SELECT value FROM meta WHERE key = 'routes'"))["since_seq"] == 1

    await eventually(noted, within_s=PATIENCE_S)
    await ok(hub, "emit", "agent_start")
    await ok(hub, "emit", "task_created")
    report = await ok(hub, "verify")
    assert report["clean"]
    assert report["rerouted"] == 2
    assert report["routed"] == 2


async def test_tail_follows_a_running_hub(hub: Hub) -> None:
    with running(Place(hub.folder).spawn("tail", "--since", "0", "--json")) as process:
        for number in range(3):
            await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": f"Task {number}"})
        assert process.stdout is not None
        lines = [
            json.loads(await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), PATIENCE_S))
            for _ in range(3)
        ]
        assert [line["task_id"] for line in lines] == ["T-0", "T-1", "T-2"]
        assert (await asyncio.to_thread(interrupt, process)).code == 0


async def test_a_backup_of_a_running_hub_starts_a_hub_of_its_own(hub: Hub, sink: Receiver) -> None:
    for number in range(20):
        await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": "t"})
    await eventually(lambda: len(sink.accepted) == 20, within_s=PATIENCE_S)
    told = await ok(hub, "backup", "copy.db")
    assert told["clean"]
    refused = await run(hub, "restore", "copy.db")
    assert refused.returncode == 1
    assert f"another ralf-hub already serves this database (process {hub.pid} at {hub.url})" in refused.stderr
    await hub.ok("POST", "/api/v1/tasks", {"id": "T-late", "title": "t"})
    assert await hub.stop() == 0
    restored = await ok(hub, "restore", "copy.db")
    assert "hub.db.before-restore-" in restored["kept"]
    await hub.start()
    listed = await hub.ok("GET", "/api/v1/tasks?limit=200")
    assert listed["total"] == 20
    assert (await ok(hub, "verify"))["clean"]


async def test_a_second_hub_is_told_who_has_the_database(hub: Hub) -> None:
    done = await run(hub, "serve", "--port", "1")
    assert done.returncode == 1
    assert f"(process {hub.pid} at {hub.url})" in done.stderr


async def test_prune_beside_the_hub(hub: Hub, sink: Receiver) -> None:
    await ok(hub, "emit", "agent_start")
    await eventually(lambda: len(sink.accepted) == 1, within_s=PATIENCE_S)
    assert (await ok(hub, "prune"))["deleted"]["deliveries"] == 0
    assert (await ok(hub, "verify"))["clean"]


async def test_serve_as_json_says_where_it_is_in_one_line(tmp_path: Path) -> None:
    hub = Hub(tmp_path, "[connectors.console]\n")
    try:
        await hub.start("--json")
        first = json.loads(hub.output.read_text(encoding="utf-8").splitlines()[0])
        assert first == {"url": hub.url, "key": hub.key, "pid": hub.pid}
        assert first["key"].startswith("rh_")
    finally:
        await hub.__aexit__(None, None, None)
