"""The disk is full under load: no 2xx without a commit, a plain 503, and all goes on by itself when there is room."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub
from tests.support import eventually
from tests.torture import shim

FULL_S: Final = float(os.environ.get("RALF_HUB_DISK_FULL_S", "3"))
CLIENTS: Final = 8
TMPFS_MIB: Final = 24

pytestmark = pytest.mark.journey


@dataclass
class Disk:
    """Where the hub's files lie, and how to fill and empty it."""

    folder: Path
    fill: Callable[[], None]
    empty: Callable[[], None]
    env: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def quota(tmp_path: Path) -> Iterator[Disk]:
    """A disk of which the database gets no more: a library in the hub's process says so."""
    if (reason := shim.why_not()) is not None:
        pytest.skip(reason)
    with shim.Shim(tmp_path, tmp_path / "hub.db") as faults:
        yield Disk(tmp_path, lambda: faults.limit(0), faults.heal, dict(faults.env))


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Disk]:
    """A small disk of its own, filled by another file to the last byte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_MIB}m", "ralf-hub", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("a disk can be mounted by root only, and not everywhere")
    filler = folder / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as opened, suppress(OSError):
            while opened.write(bytes(65_536)):
                pass
            while opened.write(b"\0"):  # a large write is refused where a small one is not
                pass

    yield Disk(folder, fill, lambda: filler.unlink(missing_ok=True))
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=["quota", "tmpfs"])
def disk(request: pytest.FixtureRequest) -> Disk:
    found: Disk = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def _settings(sink: Receiver) -> str:
    return f"""
[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.5

[connectors.sink]
type = "webhook"
url = "{sink.url}/hook"
events = ["task_created"]
"""


@dataclass
class Answers:
    """What was asked for, and how it was answered: id -> status."""

    statuses: dict[str, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)

    def ids(self, status: int) -> set[str]:
        return {task for task, known in self.statuses.items() if known == status}


async def _client(hub: Hub, name: str, answers: Answers, done: asyncio.Event) -> None:
    """Create tasks until told to stop, each with an id of its own that is never asked for again."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {hub.key}"}) as session:
        number = 0
        while not done.is_set():
            number += 1
            task = f"T-{name}-{number}"
            body = {"id": task, "title": "x", "description": "y" * 1_000}
            async with session.post(f"{hub.url}/api/v1/tasks", json=body) as answer:
                answers.statuses[task] = answer.status
                said = await answer.json(content_type=None)
                if answer.status == 503:
                    if (
                        answer.content_type != "application/problem+json"
                        or said["code"] != "storage_unavailable"
                    ):
                        answers.odd.append(f"{answer.content_type}: {said}")
                    await asyncio.sleep(0.02)  # as a client that was told to come back


async def test_a_disk_that_is_full_for_a_while(disk: Disk, sink: Receiver) -> None:
    answers, done = Answers(), asyncio.Event()
    async with Hub(disk.folder, _settings(sink), env=disk.env) as hub:
        pid = hub.pid
        load = [asyncio.create_task(_client(hub, str(n), answers, done)) for n in range(CLIENTS)]
        await eventually(lambda: len(answers.ids(201)) > 100, within_s=30)
        disk.fill()
        await eventually(lambda: len(answers.ids(503)) > CLIENTS, within_s=30)

        async def is_ill() -> bool:
            return (await hub.call("GET", "/health"))[0] == 503

        await eventually(is_ill, within_s=10)
        await asyncio.sleep(FULL_S)  # how long the disk stays full is what is tried
        assert not hub.is_dead()
        assert (await hub.call("GET", "/api/v1/tasks"))[0] == 200, "what is there can be read all the while"
        before = len(answers.ids(201))
        disk.empty()
        await eventually(lambda: len(answers.ids(201)) > before + 50, within_s=30)
        done.set()
        await asyncio.gather(*load)
        assert hub.pid == pid
        assert not hub.is_dead()

        accepted, refused = answers.ids(201), answers.ids(503)
        assert answers.odd == []
        assert set(answers.statuses.values()) == {201, 503}
        there = {row[0] for row in hub.rows("SELECT id FROM tasks")}
        assert accepted <= there, "a 2xx without a commit"
        assert not (refused & there), "a refusal that happened all the same"
        await eventually(
            lambda: hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0, within_s=60
        )
        told = [item.json["data"]["task_id"] for item in sink.accepted]
        assert sorted(told) == sorted(accepted), "every accepted one is told, once"

        async def is_well() -> bool:
            return (await hub.call("GET", "/health"))[0] == 200

        await eventually(is_well)
        assert hub.value("PRAGMA integrity_check") == "ok"
        assert hub.command("verify").returncode == 0
        print(f"full for {FULL_S:g} s: {len(accepted)} accepted and told, {len(refused)} refused, 0 lost")


async def test_a_hub_killed_on_a_full_disk_starts_when_there_is_room(quota: Disk, sink: Receiver) -> None:
    """Where it cannot start it says why in a line, and what was accepted is there when it can."""
    async with Hub(quota.folder, _settings(sink), env=quota.env) as hub:
        for number in range(20):
            await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": "x"})
        quota.fill()
        assert (await hub.call("POST", "/api/v1/tasks", {"title": "no room"}))[0] == 503
        hub.kill()
        tried = await asyncio.to_thread(hub.command, "serve")
        assert tried.returncode == 1
        assert tried.stderr.startswith("ralf-hub: ")
        assert len(tried.stderr.splitlines()) == 1, tried.stderr
        quota.empty()
        await hub.start()
        await eventually(lambda: len(sink.accepted) >= 20)
        assert {item.json["data"]["task_id"] for item in sink.accepted} == {f"T-{n}" for n in range(20)}
