"""Where live readers learn that events were appended. The table is the truth; this only says "look"."""

import asyncio
from collections.abc import Callable

from ralf_hub.model import Event


class Feed:
    """Knows the highest `seq` that is committed and wakes whoever waits for a higher one."""

    def __init__(self, last_seq: int = 0) -> None:
        self.last_seq = last_seq
        self.listeners: list[Callable[[list[Event]], None]] = []
        self._news = asyncio.Event()

    def publish(self, appended: list[Event]) -> None:
        """Note events right after their commit, in commit order."""
        fresh = [event for event in appended if event.seq > self.last_seq]
        if not fresh:
            return
        self.last_seq = fresh[-1].seq
        self._news.set()
        self._news = asyncio.Event()
        for listener in self.listeners:
            listener(fresh)

    async def wait_beyond(self, seq: int, timeout_s: float) -> bool:
        """Wait until an event after *seq* is committed; False when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.last_seq <= seq:
                    await self._news.wait()
        except TimeoutError:
            return False
        return True
