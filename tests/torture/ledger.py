"""The independent ledger: every promise the hub made, on disk before it counts."""

import asyncio
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Promise(NamedTuple):
    """One event that the hub said it has recorded: its type and what names it."""

    type: str
    key: str


@dataclass
class Answers:
    """How the hub answered, by status; what is no answer a client may get stands in `odd`."""

    statuses: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    odd: list[str] = field(default_factory=list)


class Ledger:
    """Appends promises to a file; `kept` are those that are on its disk."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._noted: list[Promise] = []
        self._writing = asyncio.Lock()
        self.kept: list[Promise] = []
        self.total = 0
        self.answers = Answers()

    def note(self, promise: Promise) -> None:
        """Take a promise; `flush` makes it count."""
        self._noted.append(promise)

    async def flush(self) -> None:
        """Bring what was noted to disk."""
        async with self._writing:
            noted, self._noted = self._noted, []
            if noted:
                await asyncio.to_thread(self._write, noted)
                self.kept += noted
                self.total += len(noted)

    def _write(self, noted: list[Promise]) -> None:
        os.write(self._fd, "".join(json.dumps(promise) + "\n" for promise in noted).encode())
        os.fdatasync(self._fd)

    async def flush_until_cancelled(self, every_s: float = 0.1) -> None:
        """Bring what is noted to disk again and again."""
        while True:
            await asyncio.sleep(every_s)
            await self.flush()

    def take(self) -> list[Promise]:
        """Return the promises kept since the last time."""
        taken, self.kept = self.kept, []
        return taken

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
