"""How soon what was accepted is delivered, at steady rates and at saturation; how soon the API answers meanwhile."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.api import BODY
from benchmarks.cpu import Spent
from benchmarks.flow import ClosedLoop
from benchmarks.load import pace, percentile, request
from benchmarks.report import Row, value_row
from benchmarks.seed import Seed
from benchmarks.setting import Bench, raw, webhook
from benchmarks.sink import listening

SECONDS: Final = 10.0
RATES: Final = (50, 200)
SHARES: Final = (0.5, 0.95, 0.99)
AIMS: Final = {(200, 0.5): "< 4", (200, 0.95): "< 10", (200, 0.99): "< 25"}
IN_FLIGHT: Final = (16, 64)
MIXED_PER_S: Final = 500
MIXED_TASKS: Final = 10_000


def create(key: str, task: str) -> bytes:
    """Return the request that creates *task*."""
    return request("POST", "/api/v1/tasks", f'{{"id":"{task}","title":"Task {task}"}}'.encode(), key=key)


async def run(bench: Bench) -> list[Row]:
    """Create at 50/s and 200/s: how long the client waits, and how long until the sink has it."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with listening() as sink, bench.hub(Path(folder), webhook(sink.port)) as hub:
            for per_second in RATES:
                answered: dict[float, list[float]] = {share: [] for share in SHARES}
                delivered: dict[float, list[float]] = {share: [] for share in SHARES}
                cpu: list[float] = []
                for number in range(bench.runs + 1):
                    sink.forget()
                    due: dict[int, float] = {}
                    with Spent(hub.pid) as spent:
                        result = await pace(
                            hub.port,
                            lambda n, p=f"S{per_second}-{number}": create(hub.key, f"{p}-{n}"),
                            per_second=per_second,
                            seconds=bench.seconds(SECONDS) if number else 1.0,
                            due=due,
                        )
                        result.check(201)
                        await sink.has(len(due))
                    if not number:
                        continue
                    late = [sink.arrived[f"S{per_second}-{number}-{n}"] - at for n, at in due.items()]
                    cpu.append(spent.seconds / len(late) * 1e6)
                    for share in SHARES:
                        answered[share].append(result.percentile_ms(share))
                        delivered[share].append(percentile(late, share) * 1000)
                for share in SHARES:
                    name = f"p{share * 100:.0f} at {per_second}/s"
                    aim = AIMS.get((per_second, share), "")
                    rows.append(value_row(f"POST task answered, {name}", answered[share], unit="ms"))
                    rows.append(value_row(f"asked to sink, {name}", delivered[share], unit="ms", aim=aim))
                rows.append(value_row(f"CPU of the hub per task, at {per_second}/s", cpu, unit="µs"))
    return rows


async def saturation(bench: Bench) -> list[Row]:
    """Create, and create the next when one has arrived: what goes through end to end."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with listening() as sink, bench.hub(Path(folder), webhook(sink.port)) as hub:
            for in_flight in IN_FLIGHT:
                rates: list[float] = []
                cpu: list[float] = []
                late: dict[float, list[float]] = {share: [] for share in SHARES}
                for number in range(bench.runs + 1):
                    sink.forget()
                    loop = ClosedLoop(
                        sink, lambda task: create(hub.key, task), f"L{in_flight}-{number}", (201,)
                    )
                    with Spent(hub.pid) as spent:
                        flow = await loop.run(
                            hub.port, in_flight, bench.seconds(SECONDS / 2) if number else 1.0
                        )
                    if not number:
                        continue
                    rates.append(flow.rate)
                    cpu.append(spent.seconds / len(flow.latencies) * 1e6)
                    for share in SHARES:
                        late[share].append(percentile(flow.latencies, share) * 1000)
                at = f"{in_flight} under way"
                rows.append(value_row(f"end to end, {at}", rates, unit="tasks/s"))
                rows += [
                    value_row(f"asked to sink, p{share * 100:.0f}, {at}", late[share], unit="ms")
                    for share in SHARES
                ]
                rows.append(value_row(f"CPU of the hub per task, {at}", cpu, unit="µs"))
    return rows


def mixture(key: str) -> Callable[[int], bytes]:
    """Return what makes the n-th of mixed requests: of twenty 13 read tasks, 2 list, 1 asks the queue, 4 write."""
    count = 0

    def make(_: int) -> bytes:
        nonlocal count
        count += 1
        task = f"T-{1 + count * 37 % MIXED_TASKS}"
        kind = count % 20
        if kind in {0, 10}:
            return request("GET", "/api/v1/tasks?limit=50", key=key)
        if kind == 5:
            return request("GET", "/api/v1/queue?limit=20", key=key)
        if kind in {3, 8, 13}:
            return request("POST", "/api/v1/tasks", BODY, key=key)
        if kind == 18:
            body = b'{"data":{"text":"still at it"},"type":"note"}'
            return request("POST", "/api/v1/events", body, key=key)
        return request("GET", f"/api/v1/tasks/{task}", key=key)

    return make


async def mixed(bench: Bench) -> list[Row]:
    """500 mixed requests a second, a fifth of which make deliveries; bare aiohttp at the same pace in turns."""
    ours: dict[float, list[float]] = {share: [] for share in SHARES}
    ceiling: dict[float, list[float]] = {share: [] for share in SHARES}
    cpu: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Seed(tasks=MIXED_TASKS).copy(folder)
        async with (
            listening() as sink,
            bench.hub(folder, webhook(sink.port)) as hub,
            bench.bare(folder, 200, await raw(hub, "/api/v1/tasks/T-1")) as bare,
        ):
            make = mixture(hub.key)
            for number in range(bench.runs + 1):
                seconds = bench.seconds(SECONDS) if number else 1.0
                beside = await pace(bare.port, make, per_second=MIXED_PER_S, seconds=seconds)
                with Spent(hub.pid) as spent:
                    result = await pace(hub.port, make, per_second=MIXED_PER_S, seconds=seconds)
                    events = hub.value("SELECT count(*) FROM outbox")
                    await sink.has_posts(events)
                result.check(200, 201, 202)
                beside.check(200)
                if number:
                    cpu.append(spent.seconds / seconds * 100)
                    for share in SHARES:
                        ours[share].append(result.percentile_ms(share))
                        ceiling[share].append(beside.percentile_ms(share))
    rows = [
        value_row(
            f"API p{share * 100:.0f} at {MIXED_PER_S} mixed requests/s, deliveries going out",
            ours[share],
            unit="ms",
            aim="< 15" if share == 0.99 else "",
            note=f"bare aiohttp at the same pace: {percentile(ceiling[share], 0.5):.2g} ms",
        )
        for share in SHARES
    ]
    return [*rows, value_row("CPU of the hub meanwhile", cpu, unit="% of a core")]
