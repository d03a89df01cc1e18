"""The wall clock is set back: what waits goes out when it was meant to, not when the clock is there again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ralf_hub.app import running
from ralf_hub.clock import HighWater
from ralf_hub.clock_watch import ClockWatch
from ralf_hub.errors import StorageError
from ralf_hub.intake.queue import claim
from ralf_hub.intake.tasks import TaskDraft, change, create
from ralf_hub.services import Services
from ralf_hub.store import clock_step
from tests.api.helpers import settings, webhook
from tests.doubles.receiver import Receiver
from tests.support import SettableClock, connect, eventually, rows

TWO_HOURS_S = 7200.0


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def watch_of(hub: Services) -> ClockWatch:
    """Return a watch besides the one that runs in the hub, on the same clock."""
    assert isinstance(hub.clock.now, HighWater)
    return ClockWatch(hub, hub.clock.now)


def _settings(db_path: Path, sink: Receiver) -> Any:
    return settings(db_path, connectors={"sink": webhook(f"{sink.url}/hook", events=["task_*"])})


@pytest.fixture
async def hub(db_path: Path, clock: SettableClock, sink: Receiver) -> AsyncIterator[Services]:
    async with running(_settings(db_path, sink), clock.clock) as hub:
        yield hub


async def _three_events(hub: Services, task_id: str) -> None:
    await hub.intake.accept(lambda ledger: create(ledger, TaskDraft("x", id=task_id), source="t"))
    for status in ("in_progress", "completed"):
        await hub.intake.accept(lambda ledger, to=status: change(ledger, task_id, {"status": to}, source="t"))


def _waiting(path: Path) -> list[tuple[object, ...]]:
    return rows(path, "SELECT next_attempt_at, created_at FROM outbox WHERE state = 'pending' ORDER BY id")


async def test_what_was_recorded_ahead_of_time_goes_out_when_the_clock_is_put_right(
    hub: Services, clock: SettableClock, sink: Receiver, db_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watch_of(hub)
    await watch.look()
    hub.dispatcher.hold("sink")
    clock.advance(TWO_HOURS_S)
    await watch.look()
    await _three_events(hub, "T-1")
    clock.advance(-TWO_HOURS_S)
    await hub.dispatcher.refresh()
    assert not sink.accepted
    await watch.look()
    await eventually(lambda: not _waiting(db_path))
    assert [item.json["type"] for item in sink.accepted] == ["task_created", "task_started", "task_completed"]
    assert "the clock was set back by 7200." in caplog.text


async def test_what_was_to_wait_waits_as_long_as_before(
    hub: Services, clock: SettableClock, db_path: Path
) -> None:
    watch = watch_of(hub)
    await watch.look()
    hub.dispatcher.hold("sink")
    await _three_events(hub, "T-1")
    await hub.db.write(
        lambda conn: conn.execute(
            "UPDATE outbox SET next_attempt_at = ? WHERE next_attempt_at < '9999'", (clock.iso(60),)
        )
    )
    await hub.intake.accept(lambda ledger: create(ledger, TaskDraft("y", id="T-2"), source="t"))
    await hub.intake.accept(lambda ledger: claim(ledger, "agent", 600, source="t"))
    await hub.db.write(
        lambda conn: conn.execute(
            "INSERT OR REPLACE INTO connectors (name, breaker, probe_at, held_until, updated_at) "
            "VALUES ('other', 'open', ?, ?, '')",
            (clock.iso(30), clock.iso(90)),
        )
    )
    clock.advance(-TWO_HOURS_S)
    await watch.look()
    assert _waiting(db_path)[0][0] == clock.iso(60)
    [(probe_at, held_until)] = rows(
        db_path, "SELECT probe_at, held_until FROM connectors WHERE name = 'other'"
    )
    assert (probe_at, held_until) == (clock.iso(30), clock.iso(90))
    leases = rows(db_path, "SELECT lease_expires_at FROM tasks WHERE lease_expires_at IS NOT NULL")
    assert leases == [(clock.iso(600),)]


async def test_a_clock_set_back_while_the_hub_was_down(
    db_path: Path, clock: SettableClock, sink: Receiver
) -> None:
    async with running(_settings(db_path, sink), clock.clock) as hub:
        hub.dispatcher.hold("sink")
        await _three_events(hub, "T-1")
    assert not sink.accepted
    clock.advance(-TWO_HOURS_S)
    async with running(_settings(db_path, sink), clock.clock):
        await eventually(lambda: len(sink.accepted) == 3)


async def test_a_clock_that_was_ahead_for_a_moment_only_between_two_looks(
    hub: Services, clock: SettableClock, db_path: Path
) -> None:
    watch = watch_of(hub)
    hub.dispatcher.hold("sink")
    clock.advance(TWO_HOURS_S)
    await _three_events(hub, "T-1")
    clock.advance(-TWO_HOURS_S)
    await watch.look()
    await eventually(lambda: not _waiting(db_path))


async def test_a_hub_that_was_killed_in_such_a_moment(
    db_path: Path, clock: SettableClock, sink: Receiver
) -> None:
    """What was recorded last is of the present; only what waits tells that the clock was ahead."""
    async with running(_settings(db_path, sink), clock.clock) as hub:
        hub.dispatcher.hold("sink")
        clock.advance(TWO_HOURS_S)
        await _three_events(hub, "T-1")
    clock.advance(-TWO_HOURS_S)
    conn = connect(db_path)
    conn.execute(
        "INSERT INTO events (id, type, source, occurred_at, recorded_at) VALUES ('evt_now', 'x', 't', ?1, ?1)",
        (clock.iso(),),
    )
    conn.close()
    async with running(_settings(db_path, sink), clock.clock):
        await eventually(lambda: len(sink.accepted) == 3)


async def test_a_clock_that_stands_or_goes_forward_moves_nothing(
    hub: Services, clock: SettableClock, db_path: Path
) -> None:
    watch = watch_of(hub)
    hub.dispatcher.hold("sink")
    await _three_events(hub, "T-1")
    before = _waiting(db_path)
    for seconds in (0.0, 0.0, 1.0, TWO_HOURS_S):
        clock.advance(seconds)
        await watch.look()
    assert _waiting(db_path) == before


async def test_a_step_that_could_not_be_written_down_is_put_right_later(
    hub: Services, clock: SettableClock, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise StorageError

    watch = watch_of(hub)
    await watch.look()
    hub.dispatcher.hold("sink")
    clock.advance(TWO_HOURS_S)
    await watch.look()
    await _three_events(hub, "T-1")
    clock.advance(-TWO_HOURS_S)
    with monkeypatch.context() as patched:
        patched.setattr(clock_step, "bring_forward", fail)
        with pytest.raises(StorageError):
            await watch.look()
    await watch.look()
    await eventually(lambda: not _waiting(db_path))


async def test_a_disk_that_cannot_be_read_at_the_start_is_asked_again(
    hub: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise StorageError

    watch = watch_of(hub)
    with monkeypatch.context() as patched:
        patched.setattr(clock_step, "last_known", fail)
        await watch.begin()
    assert "nobody knows yet" in caplog.text
    await watch.look()


async def test_a_moment_written_by_hand_is_none(hub: Services) -> None:
    await hub.db.write(lambda conn: conn.execute("INSERT OR REPLACE INTO meta VALUES ('heartbeat', 'soon')"))
    await watch_of(hub).look()
