"""A load generator that costs little: raw HTTP/1.1 over keep-alive connections, every answer checked.

aiohttp's own client costs as much as the server it measures; this one costs about a third of it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

STEADY_SLACK_S: Final = 0.0005


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
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    def check(self, *allowed: int) -> None:
        """Fail unless every answer had one of these statuses."""
        wrong = {status: n for status, n in self.statuses.items() if status not in allowed}
        if wrong or not self.latencies:
            raise AssertionError(f"answers that should not be: {wrong or 'none at all'}")


def request(method: str, path: str, body: bytes = b"", *, key: str = "", host: str = "127.0.0.1") -> bytes:
    """Return one request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one request on its way at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed"))

    def ask(self, data: bytes) -> asyncio.Future[int]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        self._buffer = self._buffer[end + 4 + length :]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(int(head[9:12]))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def saturate(port: int, make: Callable[[int], bytes], *, clients: int, seconds: float) -> Result:
    """Ask as fast as answers come, *clients* at a time, for *seconds*. `make(n)` gives the n-th request."""
    result = Result()
    number = 0
    begun = time.perf_counter()
    until = begun + seconds

    async def client() -> None:
        nonlocal number
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        while (asked := time.perf_counter()) < until:
            number += 1
            status = await connection.ask(make(number))
            result.latencies.append(time.perf_counter() - asked)
            result.statuses[status] = result.statuses.get(status, 0) + 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    result.seconds = time.perf_counter() - begun
    return result


async def pace(
    port: int, make: Callable[[int], bytes], *, per_second: float, seconds: float, clients: int = 64
) -> Result:
    """Ask at a steady rate; latency counts from when the request was meant to go, so that waiting is not hidden."""
    result = Result()
    loop = asyncio.get_running_loop()
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(clients):
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
        free.put_nowait(connection)
    begun = time.perf_counter()

    async def one(number: int, due: float) -> None:
        connection = await free.get()
        status = await connection.ask(make(number))
        result.latencies.append(time.perf_counter() - due)
        result.statuses[status] = result.statuses.get(status, 0) + 1
        free.put_nowait(connection)

    tasks = []
    for number in range(int(per_second * seconds)):
        due = begun + number / per_second
        if (wait := due - time.perf_counter()) > STEADY_SLACK_S:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*tasks)
    result.seconds = time.perf_counter() - begun
    while not free.empty():
        free.get_nowait().close()
    return result
