"""Group commit: what waits for a connection, and how it is run.

All writes go through one connection. Whatever is waiting is drained and run as ONE
`BEGIN IMMEDIATE ... COMMIT` with one hop to the connection's thread; a failed change is rolled back alone
(savepoint) and never takes its neighbours with it. Reads have connections of their own and share hops
in the same way. See `docs/adr/0001-group-commit.md` and `docs/adr/0006-short-changes-on-the-loop.md`.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
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
"""Changes (or reads of one connection) that may wait; beyond it callers are told so instead of filling memory."""
READ_BATCH_MAX: Final = 64
LOOP_S_MAX: Final = 0.004
"""How long changes may keep the loop before what they did so far is committed."""
PRIMARY_CODE: Final = 0xFF
"""SQLite's extended result codes carry the primary one in the low byte."""


class HubConnection(aiosqlite.Connection):
    """An aiosqlite connection that can run a whole function on its thread in one hop."""

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run *fn* on the connection's thread."""
        # aiosqlite has no public call for this; tests/store/test_database.py notices a change.
        return cast("T", await self._execute(fn, self._conn))  # type: ignore[no-untyped-call]

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself, for statements that never wait. Only while nothing runs on its thread."""
        return self._conn

    async def close(self) -> None:
        """Finish what waits, close, and see the thread end."""
        await super().close()
        self.join()

    def join(self) -> None:
        """See the thread end. It has answered its last call and only has to return."""
        self._thread.join()


async def open_connection(path: Path, *, writer: bool) -> HubConnection:
    """Open *path* on a thread of its own."""
    conn = HubConnection(partial(schema.connect, path, writer=writer), 64)
    try:
        await conn
    except Exception:
        conn.join()
        raise
    return conn


class Kind(Enum):
    """How a piece of work runs: with others, in a transaction of its own, or outside any."""

    SHORT = auto()
    LONG = auto()
    ALONE = auto()


@dataclass(slots=True)
class Job:
    """Something to run on a connection, and who waits for it."""

    fn: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    after: Callable[[Any], None] | None = None
    kind: Kind = Kind.SHORT


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


def for_caller(error: BaseException) -> BaseException:
    """Return what a caller gets to see: SQLite's own failures as StorageError, anything else as it is."""
    if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
        return storage_error(error)
    if isinstance(error, StopIteration):  # a future cannot carry it
        wrapped = RuntimeError("a change raised StopIteration")
        wrapped.__cause__ = error
        return wrapped
    return error


def begin_now(conn: sqlite3.Connection) -> bool:
    """Begin a transaction if that is possible at once; False while another program writes."""
    try:
        conn.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & PRIMARY_CODE == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


def begin_patiently(conn: sqlite3.Connection) -> None:
    """Begin a transaction, waiting for another program as long as `BUSY_TIMEOUT_MS`. Not for the loop's thread."""
    conn.execute(f"PRAGMA busy_timeout = {schema.BUSY_TIMEOUT_MS}")
    try:
        conn.execute("BEGIN IMMEDIATE")
    finally:
        conn.execute("PRAGMA busy_timeout = 0")


def _commit(conn: sqlite3.Connection) -> None:
    conn.execute("COMMIT")


def _all_failed(results: list[Any], wanted: int, error: sqlite3.Error) -> list[Any]:
    """Return a failure for everyone: those that had failed for reasons of their own keep theirs."""
    known = [result if isinstance(result, _Failed) else None for result in results]
    known += [None] * (wanted - len(known))
    return [failed or _Failed(storage_error(error)) for failed in known]


