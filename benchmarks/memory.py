"""Resident memory: idle, with a backlog, with a thousand readers of the stream, under load for a long time."""

import asyncio
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from benchmarks.cpu import Spent, process_s
from benchmarks.load import amount, pace
from benchmarks.report import Row, value_row
from benchmarks.seed import CONNECTOR, Seed
from benchmarks.setting import Bench, webhook
from benchmarks.sink import listening
from benchmarks.steady import MIXED_PER_S, MIXED_TASKS, create, mixture
from benchmarks.stream import Arrivals, readers
from tests.journeys.hub import Hub

BACKLOG: Final = 100_000
READERS: Final = 1000
SETTLED_S: Final = 2.0
IDLE_S: Final = 5.0
SLICE_S: Final = 10.0
WARM_MINUTES: Final = 5.0
MB: Final = 2**20


async def run(bench: Bench) -> list[Row]:
    """Weigh an idle hub, one with a backlog that is then worked off, and one with a thousand readers."""
    n = bench.amount(BACKLOG, 2000)
    found: dict[str, list[float]] = {"idle": [], "waiting": [], "peak": [], "readers": [], "cpu": []}
    for _ in range(min(bench.runs, 3)):
        with tempfile.TemporaryDirectory() as folder:
            async with listening() as sink, bench.hub(Path(folder), webhook(sink.port)) as hub:
                await asyncio.sleep(SETTLED_S)
                with Spent(hub.pid) as spent:
                    await asyncio.sleep(IDLE_S)
                found["cpu"].append(spent.seconds / IDLE_S * 100)
                idle = hub.rss_bytes() / MB
                await hub.ok("POST", f"/api/v1/connectors/{CONNECTOR}/pause")
                created = await amount(hub.port, lambda i, h=hub: create(h.key, f"B-{i}"), clients=64, n=n)
                created.check(201)
                found["idle"].append(idle)
                found["waiting"].append(hub.rss_bytes() / MB - idle)
                await hub.ok("POST", f"/api/v1/connectors/{CONNECTOR}/resume")
                found["peak"].append(await _peak_until(hub, sink.has(n, 600)) - idle)
        with tempfile.TemporaryDirectory() as folder:
            async with bench.hub(Path(folder)) as hub:
                await asyncio.sleep(SETTLED_S)
                before = hub.rss_bytes() / MB
                async with readers(hub, READERS, Arrivals()):
                    await asyncio.sleep(SETTLED_S)
                    found["readers"].append(hub.rss_bytes() / MB - before)
    return [
        value_row("memory idle", found["idle"], unit="MB", aim="< 80"),
        value_row("CPU of an idle hub", found["cpu"], unit="% of a core"),
        value_row(f"{n:,} deliveries waiting, above idle", found["waiting"], unit="MB", aim="< 15"),
        value_row("while they are worked off, above idle", found["peak"], unit="MB"),
        value_row(f"{READERS:,} readers of the stream, above idle", found["readers"], unit="MB", aim="< 20"),
    ]


async def _peak_until(hub: Hub, done: Coroutine[Any, Any, None]) -> float:
    """Return the most memory the hub held until *done*, in MB."""
    waiting = asyncio.create_task(done)
    peak = 0.0
    while not waiting.done():
        peak = max(peak, hub.rss_bytes() / MB)
        await asyncio.wait({waiting}, timeout=0.1)
    await waiting
    return peak


async def long_load(bench: Bench) -> list[Row]:
    """500 mixed requests a second for minutes: memory must not grow once the hub has warmed up."""
    warm_s = min(WARM_MINUTES, bench.minutes / 3) * 60
    samples: list[tuple[float, float]] = []
    slowest: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Seed(tasks=MIXED_TASKS).copy(folder)
        async with listening() as sink, bench.hub(folder, webhook(sink.port)) as hub:
            make = mixture(hub.key)
            begun, spent = time.monotonic(), process_s(hub.pid)
            while (passed := time.monotonic() - begun) < bench.minutes * 60:
                result = await pace(hub.port, make, per_second=MIXED_PER_S, seconds=min(SLICE_S, warm_s / 2))
                result.check(200, 201, 202)
                samples.append((passed, hub.rss_bytes() / MB))
                if passed > warm_s:
                    slowest.append(result.percentile_ms(0.99))
                sink.arrived.clear()
            cpu = (process_s(hub.pid) - spent) / (time.monotonic() - begun) * 100
            await sink.has_posts(hub.value("SELECT count(*) FROM outbox"))
    warm = [mb for at, mb in samples if at > warm_s]
    third = max(1, len(warm) // 3)
    growth = sum(warm[-third:]) / third - sum(warm[:third]) / third
    load = f"{bench.minutes:g} minutes at {MIXED_PER_S}/s"
    return [
        value_row(f"{load}: memory after warming up", warm, unit="MB", note="every ten seconds"),
        value_row(
            f"{load}: growth after the first {warm_s / 60:.2g} minutes",
            [growth],
            unit="MB",
            aim="< 2",
            note="mean of the last third less that of the first",
        ),
        value_row(f"{load}: API p99 of each ten seconds", slowest, unit="ms"),
        value_row(f"{load}: CPU of the hub", [cpu], unit="% of a core"),
    ]
