"""Connections and group commit: the only way anything is read from or written to the file while the hub runs.

All writes go through one connection. Whatever is waiting is drained and run as ONE
`BEGIN IMMEDIATE ... COMMIT` in one hop to the connection's thread; a failed change is rolled back alone
(savepoint) and never takes its neighbours with it. Reads have connections of their own and share hops
in the same way. See `docs/adr/0001-group-commit.md`.
"""

import asyncio
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

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH_MAX: Final = 512
"""Writes in one transaction at most, so that one commit never takes long."""
WAITING_MAX: Final = 20_000
"""Writes that may wait; beyond it callers are told the storage is unavailable instead of filling memory."""
READ_BATCH_MAX: Final = 64
READERS: Final = 2


class HubConnection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole function on its thread in one hop."""

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on the connection's thread."""
        # aiosqlite has no public call for this; tests/store/test_database.py notices a change.
        return cast("T", await self._execute(fn, self._conn))  # type: ignore[no-untyped-call]


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


def storage_error(error: sqlite3.Error) -> StorageError:
    """Return *error* as what callers of the hub may see: a plain sentence, no SQL, no path."""
    name = getattr(error, "sqlite_errorname", "") or ""
    reasons = {
        "SQLITE_FULL": "the disk is full",
        "SQLITE_IOERR": "the disk answers with errors",
        "SQLITE_READONLY": "the database is read-only",
        "SQLITE_CANTOPEN": "the database cannot be opened",
        "SQLITE_BUSY": "another program holds the database locked",
        "SQLITE_LOCKED": "another program holds the database locked",
        "SQLITE_CORRUPT": "the database is damaged",
        "SQLITE_NOTADB": "the database is damaged",
    }
    reason = next(
        (text for prefix, text in reasons.items() if name.startswith(prefix)), "the database failed"
    )
    return StorageError(f"{reason[0].upper()}{reason[1:]}; nothing was changed.")


def run_batch(conn: sqlite3.Connection, fns: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
    """Run *fns* in one transaction; each result is a value or `_Failed`. Nothing is reported done before COMMIT."""
    try:
        conn.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return [_Failed(storage_error(error))] * len(fns)
    results: list[Any] = []
    for fn in fns:
        conn.execute("SAVEPOINT change")
        try:
            result = fn(conn)
        except BaseException as error:  # noqa: BLE001 - handed to the caller whose change it was
            result = _Failed(storage_error(error) if isinstance(error, sqlite3.OperationalError) else error)
            if (
                not conn.in_transaction
            ):  # SQLite rolled everything back (disk full, I/O error): nobody is done
                failed = _Failed(StorageError("The disk is full or failing; nothing was changed."))
                return [failed] * len(fns)
            conn.execute("ROLLBACK TO change")
        conn.execute("RELEASE change")
        results.append(result)
    try:
        conn.execute("COMMIT")
    except sqlite3.Error as error:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        return [
            result if isinstance(result, _Failed) else _Failed(storage_error(error)) for result in results
        ]
    return results


def run_reads(conn: sqlite3.Connection, fns: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
    """Run *fns* one after the other, each result a value or `_Failed`."""
    results: list[Any] = []
    for fn in fns:
        try:
            results.append(fn(conn))
        except sqlite3.OperationalError as error:
            results.append(_Failed(storage_error(error)))
        except BaseException as error:  # noqa: BLE001 - handed to the caller whose read it was
            results.append(_Failed(error))
    return results


class _Lane:
    """One connection and what waits for it: drained batch by batch, one hop each."""

    def __init__(self, conn: HubConnection, batch_max: int, run: Callable[..., list[Any]]) -> None:
        self.conn = conn
        self._batch_max = batch_max
        self._run = run
        self.waiting: list[_Job] = []
        self._drain: asyncio.Task[None] | None = None

    def submit(self, job: _Job) -> None:
        self.waiting.append(job)
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_all())

    async def _drain_all(self) -> None:
        try:
            while self.waiting:
                batch, self.waiting = self.waiting[: self._batch_max], self.waiting[self._batch_max :]
                fns = [job.fn for job in batch]
                try:
                    results = await self.conn.run(lambda conn, fns=fns: self._run(conn, fns))  # type: ignore[misc]
                except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
                    results = [_Failed(error)] * len(batch)
                for job, result in zip(batch, results, strict=True):
                    self._resolve(job, result)
        finally:
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
        writer = _Lane(await open_connection(path, writer=True), BATCH_MAX, run_batch)
        readers = [
            _Lane(await open_connection(path, writer=False), READ_BATCH_MAX, run_reads)
            for _ in range(READERS)
        ]
        return cls(path, writer, readers)

    async def write(
        self, fn: Callable[[sqlite3.Connection], T], *, after: Callable[[T], None] | None = None
    ) -> T:
        """Run *fn* in a transaction and return its result once that is on disk.

        *after* is called with the result right after the commit, in commit order, even if the caller has gone.
        StorageError when it could not be made durable: then nothing of it happened.
        """
        if len(self._writer.waiting) >= WAITING_MAX:
            raise StorageError("Too many changes are waiting for the disk; try again shortly.")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.submit(_Job(fn, done, after))
        return await done

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on a connection that cannot write."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        lane = min(self._readers, key=lambda reader: len(reader.waiting))
        lane.submit(_Job(fn, done))
        return await done

    async def run_alone(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on the writing connection outside any transaction (checkpoints, vacuum, data_version)."""
        return await self._writer.conn.run(fn)

    @property
    def waiting(self) -> int:
        """How many writes wait for their commit."""
        return len(self._writer.waiting)

    async def close(self) -> None:
        """Finish what waits, then close every connection and its thread."""
        for lane in (*self._readers, self._writer):
            await lane.close()
