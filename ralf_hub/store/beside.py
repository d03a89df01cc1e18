"""The database for a command that works beside a running hub: opened in a moment, written in one short transaction."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from ralf_hub.errors import DatabaseRefusedError
from ralf_hub.store import schema

T = TypeVar("T")

WRITE_WAIT_MS: Final = 15_000
"""How long a command waits for its turn to write; the hub gives way after every commit."""


@contextlib.contextmanager
def beside(
    path: Path, *, writer: bool = False, create: bool = False, upgrade: bool = True
) -> Iterator[sqlite3.Connection]:
    """Open the database at *path*, with *create* also where there is none yet, with *upgrade* not as an older one.

    Unlike the hub at its start this does not read the whole file. DatabaseRefusedError says in one line why the
    database cannot be used, also when that shows only later.
    """
    if not create and not path.exists():
        raise DatabaseRefusedError(
            f"{path}: there is no such database; `ralf-hub serve` makes it, or name another with --db"
        )
    try:
        if not path.exists() or path.stat().st_size == 0 or (upgrade and _is_older(path)):
            schema.prepare(path)
        with contextlib.closing(schema.connect(path, writer=writer)) as conn:
            conn.execute(f"PRAGMA busy_timeout = {WRITE_WAIT_MS}")
            schema.check_identity(conn, path)
            yield conn
    except sqlite3.Error as error:
        raise _refusal(path, error) from error
    except OSError as error:
        if error.errno is None or error.filename != str(path):
            raise
        raise DatabaseRefusedError(f"{path}: cannot be opened: {error.strerror}") from error


def _is_older(path: Path) -> bool:
    if not path.is_file():
        raise DatabaseRefusedError(f"{path}: is not a regular file")
    with contextlib.closing(schema.connect(path, writer=False)) as conn:
        return schema.check_identity(conn, path) < schema.migrations()[-1].number


def _refusal(path: Path, error: sqlite3.Error) -> DatabaseRefusedError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return DatabaseRefusedError(f"{path}: another program holds the database locked; nothing was changed")
    if name.startswith("SQLITE_FULL"):
        return DatabaseRefusedError(f"{path}: the disk is full; nothing was changed")
    return schema.refusal(path, error)


def write(conn: sqlite3.Connection, change: Callable[[sqlite3.Connection], T]) -> T:
    """Run *change* in one transaction and return its result once that is on disk; an error undoes all of it."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        result = change(conn)
        conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise
    return result


@contextlib.contextmanager
def snapshot(conn: sqlite3.Connection) -> Iterator[None]:
    """Let everything read inside see one moment, whatever the hub writes meanwhile."""
    conn.execute("BEGIN")
    try:
        yield
    finally:
        conn.execute("ROLLBACK")
