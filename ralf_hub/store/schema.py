"""Opening the one database file: the lock, the checks before use, the migrations.

Everything here is synchronous and happens once, before the hub serves or a command runs.
"""

import contextlib
import fcntl
import json
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from ralf_hub.errors import DatabaseRefusedError

BUSY_TIMEOUT_MS: Final = 5_000
WRITER_CACHE_KIB: Final = 8_192
READER_CACHE_KIB: Final = 2_048
APPLICATION_ID: Final = 0x52414C46
"""`RALF`: tells `file` and us whose database this is."""

_MIGRATION_NAME: Final = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `number` becomes `PRAGMA user_version`."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return the migrations in order, from the wheel or, in a checkout, from its top level."""
    packaged = resources.files("ralf_hub") / "_data" / "migrations"
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"
    found = [
        Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if (match := _MIGRATION_NAME.match(entry.name))
    ]
    return sorted(found, key=lambda migration: migration.number)


def configure(conn: sqlite3.Connection, *, writer: bool) -> None:
    """Set what a connection to the hub's file needs. Durability: a commit returns after its fsync."""
    conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("PRAGMA temp_store = MEMORY")
    if writer:
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
        conn.execute("PRAGMA wal_autocheckpoint = 0")  # `checkpoint.py` does it, off the hot path
    else:
        conn.execute("PRAGMA query_only = ON")
        conn.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")


def connect(path: Path, *, writer: bool) -> sqlite3.Connection:
    """Open *path* in autocommit mode, so that every transaction is begun and ended by name."""
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    configure(conn, writer=writer)
    return conn


def prepare(path: Path) -> None:
    """Create or check and upgrade the database at *path*. DatabaseRefusedError says why it cannot be used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists() or path.stat().st_size == 0
        if new:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseRefusedError(f"{path}: cannot be created: {error.strerror}") from error
    if not stat.S_ISREG(path.stat().st_mode):
        raise DatabaseRefusedError(f"{path}: is not a regular file")
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
            conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            if new:
                conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
                conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            else:
                _refuse_foreign(conn, path)
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute("PRAGMA synchronous = FULL")
            migrate(conn, path)
    except sqlite3.DatabaseError as error:
        raise _refusal(path, error) from error


def _refuse_foreign(conn: sqlite3.Connection, path: Path) -> None:
    """Refuse what is corrupt, not ours or newer than this program, before anything is written to it."""
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    newest = migrations()[-1].number
    if version > newest:
        raise DatabaseRefusedError(
            f"{path}: was written by a newer ralf-hub (schema {version}, this one knows {newest}); "
            "it was left untouched: run the newer program, or restore a backup made before the upgrade"
        )
    tables = conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if version == 0 and tables and conn.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise DatabaseRefusedError(
            f"{path}: is another program's SQLite database; give --db a path of its own"
        )
    found = conn.execute("PRAGMA quick_check(3)").fetchall()
    if found != [("ok",)]:
        raise DatabaseRefusedError(_corrupt(path, "; ".join(row[0] for row in found)))


def _corrupt(path: Path, what: str) -> str:
    return (
        f"{path}: the database is damaged ({what}); nothing was changed. Keep a copy, then restore the last good "
        f"backup with `ralf-hub restore BACKUP --db {path}` (`ralf-hub backup DEST` makes them)"
    )


def _refusal(path: Path, error: sqlite3.DatabaseError) -> DatabaseRefusedError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DatabaseRefusedError(_corrupt(path, str(error)))
    return DatabaseRefusedError(f"{path}: cannot be used: {error}")


def migrate(conn: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, each migration in one transaction with its `user_version`."""
    for migration in migrations():
        if migration.number <= conn.execute("PRAGMA user_version").fetchone()[0]:
            continue
        try:
            conn.execute("BEGIN IMMEDIATE")
            for statement in statements(migration.sql):
                conn.execute(statement)
            conn.execute(f"PRAGMA user_version = {migration.number}")
            conn.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise DatabaseRefusedError(f"{path}: migration {migration.name} failed: {error}") from error


def statements(sql: str) -> Iterator[str]:
    """Yield the statements of *sql* one by one: `executescript` would commit the open transaction."""
    pending = ""
    for line in sql.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    if pending.strip():
        yield pending.strip()


class FileLock:
    """Held by the one hub that serves a database; a second one is told who has it."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._fd = -1

    def acquire(self, *, address: str) -> None:
        """Take the lock and note who has it. DatabaseRefusedError names the holder."""
        fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder(fd)
            os.close(fd)
            raise DatabaseRefusedError(
                f"{self.path.with_suffix('')}: another ralf-hub already serves this database ({holder}); "
                "stop it first, or give this one another --db"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)
        self._fd = fd

    @staticmethod
    def _holder(fd: int) -> str:
        try:
            known = json.loads(os.pread(fd, 4096, 0))
            return f"process {known['pid']} at {known['address']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "its process is not known"

    def release(self) -> None:
        """Let go; the file stays, since removing it could pull it from under a successor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
