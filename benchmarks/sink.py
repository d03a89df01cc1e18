"""The receiver of what is delivered, in the process that drives the load: one clock for sent and arrived."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from tests.support import eventually

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_TASK: Final = re.compile(rb'"task_id"\s*:\s*"([^"]*)"')
_OK: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Taker(asyncio.Protocol):
    """Takes posts apart just enough to know which task each is about, and answers 204."""

    def __init__(self, sink: "Sink") -> None:
        self._sink = sink
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        while data:
            end = data.find(_HEAD_END)
            if end < 0:
                break
            head = data[:end].lower()
            at = head.find(_LENGTH)
            whole = end + 4 + (int(head[at + len(_LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0)
            if len(data) < whole:
                break
            body, data = data[end + 4 : whole], data[whole:]
            if self._sink.holds:
                self._sink.held += 1
                continue
            assert self._transport is not None
            self._transport.write(_OK)
            found = _TASK.search(body)
            self._sink.take(found[1].decode() if found else "")
        self._buffer = data


class Sink:
    """What has arrived: `arrived` is when each task was first heard of, `posts` counts repeats too."""

    def __init__(self) -> None:
        self.port = 0
        self.posts = 0
        self.arrived: dict[str, float] = {}
        self.holds = False
        """True: it takes posts and never answers."""
        self.held = 0
        self.heard: Callable[[str], None] = lambda _: None

    def take(self, task: str) -> None:
        """Note one post."""
        self.posts += 1
        if task not in self.arrived:
            self.arrived[task] = time.perf_counter()
            self.heard(task)

    async def has(self, n: int, within_s: float = 60.0) -> None:
        """Wait until *n* tasks were heard of."""
        await eventually(lambda: len(self.arrived) >= n, within_s=within_s)

    async def has_posts(self, n: int, within_s: float = 60.0) -> None:
        """Wait until *n* posts came, repeats too."""
        await eventually(lambda: self.posts >= n, within_s=within_s)

    def forget(self) -> None:
        """Begin anew."""
        self.posts = self.held = 0
        self.arrived.clear()

    @property
    def url(self) -> str:
        """Where to post to."""
        return f"http://127.0.0.1:{self.port}/hook"


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Sink]:
    """Run a sink."""
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Taker(sink), "127.0.0.1", 0, backlog=1024
    )
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
