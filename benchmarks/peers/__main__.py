"""`python -m benchmarks.peers`: the same job by the hub and by its peers, in turns, on this machine."""

import argparse
import asyncio
import json
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from benchmarks.cpu import Others, Spent
from benchmarks.flow import ClosedLoop
from benchmarks.keeping import Kept, keep
from benchmarks.load import percentile, request
from benchmarks.peers.stacks import STACKS, running
from benchmarks.report import Row, Side, markdown, value_row
from benchmarks.setting import Bench, webhook
from benchmarks.sink import Sink, listening

HUB: Final = "ralf-hub"
SECONDS: Final = 6.0
WARM_UP_S: Final = 2.0
IN_FLIGHT: Final = 64
AIMS: Final = {name: ">= 3" if name.startswith("Flask") else ">= 8" for name in STACKS}


async def go(
    sink: Sink, port: int, path: str, pids: list[int], prefix: str, key: str, seconds: float
) -> tuple[Side, float]:
    """Send tasks through one of them, 64 under way; return its rate and CPU, and the p95 in ms."""
    sink.forget()

    def make(task: str) -> bytes:
        body = json.dumps({"id": task, "title": f"Task {task}", "priority": "high"}).encode()
        return request("POST", path, body, key=key)

    with Spent(*pids) as spent:
        flow = await ClosedLoop(sink, make, prefix, (201,)).run(port, IN_FLIGHT, seconds)
    n = len(flow.latencies)
    return Side(n / flow.seconds, spent.seconds / n), percentile(flow.latencies, 0.95) * 1000


def rows_of(found: dict[str, list[tuple[Side, float]]]) -> list[Row]:
    """Return how many times the hub does what each of them does, run by run, and what each of them does."""
    ours = found[HUB]
    rows = []
    for name, theirs in found.items():
        if name == HUB:
            continue
        times = [mine[0].rate / other[0].rate for mine, other in zip(ours, theirs, strict=True)]
        cpu = median(other[0].cpu_s / mine[0].cpu_s for mine, other in zip(ours, theirs, strict=True))
        rows.append(
            value_row(f"{HUB} against {name}", times, unit="x", aim=AIMS[name], note=f"by CPU {cpu:.1f}x")
        )
    for name, runs in found.items():
        note = f"p95 {median(p95 for _, p95 in runs):,.0f} ms; CPU {median(s.cpu_s for s, _ in runs) * 1e6:,.0f} µs a task"
        rows.append(value_row(name, [one.rate for one, _ in runs], unit="tasks/s", note=note))
    return rows


async def run(bench: Bench, names: list[str]) -> list[Row]:
    """Start all of them, warm up, then let each work in its turn."""
    found: dict[str, list[tuple[Side, float]]] = {HUB: [], **{name: [] for name in names}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(name, 0o755)  # noqa: PTH101, S103 - PostgreSQL runs as a user of its own
        async with (
            listening() as sink,
            bench.hub(folder, webhook(sink.port)) as hub,
            running(folder, sink.url, names) as stacks,
        ):
            for number in range(bench.runs + 1):
                seconds = bench.seconds(SECONDS) if number else WARM_UP_S
                everyone = {
                    HUB: (hub.port, "/api/v1/tasks", [hub.pid], hub.key),
                    **{n: (s.port, "/tasks", s.pids, "") for n, s in stacks.items()},
                }
                for who, (port, path, pids, key) in everyone.items():
                    try:
                        one = await go(sink, port, path, pids, f"{number}", key, seconds)
                    except (AssertionError, TimeoutError, OSError) as error:
                        said = stacks[who].logs() if who in stacks else ""
                        raise AssertionError(f"{who}: {error!r}\n{said}") from error
                    if number:
                        found[who].append(one)
    return rows_of(found)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a quick look: 3 short runs, kept apart")
    parser.add_argument("--runs", type=int, help="runs of each")
    parser.add_argument("--only", action="append", choices=list(STACKS), help="one of them; may be repeated")
    parser.add_argument("--out", type=Path, help="where to keep the figures")
    given = parser.parse_args()
    bench = Bench(given.runs or (3 if given.short else 5), 0.5 if given.short else 1.0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with Others() as others:
            rows = runner.run(run(bench, given.only or list(STACKS)))
        print(f"{markdown(rows)}\n\n{others.seconds:.0f} s; others used {others.share:.0%} of the machine")
        keep(Kept.of("peers", bench, rows, others), given.out, short=given.short)


if __name__ == "__main__":
    main()
