"""The live stream: what an idle reader costs, how soon many have a message, what REST notices, who never reads."""

import asyncio
import base64
import re
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.load import Result, pace, request
from benchmarks.report import Row, value_row
from benchmarks.setting import Bench, raw
from tests.journeys.hub import Hub

CLIENTS: Final = (1, 100, 1000)
SECONDS: Final = 10.0
MESSAGES_PER_S: Final = 10.0
READS_PER_S: Final = 50.0
SETTLED_S: Final = 2.0
LARGE: Final = 16_000
"""Bytes of a message that fills the queue of a reader who never reads."""
_PONG: Final = b"\x8a\x80\x00\x00\x00\x00"


@dataclass(slots=True)
class Arrivals:
    """When the last of all readers had the n-th message, and how many have it."""

    latest: dict[int, float] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)

    def note(self, number: int) -> None:
        """Note that one more reader has message *number*."""
        self.latest[number] = time.perf_counter()
        self.counts[number] = self.counts.get(number, 0) + 1


class Reader(asyncio.Protocol):
    """A WebSocket that costs little: it takes frames apart just enough to count messages and to answer pings."""

    def __init__(self, ask: bytes, arrivals: Arrivals) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.seen = 0
        self._ask = ask
        self._arrivals = arrivals
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = transport  # type: ignore[assignment]
        assert self._transport is not None
        self._transport.write(self._ask)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the hub, or this side, has ended it."""
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("closed"))

    def data_received(self, data: bytes) -> None:
        """Take the answer to the request first, then frames."""
        self._buffer += data
        if not self.opened.done():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(AssertionError(self._buffer[:end]))
                return
            self._buffer = self._buffer[end + 4 :]
            self.opened.set_result(None)
        while (frame := self._frame()) is not None:
            kind, payload = frame
            if kind == 9:
                assert self._transport is not None
                self._transport.write(_PONG)
            elif payload.startswith(b'{"topic":"events"'):
                self._arrivals.note(self.seen)
                self.seen += 1

    def _frame(self) -> tuple[int, bytes] | None:
        """Take the next whole frame from the buffer: its opcode and what it holds. Servers do not mask."""
        held = self._buffer
        if len(held) < 2:
            return None
        size, begin = held[1] & 127, 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            size = int.from_bytes(held[2:begin])
        if len(held) < begin + size:
            return None
        self._buffer = held[begin + size :]
        return held[0] & 15, held[begin : begin + size]

    def stop_reading(self) -> None:
        """Take nothing from now on."""
        assert self._transport is not None
        self._transport.pause_reading()

    def close(self) -> None:
        """End the connection without a word."""
        if self._transport is not None:
            self._transport.abort()


def _upgrade(hub: Hub) -> bytes:
    """Return the request that opens a stream of events from now on."""
    last = hub.value("SELECT coalesce(max(seq), 0) FROM events")
    key = base64.b64encode(b"sixteen bytes ok").decode()
    return (
        f"GET /api/v1/stream?since={last} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {hub.key}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()


@asynccontextmanager
async def readers(hub: Hub, n: int, arrivals: Arrivals) -> AsyncIterator[list[Reader]]:
    """Open *n* readers, some at a time."""
    loop = asyncio.get_running_loop()
    ask, door = _upgrade(hub), asyncio.Semaphore(32)
    found: list[Reader] = []

    async def one() -> None:
        async with door:
            _, reader = await loop.create_connection(lambda: Reader(ask, arrivals), "127.0.0.1", hub.port)
            found.append(reader)
            await reader.opened

    try:
        await asyncio.gather(*(one() for _ in range(n)))
        yield found
    finally:
        for reader in found:
            reader.close()


def _emit(key: str, data: str = "") -> bytes:
    return request(
        "POST", "/api/v1/events", f'{{"type":"tick","data":{{"text":"{data}"}}}}'.encode(), key=key
    )


async def _all_have(arrivals: Arrivals, wanted: int, readers_: int) -> None:
    deadline = time.monotonic() + 30
    while arrivals.counts.get(wanted - 1, 0) < readers_:
        if time.monotonic() > deadline:
            raise AssertionError("not every reader has every message")
        await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: KB per idle reader, ms until the last reader has a message, ms of reads beside it."""

    idle_kb: float
    last_has_it: Result
    reads: Result


