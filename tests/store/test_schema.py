import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from ralf_hub.errors import DatabaseRefusedError
from ralf_hub.store import schema, workspace
from ralf_hub.store.schema import FileLock, Migration, statements
from tests.support import connect, rows

NEWEST = schema.migrations()[-1].number


def pragma(path: Path, name: str) -> object:
    return rows(path, f"PRAGMA {name}")[0][0]


def refused(path: Path) -> str:
    with pytest.raises(DatabaseRefusedError) as caught:
        schema.prepare(path)
    return str(caught.value)


# --- a fresh file ---------------------------------------------------------------------------------


def test_a_fresh_file_is_private_durable_and_ours(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "hub.db"
    schema.prepare(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "auto_vacuum") == 2
    assert pragma(path, "application_id") == int.from_bytes(b"RALF", "big")
    assert pragma(path, "user_version") == NEWEST
    loose = (
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT strict AND name NOT LIKE 'sqlite_%'"
    )
    assert rows(path, loose) == []


def test_the_log_beside_it_is_private_too(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    schema.prepare(path)
    with closing(connect(path)) as conn:
        conn.execute("INSERT INTO meta VALUES ('a', 'b')")
        for part in ("hub.db-wal", "hub.db-shm"):
            assert (tmp_path / part).stat().st_mode & 0o777 == 0o600


def test_an_empty_file_someone_touched_is_taken_and_made_private(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.touch(0o644)
    schema.prepare(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert pragma(path, "user_version") == NEWEST


def test_preparing_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    schema.prepare(path)
    before = path.read_bytes()
    schema.prepare(path)
    assert path.read_bytes() == before


def test_a_start_that_was_killed_in_the_middle_of_its_first_change_is_finished(tmp_path: Path) -> None:
    """Until the database is in WAL mode a change leaves a journal, which a connection that only reads cannot undo."""
    path = tmp_path / "hub.db"
    code = f"""if True:
        import os, signal, sqlite3
        conn = sqlite3.connect({str(path)!r}, isolation_level=None)
        conn.execute("PRAGMA application_id = {schema.APPLICATION_ID}")
        conn.execute("PRAGMA cache_size = 1")
        conn.execute("BEGIN")
        conn.execute("CREATE TABLE half (x)")
        conn.executemany("INSERT INTO half VALUES (?)", [("x" * 900,)] * 200)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert path.with_name("hub.db-journal").stat().st_size > 0
    schema.prepare(path)
    assert not path.with_name("hub.db-journal").exists()
    with closing(connect(path)) as conn:
        assert conn.execute("SELECT 1 FROM sqlite_schema WHERE name = 'half'").fetchall() == []
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_start_that_was_killed_before_the_migrations_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
        conn.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    schema.prepare(path)
    assert pragma(path, "user_version") == NEWEST
    assert pragma(path, "auto_vacuum") == 2


def test_several_programs_may_make_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    failures: list[BaseException] = []

    def prepare() -> None:
        try:
            schema.prepare(path)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert pragma(path, "user_version") == NEWEST
    assert pragma(path, "integrity_check") == "ok"


def test_another_program_can_write_beside_an_open_connection(db_path: Path) -> None:
    with closing(connect(db_path)) as conn:
        conn.execute("INSERT INTO meta VALUES ('ours', '1')")
        beside = sqlite3.connect(db_path, isolation_level=None)
        beside.execute("INSERT INTO meta VALUES ('theirs', '2')")
        beside.close()
        assert conn.execute("SELECT count(*) FROM meta").fetchone() == (2,)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 program is not installed")
def test_the_sqlite3_program_reads_and_writes_it(db_path: Path) -> None:
    with closing(connect(db_path)) as conn:
        said = subprocess.run(
            ["sqlite3", db_path, "INSERT INTO meta VALUES ('cli', 'x'); SELECT count(*) FROM v_outbox_due;"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.strip() == "0"
        assert conn.execute("SELECT value FROM meta WHERE key = 'cli'").fetchone() == ("x",)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_log", [False, True], ids=["closed", "killed with a log"])
def test_a_newer_database_is_refused_and_left_as_it_is(tmp_path: Path, with_log: bool) -> None:  # noqa: FBT001
    made, path = tmp_path / "made.db", tmp_path / "hub.db"
    schema.prepare(made)
    conn = connect(made)
    conn.execute(f"PRAGMA user_version = {NEWEST + 1}")
    conn.execute("INSERT INTO meta VALUES ('of the future', 'x')")
    if with_log:  # as kill -9 leaves it: the log still holds what was committed
        shutil.copy(made, path)
        shutil.copy(f"{made}-wal", f"{path}-wal")
    conn.close()
    if not with_log:
        shutil.copy(made, path)
    parts = [part for part in (path, Path(f"{path}-wal")) if part.exists()]
    assert len(parts) == 1 + with_log
    before = [part.read_bytes() for part in parts]
    message = refused(path)
    assert f"schema {NEWEST + 1}" in message
    assert "newer" in message
    assert [part.read_bytes() for part in parts] == before


def test_a_damaged_file_is_refused_with_the_way_back(db_path: Path) -> None:
    with closing(connect(db_path)) as conn:
        conn.executemany("INSERT INTO meta VALUES (?, ?)", [(f"k{n}", "v" * 500) for n in range(500)])
    data = bytearray(db_path.read_bytes())
    data[8192:65536] = os.urandom(65536 - 8192)
    db_path.write_bytes(data)
    message = refused(db_path)
    assert "damaged" in message
    assert f"ralf-hub restore BACKUP --db {db_path}" in message
    assert db_path.read_bytes() == data


def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    path.write_text("dear diary, " * 1000)
    message = refused(path)
    assert "damaged" in message
    assert "ralf-hub restore" in message
    assert path.read_text() == "dear diary, " * 1000


@pytest.mark.parametrize("version", [0, 2, NEWEST, 40])
def test_another_programs_database_is_refused_untouched(tmp_path: Path, version: int) -> None:
    path = tmp_path / "places.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("CREATE TABLE bookmarks (url TEXT)")
        conn.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    assert "another program's" in refused(path)
    assert path.read_bytes() == before


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is not a regular file" in refused(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refused(tmp_path / "pipe")


def test_a_path_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be created: " in refused(tmp_path / "file" / "hub.db")


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    # /proc refuses new files to root as well, who may write anywhere else.
    assert "cannot be created: " in refused(Path("/proc/no-such-folder/hub.db"))


def test_a_file_locked_by_another_program_is_refused(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_MS", 50)
    with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in refused(db_path)


def test_a_python_with_an_older_sqlite_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SQLITE_MIN", (9, 1))
    assert "SQLite 9.1 or newer is needed, this Python comes with 3." in refused(tmp_path / "hub.db")
    assert not (tmp_path / "hub.db").exists()


# --- migrations -----------------------------------------------------------------------------------


def broken(sql: str) -> list[Migration]:
    return [*schema.migrations(), Migration(NEWEST + 1, "9999_broken.sql", sql)]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE half (a TEXT) STRICT;\nINSERT INTO half VALUES ('x');\nCREATE TABLE meta (a TEXT) STRICT;",
        "CREATE TABLE half (a TEXT) STRICT;\nUPDATE no_such_table SET a = 1;",
        "CREATE TABLE half (a TEXT) STRICT; CREATE TABLE two_on_a_line (a TEXT) STRICT;",
        "CREATE TABLE half (a TEXT) STRICT;\nCREATE TABLE unfinished (",
    ],
    ids=["table exists", "no such table", "two on a line", "unfinished"],
)
def test_a_migration_that_fails_leaves_nothing_of_itself(db_path: Path, sql: str) -> None:
    with closing(connect(db_path)) as conn:
        conn.execute("INSERT INTO meta VALUES ('kept', 'x')")
        with pytest.raises(DatabaseRefusedError, match=r"9999_broken\.sql failed"):
            schema.migrate(conn, db_path, broken(sql))
        assert not conn.in_transaction
        assert conn.execute("PRAGMA user_version").fetchone() == (NEWEST,)
        assert conn.execute("SELECT name FROM sqlite_schema WHERE name = 'half'").fetchall() == []
        schema.migrate(conn, db_path, broken("CREATE TABLE half (a TEXT) STRICT;"))
        assert conn.execute("PRAGMA user_version").fetchone() == (NEWEST + 1,)
        assert conn.execute("SELECT value FROM meta").fetchall() == [("x",)]


def test_tables_without_rowid_begin_with_their_key(conn: sqlite3.Connection) -> None:
    """SQLite 3.40's integrity_check mixes up their columns otherwise and reports NULLs that are not there."""
    tables = [
        name
        for (name, wr) in conn.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'")
        if wr
    ]
    assert "workspace_problems" in tables
    for table in tables:
        keys = [key for (key,) in conn.execute("SELECT pk FROM pragma_table_info(?)", (table,))]
        assert keys == [*range(1, max(keys) + 1), *[0] * keys.count(0)], table


def test_problems_of_a_workspace_are_no_damage(db_path: Path, conn: sqlite3.Connection) -> None:
    workspace.add_problems(conn, "events", [("events.yaml", 3, "not a record")])
    assert pragma(db_path, "integrity_check") == "ok"


def test_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in schema.migrations()] == list(range(1, NEWEST + 1))


@pytest.fixture
def one_behind(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database that lacks the last migration of this program."""
    steps = broken("CREATE TABLE added (a TEXT) STRICT;")
    monkeypatch.setattr(schema, "migrations", lambda: steps)
    return db_path


def test_an_older_database_is_upgraded(one_behind: Path) -> None:
    schema.prepare(one_behind)
    assert pragma(one_behind, "user_version") == NEWEST + 1


def test_a_database_is_not_upgraded_under_an_older_hub_that_serves_it(one_behind: Path) -> None:
    with serving(one_behind) as hub:
        message = refused(one_behind)
        assert f"process {hub.pid} at 127.0.0.1:8080" in message
        assert pragma(one_behind, "user_version") == NEWEST
    schema.prepare(one_behind)
    assert pragma(one_behind, "user_version") == NEWEST + 1


def test_the_hub_that_holds_the_lock_may_upgrade(one_behind: Path) -> None:
    lock = FileLock(one_behind)
    lock.acquire(address="here")
    schema.prepare(one_behind)
    assert pragma(one_behind, "user_version") == NEWEST + 1
    with pytest.raises(DatabaseRefusedError):
        FileLock(one_behind).acquire(address="there")
    lock.release()


def test_statements_keeps_triggers_whole() -> None:
    sql = """
-- a comment; with a semicolon
CREATE TABLE a (b TEXT DEFAULT ';');
CREATE TRIGGER t AFTER INSERT ON a BEGIN
  UPDATE a SET b = 'one;';
  DELETE FROM a WHERE b = CASE WHEN 1 THEN 'x' ELSE 'y' END;
END;

CREATE VIEW v AS
  SELECT b FROM a; -- said at the end
-- the end
"""
    found = list(statements(sql))
    assert [text.splitlines()[-1].strip() for text in found] == [
        "CREATE TABLE a (b TEXT DEFAULT ';');",
        "END;",
        "SELECT b FROM a; -- said at the end",
        "-- the end",
    ]
    with closing(sqlite3.connect(":memory:")) as conn:
        for statement in found:
            conn.execute(statement)
        kinds = conn.execute("SELECT type, name FROM sqlite_schema ORDER BY name").fetchall()
    assert kinds == [("table", "a"), ("trigger", "t"), ("view", "v")]


# --- the lock -------------------------------------------------------------------------------------

_HOLD = """
import sys
from pathlib import Path
from ralf_hub.store.schema import FileLock
FileLock(Path(sys.argv[1])).acquire(address="127.0.0.1:8080")
print("held", flush=True)
sys.stdin.read()
"""


class serving:  # noqa: N801 - reads as a phrase where it is used
    """Another process that holds the lock of *path* until the block ends, or until it is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "held\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def test_a_second_hub_is_told_who_has_the_database(db_path: Path) -> None:
    lock = FileLock(db_path)
    with serving(db_path) as first:
        with pytest.raises(DatabaseRefusedError) as caught:
            lock.acquire(address="127.0.0.1:9090")
        assert f"{db_path}: another ralf-hub" in str(caught.value)
        assert f"process {first.pid} at 127.0.0.1:8080" in str(caught.value)
    lock.acquire(address="127.0.0.1:9090")  # the first was killed: the system let go for it
    lock.release()
    lock.release()


def test_the_lock_is_private_and_its_file_stays(db_path: Path) -> None:
    lock = FileLock(db_path)
    lock.acquire(address="x")
    assert lock.path.stat().st_mode & 0o777 == 0o600
    lock.release()
    assert lock.path.exists()


def test_a_holder_that_cannot_be_read_is_still_a_holder(db_path: Path) -> None:
    lock = FileLock(db_path)
    lock.acquire(address="x")
    lock.path.write_text("not json")
    with pytest.raises(DatabaseRefusedError, match="its process is not known"):
        FileLock(db_path).acquire(address="y")
    lock.release()


def test_a_full_disk_takes_no_note_of_the_holder_and_keeps_nobody_from_holding(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "hub.db")
    lock.path.symlink_to("/dev/full")
    lock.acquire(address="x")
    with pytest.raises(DatabaseRefusedError, match="its process is not known"):
        FileLock(tmp_path / "hub.db").acquire(address="y")
    lock.release()


def test_a_lock_that_cannot_be_made_is_refused_in_words() -> None:
    with pytest.raises(DatabaseRefusedError, match=r"cannot be created: "):
        FileLock(Path("/proc/no-such-folder/hub.db")).acquire(address="x")
