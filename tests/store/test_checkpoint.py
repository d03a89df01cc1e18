import resource
from collections.abc import AsyncIterator
from pathlib import Path
from sqlite3 import Connection

import pytest

from ralf_hub.errors import StorageError
from ralf_hub.store import checkpoint
from ralf_hub.store.checkpoint import Checkpointer
from ralf_hub.store.database import Database
from tests.support import rows


@pytest.fixture
async def checkpointer(db: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Checkpointer]:
    monkeypatch.setattr(checkpoint, "PASSIVE_ABOVE_BYTES", 50_000)
    monkeypatch.setattr(checkpoint, "TRUNCATE_ABOVE_BYTES", 200_000)
    made = await Checkpointer.open(db)
    yield made
    await made.close()


def size(path: Path) -> int:
    return path.stat().st_size


def log_of(db: Database) -> Path:
    return Path(f"{db.path}-wal")


async def write(db: Database, count: int, start: int = 0) -> None:
    def change(conn: Connection) -> None:
        conn.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(f"k{n}", "v" * 4000) for n in range(start, start + count)]
        )

    await db.write(change)


async def test_a_short_log_is_left_alone(db: Database, checkpointer: Checkpointer) -> None:
    await write(db, 5)
    before = (size(db.path), size(log_of(db)))
    await checkpointer.step()
    assert (size(db.path), size(log_of(db))) == before


async def test_a_longer_log_is_moved_into_the_file_without_holding_up_anyone(
    db: Database, checkpointer: Checkpointer
) -> None:
    await write(db, 30)
    before = size(db.path)
    await checkpointer.step()
    assert size(db.path) > before + 100_000
    await write(db, 5, start=30)
    assert size(log_of(db)) < 200_000  # written over from its beginning


async def test_a_long_log_is_emptied(db: Database, checkpointer: Checkpointer) -> None:
    await write(db, 80)
    assert size(log_of(db)) > 300_000
    await checkpointer.step()
    assert size(log_of(db)) == 0
    await write(db, 1, start=80)
    assert rows(db.path, "SELECT count(*) FROM meta") == [(81,)]


async def test_a_reader_in_the_way_is_not_waited_for_and_loses_nothing(
    db: Database, checkpointer: Checkpointer
) -> None:
    await write(db, 1)
    await db._readers[0].conn.run(lambda conn: conn.execute("BEGIN").execute("SELECT * FROM meta").fetchall())
    await write(db, 80, start=1)
    await checkpointer.step()
    assert size(log_of(db)) > 0
    await db._readers[0].conn.run(lambda conn: conn.execute("COMMIT"))
    await checkpointer.step()
    assert size(log_of(db)) == 0
    assert rows(db.path, "SELECT count(*) FROM meta") == [(81,)]


async def test_no_log_is_no_work(db: Database, checkpointer: Checkpointer, tmp_path: Path) -> None:
    checkpointer._log = tmp_path / "not there"
    await checkpointer.step()


async def test_the_hub_waits_for_nobody_after_a_checkpoint(db: Database, checkpointer: Checkpointer) -> None:
    """The writer's connection is used on the loop as well: its patience must stay zero."""
    await write(db, 80)
    await checkpointer.step()
    assert await db.run_alone(lambda conn: conn.execute("PRAGMA busy_timeout").fetchone()) == (0,)


async def test_a_log_that_was_moved_to_its_end_is_left_alone_until_it_starts_over(
    db: Database, checkpointer: Checkpointer
) -> None:
    """A checkpoint beside the commit that starts the log over can lose pages in SQLite before 3.51.3."""
    asked: list[str] = []
    checkpointer._conn.raw.set_trace_callback(asked.append)
    await write(db, 30)
    for _ in range(3):
        await checkpointer.step()
    assert asked == ["PRAGMA wal_checkpoint(PASSIVE)"]
    await write(db, 1, start=30)
    await checkpointer.step()
    assert len(asked) == 2


async def test_a_log_that_a_reader_kept_from_being_moved_is_looked_at_again(
    db: Database, checkpointer: Checkpointer
) -> None:
    reader = db._readers[0].conn
    await write(db, 1)
    await reader.run(lambda conn: conn.execute("BEGIN").execute("SELECT * FROM meta").fetchall())
    await write(db, 30, start=1)
    before = size(db.path)
    await checkpointer.step()
    await reader.run(lambda conn: conn.execute("COMMIT"))
    assert size(db.path) == before
    await checkpointer.step()
    assert size(db.path) > before + 100_000


async def test_a_log_that_cannot_be_moved_is_told_as_the_disk_says_it(
    db: Database, checkpointer: Checkpointer
) -> None:
    await write(db, 30)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size(db.path), limits[1]))  # the file cannot grow
    try:
        with pytest.raises(StorageError, match="disk"):
            await checkpointer.step()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    before = size(db.path)
    await checkpointer.step()
    assert size(db.path) > before
