"""After kill -9 with a full outbox: how long from start to the first delivery, and to the last."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.load import amount
from benchmarks.report import Row, value_row
from benchmarks.seed import Seed
from benchmarks.setting import Bench, webhook
from benchmarks.sink import Sink, listening
from benchmarks.steady import create
from tests.support import eventually

PENDING: Final = 100_000
MORE: Final = 500
"""Tasks created just before the kill, so that the write-ahead log is not empty."""


async def killed_and_started(bench: Bench, sink: Sink, n: int) -> tuple[float, float]:
    """Return the seconds from start to the first and to the last delivery."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Seed(pending=n).copy(folder)
        sink.forget()
        sink.holds = True
        async with bench.hub(folder, webhook(sink.port)) as hub:
            await eventually(lambda: sink.held > 0)
            created = await amount(hub.port, lambda i: create(hub.key, f"R-{i}"), clients=32, n=MORE)
            created.check(201)
            hub.kill()
            pending = hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'")
            assert pending == n + MORE, pending
            sink.holds = False
            begun = time.perf_counter()
            starting = asyncio.create_task(hub.start())
            await sink.has(pending, 600)
            await starting
            await eventually(
                lambda: not hub.value("SELECT n FROM outbox_counts WHERE state = 'pending'"), within_s=30
            )
        times = sink.arrived.values()
        return min(times) - begun, max(times) - begun


async def run(bench: Bench) -> list[Row]:
    """Kill and start again, as often as asked for."""
    n = bench.amount(PENDING, 2000)
    async with listening() as sink:
        found = [await killed_and_started(bench, sink, n) for _ in range(bench.runs)]
    first, last = [one for one, _ in found], [two for _, two in found]
    return [
        value_row(f"kill -9 with {n:,} pending: start to first delivery", first, unit="s", aim="< 1.5"),
        value_row(
            f"kill -9 with {n:,} pending: start to last delivery",
            last,
            unit="s",
            note=f"{n / sorted(last)[len(last) // 2]:,.0f} deliveries/s",
        ),
    ]
