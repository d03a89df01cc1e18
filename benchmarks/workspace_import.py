"""The first import of a large workspace by a running hub: `python -m benchmarks.workspace_import [megabytes] [tasks]`.

Prints how long it takes, how long the event loop was ever held up while it ran, how long a change made meanwhile
waited for its commit, the most memory used, and what one change costs afterwards.
"""

import asyncio
import gc
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import uvloop

from benchmarks.workspace_read import BODY, MIB, generate, record
from ralf_hub.app import running
from ralf_hub.cli.serving import SWITCH_INTERVAL_S
from ralf_hub.clock import Clock
from ralf_hub.config import load
from ralf_hub.intake.tasks import TaskDraft, create
from ralf_hub.services import Services
from ralf_hub.store import workspace
from tests.support import eventually

PROBE_S = 0.001
WAIT_S = 600.0
WRITE_EVERY_S = 0.05


def make_tree(folder: Path, tasks: int, megabytes: int) -> int:
    """Make a workspace; returns how many records its events have."""
    for number in range(tasks):
        place = folder / "tasks" / ("active" if number % 4 == 0 else "completed") / f"TASK-BENCH-{number:05}"
        place.mkdir(parents=True)
        head = f"# TASK-BENCH-{number:05}: Task {number}\n\n**Status:** pending\n**Priority:** HIGH\n**Created:** 2026-02-05\n\n"
        (place / "task.md").write_text(head + BODY)
    talk = folder / ".autonomous" / "agents" / "communications"
    talk.mkdir(parents=True)
    (talk / "queue.yaml").write_text("tasks:\n")
    return generate(talk / "events.yaml", bytes_min=megabytes * MIB)


async def probe(lags: list[float], own: list[float]) -> None:
    """Sleep and see how much later than asked it goes on, and how much of that the hub itself can have been at work.

    On a busy machine the whole process waits its turn: that is lag, but the hub used no processor meanwhile.
    """
    while True:
        begun, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(PROBE_S)
        lag = time.perf_counter() - begun - PROBE_S
        lags.append(lag)
        own.append(min(lag, time.process_time() - cpu))


async def write(hub: Services, waits: list[float]) -> None:
    """Make a task now and then, and see how long it takes to be on disk."""
    while True:
        begun = time.perf_counter()
        await hub.intake.accept(lambda ledger: create(ledger, TaskDraft("Made meanwhile"), source="api"))
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(WRITE_EVERY_S)


def shown(name: str, values: list[float]) -> str:
    """Return percentiles in milliseconds."""
    ordered = sorted(values)
    return f"{name}: p50 {statistics.median(ordered) * 1000:.1f}, p99 {ordered[int(len(ordered) * 0.99)] * 1000:.1f}, max {ordered[-1] * 1000:.1f} ms ({len(ordered)})"


def rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def imported(hub: Services) -> bool:
    return bool(await hub.db.read(lambda conn: workspace.state(conn, "imported")))


async def main(megabytes: int, tasks: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = make_tree(folder / "ws", tasks, megabytes)
        settings = folder / "ralf-hub.toml"
        settings.write_text(f'[database]\npath = "hub.db"\n[workspace]\npath = "{folder / "ws"}"\n')
        loaded = load(settings, {})
        before = rss_mib()
        sys.setswitchinterval(SWITCH_INTERVAL_S)  # as `ralf-hub serve` does
        gc.collect()
        gc.freeze()
        async with running(loaded, Clock()) as hub:
            lags: list[float] = []
            own: list[float] = []
            waits: list[float] = []
            beside = [asyncio.create_task(probe(lags, own)), asyncio.create_task(write(hub, waits))]
            begun = time.perf_counter()
            await eventually(lambda: imported(hub), within_s=WAIT_S)
            took = time.perf_counter() - begun
            beside[1].cancel()
            print(
                f"{tasks:,} tasks and {records:,} records ({megabytes} MiB): {took:.1f} s, memory {before:.0f} -> {rss_mib():.0f} MiB"
            )
            for name, found in (("loop held up", lags), ("  by the hub itself", own)):
                print(shown(name, found))
                print(f"  over 20 ms: {sum(lag > 0.02 for lag in found)}, over 10 ms: {sum(lag > 0.01 for lag in found)}", flush=True)
            print(shown("a change on disk", waits))
            await eventually(lambda: is_settled(hub), within_s=WAIT_S)
            lags.clear()
            own.clear()
            await one_change(hub, folder / "ws", tasks, records)
            print(shown("loop held up by single changes", lags))
            print(shown("  by the hub itself", own))
            for task in beside:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def is_settled(hub: Services) -> bool:
    """Return whether nothing is left to deliver."""
    return not await hub.db.read(
        lambda conn: conn.execute("SELECT 1 FROM outbox WHERE state = 'pending' LIMIT 1").fetchall()
    )


async def value(hub: Services, sql: str, *values: object) -> object:
    """Return one value of the database."""
    return await hub.db.read(lambda conn: conn.execute(sql, values).fetchone()[0])


async def one_change(hub: Services, workspace_path: Path, tasks: int, records: int) -> None:
    """Complete a task by its folder, append a record, and see how much CPU each takes the hub."""
    for number in range(3):
        name = f"TASK-BENCH-{4 * number:05}"

        async def is_completed(name: str = name) -> bool:
            return await value(hub, "SELECT status FROM tasks WHERE id = ?", name) == "completed"

        source = workspace_path / "tasks" / "active" / name
        source.rename(workspace_path / "tasks" / "completed" / name)
        print(f"a folder moved among {tasks:,}: {await cost(is_completed)}")
        last = await value(hub, "SELECT max(seq) FROM events")

        async def has_more(last: object = last) -> bool:
            return await value(hub, "SELECT max(seq) FROM events") != last

        append(workspace_path / ".autonomous" / "agents" / "communications" / "events.yaml", number)
        print(f"a record appended to {records:,}: {await cost(has_more)}")


def append(events: Path, number: int) -> None:
    """Append one record."""
    with events.open("a") as stream:
        stream.write(record(10_000_000 + number))


async def cost(condition: Callable[[], Awaitable[bool]]) -> str:
    """Wait for *condition* and say how long that took and how much of the CPU."""
    cpu, begun = time.process_time(), time.perf_counter()
    await eventually(condition, within_s=WAIT_S)
    return (
        f"seen after {time.perf_counter() - begun:.2f} s, {1000 * (time.process_time() - cpu):.0f} ms of CPU"
    )


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            main(
                int(sys.argv[1]) if len(sys.argv) > 1 else 50,
                int(sys.argv[2]) if len(sys.argv) > 2 else 20_000,
            )
        )
