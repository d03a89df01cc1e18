"""A backlog goes out, against the bare aiohttp client posting as much to the same sink."""

import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.cpu import Spent
from benchmarks.report import Row, Side, compared
from benchmarks.seed import CONNECTOR, Seed
from benchmarks.setting import Bench, bare_client, webhook
from benchmarks.sink import Sink, listening
from tests.support import eventually

BACKLOG: Final = 20_000
WITHIN_S: Final = 300.0


def pause(path: Path) -> None:
    """Leave the connector paused in a database that no hub serves."""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(
            "INSERT OR REPLACE INTO connectors (name, paused, paused_by, updated_at) VALUES (?, 1, 'benchmark', '')",
            (CONNECTOR,),
        )


async def drained(bench: Bench, sink: Sink, n: int) -> tuple[Side, bytes]:
    """Let a hub deliver *n* deliveries; return what it did and one of the bodies."""
    sink.forget()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pause(Seed(pending=n).copy(folder))
        async with bench.hub(folder, webhook(sink.port)) as hub:
            body: str = hub.value("SELECT payload FROM outbox ORDER BY id DESC LIMIT 1")
            with Spent(hub.pid) as spent:
                begun = time.perf_counter()
                await hub.ok("POST", f"/api/v1/connectors/{CONNECTOR}/resume")
                await sink.has(n, WITHIN_S)
                seconds = time.perf_counter() - begun
                await eventually(
                    lambda: not hub.value("SELECT n FROM outbox_counts WHERE state = 'pending'"), within_s=30
                )
            return Side(n / seconds, spent.seconds / n), body.encode()


async def posted(sink: Sink, n: int, body: bytes) -> Side:
    """Let the bare client post as many."""
    before = sink.posts
    found = await bare_client(sink.url, body, n)
    assert not found["failed"], found
    assert sink.posts - before == n
    return Side(n / found["seconds"], found["cpu_s"] / n)


async def run(bench: Bench) -> list[Row]:
    """Deliver a backlog and post as much with the bare client, in turns."""
    n = bench.amount(BACKLOG, 1000)
    ours: list[Side] = []
    ceiling: list[Side] = []
    async with listening() as sink:
        for number in range(bench.runs + 1):
            mine, body = await drained(bench, sink, n if number else 1000)
            best = await posted(sink, n if number else 1000, body)
            if number:
                ours.append(mine)
                ceiling.append(best)
    return [compared(f"drain of {n:,} deliveries", ours, ceiling, unit="posts/s", aim=">= 0.65")]
