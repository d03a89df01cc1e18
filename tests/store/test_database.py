import asyncio
import inspect
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import aiosqlite
import pytest

from ralf_hub.errors import DatabaseRefusedError, NotFoundError, StorageError
from ralf_hub.store import database, lanes, schema
from ralf_hub.store.database import Database
from ralf_hub.store.lanes import open_connection
from tests.support import eventually, rows

FULL = "The disk is full; nothing was changed."


def put(key: str, value: str = "x") -> Callable[[Connection], str]:
    def change(conn: Connection) -> str:
        conn.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
        return key

    return change


def keys(path: Path) -> list[str]:
    return [str(row[0]) for row in rows(path, "SELECT key FROM meta ORDER BY rowid")]


def fail(error: BaseException) -> Callable[[Connection], None]:
    def change(conn: Connection) -> None:
        conn.execute("INSERT INTO meta VALUES ('of one that fails', 'x')")
        raise error

    return change


async def together(db: Database, *changes: Callable[[Connection], Any]) -> list[Any]:
    """Write *changes* so that they share one transaction; each gives its result or its error."""
    transactions: list[str] = []
    await db.run_alone(
        lambda conn: conn.set_trace_callback(lambda sql: transactions.append(sql) if "BEGIN" in sql else None)
    )
    results = await asyncio.gather(*(db.write(change) for change in changes), return_exceptions=True)
    await db.run_alone(lambda conn: conn.set_trace_callback(None))
    assert len(transactions) == 1
    return results


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a transaction is cut short; what shares one is told apart here by counting."""
    monkeypatch.setattr(lanes, "LOOP_S_MAX", 60.0)


# --- group commit ---------------------------------------------------------------------------------


async def test_writes_that_wait_together_share_one_transaction(db: Database) -> None:
    assert await together(db, *(put(f"k{n}") for n in range(100))) == [f"k{n}" for n in range(100)]
    assert keys(db.path) == [f"k{n}" for n in range(100)]


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), NotFoundError("gone"), RecursionError()],
    ids=lambda error: type(error).__name__,
)
async def test_a_failing_write_never_takes_its_neighbours_with_it(db: Database, error: BaseException) -> None:
    first, failed, last = await together(db, put("first"), fail(error), put("last"))
    assert (first, failed, last) == ("first", error, "last")
    assert keys(db.path) == ["first", "last"]


async def test_a_batch_gathers_while_each_turn_of_the_loop_brings_more(db: Database) -> None:
    begun: list[str] = []

    async def in_turn(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)
        await db.write(put(f"k{number}"))

    await db.run_alone(
        lambda conn: conn.set_trace_callback(lambda sql: begun.append(sql) if "BEGIN" in sql else None)
    )
    await asyncio.gather(db.write(put("a")), db.write(put("b")))  # so many come at once here
    begun.clear()
    await asyncio.gather(*(in_turn(number) for number in range(5)))
    assert len(begun) == 1


async def test_a_write_that_breaks_a_rule_of_the_schema_fails_alone_and_says_which(db: Database) -> None:
    first, failed, last = await together(db, put("same"), put("same"), put("last"))
    assert (first, last) == ("same", "last")
    assert isinstance(failed, sqlite3.IntegrityError)
    assert keys(db.path) == ["same", "last"]


async def test_stop_iteration_reaches_the_caller_as_an_error_it_can_carry(db: Database) -> None:
    failed, last = await together(db, lambda _conn: next(iter(())), put("last"))
    assert isinstance(failed, RuntimeError)
    assert isinstance(failed.__cause__, StopIteration)
    assert last == "last"


async def test_sql_that_cannot_run_is_told_without_showing_it(db: Database) -> None:
    failed, last = await together(db, lambda conn: conn.execute("SELECT secret FROM nowhere"), put("last"))
    assert isinstance(failed, StorageError)
    assert str(failed) == "The database failed; nothing was changed."
    assert "nowhere" in str(failed.__cause__)
    assert last == "last"


async def test_a_change_that_ends_the_transaction_itself_loses_it_for_all_and_nothing_is_half_there(
    db: Database,
) -> None:
    results = await together(db, put("before"), lambda conn: conn.execute("ROLLBACK"), put("after"))
    assert [type(result) for result in results] == [StorageError] * 3
    assert keys(db.path) == []
    assert await db.write(put("later")) == "later"


async def test_a_result_is_given_only_when_another_connection_can_see_it(db: Database) -> None:
    async def write(n: int) -> None:
        await db.write(put(f"k{n}"))
        assert rows(db.path, "SELECT 1 FROM meta WHERE key = ?", (f"k{n}",)) == [(1,)]

    await asyncio.gather(*(write(n) for n in range(50)))


async def test_after_is_called_in_the_order_of_commits_and_only_for_what_was_committed(db: Database) -> None:
    heard: list[str] = []
    batches = 3 * lanes.BATCH_MAX

    async def write(n: int) -> None:
        await db.write(fail(ValueError()) if n % 7 == 0 else put(f"k{n}"), after=heard.append)

    await asyncio.gather(*(write(n) for n in range(batches)), return_exceptions=True)
    assert heard == keys(db.path)
    assert len(heard) == batches - len(range(0, batches, 7))


async def test_after_hears_of_a_commit_before_its_caller_goes_on(db: Database) -> None:
    heard: list[str] = []
    await db.write(put("a"), after=heard.append)
    assert heard == ["a"]


async def test_a_listener_that_fails_fails_nobody_else(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ValueError("broken listener")

    assert await asyncio.gather(db.write(put("a"), after=broken), db.write(put("b"))) == ["a", "b"]
    assert "a listener failed after a commit" in caplog.text


async def test_the_write_of_a_caller_that_has_gone_is_committed_all_the_same(db: Database) -> None:
    heard: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def slow(conn: Connection) -> str:
        started.set()
        go_on.wait(5)
        return put("running when cancelled")(conn)

    running = asyncio.create_task(db.write(slow, after=heard.append, bulk=True))
    await asyncio.to_thread(started.wait, 5)
    waiting = asyncio.create_task(db.write(put("waiting when cancelled"), after=heard.append))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    await asyncio.wait({running, waiting})
    assert running.cancelled()
    assert waiting.cancelled()
    go_on.set()
    await db.write(put("after"))
    assert keys(db.path) == ["running when cancelled", "waiting when cancelled", "after"]
    assert heard == ["running when cancelled", "waiting when cancelled"]


async def test_no_transaction_is_larger_than_allowed(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "LOOP_S_MAX", 60.0)
    begun: list[str] = []
    await db.run_alone(
        lambda conn: conn.set_trace_callback(lambda sql: begun.append(sql) if "BEGIN" in sql else None)
    )
    await asyncio.gather(*(db.write(put(f"k{n}")) for n in range(lanes.BATCH_MAX + 10)))
    await db.run_alone(lambda conn: conn.set_trace_callback(None))
    assert len(begun) == 2
    assert len(keys(db.path)) == lanes.BATCH_MAX + 10


async def test_changes_that_take_long_together_are_committed_in_between(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LOOP_S_MAX", 0.0)
    done: list[str] = []
    await asyncio.gather(*(db.write(put(f"k{n}"), after=done.append) for n in range(5)))
    assert done == keys(db.path) == [f"k{n}" for n in range(5)]


async def test_a_long_change_runs_on_the_thread_and_has_a_transaction_of_its_own(db: Database) -> None:
    threads: list[int] = []

    def change(conn: Connection) -> None:
        threads.append(threading.get_ident())
        put("long")(conn)

    await asyncio.gather(db.write(put("before")), db.write(change, bulk=True), db.write(put("after")))
    assert threads != [threading.get_ident()]
    assert keys(db.path) == ["before", "long", "after"]


async def test_too_many_waiting_writes_are_refused_and_those_that_wait_are_done(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAITING_MAX", 5)
    results = await asyncio.gather(*(db.write(put(f"k{n}")) for n in range(8)), return_exceptions=True)
    assert results[:5] == [f"k{n}" for n in range(5)]
    assert [str(result) for result in results[5:]] == [
        "Too much is waiting for the disk; try again shortly."
    ] * 3
    assert all(isinstance(result, StorageError) for result in results[5:])
    assert await db.write(put("later")) == "later"


# --- reads ----------------------------------------------------------------------------------------


async def test_a_read_sees_what_was_written_before_it(db: Database) -> None:
    for n in range(50):
        await db.write(put(f"k{n}"))
        assert await db.read(lambda conn: conn.execute("SELECT count(*) FROM meta").fetchone()) == (n + 1,)


async def test_a_read_cannot_write(db: Database) -> None:
    with pytest.raises(StorageError, match="read-only"):
        await db.read(put("a"))
    assert keys(db.path) == []


async def test_a_failing_read_fails_alone(db: Database) -> None:
    def broken(_: Connection) -> None:
        raise NotFoundError("nothing")

    async def good() -> Any:
        return await db.read(lambda conn: conn.execute("SELECT 1").fetchone())

    results = await asyncio.gather(good(), db.read(broken), good(), db.read(broken), return_exceptions=True)
    assert [results[0], results[2]] == [(1,), (1,)]
    assert [type(results[1]), type(results[3])] == [NotFoundError] * 2


async def test_a_slow_read_does_not_hold_up_the_next_one(db: Database) -> None:
    go_on = threading.Event()
    slow = asyncio.create_task(db.read(lambda _conn: go_on.wait(5)))
    await asyncio.sleep(0)
    for _ in range(5):
        async with asyncio.timeout(2):
            assert await db.read(lambda conn: conn.execute("SELECT 2").fetchone()) == (2,)
    assert not slow.done()
    go_on.set()
    assert await slow


async def test_a_slow_read_does_not_hold_up_a_write(db: Database) -> None:
    go_on = threading.Event()
    reads = [asyncio.create_task(db.read(lambda _conn: go_on.wait(5))) for _ in range(database.READERS)]
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        assert await db.write(put("a")) == "a"
    go_on.set()
    await asyncio.gather(*reads)


# --- when the disk or another program is in the way -----------------------------------------------


async def test_a_full_disk_fails_every_caller_leaves_nothing_half_there_and_passes(db: Database) -> None:
    await db.write(put("before"))
    pages = await db.run_alone(lambda conn: conn.execute("PRAGMA page_count").fetchone()[0])
    await db.run_alone(lambda conn: conn.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
    big = "v" * 20_000
    results = await together(db, put("small"), put("big", big), put("bigger", big), put("small too"))
    # What needed a new page failed; whatever else shared its transaction is there whole or not at all.
    assert {str(result) for result in results if isinstance(result, StorageError)} == {FULL}
    assert isinstance(results[1], StorageError)
    assert keys(db.path) == ["before", *(result for result in results if isinstance(result, str))]
    assert rows(db.path, "PRAGMA integrity_check") == [("ok",)]
    await db.run_alone(lambda conn: conn.execute("PRAGMA max_page_count = 1000000").fetchone())
    assert await db.write(put("big", big)) == "big"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
async def test_a_disk_that_is_really_full_is_survived_without_a_restart(
    small_disk: Path, empty_hub: Path
) -> None:
    shutil.copy(empty_hub, small_disk / "hub.db")
    db = await Database.open(small_disk / "hub.db")
    written: list[str] = []
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 300_000)

    async def fill() -> None:
        while len(written) < 1000:
            written.append(await db.write(put(f"k{len(written)}", "v" * 4000)))

    with pytest.raises(StorageError) as caught:
        await fill()
    assert str(caught.value) in {FULL, "The disk answers with errors; nothing was changed."}
    assert keys(db.path) == written
    results = await asyncio.gather(
        *(db.write(put(f"b{n}", "v" * 4000)) for n in range(20)), return_exceptions=True
    )
    assert all(isinstance(result, StorageError) for result in results)
    assert keys(db.path) == written
    ballast.unlink()
    assert await db.write(put("space is back", "v" * 4000)) == "space is back"
    await db.close()
    assert keys(db.path) == [*written, "space is back"]
    assert rows(db.path, "PRAGMA integrity_check") == [("ok",)]


_HOLD = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("BEGIN IMMEDIATE")
conn.execute("INSERT INTO meta VALUES ('theirs', 'x')")
print("held", flush=True)
sys.stdin.readline()
conn.execute("COMMIT")
print("done", flush=True)
"""


