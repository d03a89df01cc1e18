"""`python -m benchmarks.guard`: has the hub become dearer? CPU per request against bare aiohttp's, in the same minute.

Rates and clocks say nothing on a busy machine. CPU time does, held against that of the same machine at the same moment,
if the work is the same each time: so the server is stopped while a round of requests is written to its sockets, and
finds all of them waiting when it goes on. Noise only ever adds; of many short slices the cheaper ones count.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from benchmarks.api import BODY
from benchmarks.cpu import Others, process_s
from benchmarks.load import request
from benchmarks.report import machine
from benchmarks.seed import Seed
from benchmarks.setting import KEY, Bench, Server, raw, webhook
from benchmarks.sink import listening
from benchmarks.webhook_in import SETTINGS, calls

COMMITTED: Final = Path(__file__).parent / "guard.json"
LOSS_MAX: Final = 0.15
LOSS_MAX_BUSY: Final = 0.30
BUSY: Final = 0.5
"""The share of the machine that others use above which even CPU time says less: caches are theirs."""
AT_ONCE: Final = 32
ROUNDS: Final = 12
SLICES: Final = 16
TRIES: Final = 3
"""A loss counts when it shows on three sets of fresh processes: whoever else uses the machine rarely hits all."""
DELIVERED_WITHIN_S: Final = 30.0
SEED: Final = Seed(tasks=10_000)
ANSWER_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Work:
    """Something asked of a server: *make* gives the next request."""

    name: str
    server: Server
    make: Callable[[int], bytes]
    status: int
    delivered: Callable[[], bool] = lambda: True
    """Whether what was made of the requests so far is done as well."""


class Line:
    """One keep-alive connection, blocking."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Send one request."""
        self._socket.sendall(data)

    def receive(self) -> int:
        """Wait for one whole answer; return its status."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        while len(body) < length:
            body += self._more()
        return int(head[9:12])

    def _more(self) -> bytes:
        data = self._socket.recv(ANSWER_BYTES_MAX)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


@contextmanager
def lines(port: int) -> Iterator[list[Line]]:
    """Open as many connections as a round has requests."""
    opened = [Line(port) for _ in range(AT_ONCE)]
    try:
        yield opened
    finally:
        for line in opened:
            line.close()


def slice_of(work: Work, opened: list[Line]) -> float:
    """Return microseconds of CPU per request over some rounds."""
    before = process_s(work.server.pid)
    for _ in range(ROUNDS):
        os.kill(work.server.pid, signal.SIGSTOP)
        try:
            for number, line in enumerate(opened):
                line.send(work.make(number))
        finally:
            os.kill(work.server.pid, signal.SIGCONT)
        for line in opened:
            if (status := line.receive()) != work.status:
                raise AssertionError(f"{work.name}: answered {status}")
    deadline = time.monotonic() + DELIVERED_WITHIN_S
    while not work.delivered():
        if time.monotonic() > deadline:
            raise AssertionError(f"{work.name}: not all of it was delivered")
        time.sleep(0.002)
    return (process_s(work.server.pid) - before) / (ROUNDS * AT_ONCE) * 1e6


def cheap(values: list[float]) -> float:
    """Return what the cheaper slices took: the first quartile."""
    return quantiles(values, n=4)[0]


def costs(works: list[tuple[Work, Work]], slices: int) -> dict[str, float]:
    """Return what each costs in units of what bare aiohttp spends on the same bytes, one right after the other."""
    spent: dict[str, tuple[list[float], list[float]]] = {work.name: ([], []) for work, _ in works}
    for number in range(slices + 2):
        for pair in works:
            for work, into in zip(pair, spent[pair[0].name], strict=True):
                with lines(work.server.port) as opened:
                    found = slice_of(work, opened)
                if number >= 2:
                    into.append(found)
    return {name: round(cheap(ours) / cheap(bare), 3) for name, (ours, bare) in spent.items()}


def always(data: bytes) -> Callable[[int], bytes]:
    """Return what makes the same request each time."""
    return lambda _: data


async def measure(slices: int) -> dict[str, float]:
    """Start a hub that delivers, one that has nobody to deliver to, and bare aiohttp; return what each request costs."""
    bench = Bench()
    async with AsyncExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        sink = await stack.enter_async_context(listening())
        for folder in folders:
            SEED.copy(folder)
        plain = await stack.enter_async_context(bench.hub(folders[0], SETTINGS))
        telling = await stack.enter_async_context(bench.hub(folders[1], webhook(sink.port)))
        one, some = "/api/v1/tasks/T-5000", "/api/v1/tasks?limit=50"
        short = await stack.enter_async_context(bench.bare(folders[0], 200, await raw(plain, one)))
        long = await stack.enter_async_context(bench.bare(folders[0], 200, await raw(plain, some)))
        get, listed = always(request("GET", one, key=KEY)), always(request("GET", some, key=KEY))
        post, call = always(request("POST", "/api/v1/tasks", BODY, key=KEY)), calls()
        hub, delivering = Server(plain.port, plain.pid), Server(telling.port, telling.pid)

        def all_delivered() -> bool:
            return not telling.value("SELECT sum(n) FROM outbox_counts WHERE state = 'pending'")

        works = [
            (Work("GET task", hub, get, 200), short),
            (Work("list 50 tasks", hub, listed, 200), long),
            (Work("POST task, durable", hub, post, 201), short),
            (Work("POST task and deliver it", delivering, post, 201, all_delivered), short),
            (Work("signed webhook of 20 KB, durable", hub, call, 202), short),
        ]
        pairs = [(work, Work("bare aiohttp", bare, work.make, 200)) for work, bare in works]
        return await asyncio.to_thread(costs, pairs, slices)


def where() -> dict[str, str]:
    """Return what figures depend on: those of another kind of machine or Python say nothing about this one."""
    given = machine()
    return {"cpu": given["cpu"], "cores": given["cores"], "python": given["python"].rpartition(".")[0]}


def losses(found: dict[str, float], committed: dict[str, float], allowed: float = LOSS_MAX) -> list[str]:
    """Return what costs more than allowed."""
    return [
        f"{name} costs {now / committed[name] - 1:.0%} more than the committed figure"
        for name, now in found.items()
        if name in committed and now / committed[name] - 1 > allowed
    ]


def at_best(measured: Callable[[], dict[str, float]], committed: dict[str, float]) -> dict[str, float]:
    """Return what each costs; where that is a loss, the least of some more tries."""
    found = measured()
    for _ in range(TRIES - 1):
        if not losses(found, committed):
            break
        print(f"{'; '.join(losses(found, committed))}: once more", flush=True)
        again = measured()
        found = {name: min(cost, again[name]) for name, cost in found.items()}
    return found


def table(found: dict[str, float], committed: dict[str, float]) -> str:
    """Return both for people."""
    rows = ["", "| CPU against bare aiohttp | committed | now | change |", "|---|---:|---:|---:|"]
    for name, now in found.items():
        before = committed.get(name)
        known = "new | " if before is None else f"{before:.2f} | "
        change = "" if before is None else f"{now / before - 1:+.0%}"
        rows.append(f"| {name} | {known}{now:.2f} | {change} |")
    return "\n".join(rows)


def main() -> int:
    """Measure, compare, and say what became dearer; with --renew, commit to what is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renew", action="store_true", help=f"write {COMMITTED.name} anew")
    parser.add_argument("--slices", type=int, default=SLICES)
    parser.add_argument("--loss-max", type=float, default=LOSS_MAX, help="share a request may cost more")
    given = parser.parse_args()

    def measured() -> dict[str, float]:
        return asyncio.run(measure(given.slices))

    with Others() as others:
        if given.renew:
            tries = [measured() for _ in range(TRIES)]
            found = {name: median(one[name] for one in tries) for name in tries[0]}
            kept = {"machine": where(), "costs": found}
            COMMITTED.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        committed = json.loads(COMMITTED.read_bytes())
        if not given.renew:
            found = at_best(measured, committed["costs"])
    print(table(found, committed["costs"]))
    print(f"\n{others.seconds:.0f} s; others used {others.share:.0%} of the machine", flush=True)
    if committed["machine"] != where():
        print(
            f"The committed figures are of another kind of machine, {committed['machine']}: nothing is held to them."
        )
        return 0
    worse = losses(
        found,
        committed["costs"],
        max(given.loss_max, LOSS_MAX_BUSY) if others.share > BUSY else given.loss_max,
    )
    for line in worse:
        print(line, file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
