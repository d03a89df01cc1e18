"""Pruning and replaying many rows while others write: each step is short, and between two of them others have their turn."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from ralf_hub.app import running
from ralf_hub.bulk import new_prune
from ralf_hub.clock import Clock
from ralf_hub.services import Services
from ralf_hub.store import jobs, retention
from ralf_hub.store.checkpoint import Checkpointer
from ralf_hub.store.jobs import BulkJob
from ralf_hub.upkeep import Upkeep
from tests.api.helpers import settings
from tests.support import connect, rows

ROWS = 12_000
STEP_CPU_S_MAX = 0.020


def fill(path: Path) -> None:
    """Put deliveries with two attempts each into the outbox, as old as the hills, dead; and as many events."""
    with closing(connect(path)) as conn:
        conn.execute("BEGIN")
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO outbox (event_id, event_seq, event_type, task_id, connector, action, lane, payload, state, "
            "last_error, next_attempt_at, created_at) SELECT 'e' || i, i, 'x', 'T', 'gone', 'notify', 'T' || (i % 99), "
            "json_object('text', printf('%.400c', 'x')), 'dead', 'x', '', '2001-01-01T00:00:00.000Z' FROM n",
            (ROWS,),
        )
        conn.execute(
            "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, error) "
            "SELECT id, '2001-01-01T00:00:00.000Z', 3, 'retry', 'HTTP 503' FROM outbox, (VALUES (1), (2))"
        )
        conn.execute(
            "INSERT INTO events (id, type, source, occurred_at, recorded_at, data, routed) SELECT event_id, 'x', 'test', "
            "created_at, created_at, payload, '[\"gone\"]' FROM outbox"
        )
        conn.execute("COMMIT")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class Watched:
    """Measures what the bulk steps take of the writer, in seconds of its thread and of the wall."""

    def __init__(self, hub: Services) -> None:
        self.cpu_s: list[float] = []
        self.wall_s: list[float] = []
        self._write = hub.db.write
        hub.db.write = self.write  # type: ignore[method-assign]

    async def write(self, fn: Callable[[sqlite3.Connection], Any], **more: Any) -> Any:
        if not more.get("bulk"):
            return await self._write(fn, **more)

        def measured(conn: sqlite3.Connection) -> Any:
            cpu, wall = time.thread_time(), time.perf_counter()
            try:
                return fn(conn)
            finally:
                self.cpu_s.append(time.thread_time() - cpu)
                self.wall_s.append(time.perf_counter() - wall)

        return await self._write(measured, **more)


@pytest.fixture
async def hub(db_path: Path) -> AsyncIterator[Services]:
    fill(db_path)
    async with running(settings(db_path), Clock()) as hub:  # the real clock: time is what is measured
        yield hub


async def probe(hub: Services, work: Callable[[], Awaitable[None]]) -> list[float]:
    """Write one small thing after the other while *work* goes on; return how many seconds each took."""
    taken: list[float] = []
    working = asyncio.ensure_future(work())
    while not working.done():
        begun = time.perf_counter()
        await hub.db.write(lambda conn: conn.execute("INSERT OR REPLACE INTO meta VALUES ('probe', 'x')"))
        taken.append(time.perf_counter() - begun)
        await asyncio.sleep(0)
    await working
    return taken


def report(what: str, watched: Watched, taken: list[float]) -> None:
    ordered = sorted(taken)
    print(
        f"{what}: {len(watched.cpu_s)} steps, at most {max(watched.cpu_s) * 1e3:.1f} ms of CPU and "
        f"{max(watched.wall_s) * 1e3:.1f} ms each; {len(taken)} writes beside it took p50 {median(taken) * 1e3:.1f}, "
        f"p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.1f}, at most {ordered[-1] * 1e3:.1f} ms"
    )


@pytest.mark.parametrize("what", ["retention", "prune job", "replay job"])
async def test_bulk_work_never_keeps_the_writer_long(hub: Services, db_path: Path, what: str) -> None:
    checkpointer = await Checkpointer.open(hub.db)
    upkeep = Upkeep(hub, checkpointer)
    old = retention.cutoffs(hub.settings.retention, hub.clock.now())
    watched = Watched(hub)
    if what == "prune job":
        await hub.db.write(lambda conn: new_prune(conn, old, hub.clock, total=ROWS, by="test"))
    elif what == "replay job":
        now = hub.clock.iso()
        chosen = {"state": "dead", "connector": None, "since": None, "until": None, "up_to_id": ROWS}
        job = BulkJob("job_1", "replay", "running", chosen, ROWS, 0, 0, "test", now, now)
        await hub.db.write(lambda conn: jobs.insert(conn, job))
    taken = await probe(hub, upkeep.prune if what == "retention" else upkeep.advance_jobs)
    await checkpointer.close()
    report(what, watched, taken)
    left = rows(db_path, "SELECT count(*) FROM outbox WHERE state = 'dead'")
    assert left == [(0,)]
    assert sorted(watched.cpu_s)[int(len(watched.cpu_s) * 0.99)] < STEP_CPU_S_MAX
    assert len(taken) >= len(watched.cpu_s) / 2, "who writes gets a turn between two steps"
