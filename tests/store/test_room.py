"""How much room is left, and when that is little."""

import os
import sqlite3
from pathlib import Path

import pytest

from ralf_hub.store import metrics, room
from ralf_hub.store.room import MIB, Room


def test_the_room_is_that_of_the_disk(tmp_path: Path) -> None:
    found = room.look(tmp_path / "hub.db", 1)
    disk = os.statvfs(tmp_path)
    assert found.disk_bytes == disk.f_blocks * disk.f_frsize
    assert 0 < found.free_bytes <= found.disk_bytes
    assert found.little_bytes == MIB


def test_on_a_small_disk_a_tenth_is_little(tmp_path: Path) -> None:
    found = room.look(tmp_path / "hub.db", 1_048_576)
    assert found.little_bytes == found.disk_bytes // 10


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        room.look(tmp_path / "none" / "hub.db", 1)


@pytest.mark.parametrize(
    ("free", "is_little", "is_enough"),
    [(99, True, False), (100, False, False), (124, False, False), (125, False, True)],
)
def test_an_episode_does_not_end_where_it_began(free: int, is_little: bool, is_enough: bool) -> None:  # noqa: FBT001
    found = Room(free, 10_000, 100)
    assert (found.is_little, found.is_enough) == (is_little, is_enough)


def test_since_when_is_the_beginning(conn: sqlite3.Connection) -> None:
    assert room.low_since(conn) is None
    room.note_low(conn, "first")
    room.note_low(conn, "second")
    assert room.low_since(conn) == "first"
    room.note_low(conn, None)
    assert room.low_since(conn) is None


def test_the_sizes_of_the_tables_are_the_size_of_the_file(db_path: Path, conn: sqlite3.Connection) -> None:
    conn.execute("INSERT INTO meta VALUES ('large', ?)", ("x" * 500_000,))
    sizes = metrics.table_bytes(db_path)
    if not sizes:
        pytest.skip("this SQLite has no dbstat")
    assert sizes["meta"] >= 500_000
    assert {"tasks", "outbox", "events"} <= set(sizes)
    pages, size, free = (
        conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "freelist_count")
    )
    rest = (pages - free) * size - sum(sizes.values())
    assert 0 <= rest <= 64 * 1024, "the schema itself, and where pages lie"
