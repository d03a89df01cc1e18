"""Does anything become slower as a database grows? 0, 100 k, 1 M, 5 M delivered rows; 1,000 and 100,000 tasks."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from statistics import median
from typing import Final

from benchmarks.cpu import process_s
from benchmarks.load import amount, request
from benchmarks.report import Row, value_row
from benchmarks.seed import CONNECTOR, Seed
from benchmarks.setting import Bench
from ralf_hub.clock import iso, system_now
from ralf_hub.delivery.claiming import Ask, look
from ralf_hub.model import DELIVERED, Attempt
from ralf_hub.store import outbox, schema, verdicts
from ralf_hub.store.verdicts import Verdict

DELIVERED_ROWS: Final = (0, 100_000, 1_000_000, 5_000_000)
PENDING: Final = 20_000
TASKS: Final = (1_000, 100_000)
BATCH: Final = 100
TIMES: Final = 30
LISTS: Final = {
    "list 50 deliveries": "/api/v1/deliveries?limit=50",
    "list 50 dead deliveries": "/api/v1/deliveries?state=dead&limit=50",
    "list 50 events": "/api/v1/events?limit=50",
    "metrics": "/api/v1/metrics",
    "Prometheus text": "/metrics",
}
TASK_LISTS: Final = {
    "list 50 tasks": "/api/v1/tasks?limit=50",
    "list 50 pending tasks": "/api/v1/tasks?status=pending&limit=50",
    "queue": "/api/v1/queue?limit=50",
    "metrics": "/api/v1/metrics",
}


def named(n: int) -> str:
    """Return *n* in words."""
    return f"{n // 10**6} M" if n >= 10**6 else f"{n // 1000} k" if n >= 1000 else str(n)


def cpu_of(work: Callable[[], object]) -> float:
    """Return microseconds of CPU that *work* takes."""
    begun = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begun) / 1000


def claim(conn: sqlite3.Connection) -> object:
    """Look for 100 due deliveries, as the dispatcher does."""
    ask = Ask(CONNECTOR, BATCH, frozenset(), probing=False, uses_links=False)
    found = look(conn, [ask], iso(system_now()))[0].claimed
    assert len(found) == BATCH
    return found


def mark(conn: sqlite3.Connection) -> float:
    """Record that 100 deliveries were made, in microseconds of CPU; whoever began the transaction takes it back."""
    now = iso(system_now())
    rows = outbox.due(conn, CONNECTOR, now=now, limit=BATCH, held=frozenset())
    done = [
        Verdict(
            Attempt(row.id, now, 3, DELIVERED, 204, None, None),
            state=DELIVERED,
            attempts_before=0,
            attempts=1,
            next_attempt_at=now,
            last_error=None,
        )
        for row in rows
    ]
    begun = time.thread_time_ns()
    verdicts.record(conn, done, now=now)
    return (time.thread_time_ns() - begun) / 1000


def _marked(conn: sqlite3.Connection) -> float:
    conn.execute("BEGIN IMMEDIATE")
    try:
        return mark(conn)
    finally:
        conn.execute("ROLLBACK")


def in_sql(bench: Bench, rows_: tuple[int, ...]) -> list[Row]:
    """Claim and mark on the store's own functions, all sizes in turns, by CPU time."""
    times = bench.amount(TIMES, 10)
    found: dict[str, dict[int, list[float]]] = {kind: {n: [] for n in rows_} for kind in ("claim", "mark")}
    for _ in range(bench.runs):
        conns = {n: schema.connect(Seed(TASKS[1], n, PENDING).ready(), writer=True) for n in rows_}
        spent: dict[str, dict[int, list[float]]] = {k: {n: [] for n in rows_} for k in found}
        for turn in range(times + 3):
            for n, conn in conns.items():
                claimed, marked = cpu_of(lambda c=conn: claim(c)), _marked(conn)
                if turn >= 3:
                    spent["claim"][n].append(claimed)
                    spent["mark"][n].append(marked)
        for conn in conns.values():
            conn.close()
        for kind, sizes in spent.items():
            for n, values in sizes.items():
                found[kind][n].append(median(values))
    rows: list[Row] = []
    for kind, sizes in found.items():
        rows += [
            _against(
                f"{kind} {BATCH} of {named(PENDING)}", sizes[0], values, f"{named(n)} delivered", "µs CPU"
            )
            for n, values in sizes.items()
        ]
    return rows


def _against(
    what: str, base: list[float], values: list[float], beside: str, unit: str, aim: str = "<= 1.2"
) -> Row:
    """Return how much longer *what* takes than with the smallest database, run by run."""
    ratios = [value / first for value, first in zip(values, base, strict=True)]
    note = f"{median(values):,.3g} {unit}" if median(values) < 100 else f"{median(values):,.0f} {unit}"
    return value_row(f"{what}, {beside}", ratios, unit="x", note=note, aim=aim)


async def _asked(bench: Bench, sizes: dict[int, Seed], paths: dict[str, str], beside: str) -> list[Row]:
    """Ask hubs that serve these databases, in turns: milliseconds until they answer.

    They have no connectors: what is due stays as it is.
    """
    found: dict[str, dict[int, list[float]]] = {what: {n: [] for n in sizes} for what in paths}
    starts: dict[int, list[float]] = {n: [] for n in sizes}
    start_cpu: dict[int, list[float]] = {n: [] for n in sizes}
    for _ in range(bench.runs):
        for n, seed in sizes.items():  # one after the other: the one before may still be reading its file
            begun = time.perf_counter()
            async with bench.hub(seed.ready().parent) as hub:
                starts[n].append((time.perf_counter() - begun) * 1000)
                start_cpu[n].append(process_s(hub.pid) * 1000)
                await hub.stop()
        async with AsyncExitStack() as stack:
            hubs = {
                n: await stack.enter_async_context(bench.hub(seed.ready().parent))
                for n, seed in sizes.items()
            }
            for what, path in paths.items():
                for n, hub in hubs.items():
                    ask = request("GET", path, key=hub.key)
                    result = await amount(hub.port, lambda _, a=ask: a, clients=1, n=bench.amount(50, 20))
                    result.check(200)
                    found[what][n].append(result.percentile_ms(0.5))
            for hub in hubs.values():
                await hub.stop()
    smallest = min(sizes)
    rows = [
        value_row(
            f"start-up, {named(n)} {beside}",
            values,
            unit="ms",
            aim="< 1000" if n == DELIVERED_ROWS[-1] else "",
            note=f"until it answers; {median(start_cpu[n]):,.0f} ms of CPU",
        )
        for n, values in starts.items()
    ]
    for what, by_size in found.items():
        rows += [
            _against(what, by_size[smallest], values, f"{named(n)} {beside}", "ms", aim="")
            for n, values in by_size.items()
        ]
    return rows


async def run(bench: Bench) -> list[Row]:
    """Measure claim and mark, then what people ask, then the same with many tasks."""
    largest = DELIVERED_ROWS if bench.pace >= 1 else DELIVERED_ROWS[:3]
    rows = in_sql(bench, largest)
    rows += await _asked(bench, {n: Seed(TASKS[1], n, PENDING) for n in largest}, LISTS, "delivered")
    return rows + await _asked(bench, {n: Seed(tasks=n) for n in TASKS}, TASK_LISTS, "tasks")
