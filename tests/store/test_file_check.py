"""A file too large to be read before the hub starts is read while it serves."""

import asyncio
import os
from contextlib import closing
from pathlib import Path

import pytest

from ralf_hub.errors import DatabaseRefusedError, StorageError
from ralf_hub.store import schema
from ralf_hub.store.database import Database
from ralf_hub.store.file_check import FileCheck
from ralf_hub.store.rows import scalar
from tests.support import connect, rows

PAGE = 4096


def fill(path: Path, rows_: int = 500) -> None:
    with closing(connect(path)) as conn:
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO meta VALUES (?, ?)", [(f"k{n}", "v" * 500) for n in range(rows_)])
        conn.execute("COMMIT")


def damage(path: Path, page: int) -> None:
    """Overwrite one page, counted from 1 as SQLite does."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(os.urandom(PAGE))


def a_leaf_of_meta(path: Path) -> int:
    """Return a page that only rows of `meta` lie on."""
    with closing(connect(path)) as conn:
        root = scalar(conn, "SELECT rootpage FROM sqlite_schema WHERE name = 'meta'")
        total = scalar(conn, "PRAGMA page_count")
    assert total > root + 20
    return int(total - 3)


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "CHECKED_AT_ONCE_BYTES_MAX", 0)


# --- at the start ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_file_is_not_read_before_it_is_used(db_path: Path) -> None:
    fill(db_path)
    damage(db_path, a_leaf_of_meta(db_path))
    assert schema.prepare(db_path) is False


def test_a_small_file_is_read_before_it_is_used(db_path: Path) -> None:
    fill(db_path)
    assert schema.prepare(db_path) is True
    damage(db_path, a_leaf_of_meta(db_path))
    with pytest.raises(DatabaseRefusedError, match="damaged"):
        schema.prepare(db_path)


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_file_that_is_not_ours_is_refused_all_the_same(tmp_path: Path, db_path: Path) -> None:
    with closing(connect(db_path)) as conn:
        conn.execute("PRAGMA application_id = 1")
    with pytest.raises(DatabaseRefusedError, match="another program's"):
        schema.prepare(db_path)
    (tmp_path / "other").write_text("dear diary, " * 1000)
    with pytest.raises(DatabaseRefusedError, match="damaged"):
        schema.prepare(tmp_path / "other")


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_file_is_read_before_it_is_upgraded(db_path: Path) -> None:
    with closing(connect(db_path)) as conn:
        conn.execute("PRAGMA user_version = 1")
    fill(db_path)
    damage(db_path, a_leaf_of_meta(db_path))
    before = db_path.read_bytes()
    with pytest.raises(DatabaseRefusedError, match="damaged"):
        schema.prepare(db_path)
    assert db_path.read_bytes() == before


@pytest.mark.usefixtures("everything_is_large")
def test_a_new_file_has_nothing_to_be_read(tmp_path: Path) -> None:
    assert schema.prepare(tmp_path / "new.db") is True


# --- while the hub serves -------------------------------------------------------------------------


async def test_a_whole_file_has_nothing_wrong(db_path: Path) -> None:
    fill(db_path)
    assert await FileCheck(db_path).run() is None


async def test_a_damaged_page_is_found_and_the_way_back_is_named(db_path: Path) -> None:
    fill(db_path)
    damage(db_path, a_leaf_of_meta(db_path))
    found = await FileCheck(db_path).run()
    assert isinstance(found, DatabaseRefusedError)
    assert "the database is damaged" in str(found)
    assert f"ralf-hub restore BACKUP --db {db_path}" in str(found)
    assert "nothing was changed" not in str(found)  # the hub serves meanwhile
    assert "\n" not in str(found)


async def test_an_index_that_lacks_a_row_is_found(db_path: Path) -> None:
    """Every table is looked at with its indexes, not only the first."""
    with closing(connect(db_path)) as conn:
        conn.execute(
            "INSERT INTO api_keys (id, name, key_sha256, hint, scopes, created_at) VALUES ('a','a','a','a','[]','')"
        )
        root = scalar(
            conn,
            "SELECT rootpage FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'api_keys' LIMIT 1",
        )
    damage(db_path, int(root))
    assert await FileCheck(db_path).run() is not None


def first_free_page(path: Path) -> int:
    """Return the page that the file's header names (https://www.sqlite.org/fileformat.html, offset 32)."""
    return int.from_bytes(path.read_bytes()[32:36], "big")


async def test_tables_of_others_are_read_too_whatever_their_names(db_path: Path) -> None:
    with closing(connect(db_path)) as conn:
        conn.execute('CREATE TABLE "my ""odd"" table; --" (a TEXT)')
        conn.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
        conn.execute("INSERT INTO words VALUES ('one two')")
    assert await FileCheck(db_path).run() is None
    with closing(connect(db_path)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        root = scalar(conn, "SELECT rootpage FROM sqlite_schema WHERE name LIKE 'my %'")
    damage(db_path, int(root))
    assert await FileCheck(db_path).run() is not None


async def test_a_broken_list_of_free_pages_is_found(db_path: Path) -> None:
    fill(db_path)
    with closing(connect(db_path)) as conn:
        conn.execute("DELETE FROM meta WHERE key LIKE 'k%'")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    trunk = first_free_page(db_path)
    assert trunk > 1
    damage(db_path, trunk)
    assert await FileCheck(db_path).run() is not None


async def test_others_read_and_write_meanwhile(db_path: Path) -> None:
    fill(db_path, 20_000)
    db = await Database.open(db_path)
    try:
        checking = asyncio.create_task(FileCheck(db_path).run())
        written = 0
        while not checking.done() or written < 5:
            await db.write(
                lambda conn, n=written: conn.execute("INSERT INTO meta VALUES (?, '')", (f"w{n}",))
            )
            written += 1
        assert await checking is None
    finally:
        await db.close()
    assert rows(db_path, "SELECT count(*) FROM meta WHERE key LIKE 'w%'") == [(written,)]


async def test_a_check_that_is_cancelled_ends_at_once_and_leaves_no_reader(db_path: Path) -> None:
    fill(db_path, 50_000)
    checking = asyncio.create_task(FileCheck(db_path).run())
    await asyncio.sleep(0)
    checking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await checking
    with closing(connect(db_path)) as conn:  # a reader that is left would keep the log from being emptied
        assert conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


async def test_a_file_that_cannot_be_opened_is_not_called_damaged(db_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        await FileCheck(db_path.with_name("no-such-folder") / "hub.db").run()