def run_batch(conn: sqlite3.Connection, fns: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
    """Run *fns* in one transaction; each result is a value or `_Failed`. Nothing is reported done before COMMIT."""
    results: list[Any] = []
    try:
        begin_patiently(conn)
        for fn in fns:
            results.append(_run_one(conn, fn))  # noqa: PERF401 - those before a failure are needed
        conn.execute("COMMIT")
    except sqlite3.Error as error:  # the transaction itself failed: nobody is done
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        return _all_failed(results, len(fns), error)
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
        result = _Failed(for_caller(error))
    conn.execute("RELEASE change")
    return result


def run_reads(conn: sqlite3.Connection, fns: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
    """Run *fns* one after the other, each result a value or `_Failed`."""
    results: list[Any] = []
    for fn in fns:
        try:
            results.append(fn(conn))
        except BaseException as error:  # noqa: BLE001 - handed to the caller whose read it was
            results.append(_Failed(for_caller(error)))
    return results


class Lane:
    """One connection and what waits for it, taken up batch by batch."""

    def __init__(self, conn: HubConnection) -> None:
        self.conn = conn
        self.waiting: deque[Job] = deque()
        self.running = 0
        self._last = 0
        self._drain: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, job: Job) -> None:
        """Take *job*. StorageError when too much waits already."""
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
                await self._gather()
                batch = self._next_batch()
                self.running = self._last = len(batch)
                try:
                    results = await self._run(batch)
                except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it
                    results = [_Failed(for_caller(error))] * len(batch)
                for job, result in zip(batch, results, strict=False):
                    self._resolve(job, result)
                self.waiting.extendleft(reversed(batch[len(results) :]))
        finally:
            self.running = 0
            self._drain = None

    async def _gather(self) -> None:
        """Let more come while more does come: whoever was answered together asks again together, but not in one moment.

        A batch costs as much as some twenty changes in it. One that comes alone, as the last did, need not wait.
        """
        seen = 0 if self._last > 1 else 1
        while seen < len(self.waiting) < BATCH_MAX:
            seen = len(self.waiting)
            await asyncio.sleep(0)

    def _next_batch(self) -> list[Job]:
        """Take what may run together: many short ones, or one that has the connection to itself."""
        first = self.waiting.popleft()
        batch = [first]
        while first.kind is Kind.SHORT and self.waiting and len(batch) < BATCH_MAX:
            if self.waiting[0].kind is not Kind.SHORT:
                break
            batch.append(self.waiting.popleft())
        return batch

    async def _run(self, batch: list[Job]) -> list[Any]:
        """Run *batch*, or the beginning of it; what is left waits for the next."""
        raise NotImplementedError

    @staticmethod
    def _resolve(job: Job, result: Any) -> None:
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
        """Finish what waits, then close the connection and its thread."""
        self._closed = True
        while self._drain is not None:
            await asyncio.wait({self._drain})
        await self.conn.close()


class Reader(Lane):
    """Reads share hops to the connection's thread."""

    async def _run(self, batch: list[Job]) -> list[Any]:
        fns = [job.fn for job in batch[:READ_BATCH_MAX]]
        return await self.conn.run(lambda conn: run_reads(conn, fns))


class Writer(Lane):
    """Short changes run on the loop, only their commit on the thread; long ones run on the thread altogether.

    SQLite's statements let go of Python's lock and take it again each time: on a thread of their own they wait for
    the busy loop at every step. Here the loop is busy with them instead, a few milliseconds at most at a time, and
    the one hop is the fsync, which waits for nobody's lock. `docs/adr/0006-short-changes-on-the-loop.md` has numbers.
    """

    async def _run(self, batch: list[Job]) -> list[Any]:
        first = batch[0]
        if first.kind is Kind.ALONE:
            return await self.conn.run(lambda conn: run_reads(conn, [first.fn]))
        if first.kind is Kind.LONG:
            return await self.conn.run(lambda conn: run_batch(conn, [first.fn]))
        results: list[Any] = []
        conn = self.conn.raw
        try:
            if not begin_now(conn):
                await self.conn.run(begin_patiently)
            until = time.perf_counter() + LOOP_S_MAX
            for job in batch:
                results.append(_run_one(conn, job.fn))
                if time.perf_counter() > until:
                    batch = batch[: len(results)]  # what is left waits for the next transaction
                    break
            await self.conn.run(_commit)
        except sqlite3.Error as error:  # the transaction itself failed: nobody is done
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            return _all_failed(results, len(batch), error)
        return results
