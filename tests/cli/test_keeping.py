"""`ralf-hub backup`, `restore` and `prune`."""

import os
import subprocess

import pytest

from ralf_hub.store.retention import FREE_PAGES_KEPT
from ralf_hub.store.schema import FileLock, is_served
from tests.cli.helpers import WITHIN_S, Place, interrupt, running
from tests.journeys.hub import free_port
from tests.support import eventually


def test_a_backup_is_proved(day: Place) -> None:
    done = day.ok("backup", "copy.db")
    size = (day.folder / "copy.db").stat().st_size
    assert done.out.splitlines() == [
        f"{day.folder / 'copy.db'}: {size:,} bytes, whole and readable by its owner only",
        "3 events, 6 deliveries",
    ]
    assert day.json("verify", "--db", "copy.db")["clean"]
    told = day.json("backup", "second.db")
    assert (told["path"], told["bytes"], told["clean"]) == (str(day.folder / "second.db"), size, True)


def test_a_backup_of_what_is_not_clean_is_made_and_said(day: Place) -> None:
    day.rows("DELETE FROM outbox WHERE id = 1")
    done = day.invoke("backup", "copy.db", "--json")
    assert done.code == 1
    assert (done.json["clean"], done.json["found"]["missing"]) == (False, 1)
    assert "the copy is faithful, and what it holds is not clean" in done.err
    assert (day.folder / "copy.db").exists()


def test_a_backup_never_takes_another_files_place(day: Place) -> None:
    (day.folder / "copy.db").write_text("mine", encoding="utf-8")
    done = day.invoke("backup", "copy.db")
    assert done.code == 1
    assert done.err == (
        f"ralf-hub: {day.folder / 'copy.db'}: is there already and was left as it is; name another file\n"
    )


def test_a_database_goes_back_to_its_backup(day: Place) -> None:
    day.ok("backup", "copy.db")
    day.ok("emit", "agent_start")
    done = day.ok("restore", "copy.db")
    assert "6 deliveries are pending in it" in done.out
    [kept] = day.folder.glob("hub.db.before-restore-*")
    assert f"the one before is kept as {kept}" in done.out
    assert day.value("SELECT count(*) FROM events") == 3
    assert day.json("outbox", "list", "--db", str(kept))["total"] == 7
    told = day.json("restore", "copy.db", "--db", "elsewhere/hub.db")
    assert told == {"path": str(day.folder / "elsewhere" / "hub.db"), "kept": None, "pending": 6}


def test_no_restore_below_a_running_hub(day: Place) -> None:
    day.ok("backup", "copy.db")
    lock = FileLock(day.db)
    lock.acquire(address="http://127.0.0.1:8080")
    try:
        done = day.invoke("restore", "copy.db")
    finally:
        lock.release()
    assert done.code == 1
    assert (
        f"another ralf-hub already serves this database (process {os.getpid()} at http://127.0.0.1:8080)"
        in done.err
    )
    assert not list(day.folder.glob("*before-restore*"))
    assert day.ok("restore", "copy.db").code == 0


@pytest.mark.parametrize(
    ("noted", "served"),
    [
        (f'{{"pid": {os.getppid()}}}', True),
        (f'{{"pid": {os.getpid()}}}', False),
        ('{"pid": 1}', True),
        ('{"pid": 4194305}', False),
        ('{"pid": 99999999999999999999}', False),
        ("{}", False),
        ("", False),
        ("[]", False),
    ],
    ids=["its parent", "itself", "init", "no process", "no number of one", "no pid", "nothing", "no object"],
)
def test_whether_a_hub_runs_is_told_by_its_process(day: Place, noted: str, served: bool) -> None:  # noqa: FBT001
    assert not is_served(day.folder / "elsewhere.db")
    FileLock(day.db).path.write_text(noted, encoding="utf-8")
    assert is_served(day.db) is served


def test_a_backup_that_is_none(day: Place) -> None:
    done = day.invoke("restore", "nowhere.db")
    assert (done.code, done.err) == (1, f"ralf-hub: {day.folder / 'nowhere.db'}: there is no such file\n")