async def _measure(bench: Bench, n: int) -> Measured:
    seconds = bench.seconds(SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        async with bench.hub(Path(folder)) as hub:
            await hub.ok("POST", "/api/v1/tasks", {"id": "T-1", "title": "Read often"})
            async with readers(hub, 1, Arrivals()):  # what the first one needs stays
                await asyncio.sleep(SETTLED_S)
            before, arrivals = hub.rss_bytes(), Arrivals()
            async with readers(hub, n, arrivals):
                await asyncio.sleep(SETTLED_S)
                idle_kb = (hub.rss_bytes() - before) / 1024 / n
                get, emit = request("GET", "/api/v1/tasks/T-1", key=hub.key), _emit(hub.key)
                sent: list[float] = []

                def next_message(_: int) -> bytes:
                    sent.append(time.perf_counter())
                    return emit

                reads, written = await asyncio.gather(
                    pace(hub.port, lambda _: get, per_second=READS_PER_S, seconds=seconds),
                    pace(hub.port, next_message, per_second=MESSAGES_PER_S, seconds=seconds, clients=1),
                )
                reads.check(200)
                written.check(202)
                await _all_have(arrivals, len(sent), n)
    lags = [arrivals.latest[number] - at for number, at in enumerate(sent)]
    return Measured(idle_kb, Result(seconds, lags), reads)


async def _never_reads(bench: Bench) -> list[Row]:
    """One reader takes nothing while the others are told large messages: what it costs, until it is let go."""
    others, growth, slowest = 100, [], []
    for _ in range(bench.runs):
        with tempfile.TemporaryDirectory() as folder:
            async with bench.hub(Path(folder)) as hub:
                await hub.ok("POST", "/api/v1/tasks", {"id": "T-1", "title": "Read often"})
                get, emit = request("GET", "/api/v1/tasks/T-1", key=hub.key), _emit(hub.key, "x" * LARGE)
                arrivals = Arrivals()
                async with readers(hub, others, arrivals), _stuck(hub):
                    rounds = max(10, int(bench.seconds(SECONDS)))  # until the hub lets go
                    per_round = 50
                    before = hub.rss_bytes()
                    for number in range(1, rounds + 1):
                        written, reads = await asyncio.gather(
                            pace(hub.port, lambda _, e=emit: e, per_second=per_round, seconds=1.0, clients=1),
                            pace(hub.port, lambda _, g=get: g, per_second=READS_PER_S, seconds=1.0),
                        )
                        written.check(202)
                        reads.check(200)
                        slowest.append(reads.percentile_ms(0.99))
                        await _all_have(arrivals, number * per_round, others)
                    growth.append((hub.rss_bytes() - before) / 2**20)
                    await _let_go(hub, others)
    return [
        value_row("one never reads, 100 do: memory", growth, unit="MB", note="after 8 MB to each reader"),
        value_row("one never reads, 100 do: REST p99", slowest, unit="ms", note="of each second"),
    ]


@asynccontextmanager
async def _stuck(hub: Hub) -> AsyncIterator[None]:
    """Open one reader with a small window, and never read from it."""
    given = socket.socket()
    given.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    given.setblocking(False)
    loop, ask = asyncio.get_running_loop(), _upgrade(hub)
    await loop.sock_connect(given, ("127.0.0.1", hub.port))
    _, reader = await loop.create_connection(lambda: Reader(ask, Arrivals()), sock=given)
    await reader.opened
    reader.stop_reading()
    try:
        yield
    finally:
        reader.close()


async def _let_go(hub: Hub, left: int) -> None:
    """Wait until the hub has let go of the reader that never reads."""
    deadline = time.monotonic() + 30
    while True:
        found = re.search(rb"^ralf_hub_stream_clients ([\d.]+)", await raw(hub, "/metrics"), re.MULTILINE)
        if found and float(found[1]) == left:
            return
        if time.monotonic() > deadline:
            raise AssertionError("the reader that never reads is still there")
        await asyncio.sleep(0.1)


async def run(bench: Bench) -> list[Row]:
    """Fan out to 1, 100 and 1,000 readers with reads beside it; then with one reader that never reads."""
    rows: list[Row] = []
    for n in CLIENTS:
        found = [await _measure(bench, n) for _ in range(bench.runs)]
        readers_ = f"{n:,} reader{'s' if n > 1 else ''}"
        if n >= 100:
            aim = "< 20" if n == CLIENTS[-1] else ""
            idle = [one.idle_kb for one in found]
            rows.append(value_row(f"{readers_}: memory each, idle", idle, unit="KB", aim=aim))
        rows += [
            value_row(
                f"{readers_}: sent to last has it, p{share * 100:.0f}",
                [one.last_has_it.percentile_ms(share) for one in found],
                unit="ms",
                note=f"{MESSAGES_PER_S:.0f} messages/s",
            )
            for share in (0.5, 0.99)
        ]
        reads = [one.reads.percentile_ms(0.99) for one in found]
        rows.append(
            value_row(
                f"{readers_}: REST p99", reads, unit="ms", note=f"{READS_PER_S:.0f} reads/s", aim="< 50"
            )
        )
    return rows + await _never_reads(bench)
