"""Room on the disk the database is on: how much is left, and whether there is so little that people are to be told."""

import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ralf_hub.store.rows import scalar

MIB: Final = 1024 * 1024
PART_OF_DISK: Final = 10
"""On a small disk it is a tenth of it that counts as little, where that is less than the settings say."""
ENOUGH_AGAIN: Final = 1.25
"""Times what counts as little: an episode ends only when there is clearly more."""
_KEY: Final = "disk_low_since"


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes free to this user, bytes of the whole disk, and below how many free ones it is little."""

    free_bytes: int
    disk_bytes: int
    little_bytes: int

    @property
    def is_little(self) -> bool:
        """Return whether an episode begins."""
        return self.free_bytes < self.little_bytes

    @property
    def is_enough(self) -> bool:
        """Return whether an episode ends."""
        return self.free_bytes >= self.little_bytes * ENOUGH_AGAIN

    @property
    def words(self) -> str:
        """Return how much is left, for people."""
        return f"{self.free_bytes / MIB:,.0f} MiB of {self.disk_bytes / MIB:,.0f} MiB are free"


def look(database: Path, little_mib: int) -> Room:
    """Return the room where *database* is. OSError where that cannot be known."""
    found = shutil.disk_usage(os.path.realpath(database.parent))
    return Room(found.free, found.total, min(little_mib * MIB, found.total // PART_OF_DISK))


def low_since(conn: sqlite3.Connection) -> str | None:
    """Return since when there is little room; None: there is enough."""
    since: str | None = scalar(conn, "SELECT value FROM meta WHERE key = ?", (_KEY,))
    return since


def note_low(conn: sqlite3.Connection, since: str | None) -> None:
    """Note that there is little room since *since*, or with None that there is enough."""
    if since is None:
        conn.execute("DELETE FROM meta WHERE key = ?", (_KEY,))
    else:
        conn.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (_KEY, since))
