"""The first import of a workspace by a running hub: `python -m benchmarks.workspace_import [--tasks N] [--megabytes M]`.

Prints how long it takes, how long the event loop was ever held up while it ran, how long a change made meanwhile
waited for its commit, the most memory used, and what one change costs afterwards.
"""

import argparse
import asyncio
import gc
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.workspace_read import BODY, MIB, generate, record
from ralf_hub.app import running
from ralf_hub.cli.serving import SWITCH_INTERVAL_S
from ralf_hub.clock import Clock
from ralf_hub.config import load
from ralf_hub.intake.tasks import TaskDraft, create
from ralf_hub.services import Services
from ralf_hub.store import workspace
from ralf_hub.workspace.layout import find_layout
from tests.support import eventually

PROBE_S: Final = 0.001
WAIT_S: Final = 600.0
WRITE_EVERY_S: Final = 0.05
HELD_UP_S: Final = 0.02
"""Longer than this nothing may hold up the event loop."""


@dataclass(slots=True)
class Lags:
    """How much later than asked a sleeping task went on, seconds, and where that time can have gone.

    `own` is the part in which any thread of the hub used a processor, `loop` the part in which the loop's did. On a busy
    machine the process waits its turn: that is lag without either. The loop waiting for Python's lock is `own` alone.
    """

    all: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    loop: list[float] = field(default_factory=list)

    async def probe(self) -> None:
        """Sleep again and again."""
        while True:
            begun, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
            await asyncio.sleep(PROBE_S)
            lag = time.perf_counter() - begun - PROBE_S
            self.all.append(lag)
            self.own.append(min(lag, time.process_time() - cpu))
            self.loop.append(min(lag, time.thread_time() - own))

    def clear(self) -> None:
        """Begin anew."""
        self.all.clear()
        self.own.clear()
        self.loop.clear()


@dataclass(frozen=True, slots=True)
class Times:
    """What a list of durations comes to: count, percentiles and maximum in ms, how many were longer than 20 ms."""

    n: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    over: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Times":
        """Sum *seconds* up."""
        ordered = sorted(seconds) or [0.0]
        return cls(
            len(seconds),
            *(round(1000 * one, 2) for one in (statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])),
            sum(one > HELD_UP_S for one in ordered),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """One import."""

    took_s: float
    tasks: int
    records: int
    lag: Times
    own_lag: Times
    loop_lag: Times
    commit: Times
    memory_before_mib: float
    memory_mib: float
    folder_moved_ms: list[float]
    record_appended_ms: list[float]


def make_tree(folder: Path, tasks: int, megabytes: int) -> None:
    """Make a workspace."""
    for number in range(tasks):
        place = folder / "tasks" / ("active" if number % 4 == 0 else "completed") / f"TASK-BENCH-{number:05}"
        place.mkdir(parents=True)
        head = f"# TASK-BENCH-{number:05}: Task {number}\n\n**Status:** pending\n**Priority:** HIGH\n**Created:** 2026-02-05\n\n"
        (place / "task.md").write_text(head + BODY)
    talk = folder / ".autonomous" / "agents" / "communications"
    talk.mkdir(parents=True)
    (talk / "queue.yaml").write_text("tasks:\n")
    generate(talk / "events.yaml", bytes_min=megabytes * MIB)


async def write(hub: Services, waits: list[float]) -> None:
    """Make a task now and then, and see how long it takes to be on disk."""
    while True:
        begun = time.perf_counter()
        await hub.intake.accept(lambda ledger: create(ledger, TaskDraft("Made meanwhile"), source="api"))
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(WRITE_EVERY_S)


def rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def imported(hub: Services) -> bool:
    return bool(await hub.db.read(lambda conn: workspace.state(conn, "imported")))


