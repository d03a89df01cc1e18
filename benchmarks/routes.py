"""Does a task cost more where many connectors wait for other events? 10, 100 and 1,000 of them, in turns."""

import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks.api import BODY, side
from benchmarks.load import request
from benchmarks.report import Row, Side, compared, value_row
from benchmarks.setting import Bench, Server, webhook
from benchmarks.sink import listening

CONNECTORS: Final = (10, 100, 1000)
SECONDS: Final = 2.0
CLIENTS: Final = 32


def settings(port: int, n: int) -> str:
    """Return one connector that takes what happens and others, each with a place of its own, that wait for failures."""
    others = (
        f'[connectors.other-{i}]\ntype = "webhook"\nurl = "http://127.0.0.1:{port}/{i}"\nevents = ["task_failed"]\n'
        for i in range(n - 1)
    )
    return webhook(port) + "".join(others)


async def run(bench: Bench) -> list[Row]:
    """POST a task that goes to one connector of many."""
    starts: dict[int, list[float]] = {n: [] for n in CONNECTORS}
    sides: dict[int, list[Side]] = {n: [] for n in CONNECTORS}
    async with listening() as sink, AsyncExitStack() as stack:
        hubs = {}
        for n in CONNECTORS:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            begun = time.perf_counter()
            hubs[n] = await stack.enter_async_context(bench.hub(folder, settings(sink.port, n)))
            starts[n].append((time.perf_counter() - begun) * 1000)
        accepted = 0
        for number in range(bench.runs + 1):
            for n, hub in hubs.items():
                post = request("POST", "/api/v1/tasks", BODY, key=hub.key)
                found, result = await side(
                    Server(hub.port, hub.pid),
                    lambda _, p=post: p,
                    201,
                    clients=CLIENTS,
                    seconds=bench.seconds(SECONDS if number else 0.5),
                )
                accepted += len(result.latencies)
                await sink.has_posts(accepted)
                if number:
                    sides[n].append(found)
    rows = [
        compared(
            f"POST task to one of {n:,} connectors, against {CONNECTORS[0]}",
            sides[n],
            sides[CONNECTORS[0]],
            unit="req/s",
        )
        for n in CONNECTORS[1:]
    ]
    return rows + [
        value_row(f"start-up with {n:,} connectors", starts[n], unit="ms", note="once") for n in CONNECTORS
    ]
