"""Connections and group commit: the only way anything is read from or written to the file while the hub runs.

All writes go through one connection. Whatever is waiting is drained and run as ONE
`BEGIN IMMEDIATE ... COMMIT` in one hop to the connection's thread; a failed change is rolled back alone
(savepoint) and never takes its neighbours with it. Reads have connections of their own and share hops
in the same way. See `docs/adr/0001-group-commit.md`.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import aiosqlite

from ralf_hub.errors import StorageError
from ralf_hub.store import schema
from ralf_hub.store.rows import scalar

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_MAX: Final = 512
"""Writes in one transaction at most, so that one commit never takes long."""
WAITING_MAX: Final = 20_000
"""Changes (or reads of one connection) that may wait; beyond it callers are told so instead of filling memory."""
READ_BATCH_MAX: Final = 64
READERS: Final = 2


class HubConnection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole function on its thread in one hop."""

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on the connection's thread."""
        # aiosqlite has no public call for this; tests/store/test_database.py notices a change.
        return cast("T", await self._execute(fn, self._conn))  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Finish what waits, close, and see the thread end."""
        await super().close()
        self._thread.join()  # it has answered its last call and only has to return


async def open_connection(path: Path, *, writer: bool) -> HubConnection:
    """Open *path* on a thread of its own."""
    conn = HubConnection(partial(schema.connect, path, writer=writer), 64)
    await conn
    return conn


@dataclass(slots=True)
class _Job:
    fn: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    after: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


_REASONS: Final = {
    "SQLITE_FULL": "The disk is full",
    "SQLITE_IOERR": "The disk answers with errors",
    "SQLITE_READONLY": "The database is read-only",
    "SQLITE_CANTOPEN": "The database cannot be opened",
    "SQLITE_BUSY": "Another program holds the database locked",
    "SQLITE_LOCKED": "Another program holds the database locked",
    "SQLITE_CORRUPT": "The database is damaged",
    "SQLITE_NOTADB": "The database is damaged",
}


def storage_error(error: sqlite3.Error) -> StorageError:
    """Return *error* as what callers of the hub may see: a plain sentence, no SQL, no path; the cause is kept."""
    name = getattr(error, "sqlite_errorname", "") or ""
    reason = next((text for prefix, text in _REASONS.items() if name.startswith(prefix)), None)
    failed = StorageError(f"{reason or 'The database failed'}; nothing was changed.")
    failed.__cause__ = error
    return failed


def _for_caller(error: BaseException) -> BaseException:
    """Return what a caller gets to see: SQLite's own failures as StorageError, anything else as it is."""
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        return storage_error(error)
    if isinstance(error, StopIteration):  # a future cannot carry it
        wrapped = RuntimeError("a change raised StopIteration")
        wrapped.__cause__ = error
        return wrapped
    return error


def run_batch(conn: sqlite3.Connection, fns: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
    """Run *fns* in one transaction; each result is a value or `_Failed`. Nothing is reported done before COMMIT."""
    results: list[Any] = []
    try:
        conn.execute("BEGIN IMMEDIATE")
        for fn in fns:
            results.append(_run_one(conn, fn))  # noqa: PERF401 - those before a failure are needed
        conn.execute("COMMIT")
    except sqlite3.Error as error:  # the transaction itself failed: nobody is done
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        known = [result if isinstance(result, _Failed) else None for result in results]
        known += [None] * (len(fns) - len(known))
        return [failed or _Failed(storage_error(error)) for failed in known]
    return results


def _run_one(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], Any]) -> Any:
    """Run *fn*; what it did is undone alone when it fails. sqlite3.Error when the whole transaction is lost."""
    conn.execute("SAVEPOINT change")
    try:
        result = fn(conn)
    except BaseException as error:
        if not conn.in_transaction:  # SQLite rolled everything back (disk full, I/O error)
            if isinstance(error, sqlite3.Error):
                raise
            raise sqlite3.OperationalError("the transaction was rolled back") from error
        conn.execute("ROLLBACK TO change")
        result = _Failed(_for_caller(error))
    conn.execute("RELEASE change")
    return result


