"""One live reader: what waits for it, and what happens when it does not read."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from ralf_hub.keyring import ANONYMOUS, Principal
from ralf_hub.model import Event

QUEUED_BYTES_MAX: Final = 1024 * 1024
QUEUED_MESSAGES_MAX: Final = 5_000
SEND_WITHIN_S: Final = 20.0
"""A reader that takes nothing for so long is gone or stuck."""

TOO_SLOW: Final = "you read too slowly; come back with since"
NO_LONGER_ALLOWED: Final = "your key or token has ended"

Send = Callable[[bytes], Awaitable[None]]
Encode = Callable[[Event], bytes]


class SlowReaderError(Exception):
    """The reader does not keep up; it was let go of before it costs the others."""


@dataclass(slots=True, eq=False)
class Client:
    """Queues messages for one reader within bounds and sends them one after the other.

    When the hub lets go of the reader its own loop says so and closes. Nothing here ever waits for it.
    """

    send: Send
    encode: Encode
    """How this reader gets an event: as a WebSocket's frame or as a server-sent event."""
    write_now: Callable[[bytes], bool] | None = None
    """Sends a message without waiting and returns True, or False where the connection cannot take it at once.

    It spares a task per message and reader, which a thousand readers would feel.
    """
    topics: frozenset[str] = frozenset()
    live: bool = False
    """False while stored events are replayed: live ones are not queued, they will be read from the table."""
    position: int = 0
    """The `seq` of the last event given to this reader."""
    principal: Principal = ANONYMOUS
    dropped: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when the hub lets go of the reader, with the reason."""
    _queue: deque[bytes] | None = None
    """There while something waits: an empty deque, or the one in an Event, is 760 bytes for each idle reader."""
    _queued_bytes: int = 0
    _sending: asyncio.Task[None] | None = None

    def push(self, message: bytes) -> None:
        """Queue *message*; a reader whose queue is full is dropped."""
        if self.dropped.done():
            return
        if self._sending is None and self.write_now is not None and self.write_now(message):
            return
        if self._queue is None:
            self._queue = deque()
        if self._queued_bytes + len(message) > QUEUED_BYTES_MAX or len(self._queue) >= QUEUED_MESSAGES_MAX:
            self.drop()
            return
        self._queue.append(message)
        self._queued_bytes += len(message)
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._drain())

    def drop(self, why: str = TOO_SLOW) -> None:
        """Let go of the reader and of all that waits for it."""
        self._queue = None
        self._queued_bytes = 0
        if not self.dropped.done():
            self.dropped.set_result(why)

    async def _drain(self) -> None:
        try:
            while self._queue:
                message = self._queue.popleft()
                self._queued_bytes -= len(message)
                async with asyncio.timeout(SEND_WITHIN_S):
                    await self.send(message)
        except (TimeoutError, OSError, RuntimeError):  # stuck, or the connection is gone
            self.drop()
        finally:
            self._sending = self._queue = None

    async def send_now(self, message: bytes) -> None:
        """Send *message* and wait until it is out. SlowReaderError when that takes too long."""
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                await self.send(message)
        except TimeoutError:
            self.drop()
            raise SlowReaderError from None

    async def close(self) -> None:
        """Stop sending."""
        self.drop()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
