"""Opening the one database file: the lock, the checks before use, the migrations.

Everything here is synchronous and happens once, before the hub serves or a command runs.
"""

import contextlib
import fcntl
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
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

CHECKED_AT_ONCE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A larger file is not read from end to end before it is used: `file_check.py` does it while the hub serves."""
FAULTS_MAX: Final = 3

SQLITE_VERSION: Final = sqlite3.sqlite_version
SQLITE_MIN: Final = (3, 38)
"""STRICT tables came with 3.37, `->>` with 3.38."""

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


def prepare(path: Path) -> bool:
    """Create or check and upgrade the database at *path*. DatabaseRefusedError says why it cannot be used.

    Return whether all of it was read: a large file that needs no upgrade is only looked at.
    """
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        raise DatabaseRefusedError(
            f"{path}: SQLite {wanted} or newer is needed, this Python comes with {SQLITE_VERSION}"
        )
    try:
        new = _create(path)
    except OSError as error:
        raise DatabaseRefusedError(f"{path}: cannot be created: {error.strerror}") from error
    try:
        whole = new or _check(path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
            conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            if _version(conn) == 0:
                conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
                conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            conn.execute("PRAGMA journal_mode = WAL")
            conn.execute("PRAGMA synchronous = FULL")
            if new:
                migrate(conn, path)
            elif _version(conn) < migrations()[-1].number:
                with _nobody_serving(path):
                    migrate(conn, path)
    except sqlite3.DatabaseError as error:
        raise refusal(path, error) from error
    return whole


def _create(path: Path) -> bool:
    """Make an empty file that only its owner can read, where there is none; return whether it is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise DatabaseRefusedError(f"{path}: is not a regular file")
    if path.exists() and path.stat().st_size > 0:
        return False
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o600)
    os.close(fd)
    return True


def _check(path: Path) -> bool:
    """Refuse what is corrupt, not ours or newer than this program, on a connection that can change nothing.

    Return whether all of the file was read. What is about to be upgraded always is.
    """
    try:
        return _look_through(path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
    # Its first start died in the middle of a change, which SQLite undoes as soon as it may write.
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        _version(conn)
    return _look_through(path)


def _look_through(path: Path) -> bool:
    """Do what `_check` does."""
    with contextlib.closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    ) as conn:
        conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        newest = check_identity(conn, path) == migrations()[-1].number
        if newest and path.stat().st_size > CHECKED_AT_ONCE_BYTES_MAX:
            return False
        found = conn.execute(f"PRAGMA quick_check({FAULTS_MAX})").fetchall()
    if found != [("ok",)]:
        raise damaged(path, [row[0] for row in found])
    return True


def check_identity(conn: sqlite3.Connection, path: Path) -> int:
    """Refuse what is not ours or newer than this program; return the schema's version. Reads two numbers."""
    tables = conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    owner = conn.execute("PRAGMA application_id").fetchone()[0]
    version, newest = _version(conn), migrations()[-1].number
    if owner != APPLICATION_ID and (tables or version or owner):
        raise DatabaseRefusedError(
            f"{path}: is another program's SQLite database; give --db a path of its own"
        )
    if version > newest:
        raise DatabaseRefusedError(
            f"{path}: was written by a newer ralf-hub (schema {version}, this one knows {newest}); "
            "it was left untouched: run the newer program, or restore a backup made before the upgrade"
        )
    return version


def _version(conn: sqlite3.Connection) -> int:
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def damaged(path: Path, faults: Sequence[str], so: str = "nothing was changed") -> DatabaseRefusedError:
    """Return what SQLite found wrong as one line that says what to do."""
    shown = "; ".join(
        " ".join(fault.split()) for fault in faults
    )  # SQLite begins some with a line of its own
    return DatabaseRefusedError(
        f"{path}: the database is damaged ({shown}); {so}. Keep a copy, then restore the last good "
        f"backup with `ralf-hub restore BACKUP --db {path}` (`ralf-hub backup DEST` makes them)"
    )


def refusal(path: Path, error: sqlite3.Error) -> DatabaseRefusedError:
    """Return SQLite's *error* as one line that says what to do."""
    return (
        damaged(path, [str(error)])
        if is_damage(error)
        else DatabaseRefusedError(f"{path}: cannot be used: {error}")
    )


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether SQLite says that the file itself is not what it should be."""
    return (getattr(error, "sqlite_errorname", "") or "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


@contextlib.contextmanager
def _nobody_serving(path: Path) -> Iterator[None]:
    """Hold the hub's lock while the schema changes: a command must not upgrade it under an older hub that runs."""
    lock = FileLock(path)
    try:
        lock.acquire(address="upgrading the database")
    except DatabaseLockedError as error:
        if error.pid != os.getpid():
            raise DatabaseRefusedError(
                f"{path}: an older ralf-hub serves this database ({error.holder}); stop it first, "
                "then this version can upgrade the schema"
            ) from error
    try:
        yield
    finally:
        lock.release()


def migrate(conn: sqlite3.Connection, path: Path, steps: Sequence[Migration] | None = None) -> None:
    """Bring the schema up to date, each migration in one transaction with its `user_version`."""
    for migration in migrations() if steps is None else steps:
        try:
            conn.execute("BEGIN IMMEDIATE")
            if migration.number > _version(conn):  # asked inside: another program may have been faster
                for statement in statements(migration.sql):
                    conn.execute(statement)
                conn.execute(f"PRAGMA user_version = {migration.number}")
            conn.execute("COMMIT")
        except sqlite3.Error as error:
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


class DatabaseLockedError(DatabaseRefusedError):
    """Another hub has the lock. `holder` is who, in words; `pid` its process where it is known."""

    def __init__(self, message: str, holder: str, pid: int | None) -> None:
        super().__init__(message)
        self.holder = holder
        self.pid = pid


class FileLock:
    """Held by the one hub that serves a database; a second one is told who has it."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._database = database
        self._fd = -1

    def acquire(self, *, address: str) -> None:
        """Take the lock and note who has it. DatabaseLockedError names the holder."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DatabaseRefusedError(f"{self.path}: cannot be created: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder, pid = self._holder(fd)
            os.close(fd)
            raise DatabaseLockedError(
                f"{self._database}: another ralf-hub already serves this database ({holder}); "
                "stop it first, or give this one another --db",
                holder,
                pid,
            ) from error
        # Who has it is for people to read: a full disk keeps nobody from serving.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)
        self._fd = fd

    @staticmethod
    def _holder(fd: int) -> tuple[str, int | None]:
        try:
            known = json.loads(os.pread(fd, 4096, 0))
            return f"process {known['pid']} at {known['address']}", int(known["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return "its process is not known", None

    def release(self) -> None:
        """Let go; the file stays, since removing it could pull it from under a successor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_served(database: Path) -> bool:
    """Return whether a hub seems to serve *database*: the process noted beside it lives.

    The lock itself is not tried: that could keep out a hub that starts at this moment.
    """
    try:
        pid = int(json.loads(FileLock(database).path.read_bytes()[:4096])["pid"])
        os.kill(pid, 0)
    except PermissionError:
        return True  # somebody else's, and there
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return False
    return pid != os.getpid()