def test_prune_deletes_what_is_old_and_finished(day: Place) -> None:
    day.config.write_text(
        '[database]\npath = "hub.db"\n[retention]\ndeliveries_days = 30\nevents_days = 60\n', encoding="utf-8"
    )
    long_ago, recently = "2001-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"
    day.rows("UPDATE outbox SET state = 'dead', last_error = 'x', created_at = ? WHERE id <= 2", long_ago)
    day.rows(
        "UPDATE outbox SET state = 'delivered', delivered_at = ?, created_at = ? WHERE id = 3",
        long_ago,
        long_ago,
    )
    day.rows(
        "UPDATE outbox SET state = 'delivered', delivered_at = ?, created_at = ? WHERE id = 4",
        recently,
        long_ago,
    )
    day.rows("UPDATE outbox SET created_at = ? WHERE id = 5", long_ago)
    day.rows("UPDATE events SET recorded_at = ?", long_ago)
    told = day.json("prune")["deleted"]
    assert (told["deliveries"], told["events"]) == (3, 1)
    assert day.rows("SELECT id FROM outbox ORDER BY id") == [(4,), (5,), (6,)]
    assert day.rows("SELECT seq FROM events ORDER BY seq") == [(2,), (3,)]
    report = day.json("verify")
    assert report["clean"]
    assert report["pruned"] == 1
    assert day.ok("prune").out.splitlines()[0].split() == ["deliveries", "0"]
    assert day.rows("SELECT kind, state, created_by, done FROM jobs ORDER BY rowid") == [
        ("prune", "done", "command line", 4),
        ("prune", "done", "command line", 0),
    ]


def old_deliveries(day: Place, count: int) -> None:
    day.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, state, last_error, "
        "next_attempt_at, created_at) SELECT 'old_' || i, 1, 'x', 'shop', 'notify', '{}', 'dead', 'x', '', "
        "'2001-01-01T00:00:00.000Z' FROM n",
        count,
    )


async def pruning(day: Place, process: "subprocess.Popen[str]") -> None:
    """Wait until the command is in the middle of it."""

    def begun() -> bool:
        assert process.poll() is None, process.communicate()
        return int(day.value("SELECT coalesce(max(done), 0) FROM jobs")) > 0

    await eventually(begun, within_s=WITHIN_S)


async def test_prune_that_is_killed_goes_on_where_it_was_when_a_hub_starts(day: Place) -> None:
    old_deliveries(day, 15_000)
    with running(day.spawn("prune")) as process:
        await pruning(day, process)
    ((state, done),) = day.rows("SELECT state, done FROM jobs")
    assert (state, 0 < done < 15_000) == ("running", True)
    with running(day.spawn("serve", "--port", str(free_port()))):
        ended = [("done", 15_000)]
        await eventually(lambda: day.rows("SELECT state, done FROM jobs") == ended, within_s=WITHIN_S)
    assert day.value("SELECT count(*) FROM outbox WHERE event_id LIKE 'old%'") == 0


async def test_prune_that_is_interrupted_is_cancelled(day: Place) -> None:
    old_deliveries(day, 15_000)
    with running(day.spawn("prune")) as process:
        await pruning(day, process)
        ended = interrupt(process)
    assert (ended.code, ended.err) == (130, "ralf-hub: interrupted\n")
    ((state, done),) = day.rows("SELECT state, done FROM jobs")
    assert (state, 0 < done < 15_000) == ("cancelled", True)
    assert day.value("SELECT count(*) FROM outbox") == 15_006 - done


async def test_prune_that_somebody_else_cancels_says_so(day: Place) -> None:
    old_deliveries(day, 15_000)
    with running(day.spawn("prune")) as process:
        await pruning(day, process)
        day.rows("UPDATE jobs SET state = 'cancelled'")
        _, said = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 1
    assert "was cancelled; what it deleted stays deleted" in said


def test_prune_gives_the_room_back(day: Place) -> None:
    old_deliveries(day, 15_000)
    day.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    before = day.db.stat().st_size
    day.ok("prune")
    day.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    assert day.db.stat().st_size < before * 2 / 3
    assert day.value("PRAGMA freelist_count") <= FREE_PAGES_KEPT


@pytest.mark.parametrize("days", ["0", "-1"])
def test_prune_with_settings_that_would_delete_everything(day: Place, days: str) -> None:
    day.config.write_text(
        f'[database]\npath = "hub.db"\n[retention]\nevents_days = {days}\n', encoding="utf-8"
    )
    done = day.invoke("prune")
    assert done.code == 2
    assert "retention.events_days: " in done.err
    assert day.value("SELECT count(*) FROM events") == 3
