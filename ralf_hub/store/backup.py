"""Copies of the database: made while the hub runs, put in its place while none does.

A copy is one moment of the database in one file. The reading side holds that moment open, so what the hub writes
meanwhile neither gets into the copy nor makes SQLite begin anew (https://www.sqlite.org/backup.html).
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ralf_hub.store import schema
from ralf_hub.store.beside import beside, snapshot

PAGES_PER_STEP: Final = 1_024
ROOM_TO_SPARE_BYTES: Final = 8 * 1024 * 1024
SIDE_FILES: Final = ("-wal", "-shm")

Progress = Callable[[int, int], None]
"""Called with pages copied and pages in all."""


class CopyError(Exception):
    """The copy cannot be made or used; the message says why and what to do."""


def back_up(database: Path, destination: Path, progress: Progress = lambda _done, _all: None) -> int:
    """Copy *database* to *destination*, readable by its owner only, and return its size in bytes.

    The file appears there when it is whole, or not at all. CopyError, DatabaseRefusedError.
    """
    if os.path.lexists(destination):
        raise CopyError(f"{destination}: is there already and was left as it is; name another file")
    part = destination.with_name(destination.name + ".part")
    with beside(database, upgrade=False) as source:
        _check_room(source, destination)
        _new_file(part)
        try:
            _copy(source, part, progress)
            _publish(part, destination)
        finally:
            part.unlink(missing_ok=True)
    return destination.stat().st_size


def _check_room(source: sqlite3.Connection, destination: Path) -> None:
    """Refuse before anything is written where it cannot end well."""
    needed = _bytes(source) + ROOM_TO_SPARE_BYTES
    try:
        free = shutil.disk_usage(destination.parent).free
    except OSError as error:
        raise CopyError(f"{destination.parent}: {error.strerror}; name a folder that is there") from None
    if free < needed:
        raise CopyError(f"{destination}: needs {_mib(needed)} and {_mib(free)} are free; nothing was written")


def _bytes(conn: sqlite3.Connection) -> int:
    pages: int = conn.execute("PRAGMA page_count").fetchone()[0]
    size: int = conn.execute("PRAGMA page_size").fetchone()[0]
    return pages * size


def _mib(size: int) -> str:
    return f"{size / (1024 * 1024):,.0f} MiB"


def _new_file(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)  # of a copy that was interrupted
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CopyError(f"{path.parent}: cannot be written: {error.strerror}") from None


def _copy(source: sqlite3.Connection, target: Path, progress: Progress) -> None:
    """Copy page by page, prove the copy, and leave it as one file without a log beside it."""
    try:
        with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy:
            with snapshot(source):
                source.execute(
                    "SELECT count(*) FROM sqlite_schema"
                ).fetchone()  # from here on it is one moment
                source.backup(
                    copy, pages=PAGES_PER_STEP, progress=lambda _, left, pages: progress(pages - left, pages)
                )
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()
            found = copy.execute("PRAGMA quick_check(3)").fetchall()
    except sqlite3.Error as error:
        raise CopyError(f"{target}: the copy failed ({error}) and was removed") from error
    if found != [("ok",)]:
        faults = "; ".join(row[0] for row in found)
        raise CopyError(
            f"the copy is damaged ({faults}) and was removed; so may be the database: ralf-hub verify"
        )
    _to_disk(target)


def _to_disk(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _publish(part: Path, destination: Path) -> None:
    """Give the finished copy its name; unlike a rename, a link never takes another file's place."""
    try:
        os.link(part, destination)
    except FileExistsError:
        raise CopyError(f"{destination}: has come to be meanwhile and was left as it is") from None
    except OSError:  # a file system without links
        part.rename(destination)
    _to_disk(destination.parent)


# --- back again -----------------------------------------------------------------------------------


def restore(
    backup: Path, database: Path, *, now: str, progress: Progress = lambda _done, _all: None
) -> Path | None:
    """Put a copy of *backup* in the place of *database*; return where the present one was kept, None: there was none.

    No hub may run (the caller holds its lock). The backup itself stays. CopyError, DatabaseRefusedError.
    """
    with _opened_backup(backup) as source:
        _check_room(source, database)
        part = database.with_name(database.name + ".restoring")
        _new_file(part)
        try:
            _copy(source, part, progress)
            kept = _set_aside(database, now)
            part.rename(database)
            _to_disk(database.parent)
        finally:
            part.unlink(missing_ok=True)
    schema.prepare(database)
    return kept


@contextlib.contextmanager
def _opened_backup(backup: Path) -> Iterator[sqlite3.Connection]:
    """Open *backup* for reading; refuse what is not there, empty, another program's, newer or damaged."""
    if not backup.is_file():
        raise CopyError(f"{backup}: there is no such file")
    if backup.stat().st_size == 0:
        raise CopyError(f"{backup}: is empty; nothing was changed")
    try:
        with contextlib.closing(
            sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as conn:
            schema.check_identity(conn, backup)
            found = conn.execute("PRAGMA quick_check(3)").fetchall()
            if found != [("ok",)]:
                raise CopyError(f"{backup}: is damaged ({found[0][0]}); nothing was changed")
            yield conn
    except sqlite3.Error as error:
        raise CopyError(f"{backup}: is no usable backup ({error}); nothing was changed") from error


def _set_aside(database: Path, now: str) -> Path | None:
    """Rename the present database, with what belongs to it, so that it can be opened under the new name."""
    if not os.path.lexists(database):
        return None
    kept = database.with_name(f"{database.name}.before-restore-{now.replace(':', '').replace('.', '')}")
    if _has_log(database):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(database)) as conn:
            conn.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            ).fetchall()  # then usually nothing is left beside it
    database.rename(kept)
    for suffix in SIDE_FILES:
        beside_it = database.with_name(database.name + suffix)
        if beside_it.exists():
            beside_it.rename(kept.with_name(kept.name + suffix))
    return kept


def _has_log(database: Path) -> bool:
    """Return whether the header is a database's in WAL mode: SQLite deletes the log of what it takes for another."""
    with contextlib.suppress(OSError), database.open("rb") as file:
        header = file.read(20)
        return header.startswith(b"SQLite format 3\0") and header[18:] == b"\2\2"
    return False
