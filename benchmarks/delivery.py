"""What goes out: durable creates at a steady rate with deliveries going out, accept to sink, drain of a backlog, memory."""

import asyncio
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks.load import pace, request
from benchmarks.report import Row, ratio_row, value_row
from benchmarks.setting import Bench
from ralf_hub.clock import parse_iso
from tests.journeys.hub import Hub

STEADY_S = 10.0
BACKLOG = 20_000
MEMORY_BACKLOG = 100_000


def _sink(port: int, extra: str = "") -> str:
    return f'[connectors.sink]\ntype = "webhook"\nurl = "http://127.0.0.1:{port}/hook"\nevents = ["*"]\n{extra}\n'


def _create(key: str, prefix: str, number: int) -> bytes:
    return request(
        "POST", "/api/v1/tasks", f'{{"id":"{prefix}-{number}","title":"Task {number}"}}'.encode(), key=key
    )


async def _drained(bench: Bench, port: int, wanted: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while int(str((await bench.fetch(port, "/count"))["unique"])) < wanted:
        if time.monotonic() > deadline:
            raise AssertionError("not everything arrived")
        await asyncio.sleep(0.05)


async def steady(bench: Bench) -> list[Row]:
    """Create at 50/s and 200/s: how long the client waits, and how long until the sink has it."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with bench.server("sink") as port, bench.hub(Path(folder), _sink(port)) as hub:
            for per_second in (50, 200):
                client: dict[float, list[float]] = {0.5: [], 0.95: [], 0.99: []}
                sink: dict[float, list[float]] = {0.5: [], 0.95: [], 0.99: []}
                for run in range(bench.runs):
                    prefix = f"S{per_second}-{run}"
                    result = await pace(
                        hub.port,
                        lambda n, p=prefix: _create(hub.key, p, n),
                        per_second=per_second,
                        seconds=bench.seconds(STEADY_S),
                    )
                    result.check(201)
                    await _drained(bench, port, len(result.latencies), 30)
                    arrived = await bench.fetch(port, "/seen")
                    seen: dict[str, int] = arrived["seen"]  # type: ignore[assignment]
                    accepted = dict(
                        hub.rows("SELECT id, created_at FROM tasks WHERE id LIKE ? || '-%'", prefix)
                    )
                    late = sorted(
                        at / 1e6 - _ms(accepted[task]) for task, at in seen.items() if task in accepted
                    )
                    for share, values in client.items():
                        values.append(result.percentile_ms(share))
                        sink[share].append(late[min(len(late) - 1, int(share * len(late)))])
                for share, values in client.items():
                    name = f"p{share * 100:.0f} at {per_second}/s"
                    rows.append(value_row(f"POST task answered, {name}", values, unit="ms"))
                    rows.append(value_row(f"accept to sink, {name}", sink[share], unit="ms"))
    return rows


def _ms(text: str) -> float:
    return float(parse_iso(text))


async def _backlog(hub: Hub, n: int) -> None:
    """Fill the outbox while its connector is paused."""
    await hub.ok("POST", "/api/v1/connectors/sink/pause")
    result = await pace(
        hub.port, lambda i: _create(hub.key, f"B{n}", i), per_second=100_000, seconds=n / 100_000, clients=128
    )
    result.check(201)


async def _ceiling(port: int, n: int, body: bytes) -> float:
    """Return how many posts a second the bare aiohttp client makes to the same sink, 64 at a time."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=64)
    ) as session:
        left = n
        url = f"http://127.0.0.1:{port}/hook"

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                async with session.post(url, data=body, allow_redirects=False) as answer:
                    await answer.read()

        begun = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(64)))
        return n / (time.perf_counter() - begun)


async def drain(bench: Bench) -> list[Row]:
    """Deliver a backlog, against the bare aiohttp client posting as much to the same sink."""
    n = max(1000, int(BACKLOG * bench.pace))
    ours: list[float] = []
    ceiling: list[float] = []
    body = b""
    for _ in range(bench.runs):
        with tempfile.TemporaryDirectory() as folder:
            async with (
                bench.server("sink") as port,
                bench.hub(Path(folder), _sink(port, "concurrency = 64")) as hub,
            ):
                await _backlog(hub, n)
                body = hub.rows("SELECT payload FROM outbox LIMIT 1")[0][0].encode()
                begun = time.perf_counter()
                await hub.ok("POST", "/api/v1/connectors/sink/resume")
                await _drained(bench, port, n, 120)
                ours.append(n / (time.perf_counter() - begun))
                ceiling.append(await _ceiling(port, n, body))
    return [ratio_row(f"drain of {n:,} deliveries", ours, ceiling, unit="posts/s", aim=">= 0.65")]


async def memory(bench: Bench) -> list[Row]:
    """Resident memory idle, and with a large backlog waiting and being worked off."""
    n = max(2000, int(MEMORY_BACKLOG * bench.pace))
    with tempfile.TemporaryDirectory() as folder:
        async with bench.server("sink") as port, bench.hub(Path(folder), _sink(port)) as hub:
            await asyncio.sleep(2)
            idle = hub.rss_bytes() / 2**20
            await _backlog(hub, n)
            waiting = hub.rss_bytes() / 2**20
            await hub.ok("POST", "/api/v1/connectors/sink/resume")
            peak = waiting
            deadline = time.monotonic() + 300
            while (
                hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'")
                and time.monotonic() < deadline
            ):
                peak = max(peak, hub.rss_bytes() / 2**20)
                await asyncio.sleep(0.2)
    return [
        value_row("memory idle", [idle], unit="MB", aim="< 80"),
        value_row(
            f"memory with {n:,} deliveries waiting, above idle", [waiting - idle], unit="MB", aim="< 15"
        ),
        value_row("memory while they are worked off, above idle", [peak - idle], unit="MB"),
    ]
