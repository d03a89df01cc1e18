"""Copies of a database that is being written, and of one that cannot be copied."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ralf_hub.errors import DatabaseRefusedError
from ralf_hub.store import backup, schema
from ralf_hub.store.backup import CopyError, back_up, restore
from ralf_hub.store.beside import beside, write
from tests.support import connect, rows

NOW = "2026-02-01T16:01:00.000Z"


def fill(path: Path, n: int, start: int = 0) -> None:
    with closing(connect(path)) as conn:
        conn.execute("BEGIN")
        conn.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [(f"key-{number}", "v" * 1000) for number in range(start, start + n)],
        )
        conn.execute("COMMIT")


def keys(path: Path) -> int:
    return int(str(rows(path, "SELECT count(*) FROM meta WHERE key LIKE 'key-%'")[0][0]))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_copy_is_whole_one_file_and_its_owners(db_path: Path, tmp_path: Path) -> None:
    with closing(connect(db_path)):  # what was written is still in the log, not in the file
        fill(db_path, 10)
        size = back_up(db_path, tmp_path / "copy.db")
    assert size == (tmp_path / "copy.db").stat().st_size
    assert keys(tmp_path / "copy.db") == 10
    assert rows(tmp_path / "copy.db", "PRAGMA integrity_check") == [("ok",)]
    assert rows(tmp_path / "copy.db", "PRAGMA journal_mode") == [("delete",)]
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert files(tmp_path) == {"hub.db", "copy.db"}


def test_a_copy_is_one_moment_while_others_write_and_never_begins_anew(db_path: Path, tmp_path: Path) -> None:
    fill(db_path, 4_000)
    steps: list[tuple[int, int]] = []

    def write_meanwhile(done: int, pages: int) -> None:
        steps.append((done, pages))
        fill(db_path, 50, start=10_000 * len(steps))

    backup_pages = backup.PAGES_PER_STEP
    back_up(db_path, tmp_path / "copy.db", write_meanwhile)
    assert len(steps) > 1
    assert [done for done, _ in steps] == [
        min(backup_pages * (number + 1), steps[0][1]) for number in range(len(steps))
    ]
    assert keys(tmp_path / "copy.db") == 4_000
    assert keys(db_path) == 4_000 + 50 * len(steps)


def test_several_processes_may_write_while_it_copies(db_path: Path, tmp_path: Path) -> None:
    fill(db_path, 2_000)
    stop = threading.Event()

    def write_on() -> None:
        with beside(db_path, writer=True) as conn:
            number = 0
            while not stop.is_set():
                number += 1
                write(
                    conn,
                    lambda conn, name=f"more-{number}": conn.execute(
                        "INSERT INTO meta VALUES (?, '')", (name,)
                    ),
                )  # type: ignore[misc]

    writing = threading.Thread(target=write_on)
    writing.start()
    try:
        for number in range(5):
            back_up(db_path, tmp_path / f"copy-{number}.db")
    finally:
        stop.set()
        writing.join()
    for number in range(5):
        assert rows(tmp_path / f"copy-{number}.db", "PRAGMA integrity_check") == [("ok",)]
        assert keys(tmp_path / f"copy-{number}.db") == 2_000


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_there_is_left_as_it_is(db_path: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "copy.db"
    if kind == "file":
        target.write_text("mine", encoding="utf-8")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(CopyError, match="is there already and was left as it is"):
        back_up(db_path, target)
    assert kind != "file" or target.read_text(encoding="utf-8") == "mine"
    assert files(tmp_path) == {"hub.db", "copy.db"}


def test_too_little_room_is_said_before_anything_is_written(
    db_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = backup.ROOM_TO_SPARE_BYTES + db_path.stat().st_size - 1
    monkeypatch.setattr(backup.shutil, "disk_usage", lambda _: _Usage(free))
    with pytest.raises(CopyError, match="MiB are free; nothing was written"):
        back_up(db_path, tmp_path / "copy.db")
    assert files(tmp_path) == {"hub.db"}
    free += 1
    back_up(db_path, tmp_path / "copy.db")


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_folder_that_is_not_there(db_path: Path, tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="name a folder that is there"):
        back_up(db_path, tmp_path / "none" / "copy.db")


def test_a_copy_that_is_interrupted_leaves_nothing(db_path: Path, tmp_path: Path) -> None:
    def interrupt(_done: int, _pages: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(db_path, tmp_path / "copy.db", interrupt)
    assert files(tmp_path) == {"hub.db"}


def test_what_an_interrupted_copy_left_is_no_obstacle(db_path: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db.part").write_text("half", encoding="utf-8")
    back_up(db_path, tmp_path / "copy.db")
    assert files(tmp_path) == {"hub.db", "copy.db"}


def test_a_name_that_was_taken_meanwhile_is_not_written_over(db_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    with pytest.raises(CopyError, match="has come to be meanwhile"):
        back_up(db_path, target, lambda _done, _pages: target.write_text("mine", encoding="utf-8") and None)
    assert target.read_text(encoding="utf-8") == "mine"
    assert files(tmp_path) == {"hub.db", "copy.db"}


def test_a_damaged_database_gives_no_copy(db_path: Path, tmp_path: Path) -> None:
    fill(db_path, 200)
    _damage(db_path)
    with pytest.raises(CopyError, match=r"damaged|failed"):
        back_up(db_path, tmp_path / "copy.db")
    assert files(tmp_path) == {"hub.db"}


def _damage(path: Path) -> None:
    with closing(connect(path)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 20_000)


def test_an_older_database_is_copied_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        conn.execute("PRAGMA journal_mode = WAL")
        schema.migrate(conn, path, schema.migrations()[:1])
    back_up(path, tmp_path / "copy.db")
    assert rows(path, "PRAGMA user_version") == rows(tmp_path / "copy.db", "PRAGMA user_version") == [(1,)]


# --- back again -----------------------------------------------------------------------------------


def test_a_restored_database_is_the_copy_and_the_one_before_is_kept(db_path: Path, tmp_path: Path) -> None:
    fill(db_path, 3)
    back_up(db_path, tmp_path / "copy.db")
    fill(db_path, 5, start=100)
    kept = restore(tmp_path / "copy.db", db_path, now=NOW)
    assert kept == tmp_path / "hub.db.before-restore-2026-02-01T160100000Z"
    assert keys(db_path) == 3
    assert keys(kept) == 8
    assert keys(tmp_path / "copy.db") == 3
    assert rows(db_path, "PRAGMA journal_mode") == [("wal",)]
    assert stat.S_IMODE(db_path.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.restoring"))


def test_where_there_was_no_database_none_is_kept(db_path: Path, tmp_path: Path) -> None:
    fill(db_path, 3)
    (tmp_path / "new").mkdir()
    assert restore(db_path, tmp_path / "new" / "hub.db", now=NOW) is None
    assert keys(tmp_path / "new" / "hub.db") == 3


def test_an_older_backup_is_brought_up_to_date_and_stays_itself(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        schema.migrate(conn, path, schema.migrations()[:1])
    before = path.read_bytes()
    restore(path, tmp_path / "hub.db", now=NOW)
    assert rows(tmp_path / "hub.db", "PRAGMA user_version") == [(schema.migrations()[-1].number,)]
    assert path.read_bytes() == before


def test_a_damaged_database_gives_way_and_is_kept_with_its_log(db_path: Path, tmp_path: Path) -> None:
    fill(db_path, 3)
    back_up(db_path, tmp_path / "copy.db")
    db_path.write_bytes(b"nothing that SQLite knows" * 400)
    (tmp_path / "hub.db-wal").write_bytes(b"a log")
    kept = restore(tmp_path / "copy.db", db_path, now=NOW)
    assert kept is not None
    assert kept.read_bytes().startswith(b"nothing that SQLite knows")
    assert (tmp_path / f"{kept.name}-wal").read_bytes() == b"a log"
    assert keys(db_path) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        (b"", "is empty; nothing was changed"),
        (b"text " * 1000, "is no usable backup"),
    ],
)
def test_a_backup_that_is_none_changes_nothing(
    db_path: Path, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "copy.db").write_bytes(content)
    before = db_path.read_bytes()
    with pytest.raises(CopyError, match=said):
        restore(tmp_path / "copy.db", db_path, now=NOW)
    assert db_path.read_bytes() == before
    assert files(tmp_path) <= {"hub.db", "copy.db"}


def test_a_damaged_backup_is_refused(db_path: Path, tmp_path: Path) -> None:
    fill(db_path, 200)
    back_up(db_path, tmp_path / "copy.db")
    _damage(tmp_path / "copy.db")
    with pytest.raises(CopyError, match="nothing was changed"):
        restore(tmp_path / "copy.db", db_path, now=NOW)
    assert keys(db_path) == 200


@pytest.mark.parametrize(
    ("pragma", "said"),
    [("user_version = 999", "newer ralf-hub"), ("application_id = 7", "another program's")],
)
def test_a_newer_or_foreign_backup_is_refused(db_path: Path, tmp_path: Path, pragma: str, said: str) -> None:
    back_up(db_path, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as conn:
        conn.execute(f"PRAGMA {pragma}")
    fill(db_path, 3)
    with pytest.raises(DatabaseRefusedError, match=said):
        restore(tmp_path / "copy.db", db_path, now=NOW)
    assert keys(db_path) == 3
