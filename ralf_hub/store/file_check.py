"""Reading a database from end to end, to see whether it is whole.

A small file is checked before the hub starts; a large one while it already serves, since that takes as long as the
file is large (`docs/adr/0008-large-files-are-checked-while-serving.md`).
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Final

from ralf_hub.errors import DatabaseRefusedError
from ralf_hub.store import schema
from ralf_hub.store.lanes import storage_error

_SO: Final = "the hub stops"


class FileCheck:
    """One pass over a file that others read and write meanwhile, on a thread and a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._conn: sqlite3.Connection | None = None
        self._stopped = False

    async def run(self) -> DatabaseRefusedError | None:
        """Read the whole file; return why it cannot be used, None where it is whole.

        StorageError when it cannot be read for another reason. Cancelling it ends the pass at once; then nothing is known.
        """
        reading = asyncio.create_task(asyncio.to_thread(self._read), name="reading the file")
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            self._stopped = True
            if self._conn is not None:
                self._conn.interrupt()
            await asyncio.wait({reading})
            raise

    def _read(self) -> DatabaseRefusedError | None:
        try:
            with contextlib.closing(schema.connect(self._path, writer=False)) as conn:
                self._conn = conn
                try:
                    return self._tables(conn)
                finally:
                    self._conn = None
        except sqlite3.DatabaseError as error:
            if self._stopped:
                return None
            if schema.is_damage(error):
                return schema.damaged(self._path, [str(error)], _SO)
            raise storage_error(error) from error

    def _tables(self, conn: sqlite3.Connection) -> DatabaseRefusedError | None:
        """Check table by table: no read lasts so long that the write-ahead log grows without end."""
        names = [row[0] for row in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for name in ("sqlite_schema", *names):  # with the first comes the list of free pages
            if self._stopped:
                return None
            quoted = name.replace('"', '""')  # people may have tables of their own in it
            found = conn.execute(f'PRAGMA quick_check("{quoted}")').fetchall()
            if found != [("ok",)]:
                faults = [row[0] for row in found[: schema.FAULTS_MAX]]
                return schema.damaged(self._path, faults, _SO)
        return None
