"""Where live readers learn what was committed: events without gaps in `seq` order, deliveries as they are judged.

The table is the truth. What another process appended (a command, a person with sqlite3) leaves a hole in what this
one knows; then nothing is told until the hole has been read from the table.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from ralf_hub.model import Event

log = logging.getLogger(__name__)

FILL_MAX: Final = 500
FILL_AGAIN_AFTER_S: Final = 0.5

Read = Callable[[int, int], Awaitable[list[Event]]]
"""Returns up to so many events after a `seq`."""


class Feed:
    """Knows the highest `seq` that was told and tells every event after it, once and in order."""

    def __init__(self, last_seq: int = 0, read: Read | None = None) -> None:
        self.last_seq = last_seq
        self.listeners: list[Callable[[list[Event]], None]] = []
        self._read = read
        self._filling: asyncio.Task[None] | None = None
        self._more = False
        self._news = asyncio.Event()

    def publish(self, appended: list[Event]) -> None:
        """Tell events right after their commit, in commit order."""
        fresh = [event for event in appended if event.seq > self.last_seq]
        if not fresh:
            return
        if self._filling is not None:  # these are read from the table too
            self._more = True
            return
        if fresh[0].seq != self.last_seq + 1 and self._read is not None:
            self._filling = asyncio.get_running_loop().create_task(self._fill(self._read), name="feed filled")
            return
        self._tell(fresh)

    def look(self) -> None:
        """Someone else may have appended: read the table."""
        self._more = True
        if self._filling is None and self._read is not None:
            self._filling = asyncio.get_running_loop().create_task(self._fill(self._read), name="feed filled")

    async def _fill(self, read: Read) -> None:
        """Read and tell until nothing is left and nothing came while the last look was on its way."""
        try:
            while True:
                self._more = False
                try:
                    found = await read(self.last_seq, FILL_MAX)
                except Exception:
                    log.exception("events for live readers could not be read; they are read again")
                    await asyncio.sleep(FILL_AGAIN_AFTER_S)
                    continue
                if found:
                    self._tell(found)
                elif not self._more:
                    return
        finally:
            self._filling = None

    def _tell(self, fresh: list[Event]) -> None:
        self.last_seq = fresh[-1].seq
        self._news.set()
        self._news = asyncio.Event()
        for listener in self.listeners:
            try:
                listener(fresh)
            except Exception:
                log.exception("a live reader failed")

    async def close(self) -> None:
        """End what is being read."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait({self._filling})

    async def wait_beyond(self, seq: int, timeout_s: float) -> bool:
        """Wait until an event after *seq* is told; False when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.last_seq <= seq:
                    await self._news.wait()
        except TimeoutError:
            return False
        return True
