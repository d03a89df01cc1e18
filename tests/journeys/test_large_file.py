"""A large database is served at once and read from end to end meanwhile."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ralf_hub.store import schema
from tests.journeys.hub import Hub
from tests.support import eventually

pytestmark = pytest.mark.journey

ROW_BYTES = 1_000_000


def make_large(path: Path) -> None:
    """Make a file just larger than what is read before the hub starts."""
    schema.prepare(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA synchronous = OFF")
        conn.execute("BEGIN")
        rows = schema.CHECKED_AT_ONCE_BYTES_MAX // ROW_BYTES + 2
        conn.executemany(
            "INSERT INTO meta VALUES (?, hex(zeroblob(?)))", [(f"k{n}", ROW_BYTES // 2) for n in range(rows)]
        )
        conn.execute("COMMIT")


def spoil(path: Path) -> None:
    """Cut off the last row: a page of its chain says that it is followed by one that is another's."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 50 * 4096)
        file.write(b"\x00\x00\x00\x02" * 1024)


async def test_it_serves_and_says_when_all_was_read(tmp_path: Path) -> None:
    make_large(tmp_path / "hub.db")
    async with Hub(tmp_path, "") as hub:
        await hub.ok("POST", "/api/v1/tasks", {"title": "At once"})
        await eventually(lambda: "it is whole" in hub.output.read_text(), within_s=30)
        assert await hub.stop() == 0


async def test_one_that_is_damaged_ends_the_hub_with_the_way_back(tmp_path: Path) -> None:
    make_large(tmp_path / "hub.db")
    spoil(tmp_path / "hub.db")
    async with Hub(tmp_path, "") as hub:
        await eventually(hub.is_dead, within_s=30)
        assert await hub.stop() == 1
        said = hub.output.read_text()
        assert "ralf-hub is running" in said
        assert "the database is damaged" in said
        assert "ralf-hub restore BACKUP" in said
        assert "Traceback" not in said
