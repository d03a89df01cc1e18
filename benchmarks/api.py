"""The API against bare aiohttp answering the same bytes, in the same run."""

import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.cpu import Spent
from benchmarks.load import Result, request, saturate
from benchmarks.report import Row, Side, compared
from benchmarks.seed import Seed
from benchmarks.setting import Bench, Server, raw
from tests.journeys.hub import Hub

SECONDS: Final = 2.0
WARM_UP_S: Final = 0.5
CLIENTS: Final = (1, 32, 128)
TASKS: Final = 100_000
BODY: Final = b'{"title":"Prepare the release","priority":"high","description":"Everything that has to be done before."}'


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the hub and of the ceiling, and how the hub answers it."""

    name: str
    ask: bytes
    status: int
    answer: bytes
    aims: dict[int, str]


async def questions(hub: Hub) -> list[Question]:
    """Return what is measured, with the bytes a hub answers."""
    one, some = "/api/v1/tasks/T-5000", "/api/v1/tasks?limit=50"
    task = await raw(hub, one)
    get = request("GET", one, key=hub.key)
    listed = request("GET", some, key=hub.key)
    post = request("POST", "/api/v1/tasks", BODY, key=hub.key)
    return [
        Question("GET task", get, 200, task, {32: ">= 0.50"}),
        Question(f"list 50 of {TASKS:,} tasks", listed, 200, await raw(hub, some), {}),
        Question("POST task, durable", post, 201, task, {32: ">= 0.40"}),
    ]


async def side(
    server: Server, make: Callable[[int], bytes], status: int, *, clients: int, seconds: float
) -> tuple[Side, Result]:
    """Load one server and return what it did."""
    with Spent(server.pid) as spent:
        result = await saturate(server.port, make, clients=clients, seconds=seconds)
    result.check(status)
    return Side(result.rate, spent.seconds / len(result.latencies)), result


async def versus(
    bench: Bench, question: Question, hub: Server, bare: Server, *, clients: int, seconds: float
) -> tuple[list[Side], list[Side]]:
    """Load the hub and the ceiling in turns, after a warm-up of both."""
    ours: list[Side] = []
    ceiling: list[Side] = []
    for run in range(bench.runs + 1):
        for server, into in ((bare, ceiling), (hub, ours)):
            found, _ = await side(
                server,
                lambda _: question.ask,
                question.status,
                clients=clients,
                seconds=seconds if run else bench.seconds(WARM_UP_S),
            )
            if run:
                into.append(found)
    return ours, ceiling


async def run(bench: Bench) -> list[Row]:
    """GET a task, list tasks, POST a task: the hub with all its protections, and the same bytes without any of them."""
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        Seed(tasks=TASKS).copy(folder)
        hub = await stack.enter_async_context(bench.hub(folder))
        for question in await questions(hub):
            async with bench.bare(folder, question.status, question.answer) as bare:
                for clients in CLIENTS:
                    ours, ceiling = await versus(
                        bench,
                        question,
                        Server(hub.port, hub.pid),
                        bare,
                        clients=clients,
                        seconds=bench.seconds(SECONDS),
                    )
                    name = f"{question.name}, {clients} client{'s' if clients > 1 else ''}"
                    aim = question.aims.get(clients, "")
                    rows.append(compared(name, ours, ceiling, unit="req/s", aim=aim))
    return rows
