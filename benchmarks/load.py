"""A load generator that costs little: raw HTTP/1.1 over keep-alive connections, every answer checked.

aiohttp's own client costs as much as the server it measures; this one costs a small part of it, since an answer calls
back instead of waking a task.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

STEADY_SLACK_S: Final = 0.0005
_NUMBER: Final = b"content-length:"


@dataclass(slots=True)
class Result:
    """What a load came to: latencies in seconds, statuses, and how long it took."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile_ms(self, share: float) -> float:
        """Return a latency in milliseconds."""
        return percentile(self.latencies, share) * 1000

    def note(self, latency: float, status: int) -> None:
        """Take up one answer."""
        self.latencies.append(latency)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def check(self, *allowed: int) -> None:
        """Fail unless every answer had one of these statuses."""
        wrong = {status: n for status, n in self.statuses.items() if status not in allowed}
        if wrong or not self.latencies:
            raise AssertionError(f"answers that should not be: {wrong or 'none at all'}")


def percentile(values: list[float], share: float) -> float:
    """Return the value below which *share* of *values* lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(
    method: str, path: str, body: bytes = b"", *, key: str = "", headers: dict[str, str] | None = None
) -> bytes:
    """Return one request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request on its way at a time; *answered* is called with each status."""

    def __init__(
        self, answered: Callable[["Connection", int], None], lost: Callable[[Exception], None]
    ) -> None:
        self.asked = 0.0
        self.answer = b""
        self._answered = answered
        self._lost = lost
        self._buffer = b""
        self._closing = False
        self._transport: asyncio.WriteTransport | None = None

    @classmethod
    async def open(
        cls,
        port: int,
        answered: Callable[["Connection", int], None],
        lost: Callable[[Exception], None],
    ) -> Self:
        """Connect to a port of this machine."""
        _, made = await asyncio.get_running_loop().create_connection(
            lambda: cls(answered, lost), "127.0.0.1", port
        )
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever asked."""
        if not self._closing:
            self._lost(exc or ConnectionResetError("closed by the server"))

    def ask(self, data: bytes, asked: float | None = None) -> None:
        """Send one request. *asked* is from when its latency counts, now where it is left out."""
        assert self._transport is not None
        self.asked = time.perf_counter() if asked is None else asked
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Wait for a whole answer."""
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            return
        at = data.find(b"Content-Length:", 0, end)
        if at < 0:
            at = data[:end].lower().find(_NUMBER)
        length = int(data[at + len(_NUMBER) : data.find(b"\r", at)]) if at >= 0 else 0
        if len(data) < end + 4 + length:
            self._buffer = data
            return
        self._buffer, self.answer = b"", data
        self._answered(self, int(data[9:12]))

    def close(self) -> None:
        """End the connection."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()


class Crowd:
    """Some connections that ask as long as they are given something to ask."""

    def __init__(self, make: Callable[[int], bytes]) -> None:
        self.result = Result()
        self.begun = 0.0
        self.asked = 0
        self._make = make
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connections: list[Connection] = []
        self._more: Callable[[], bool] = lambda: False
        self._at_work = 0

    def _answered(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        self.result.note(now - connection.asked, status)
        if self._more():
            self._ask(connection)
            return
        self._at_work -= 1
        if not self._at_work and not self._done.done():
            self._done.set_result(None)

    def _lost(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    def _ask(self, connection: Connection) -> None:
        self.asked += 1
        connection.ask(self._make(self.asked))

    async def run(self, port: int, clients: int, more: Callable[[], bool]) -> Result:
        """Ask with *clients* at a time for as long as *more* says so."""
        self._more = more
        self._connections = [await Connection.open(port, self._answered, self._lost) for _ in range(clients)]
        self.begun = time.perf_counter()
        self._at_work = clients
        for connection in self._connections:
            self._ask(connection)
        try:
            await self._done
        finally:
            self.result.seconds = time.perf_counter() - self.begun
            for connection in self._connections:
                connection.close()
        return self.result


async def saturate(port: int, make: Callable[[int], bytes], *, clients: int, seconds: float) -> Result:
    """Ask as fast as answers come, *clients* at a time, for *seconds*. `make(n)` gives the n-th request."""
    crowd = Crowd(make)
    return await crowd.run(port, clients, lambda: time.perf_counter() < crowd.begun + seconds)


async def amount(port: int, make: Callable[[int], bytes], *, clients: int, n: int) -> Result:
    """Ask *n* times as fast as answers come, *clients* at a time."""
    crowd = Crowd(make)
    return await crowd.run(port, min(clients, n), lambda: crowd.asked < n)


async def pace(
    port: int,
    make: Callable[[int], bytes],
    *,
    per_second: float,
    seconds: float,
    clients: int = 64,
    due: dict[int, float] | None = None,
) -> Result:
    """Ask at a steady rate; latency counts from when the request was meant to go, so that waiting is not hidden.

    *due* takes up when that was, for each request, by the clock of `time.perf_counter`.
    """
    result, wanted = Result(), max(1, int(per_second * seconds))
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting: deque[tuple[int, float]] = deque()
    free: list[Connection] = []

    def answered(connection: Connection, status: int) -> None:
        result.note(time.perf_counter() - connection.asked, status)
        if waiting:
            number, moment = waiting.popleft()
            connection.ask(make(number), moment)
            return
        free.append(connection)
        if len(result.latencies) == wanted and not done.done():
            done.set_result(None)

    def lost(error: Exception) -> None:
        if not done.done():
            done.set_exception(error)

    free.extend([await Connection.open(port, answered, lost) for _ in range(clients)])
    begun = time.perf_counter()
    for number in range(wanted):
        moment = begun + number / per_second
        if (wait := moment - time.perf_counter()) > STEADY_SLACK_S:
            await asyncio.sleep(wait)
        if due is not None:
            due[number] = moment
        if free:
            free.pop().ask(make(number), moment)
        else:
            waiting.append((number, moment))
    await done
    result.seconds = time.perf_counter() - begun
    for connection in free:
        connection.close()
    return result
