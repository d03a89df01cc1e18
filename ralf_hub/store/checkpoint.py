"""Moving the write-ahead log back into the database in small steps, off the hot path.

Automatic checkpoints are off (`schema.configure`): under load they stall commits for tens of milliseconds.

SQLite before 3.51.3 can lose what it wrote when a checkpoint begins at the very moment in which a commit starts the log
over, which happens after one that moved all of it (https://www.sqlite.org/wal.html#walresetbug). So once all was moved
the log is left alone until it has been started over.
"""

import sqlite3
from pathlib import Path
from typing import Final

from ralf_hub.store.database import Database
from ralf_hub.store.lanes import HubConnection, for_caller, open_connection

PASSIVE_ABOVE_BYTES: Final = 4 * 1024 * 1024
TRUNCATE_ABOVE_BYTES: Final = 64 * 1024 * 1024
TRUNCATE_WAIT_MS: Final = 20
_SALTS: Final = slice(16, 24)
"""Where the log's header has two numbers that change whenever it starts over: https://www.sqlite.org/walformat.html."""


def _passive(conn: sqlite3.Connection, log: Path, moved: bytes) -> bytes:
    """Move what can be moved, unless it is the log *moved*; return which log was moved to its end, empty for none."""
    with log.open("rb") as opened:
        salts = opened.read(_SALTS.stop)[_SALTS]
    if salts == moved:
        return moved
    _, frames, done = conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return salts if frames == done else b""


def _truncate(conn: sqlite3.Connection) -> None:
    """Finish the checkpoint while nobody writes, so that the log starts over, empty: it does not shrink by itself."""
    timeout = conn.execute("PRAGMA busy_timeout").fetchone()[0]
    conn.execute(f"PRAGMA busy_timeout = {TRUNCATE_WAIT_MS}")
    try:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        conn.execute(f"PRAGMA busy_timeout = {timeout}")


class Checkpointer:
    """Keeps the log short. One per hub, with a connection of its own."""

    def __init__(self, db: Database, conn: HubConnection) -> None:
        self._db = db
        self._conn = conn
        self._log = db.path.with_name(db.path.name + "-wal")
        self._moved = b""

    @classmethod
    async def open(cls, db: Database) -> "Checkpointer":
        """Open the connection that checkpoints."""
        return cls(db, await open_connection(db.path, writer=True))

    async def step(self) -> None:
        """Do what is due: nothing while the log is short, a passive pass, or the short final one.

        StorageError when the disk does not let it: the log stays and grows.
        """
        size = _size(self._log)
        if size >= PASSIVE_ABOVE_BYTES:
            try:
                self._moved = await self._conn.run(lambda conn: _passive(conn, self._log, self._moved))
            except sqlite3.DatabaseError as error:
                raise for_caller(error) from error
        if size >= TRUNCATE_ABOVE_BYTES:
            await self._db.run_alone(_truncate)

    async def close(self) -> None:
        """Close the connection."""
        await self._conn.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
