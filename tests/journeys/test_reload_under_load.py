"""Settings that change and backups that are made while the hub works hard: no request fails, no delivery is lost."""

import asyncio
import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub
from tests.support import eventually

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
CHANGES = 12


@dataclass
class Load:
    """Tasks created and completed one after the other, by several at once; what was answered is counted."""

    hub: Hub
    created: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    failed: list[tuple[int, Any]] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def worker(self, name: int) -> None:
        number = 0
        while not self.done.is_set():
            number += 1
            task = f"T-{name}-{number}"
            for method, path, body, kept in (
                ("POST", "/api/v1/tasks", {"id": task, "title": task}, self.created),
                ("PATCH", f"/api/v1/tasks/{task}", {"status": "completed"}, self.completed),
            ):
                status, answer = await self.hub.call(method, path, body)
                if status >= 300:
                    self.failed.append((status, answer))
                else:
                    kept.append(task)

    async def around(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Keep the load up while *work* is done."""
        workers = [asyncio.create_task(self.worker(number)) for number in range(4)]
        try:
            await eventually(lambda: len(self.completed) > 20, within_s=30)
            await work()
        finally:
            self.done.set()
            await asyncio.gather(*workers)


def settings(sink: Receiver, number: int) -> str:
    """Return settings of which every part is another than in the ones before."""
    secrets = SECRETS if number % 2 else SECRETS[::-1]
    extra = (
        f'[connectors.extra-{number}]\ntype = "console"\nevents = ["task_completed"]\n' if number % 3 else ""
    )
    return f"""
[delivery]
concurrency = {4 + number}
backoff_first_s = 0.05
breaker_probe_first_s = 0.1

[retention]
events_days = {30 + number}

[connectors.sink]
type = "webhook"
url = "{sink.url}/hook"
secret = {json.dumps(secrets)}
events = ["task_created", "task_completed"]
rate_per_minute = {600_000 + number}

{extra}
"""


async def fingerprint(hub: Hub) -> str:
    return str((await hub.ok("GET", "/health"))["settings"])


def assert_nothing_was_lost(load: Load, sink: Receiver) -> None:
    got = Counter((item.json["type"], item.json["data"]["task_id"]) for item in sink.accepted)
    wanted = Counter(
        [("task_created", task) for task in load.created]
        + [("task_completed", task) for task in load.completed]
    )
    assert load.failed == []
    assert got == wanted, "each was delivered, and once"


@pytest.mark.journey
async def test_settings_change_under_load(tmp_path: Path) -> None:
    async with Receiver(list(SECRETS)) as sink:
        hub = Hub(tmp_path, settings(sink, 0))
        async with hub:
            load = Load(hub)
            seen = {await fingerprint(hub)}

            async def change() -> None:
                for number in range(1, CHANGES + 1):
                    before = await fingerprint(hub)
                    hub.write_settings(settings(sink, number))
                    os.kill(hub.pid, signal.SIGHUP)

                    async def changed(before: str = before) -> bool:
                        return await fingerprint(hub) != before

                    await eventually(changed, within_s=20)
                    seen.add(await fingerprint(hub))
                    if number % 4 == 0:
                        await invalid(hub, sink, number)

            await load.around(change)
            await eventually(
                lambda: (
                    hub.value("SELECT count(*) FROM outbox WHERE state = 'pending' AND connector = 'sink'")
                    == 0
                ),
                within_s=60,
            )
            assert len(seen) == CHANGES + 1
            assert_nothing_was_lost(load, sink)
            assert hub.value("SELECT count(*) FROM outbox WHERE state = 'dead'") == 0
            assert hub.command("verify").returncode == 0
            total = len(load.created) + len(load.completed)
            print(
                f"{CHANGES} changes, 3 of them to a faulty file and back, under {total} requests: 0 failed, 0 lost"
            )


async def invalid(hub: Hub, sink: Receiver, number: int) -> None:
    """Write a file with a fault: the settings before it stay, and the fault is told of; then the good one again."""
    before = await fingerprint(hub)
    told = hub.output.read_text(encoding="utf-8").count("the changed settings were not taken")
    hub.write_settings(settings(sink, number).replace("concurrency", "concurency"))

    async def is_told() -> bool:
        health = await hub.ok("GET", "/health")  # 200: the hub works
        return bool(health["checks"]["settings"] != "ok")

    await eventually(is_told, within_s=20)
    said = hub.output.read_text(encoding="utf-8")
    assert said.count("the changed settings were not taken") == told + 1
    assert "did you mean concurrency?" in said
    assert await fingerprint(hub) == before
    hub.write_settings(settings(sink, number))

    async def is_well() -> bool:
        return not await is_told()

    await eventually(is_well, within_s=20)
    assert await fingerprint(hub) == before


@pytest.mark.journey
async def test_backups_under_load_are_whole_and_restore(tmp_path: Path) -> None:
    async with Receiver(list(SECRETS)) as sink:
        hub = Hub(tmp_path, settings(sink, 0))
        async with hub:
            load = Load(hub)
            made: list[tuple[int, dict[str, Any]]] = []

            async def back_up() -> None:
                for number in range(3):
                    accepted = len(load.created)
                    done = await asyncio.to_thread(hub.command, "backup", f"copy{number}.db", "--json")
                    assert done.returncode == 0, done.stderr
                    made.append((accepted, json.loads(done.stdout)))

            await load.around(back_up)
            assert load.failed == []
            for number, (accepted, told) in enumerate(made):
                copy = tmp_path / f"copy{number}.db"
                with closing(sqlite3.connect(copy)) as conn:
                    assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                    (tasks,) = conn.execute("SELECT count(*) FROM tasks").fetchone()
                assert accepted <= tasks <= len(load.created), "all that was accepted before it was begun"
                assert told["clean"]
                assert copy.stat().st_mode & 0o777 == 0o600
                assert hub.command("verify", "--db", str(copy)).returncode == 0
            await hub.stop()
            restored = hub.command("restore", str(tmp_path / "copy2.db"))
            assert restored.returncode == 0, restored.stderr
            await hub.start()
            assert (await hub.ok("GET", "/api/v1/tasks?limit=1"))["total"] >= made[2][0]
            print(
                f"3 backups under {len(load.created) + len(load.completed)} requests: whole, clean, restored"
            )
