"""What a hub does by the clock, one chore at a time on a hub that runs."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from ralf_hub import bulk
from ralf_hub.app import running
from ralf_hub.bulk import new_prune, next_replays, prune_step, replay_step
from ralf_hub.errors import StorageError
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.queue import claim
from ralf_hub.intake.tasks import TaskDraft, create
from ralf_hub.services import Services
from ralf_hub.store import jobs, metrics, retention, room, schema
from ralf_hub.store.checkpoint import Checkpointer
from ralf_hub.store.jobs import BulkJob
from ralf_hub.store.room import Room
from ralf_hub.upkeep import MEASURED_EVERY_TIMES, Chore, Upkeep, check_whole_file
from tests.api.helpers import EVERYTHING, settings, webhook
from tests.support import SettableClock, eventually, rows


@pytest.fixture
async def hub(db_path: Path, clock: SettableClock) -> AsyncIterator[Services]:
    """A hub whose one connector cannot reach anybody."""
    nowhere = webhook("http://127.0.0.1:9/", events=["never"])
    async with running(settings(db_path, connectors={"sink": nowhere}), clock.clock) as hub:
        yield hub


@pytest.fixture
async def upkeep(hub: Services) -> AsyncIterator[Upkeep]:
    checkpointer = await Checkpointer.open(hub.db)
    yield Upkeep(hub, checkpointer)
    await checkpointer.close()


def by_hand(path: Path, sql: str, *values: object) -> None:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute(sql, values)
    conn.close()


# --- repeating ------------------------------------------------------------------------------------


async def test_a_chore_that_fails_is_told_of_and_done_again(
    upkeep: Upkeep, caplog: pytest.LogCaptureFixture
) -> None:
    turns = 0

    async def fail() -> None:
        nonlocal turns
        turns += 1
        raise ValueError("no")

    repeated = asyncio.create_task(upkeep.repeat(Chore("sweeping", 0.001, fail)))
    await eventually(lambda: turns >= 3)
    assert not repeated.done()
    repeated.cancel()
    assert "chore sweeping failed" in caplog.text


async def test_a_disk_that_says_the_same_again_and_again_is_quoted_once(
    upkeep: Upkeep, caplog: pytest.LogCaptureFixture
) -> None:
    """Full, well, full, failing: three lines, whatever the number of tries."""
    turns = 0

    async def suffer() -> None:
        nonlocal turns
        turns += 1
        if turns not in {4, 5}:
            raise StorageError("The disk is full." if turns < 9 else "The disk answers with errors.")

    repeated = asyncio.create_task(upkeep.repeat(Chore("sweeping", 0.001, suffer)))
    await eventually(lambda: turns >= 12)
    repeated.cancel()
    said = [record for record in caplog.records if "sweeping" in record.message]
    assert [record.message.rpartition(": ")[2] for record in said] == [
        "The disk is full.",
        "The disk is full.",
        "The disk answers with errors.",
    ]
    assert all(record.exc_info is None for record in said)


async def test_every_chore_of_a_running_hub_is_alive(hub: Services) -> None:
    assert {"outside changes", "leases", "bulk jobs", "checkpoints", "usage", "retention"} <= set(
        hub.background
    )
    assert all(alive() for alive in hub.background.values())


# --- changes of others ----------------------------------------------------------------------------


async def test_what_someone_else_wrote_is_seen(hub: Services, upkeep: Upkeep, db_path: Path) -> None:
    await upkeep.notice_outside_changes()
    by_hand(
        db_path, "INSERT INTO connectors (name, paused, paused_by, updated_at) VALUES ('sink', 1, 'sql', '')"
    )
    for number in range(3):
        by_hand(
            db_path,
            "INSERT INTO events (id, type, source, occurred_at, recorded_at) VALUES (?, 'x', 'sql', '', '')",
            f"evt_{number}",
        )
    await upkeep.notice_outside_changes()
    await eventually(lambda: hub.feed.last_seq == 3)
    assert hub.dispatcher.channels["sink"].state.paused


async def test_what_the_hub_wrote_itself_is_no_news(hub: Services, upkeep: Upkeep) -> None:
    await upkeep.notice_outside_changes()
    reloads = []
    hub.dispatcher.refresh = lambda: reloads.append(1)  # type: ignore[assignment, method-assign, return-value]
    await hub.intake.accept(lambda ledger: create(ledger, TaskDraft("x"), source="t"))
    await upkeep.notice_outside_changes()
    assert reloads == []


# --- leases ---------------------------------------------------------------------------------------


async def test_more_leases_than_one_turn_takes(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path
) -> None:
    def prepare(ledger: Ledger) -> None:
        for number in range(130):
            create(ledger, TaskDraft("x", id=f"T-{number}"), source="t")
            claim(ledger, f"agent-{number}", 10 if number else 1_000, source="t")

    await hub.intake.accept(prepare)
    clock.advance(9.999)
    await upkeep.end_leases()
    assert rows(db_path, "SELECT count(*) FROM tasks WHERE status = 'pending'") == [(0,)]
    clock.advance(0.001)
    await upkeep.end_leases()
    await upkeep.end_leases()
    await upkeep.end_leases()
    found = rows(db_path, "SELECT status, count(*), count(assignee), count(lease_expires_at) FROM tasks GROUP BY 1 ORDER BY 2")  # fmt: skip
    assert found == [("in_progress", 1, 1, 1), ("pending", 129, 0, 0)]
    assert rows(db_path, "SELECT count(*) FROM events WHERE data ->> 'reason' = 'lease_expired'") == [(129,)]


# --- usage ----------------------------------------------------------------------------------------


def use(hub: Services, count: int) -> None:
    for _ in range(count):
        hub.meters.answered(
            day="2026-02-02", key_id="k", endpoint="GET /x", status=200, duration_s=0.001, size=1
        )


async def test_usage_adds_up_and_waits_where_it_cannot_be_written(
    hub: Services, upkeep: Upkeep, db_path: Path
) -> None:
    use(hub, 2)
    await hub.write_usage()
    use(hub, 3)
    hub.keyring.used["key_x"] = "2026-02-02T00:00:00.000Z"
    await hub.db.run_alone(lambda conn: conn.execute("PRAGMA query_only = ON"))
    with pytest.raises(StorageError):
        await hub.write_usage()
    await hub.db.run_alone(lambda conn: conn.execute("PRAGMA query_only = OFF"))
    assert hub.keyring.used == {"key_x": "2026-02-02T00:00:00.000Z"}
    use(hub, 1)
    await hub.write_usage()
    await hub.write_usage()
    assert rows(db_path, "SELECT key_id, requests, bytes_out FROM api_usage") == [("k", 6, 6)]
    assert hub.keyring.used == {}


async def test_the_last_use_of_a_key_is_written_down(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path
) -> None:
    by_hand(
        db_path,
        "INSERT INTO api_keys (id, name, key_sha256, hint, scopes, created_at) VALUES ('key_1', 'x', 'abc', '', '[]', '')",
    )
    hub.keyring.used["key_1"] = clock.iso()
    hub.keyring.find(EVERYTHING, clock.iso())  # those of the settings have no row
    await hub.write_usage()
    assert rows(db_path, "SELECT id, last_used_at FROM api_keys") == [("key_1", clock.iso())]


# --- bulk jobs ------------------------------------------------------------------------------------


def dead(path: Path, count: int) -> None:
    conn = sqlite3.connect(path)
    conn.executemany(
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, state, next_attempt_at, created_at) "
        "VALUES (?, 0, 'x', 'gone', 'notify', '{}', 'dead', '', ?)",
        [(f"evt_{n}", f"2026-01-01T00:00:00.{n:03}Z") for n in range(count)],
    )
    conn.commit()
    conn.close()


def job(job_id: str, count: int, clock: SettableClock, **parameters: str) -> BulkJob:
    given = {
        "state": "dead",
        "connector": None,
        "since": None,
        "until": None,
        **parameters,
        "up_to_id": count,
    }
    return BulkJob(job_id, "replay", "running", given, count, 0, 0, "t", clock.iso(), clock.iso())


async def job_of(hub: Services, job_id: str) -> BulkJob:
    found = await hub.db.read(lambda conn: jobs.get(conn, job_id))
    assert found is not None
    return found


async def step(hub: Services, job_id: str) -> BulkJob:
    known = await job_of(hub, job_id)
    ids = await hub.db.read(lambda conn: next_replays(conn, known))
    await hub.intake.accept(lambda ledger: replay_step(ledger, job_id, ids), bulk=True)
    return await job_of(hub, job_id)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look up ten deliveries at a time; a step has all the time it wants."""
    monkeypatch.setattr(bulk, "REPLAY_IDS_MAX", 10)
    monkeypatch.setattr(bulk, "REPLAY_STEP_S", 1_000)