def run_reads(conn: sqlite3.Connection, fns: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
    """Run *fns* one after the other, each result a value or `_Failed`."""
    results: list[Any] = []
    for fn in fns:
        try:
            results.append(fn(conn))
        except BaseException as error:  # noqa: BLE001 - handed to the caller whose read it was
            results.append(_Failed(_for_caller(error)))
    return results


class _Lane:
    """One connection and what waits for it: drained batch by batch, one hop each."""

    def __init__(self, conn: HubConnection, batch_max: int, run: Callable[..., list[Any]]) -> None:
        self.conn = conn
        self._batch_max = batch_max
        self._run = run
        self.waiting: list[_Job] = []
        self.running = 0
        self._drain: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, job: _Job) -> None:
        if self._closed:
            raise StorageError("The database is closed: the hub is stopping.")
        if len(self.waiting) >= WAITING_MAX:
            raise StorageError("Too much is waiting for the disk; try again shortly.")
        self.waiting.append(job)
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_all())

    async def _drain_all(self) -> None:
        try:
            while self.waiting:
                batch, self.waiting = self.waiting[: self._batch_max], self.waiting[self._batch_max :]
                self.running = len(batch)
                fns = [job.fn for job in batch]
                try:
                    results = await self.conn.run(lambda conn, fns=fns: self._run(conn, fns))  # type: ignore[misc]
                except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
                    results = [_Failed(_for_caller(error))] * len(batch)
                for job, result in zip(batch, results, strict=True):
                    self._resolve(job, result)
        finally:
            self.running = 0
            self._drain = None

    @staticmethod
    def _resolve(job: _Job, result: Any) -> None:
        if isinstance(result, _Failed):
            if not job.done.done():
                job.done.set_exception(result.error)
            return
        if job.after is not None:
            try:
                job.after(result)
            except Exception:
                log.exception("a listener failed after a commit")
        if not job.done.done():
            job.done.set_result(result)

    async def close(self) -> None:
        self._closed = True
        while self._drain is not None:
            await asyncio.wait({self._drain})
        await self.conn.close()


class Database:
    """The hub's file while the hub runs."""

    def __init__(self, path: Path, writer: _Lane, readers: list[_Lane]) -> None:
        self.path = path
        self._writer = writer
        self._readers = readers

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Check, upgrade and open *path*. DatabaseRefusedError says why it cannot be used."""
        await asyncio.to_thread(schema.prepare, path)
        async with contextlib.AsyncExitStack() as opened:
            conns = []
            for writer in (True, *[False] * READERS):
                conns.append(await open_connection(path, writer=writer))
                opened.push_async_callback(conns[-1].close)
            opened.pop_all()
        readers = [_Lane(conn, READ_BATCH_MAX, run_reads) for conn in conns[1:]]
        return cls(path, _Lane(conns[0], BATCH_MAX, run_batch), readers)

    async def write(
        self, fn: Callable[[sqlite3.Connection], T], *, after: Callable[[T], None] | None = None
    ) -> T:
        """Run *fn* in a transaction and return its result once that is on disk.

        *after* is called with the result right after the commit, in commit order, even if the caller has gone.
        StorageError when it could not be made durable: then nothing of it happened.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(_Job(fn, done, after))
        return await done

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on a connection that cannot write: the one with the least to do."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        lane = min(self._readers, key=lambda reader: reader.running + len(reader.waiting))
        lane.submit(_Job(fn, done))
        return await done

    async def run_alone(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on the writing connection outside any transaction (checkpoints, vacuum)."""
        return await self._writer.conn.run(fn)

    async def data_version(self) -> int:
        """Return a number that changes when another connection commits: a command, or a person with sqlite3."""
        return await self.run_alone(lambda conn: int(scalar(conn, "PRAGMA data_version")))

    @property
    def waiting(self) -> int:
        """How many writes wait for their commit."""
        return len(self._writer.waiting)

    async def close(self) -> None:
        """Finish what waits, then close every connection and its thread."""
        for lane in (*self._readers, self._writer):
            await lane.close()
