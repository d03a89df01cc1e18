"""Kill -9 at random moments under load: nothing accepted is lost, and little is doubled."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub
from tests.support import eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONCURRENCY = 16
ROUNDS = int(os.environ.get("RALF_HUB_KILL_ROUNDS", "20"))
SEED = int(os.environ.get("RALF_HUB_SEED", "20260201"))


@dataclass
class Ledger:
    """What the hub answered with a 2xx, kept by the other side."""

    created: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)


async def _load(hub: Hub, ledger: Ledger, worker: int, done: asyncio.Event) -> None:
    """Create and complete tasks until told to stop; only what was answered counts."""
    number = 0
    while not done.is_set():
        number += 1
        task_id = f"T-{worker}-{len(ledger.created)}-{number}"
        try:
            status, _ = await hub.call("POST", "/api/v1/tasks", {"id": task_id, "title": task_id})
            if status == 201:
                ledger.created.append(task_id)
                status, _ = await hub.call("PATCH", f"/api/v1/tasks/{task_id}", {"status": "completed"})
                if status == 200:
                    ledger.completed.append(task_id)
        except (aiohttp.ClientError, ConnectionError):
            return  # killed in the middle: what was not answered was not accepted, for all we know


def _settings(sink: Receiver) -> str:
    return f"""
[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.5
breaker_probe_first_s = 0.1
breaker_probe_max_s = 0.5

[connectors.sink]
type = "webhook"
url = "{sink.url}/hook"
secret = "{SECRET}"
events = ["task_created", "task_completed"]
concurrency = {CONCURRENCY}
"""


@pytest.mark.journey
async def test_twenty_kills_under_load_lose_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    ledger = Ledger()
    kills = 0
    async with Receiver([SECRET]) as sink:
        hub = Hub(tmp_path, _settings(sink))
        async with hub:
            for _ in range(ROUNDS):
                done = asyncio.Event()
                load = [asyncio.create_task(_load(hub, ledger, worker, done)) for worker in range(4)]
                await asyncio.sleep(chance.uniform(0.02, 0.4))  # the random moment is the test
                hub.kill()
                kills += 1
                done.set()
                await asyncio.gather(*load)
                assert hub.value("PRAGMA integrity_check") == "ok"
                await hub.start()
            await eventually(
                lambda: hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0, within_s=30
            )
            assert hub.command("verify").returncode == 0, hub.command("verify").stdout

            got = Counter((item.json["type"], item.json["data"]["task_id"]) for item in sink.accepted)
            lost = [task for task in ledger.created if not got["task_created", task]]
            lost += [task for task in ledger.completed if not got["task_completed", task]]
            assert not lost
            assert len(ledger.completed) > ROUNDS, "the load was too small to show anything"
            doubled = len(sink.ids) - len(set(sink.ids))
            assert doubled <= kills * CONCURRENCY
            _assert_in_order(sink)
            accepted = len(ledger.created) + len(ledger.completed)
            print(
                f"kills {kills}, accepted {accepted}, delivered {len(sink.ids)}, doubled {doubled}, lost {len(lost)}"
            )


def _assert_in_order(sink: Receiver) -> None:
    """Of each task, what was created was told first, whatever was told twice."""
    first: dict[str, list[int]] = {}
    seen: set[str] = set()
    for item in sink.accepted:
        if item.id not in seen:
            seen.add(item.id)
            first.setdefault(item.json["data"]["task_id"], []).append(item.json["data"]["seq"])
    assert all(order == sorted(order) for order in first.values())


@pytest.mark.journey
async def test_stopping_finishes_what_is_on_its_way_and_exits_with_0(tmp_path: Path) -> None:
    async with Receiver([SECRET]) as sink, Hub(tmp_path, _settings(sink)) as hub:
        done, ledger = asyncio.Event(), Ledger()
        load = [asyncio.create_task(_load(hub, ledger, worker, done)) for worker in range(4)]
        await eventually(lambda: len(ledger.completed) > 20)
        assert await hub.stop() == 0
        done.set()
        await asyncio.gather(*load)
        delivered = hub.value("SELECT count(*) FROM outbox WHERE state = 'delivered'")
        assert len(sink.ids) == len(set(sink.ids)) == delivered
        with contextlib.suppress(AssertionError):
            await hub.start()
        await eventually(lambda: hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'") == 0)
        assert len(sink.ids) == len(set(sink.ids))