def holding_the_lock(path: Path) -> Iterator[None]:
    """Hold the write lock in another process between the first and the second `next`."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        other.communicate("\n")


async def test_another_program_that_holds_the_lock_too_long_is_named_and_then_forgotten(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_MS", 60)
    with closing(holding_the_lock(db.path)) as let_go:
        next(let_go)
        results = await asyncio.gather(
            db.write(put("a")), db.write(put("b")), db.read(lambda _conn: "read"), return_exceptions=True
        )
        assert results[2] == "read"
        for result in results[:2]:
            assert isinstance(result, StorageError)
            assert str(result) == "Another program holds the database locked; nothing was changed."
        next(let_go, None)
    assert await db.write(put("a")) == "a"
    assert keys(db.path) == ["theirs", "a"]


async def test_a_lock_held_shortly_is_waited_for(db: Database) -> None:
    with closing(sqlite3.connect(db.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(db.write(put("a")))
        await eventually(lambda: db._writer.running)
        assert not writing.done()
        other.execute("COMMIT")
        assert await writing == "a"


async def test_a_database_damaged_while_it_runs_is_said_to_be(db: Database) -> None:
    def corrupt(_: Connection) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorname = "SQLITE_CORRUPT"
        raise error

    with pytest.raises(StorageError, match=r"^The database is damaged; nothing was changed\.$"):
        await db.write(corrupt)


# --- opening, closing, and what aiosqlite must offer ------------------------------------------------


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def connection_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name]


async def test_close_finishes_what_waits_and_leaves_no_thread(db_path: Path) -> None:
    before = set(threading.enumerate())
    db = await Database.open(db_path)
    assert len(connection_threads()) == 1 + database.READERS
    writing = [asyncio.create_task(db.write(put(f"k{n}"))) for n in range(600)]
    await asyncio.sleep(0)
    await db.close()
    assert await asyncio.gather(*writing) == [f"k{n}" for n in range(600)]
    assert len(keys(db_path)) == 600
    assert connection_threads() == []
    assert {thread for thread in set(threading.enumerate()) - before if "asyncio" not in thread.name} == set()
    assert names_in(db_path.parent) == ["hub.db"]


async def test_a_closed_database_says_so(db_path: Path) -> None:
    db = await Database.open(db_path)
    await db.close()
    with pytest.raises(StorageError, match="closed"):
        await db.write(put("a"))
    with pytest.raises(StorageError, match="closed"):
        await db.read(lambda conn: conn.execute("SELECT 1"))


async def test_an_open_that_fails_half_way_leaves_no_thread(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = open_connection, []

    async def second_fails(path: Path, *, writer: bool) -> lanes.HubConnection:
        calls.append(writer)
        if len(calls) == 2:
            raise sqlite3.OperationalError("unable to open database file")
        return await real(path, writer=writer)

    monkeypatch.setattr(database, "open_connection", second_fails)
    with pytest.raises(DatabaseRefusedError, match="cannot be used"):
        await Database.open(db_path)
    assert connection_threads() == []


async def test_a_refused_file_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(DatabaseRefusedError):
        await Database.open(tmp_path)
    assert connection_threads() == []


async def test_run_alone_runs_outside_any_transaction_and_after_what_was_written_before(db: Database) -> None:
    writing = asyncio.create_task(db.write(put("a")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    seen = await db.run_alone(
        lambda conn: (conn.in_transaction, conn.execute("SELECT count(*) FROM meta").fetchone()[0])
    )
    assert seen == (False, 1)
    await writing


async def test_aiosqlite_still_runs_a_function_on_the_connections_thread(db_path: Path) -> None:
    """`HubConnection.run` leans on one private method; this notices when it changes its name, shape or thread."""
    parameters = list(inspect.signature(aiosqlite.Connection._execute).parameters)
    assert parameters == ["self", "fn", "args", "kwargs"]
    conn = await open_connection(db_path, writer=True)
    seen: list[object] = []

    def look(raw: Connection) -> str:
        seen.extend([raw, threading.current_thread()])
        return "result"

    assert await conn.run(look) == "result"
    assert isinstance(seen[0], sqlite3.Connection)
    assert seen[1] is not threading.main_thread()
    with pytest.raises(ZeroDivisionError):
        await conn.run(lambda _raw: 1 // 0)
    assert await conn.run(look) == "result"
    assert seen[3] is seen[1]
    assert seen[1] is conn._thread
    await conn.close()
    assert not conn._thread.is_alive()


async def test_a_connection_that_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        await open_connection(tmp_path / "nowhere" / "hub.db", writer=True)
    assert connection_threads() == []
