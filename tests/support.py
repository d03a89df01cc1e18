"""What tests of several rooms share: a clock that is set by hand, waiting for a condition, a quick database file."""

import asyncio
import itertools
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from ralf_hub.clock import Clock, iso
from ralf_hub.store import schema

START_MS: Final = 1_770_000_000_000
"""2026-02-02T02:40:00.000Z: when the tests' clocks start."""


class SettableClock:
    """A clock that stands still until it is moved. `clock` is what the hub is given."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms
        self._tokens = itertools.count(1)
        self.clock = Clock(now=lambda: self.ms, token=lambda size: f"{next(self._tokens):0{2 * size}x}")

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def iso(self, after_s: float = 0.0) -> str:
        return iso(self.ms + round(after_s * 1000))


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], *, within_s: float = 5.0
) -> None:
    """Wait until *condition* is true; fail with its name after *within_s* seconds."""
    deadline = time.monotonic() + within_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        if time.monotonic() > deadline:
            name = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not true within {within_s} s: {name}")
        await asyncio.sleep(0.002)


def copy_of(template: Path, folder: Path) -> Path:
    """Return a fresh, empty hub database in *folder*: copied, which is quicker than running the migrations."""
    path = folder / "hub.db"
    shutil.copy(template, path)
    return path


def connect(path: Path) -> sqlite3.Connection:
    """Open *path* as someone beside the hub would, in autocommit."""
    return schema.connect(path, writer=True)


def rows(path: Path, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Return what a second connection reads: only what is committed."""
    conn = sqlite3.connect(path, isolation_level=None)
    try:
        return conn.execute(sql, values).fetchall()
    finally:
        conn.close()