@pytest.mark.usefixtures("small_steps")
async def test_a_job_goes_step_by_step_to_its_end(hub: Services, clock: SettableClock, db_path: Path) -> None:
    dead(db_path, 21)
    await hub.db.write(lambda conn: jobs.insert(conn, job("job_1", 21, clock)))
    seen = [(found.done, found.state) for found in [await step(hub, "job_1") for _ in range(5)]]
    assert seen == [(10, "running"), (20, "running"), (21, "running"), (21, "done"), (21, "done")]
    assert rows(db_path, "SELECT state, count(*) FROM outbox GROUP BY 1") == [("pending", 21)]


async def test_a_step_ends_when_its_time_is_over(
    hub: Services, clock: SettableClock, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(db_path, 30)
    await hub.db.write(lambda conn: jobs.insert(conn, job("job_1", 30, clock)))
    monkeypatch.setattr(bulk, "REPLAY_STEP_S", -1)
    assert (await step(hub, "job_1")).done == 1


async def test_a_job_takes_nothing_that_came_after_it_and_nothing_twice(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path
) -> None:
    dead(db_path, 10)
    await hub.db.write(lambda conn: jobs.insert(conn, job("job_1", 6, clock)))
    await upkeep.advance_jobs()
    assert ((await job_of(hub, "job_1")).done, (await job_of(hub, "job_1")).state) == (6, "done")
    by_hand(db_path, "UPDATE outbox SET state = 'dead' WHERE id <= 3")
    await upkeep.advance_jobs()
    assert rows(db_path, "SELECT count(*) FROM outbox WHERE state = 'dead'") == [(7,)]


async def test_jobs_follow_their_steps_to_the_end_and_share_the_turns(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "REPLAY_STEP_S", -1)
    dead(db_path, 40)
    first, second = job("job_1", 40, clock, connector="gone"), job("job_2", 40, clock)
    await hub.db.write(lambda conn: (jobs.insert(conn, first), jobs.insert(conn, second)))
    await upkeep.advance_jobs()
    found = [await job_of(hub, name) for name in ("job_1", "job_2")]
    assert [each.state for each in found] == ["done", "done"]
    assert sum(each.done for each in found) == 40
    assert min(each.done for each in found) > 10


async def test_a_step_that_was_begun_before_the_cancellation_does_nothing_after_it(
    hub: Services, clock: SettableClock, db_path: Path
) -> None:
    dead(db_path, 500)
    await hub.db.write(lambda conn: jobs.insert(conn, job("job_1", 500, clock)))
    known = await job_of(hub, "job_1")
    ids = await hub.db.read(lambda conn: next_replays(conn, known))
    assert ids
    await hub.db.write(lambda conn: jobs.cancel(conn, "job_1", now=clock.iso()))
    await hub.intake.accept(lambda ledger: replay_step(ledger, "job_1", ids))
    assert rows(db_path, "SELECT state, done FROM jobs") == [("cancelled", 0)]
    assert rows(db_path, "SELECT DISTINCT state FROM outbox") == [("dead",)]


async def test_a_job_that_is_gone(hub: Services, clock: SettableClock) -> None:
    await hub.intake.accept(lambda ledger: replay_step(ledger, "job_none", [1]))
    await hub.db.write(lambda conn: prune_step(conn, "job_none", clock.clock))


async def test_a_prune_job_goes_on_to_its_end_and_says_what_it_deleted(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(db_path, 3 * retention.SLICE + 1)
    by_hand(db_path, "INSERT INTO api_usage (day, key_id, endpoint) VALUES ('2020-01-01', 'k', 'x')")
    clock.advance(40 * 86_400)
    old = retention.cutoffs(hub.settings.retention, clock.ms)
    made = await hub.db.write(
        lambda conn: new_prune(conn, old, clock.clock, total=retention.count_old(conn, old), by="me")
    )
    assert (made.total, made.done, made.created_by) == (3 * retention.SLICE + 2, 0, "me")
    monkeypatch.setattr(retention, "STEP_S", -1)
    done = []
    while (await job_of(hub, made.id)).state == "running":
        await hub.db.write(lambda conn: prune_step(conn, made.id, clock.clock))
        done.append((await job_of(hub, made.id)).done)
    assert done == [20, 40, 60, 61, 62, 62]
    assert (await job_of(hub, made.id)).parameters["deleted"] == {"deliveries": 61, "api_usage": 1}
    await upkeep.advance_jobs()
    assert (await job_of(hub, made.id)).done == 62


async def test_a_prune_job_that_is_cancelled_deletes_no_more(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(db_path, 50)
    clock.advance(40 * 86_400)
    old = retention.cutoffs(hub.settings.retention, clock.ms)
    made = await hub.db.write(lambda conn: new_prune(conn, old, clock.clock, total=50, by="me"))
    monkeypatch.setattr(retention, "STEP_S", -1)
    await hub.db.write(lambda conn: prune_step(conn, made.id, clock.clock))
    await hub.db.write(lambda conn: jobs.cancel(conn, made.id, now=clock.iso()))
    await upkeep.advance_jobs()
    assert rows(db_path, "SELECT count(*) FROM outbox") == [(30,)]
    assert rows(db_path, "SELECT state, done, total FROM jobs") == [("cancelled", 20, 50)]


# --- retention ------------------------------------------------------------------------------------


async def test_what_is_old_is_forgotten(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path
) -> None:
    by_hand(
        db_path, "INSERT INTO idempotency_keys VALUES ('p', 'old', '', 200, '{}', x'', ?)", clock.iso(-86_401)
    )
    by_hand(
        db_path, "INSERT INTO idempotency_keys VALUES ('p', 'new', '', 200, '{}', x'', ?)", clock.iso(-86_399)
    )
    by_hand(db_path, "INSERT INTO api_usage (day, key_id, endpoint) VALUES ('2020-01-01', 'k', 'x')")
    dead(db_path, 1_200)
    clock.advance(40 * 86_400)
    by_hand(db_path, "INSERT INTO idempotency_keys VALUES ('p', 'now', '', 200, '{}', x'', ?)", clock.iso())
    await upkeep.prune()
    assert rows(db_path, "SELECT key FROM idempotency_keys") == [("now",)]
    assert rows(db_path, "SELECT count(*) FROM outbox") == [(0,)]
    assert rows(db_path, "SELECT count(*) FROM api_usage") == [(0,)]


# --- a large file, read while the hub serves -------------------------------------------------------


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "CHECKED_AT_ONCE_BYTES_MAX", 0)


def spoil(path: Path) -> None:
    """Make a file that SQLite opens and that is not whole."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.executemany("INSERT INTO meta VALUES (?, ?)", [(f"k{n}", "v" * 500) for n in range(500)])
    (pages,) = conn.execute("PRAGMA page_count").fetchone()
    conn.close()
    with path.open("r+b") as file:
        file.seek((pages - 3) * 4096)
        file.write(b"\xa5" * 4096)


async def test_a_hub_whose_file_is_damaged_says_so_alerts_and_ends(
    db_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    large(monkeypatch)
    spoil(db_path)
    nowhere = webhook("http://127.0.0.1:9/", events=["*"])
    async with running(settings(db_path, connectors={"sink": nowhere}), clock.clock) as hub:
        ended = asyncio.Event()
        hub.end = ended.set
        await asyncio.wait_for(check_whole_file(hub, alerted_within_s=0), 10)
        assert ended.is_set()
        assert "the database is damaged" in str(hub.damage)
        alerts = rows(db_path, "SELECT event_type, connector FROM outbox WHERE event_type = 'system_alert'")
    assert ("system_alert", "sink") in alerts
    assert "the database is damaged" in caplog.text


async def test_a_hub_whose_file_is_whole_goes_on(
    db_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    large(monkeypatch)
    caplog.set_level("INFO")
    async with running(settings(db_path), clock.clock) as hub:
        hub.end = lambda: pytest.fail("it must not end")
        assert not hub.db.whole
        await eventually(lambda: "it is whole" in caplog.text)
        assert hub.damage is None


async def test_a_small_file_is_not_read_again(hub: Services, caplog: pytest.LogCaptureFixture) -> None:
    assert hub.db.whole
    assert "file check" not in {task.get_name() for task in asyncio.all_tasks()}
    assert "end to end" not in caplog.text


# --- room -----------------------------------------------------------------------------------------


async def test_people_are_told_once_that_the_disk_is_nearly_full_and_once_that_it_is_not(
    hub: Services, upkeep: Upkeep, clock: SettableClock, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [1_000]
    monkeypatch.setattr(room, "look", lambda _path, _mib: Room(free[0], 10_000, 1_000))

    async def told(bytes_free: int) -> list[tuple[object, ...]]:
        free[0] = bytes_free
        await upkeep.look_at_room()
        return rows(
            db_path,
            "SELECT data ->> 'resolved', data ->> 'severity' FROM events WHERE data ->> 'code' = 'disk_low' ORDER BY seq",
        )

    assert await told(1_000) == []
    assert await told(999) == [(0, "error")]
    assert await told(10) == [(0, "error")]
    again = Upkeep(hub, upkeep._checkpointer)  # as after a restart: the episode goes on
    await again.look_at_room()
    assert await told(1_100) == [(0, "error")], "not yet clearly more"
    assert await told(1_250) == [(0, "error"), (1, "info")]
    assert await told(5_000) == [(0, "error"), (1, "info")]
    assert await told(1) == [(0, "error"), (1, "info"), (0, "error")]
    assert hub.room is not None
    assert hub.room.free_bytes == 1


async def test_the_limit_is_a_setting_that_counts_at_once(
    hub: Services, upkeep: Upkeep, db_path: Path
) -> None:
    await upkeep.look_at_room()
    assert hub.room is not None
    assert hub.room.little_bytes <= 256 * 1024 * 1024
    hub.loaded = settings(db_path, database={"free_mib_min": 1})
    await upkeep.look_at_room()
    assert hub.room.little_bytes == 1024 * 1024


async def test_the_tables_are_measured_now_and_then(
    hub: Services, upkeep: Upkeep, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    seconds = [0.0]
    monkeypatch.setattr(hub, "clock", replace(clock.clock, monotonic=lambda: seconds[0]))

    def look(path: Path) -> dict[str, int]:
        looks.append(path)
        seconds[0] += 30  # a large file
        return {"outbox": 7}

    monkeypatch.setattr(metrics, "table_bytes", look)
    await upkeep.measure_tables()
    await upkeep.measure_tables()
    seconds[0] += 30 * MEASURED_EVERY_TIMES - 1
    await upkeep.measure_tables()
    assert (len(looks), hub.table_bytes) == (1, {"outbox": 7})
    seconds[0] += 1
    await upkeep.measure_tables()
    assert len(looks) == 2