async def measure(folder: Path) -> Found:
    """Import `ws` in *folder*, which holds a task TASK-BENCH-00000 in `active` or none that can be moved."""
    settings = folder / "ralf-hub.toml"
    settings.write_text(f'[database]\npath = "hub.db"\n[workspace]\npath = "{folder / "ws"}"\n')
    loaded = load(settings, {})
    before = rss_mib()
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as `ralf-hub serve` does
    gc.collect()
    gc.freeze()
    async with running(loaded, Clock()) as hub:
        lags, waits = Lags(), list[float]()
        beside = [asyncio.create_task(lags.probe()), asyncio.create_task(write(hub, waits))]
        begun = time.perf_counter()
        await eventually(lambda: imported(hub), within_s=WAIT_S)
        took = time.perf_counter() - begun
        beside[1].cancel()
        lag = [Times.of(one) for one in (lags.all, lags.own, lags.loop)]
        memory = rss_mib()
        await eventually(lambda: is_settled(hub), within_s=WAIT_S)
        counts = await hub.db.read(workspace.counts)
        moved, appended = await changes(hub, folder / "ws")
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return Found(
        took, counts["tasks"], counts["events"], *lag, Times.of(waits), before, memory, moved, appended
    )


async def is_settled(hub: Services) -> bool:
    """Return whether nothing is left to deliver."""
    return not await hub.db.read(
        lambda conn: conn.execute("SELECT 1 FROM outbox WHERE state = 'pending' LIMIT 1").fetchall()
    )


async def value(hub: Services, sql: str, *values: object) -> object:
    """Return one value of the database."""
    return await hub.db.read(lambda conn: conn.execute(sql, values).fetchone()[0])


async def changes(hub: Services, path: Path) -> tuple[list[float], list[float]]:
    """Complete a task by its folder and append a record, a few times: the milliseconds of CPU until each is known."""
    layout, moved, appended = find_layout(path), list[float](), list[float]()
    for number in range(3):
        name = f"TASK-BENCH-{4 * number:05}"

        async def is_completed(name: str = name) -> bool:
            return await value(hub, "SELECT status FROM tasks WHERE id = ?", name) == "completed"

        source = path / "tasks" / "active" / name
        if source.is_dir():
            source.rename(path / "tasks" / "completed" / name)
            moved.append(await cost_ms(is_completed))
        last = await value(hub, "SELECT max(seq) FROM events")

        async def has_more(last: object = last) -> bool:
            return await value(hub, "SELECT max(seq) FROM events") != last

        if layout.events is not None:
            with layout.events.open("a") as stream:
                stream.write(record(10_000_000 + number))
            appended.append(await cost_ms(has_more))
    return moved, appended


async def cost_ms(condition: Callable[[], Awaitable[bool]]) -> float:
    """Wait for *condition*; return how much more CPU was used than in as long a time of mere waiting."""
    cpu, begun = time.process_time(), time.perf_counter()
    await eventually(condition, within_s=WAIT_S)
    used, took = time.process_time() - cpu, time.perf_counter() - begun
    idle, until = time.process_time(), time.perf_counter() + took
    with suppress(AssertionError):
        await eventually(lambda: _no(condition), within_s=until - time.perf_counter())
    return round(1000 * max(0.0, used - (time.process_time() - idle)), 1)


async def _no(condition: Callable[[], Awaitable[bool]]) -> bool:
    await condition()
    return False


def main() -> None:
    """Read the command line and import once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--megabytes", type=int, default=50, help="of events.yaml")
    parser.add_argument("--workspace", type=Path, help="a workspace to copy, instead of one that is made")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        folder = Path(name)
        if given.workspace is None:
            make_tree(folder / "ws", given.tasks, given.megabytes)
        else:
            shutil.copytree(given.workspace, folder / "ws", copy_function=shutil.copyfile)
            for place in (folder / "ws", *(folder / "ws").rglob("*/")):
                place.chmod(0o755)
        found = runner.run(measure(folder))
    if given.json:
        print(json.dumps(asdict(found)))
        return
    for key, shown in asdict(found).items():
        print(f"{key}: {shown}")


if __name__ == "__main__":
    main()
