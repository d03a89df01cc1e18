"""The hub's file while the hub runs: the only way anything is read from it or written to it.

How writes share commits and reads share hops is in `lanes.py`.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from ralf_hub.store import schema
from ralf_hub.store.lanes import Job, Kind, Reader, Writer, for_caller, open_connection
from ralf_hub.store.rows import scalar

T = TypeVar("T")

READERS: Final = 2


class Database:
    """The hub's file while the hub runs."""

    def __init__(self, path: Path, writer: Writer, readers: list[Reader], near: sqlite3.Connection) -> None:
        self.path = path
        self._writer = writer
        self._readers = readers
        self._near = near
        self.whole = True
        """Whether the file was read from end to end at the start; a large one still has to be."""

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Check, upgrade and open *path*. DatabaseRefusedError says why it cannot be used."""
        whole = await asyncio.to_thread(schema.prepare, path)
        try:
            async with contextlib.AsyncExitStack() as opened:
                conns = []
                for writer in (True, *[False] * READERS):
                    conns.append(await open_connection(path, writer=writer))
                    opened.push_async_callback(conns[-1].close)
                # The loop's thread uses the writer as well, and must never wait for another program.
                await conns[0].run(lambda conn: conn.execute("PRAGMA busy_timeout = 0"))
                near = await asyncio.to_thread(schema.connect, path, writer=False)
                opened.pop_all()
        except sqlite3.DatabaseError as error:
            raise schema.refusal(path, error) from error
        db = cls(path, Writer(conns[0]), [Reader(conn) for conn in conns[1:]], near)
        db.whole = whole
        return db

    async def write(
        self,
        fn: Callable[[sqlite3.Connection], T],
        *,
        after: Callable[[T], None] | None = None,
        bulk: bool = False,
    ) -> T:
        """Run *fn* in a transaction and return its result once that is on disk.

        *after* is called with the result right after the commit, in commit order, even if the caller has gone.
        With *bulk*, for what takes longer than a few milliseconds, *fn* runs on the connection's thread in a
        transaction of its own. StorageError when it could not be made durable: then nothing of it happened.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(Job(fn, done, after, Kind.LONG if bulk else Kind.SHORT))
        return await done

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on a connection that cannot write: the one with the least to do."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        lane = min(self._readers, key=lambda reader: reader.running + len(reader.waiting))
        lane.submit(Job(fn, done))
        return await done

    def peek(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn*, a look-up or two by an index, at once: it costs less than asking a thread."""
        try:
            return fn(self._near)
        except sqlite3.DatabaseError as error:
            raise for_caller(error) from error

    async def run_alone(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on the writing connection outside any transaction (checkpoints, vacuum)."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(Job(fn, done, kind=Kind.ALONE))
        return await done

    async def data_version(self) -> int:
        """Return a number that changes when another connection commits: a command, or a person with sqlite3."""
        return await self.run_alone(lambda conn: int(scalar(conn, "PRAGMA data_version")))

    @property
    def waiting(self) -> int:
        """How many writes wait for their commit."""
        return len(self._writer.waiting)

    async def close(self) -> None:
        """Finish what waits, then close every connection and its thread."""
        self._near.close()
        for lane in (*self._readers, self._writer):
            await lane.close()
