import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ralf_hub.connectors.base import Action
from ralf_hub.delivery.routing import Router
from ralf_hub.errors import StorageError
from ralf_hub.intake.features import ensure
from ralf_hub.intake.ledger import Intake, Ledger
from ralf_hub.intake.tasks import TaskDraft, change, create
from ralf_hub.model import Event, Task
from ralf_hub.store.database import Database
from tests.delivery.house import Keeper, Poster
from tests.intake.conftest import Desk, poster
from tests.support import SettableClock, rows


def note(ledger: Ledger, n: int = 1, **more: Any) -> Event:
    return ledger.record("note", source="test", data={"n": n}, **more)


# --- one transaction ------------------------------------------------------------------------------


async def test_a_change_its_event_and_its_deliveries_are_there_together_or_not_at_all(
    db: Database, clock: SettableClock
) -> None:
    intake = Intake(db, clock.clock, Router({"a": poster("a", events=["*"])}))

    def change_and_fail(ledger: Ledger) -> None:
        create(ledger, TaskDraft("x", id="T-1"), source="api")
        raise ValueError("on second thoughts")

    with pytest.raises(ValueError, match="on second thoughts"):
        await intake.accept(change_and_fail)
    counts = (
        "SELECT (SELECT count(*) FROM tasks), (SELECT count(*) FROM events), (SELECT count(*) FROM outbox)"
    )
    assert rows(db.path, counts) == [(0, 0, 0)]
    await intake.accept(lambda ledger: create(ledger, TaskDraft("x", id="T-1"), source="api"))
    assert rows(db.path, counts) == [(1, 1, 1)]
    assert rows(db.path, "SELECT seq FROM events") == [(1,)]  # what was undone left no gap


async def test_listeners_hear_of_what_was_committed_in_order_and_of_nothing_else(
    db: Database, clock: SettableClock
) -> None:
    intake = Intake(db, clock.clock, Router({"a": poster("a", events=["*"])}))
    heard: list[tuple[list[int], set[str]]] = []

    def broken(appended: list[Event], connectors: set[str]) -> None:
        raise ValueError("broken listener")

    def listen(appended: list[Event], connectors: set[str]) -> None:
        committed = {seq for (seq,) in rows(db.path, "SELECT seq FROM events")}
        assert {event.seq for event in appended} <= committed
        heard.append(([event.seq for event in appended], connectors))

    intake.listeners += [broken, listen]

    def odd_ones_fail(n: int) -> Any:
        def change(ledger: Ledger) -> None:
            note(ledger, n)
            note(ledger, n)
            if n % 2:
                raise ValueError

        return change

    await asyncio.gather(*(intake.accept(odd_ones_fail(n)) for n in range(20)), return_exceptions=True)
    assert [seqs for seqs, _ in heard] == [[2 * n + 1, 2 * n + 2] for n in range(10)]
    assert all(connectors == {"a"} for _, connectors in heard)


async def test_a_change_without_an_event_wakes_nobody(db: Database, clock: SettableClock) -> None:
    intake = Intake(db, clock.clock, Router({}))
    heard: list[Any] = []
    intake.listeners.append(lambda *what: heard.append(what))
    assert await intake.accept(lambda ledger: ledger.now) == clock.iso()
    assert heard == []
    await intake.accept(note)
    assert len(heard) == 1


async def test_after_hears_first(db: Database, clock: SettableClock) -> None:
    intake = Intake(db, clock.clock, Router({}))
    heard: list[str] = []
    intake.listeners.append(lambda *_: heard.append("listener"))
    await intake.accept(note, after=lambda event: heard.append(event.type))
    assert heard == ["note", "listener"]


async def test_a_disk_that_takes_nothing_is_told_to_whoever_asked(db: Database, clock: SettableClock) -> None:
    intake = Intake(db, clock.clock, Router({}))
    heard: list[Any] = []
    intake.listeners.append(lambda *what: heard.append(what))
    await db.run_alone(lambda conn: conn.execute("PRAGMA query_only = ON"))
    with pytest.raises(StorageError, match="read-only"):
        await intake.accept(note)
    assert heard == []
    await db.run_alone(lambda conn: conn.execute("PRAGMA query_only = OFF"))
    assert (await intake.accept(note)).seq == 1


# --- events ---------------------------------------------------------------------------------------


def test_an_event_is_kept_as_it_was_recorded(desk: Desk) -> None:
    desk.route(poster("b"), poster("a"))
    event = desk.ledger.record(
        "note",
        source="test",
        task_id="T-1",
        data={"a": [1, None, "ü"]},
        occurred_at="2026-01-01T00:00:00.000Z",
    )
    found = desk.conn.execute(
        "SELECT seq, id, type, source, task_id, occurred_at, recorded_at, data, routed FROM events"
    ).fetchall()
    assert found == [
        (
            event.seq,
            event.id,
            "note",
            "test",
            "T-1",
            "2026-01-01T00:00:00.000Z",
            desk.clock.iso(),
            '{"a":[1,null,"ü"]}',
            '["b","a"]',
        )
    ]
    assert event.seq == 1


def test_history_goes_to_nobody(desk: Desk) -> None:
    desk.route(poster("a", events=["*"]))
    ledger = desk.ledger
    note(ledger, notify=False)
    assert desk.outbox() == []
    assert desk.conn.execute("SELECT routed FROM events").fetchone() == (None,)
    assert ledger.connectors == set()
    assert len(ledger.events) == 1


def test_what_was_chosen_by_hand_goes_there_and_nowhere_else(desk: Desk) -> None:
    chosen = poster("b", events=["nothing"])
    desk.route(poster("a", events=["*"]), chosen)
    note(desk.ledger, only=chosen)
    assert desk.outbox("connector") == [("b",)]


def test_an_event_nobody_wants_is_routed_to_nobody(desk: Desk) -> None:
    desk.route(poster("a", events=["task_completed"]))
    note(desk.ledger)
    assert desk.conn.execute("SELECT routed FROM events").fetchone() == ("[]",)


# --- planning -------------------------------------------------------------------------------------


class Speechless(Poster):
    def plan(self, *_: Any) -> Sequence[Action]:
        raise KeyError("title \ud800")


class Repeating(Poster):
    def plan(self, *_: Any) -> Sequence[Action]:
        return [Action("post", {"n": 1}), Action("say", {}), Action("post", {"n": 2})]


class Unwritable(Poster):
    def plan(self, *_: Any) -> Sequence[Action]:
        return [Action("say", {"fine": True}), Action("post", {"not json": object()})]


class Surrogate(Poster):
    def plan(self, *_: Any) -> Sequence[Action]:
        return [Action("post", {"text": "\ud800"})]


class Lazy(Poster):
    def plan(self, *_: Any) -> Sequence[Action]:
        return iter([Action("post", {})])  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [Speechless, Repeating, Unwritable, Surrogate, Lazy])
def test_a_connector_that_cannot_plan_leaves_a_dead_delivery_and_the_change_stands(
    desk: Desk, kind: type[Poster], caplog: pytest.LogCaptureFixture
) -> None:
    desk.route(poster("bad", kind), poster("good"))
    task = create(desk.ledger, TaskDraft("x", id="T-1"), source="api")
    assert task.id == "T-1"
    assert desk.outbox() == [
        ("task_created", "bad", "notify", "dead"),
        ("task_created", "good", "post", "pending"),
    ]
    (reason,) = desk.conn.execute("SELECT last_error FROM outbox WHERE state = 'dead'").fetchone()
    assert reason.startswith("cannot be worded: ")
    assert "connector bad cannot word event" in caplog.text
    change(desk.ledger, "T-1", {"status": "completed"}, source="api")
    assert len(desk.outbox()) == 4


class Several(Poster):
    def plan(self, *_: Any) -> Sequence[Action]:
        return [Action("one", 1), Action("two", [2], lane="own:lane"), Action("three", None)]


class Silent(Poster):
    def plan(self, *_: Any) -> Sequence[Action]:
        return []


def test_each_action_is_one_delivery(desk: Desk) -> None:
    desk.route(poster("several", Several), poster("silent", Silent))
    ledger = desk.ledger
    note(ledger, task_id="T-1")
    assert desk.outbox("connector, action, payload, lane") == [
        ("several", "one", "1", "T-1"),
        ("several", "two", "[2]", "own:lane"),
        ("several", "three", "null", "T-1"),
    ]
    assert ledger.connectors == {"several"}


def test_the_marker_of_a_create_is_kept_before_anything_is_sent(desk: Desk) -> None:
    desk.route(poster("k", Keeper))
    note(desk.ledger, 1, task_id="T-1")
    note(desk.ledger, 2, task_id="T-1")
    note(desk.ledger, 3)
    assert desk.outbox("action") == [("create",), ("update",), ("create",)]
    found = desk.conn.execute(
        "SELECT entity_type, entity_id, state, marker, external_id FROM links"
    ).fetchall()
    assert found == [("task", "T-1", "creating", "ralf:T-1", None)]


# --- lanes ----------------------------------------------------------------------------------------


def test_what_is_about_one_thing_goes_in_one_lane(desk: Desk) -> None:
    desk.route(poster("a", events=["*"]))
    ledger = desk.ledger
    note(ledger, task_id="T-1")
    note(ledger, task=Task("T-2", "x"))
    ensure(ledger, "F-1", source="api")
    note(ledger)
    for code, connector in (("connector_down", "x"), ("connector_recovered", "x"), ("connector_down", "y")):
        ledger.record("system_alert", source="hub", data={"code": code, "connector": connector})
    ledger.record("system_alert", source="hub", data={"code": "disk_low"})
    assert [lane for (lane,) in desk.outbox("lane")] == [
        "T-1",
        "T-2",
        "feature:F-1",
        None,
        "alert:connector:x",
        "alert:connector:x",
        "alert:connector:y",
        "alert:disk_low:",
    ]


def test_only_the_first_of_a_lane_is_due(desk: Desk) -> None:
    desk.route(poster("a"), poster("b"))
    for n in range(3):
        note(desk.ledger, n, task_id="T-1")
    note(desk.ledger, 3)
    due = desk.conn.execute(
        "SELECT event_seq, connector FROM outbox WHERE next_attempt_at <= ?", (desk.clock.iso(),)
    )
    assert due.fetchall() == [(1, "a"), (1, "b"), (4, "a"), (4, "b")]


def test_a_task_in_an_event_is_the_task_it_is_about(desk: Desk) -> None:
    desk.route(poster("a", filter={"priority": ["high"]}))
    note(desk.ledger, task=Task("T-1", "x"))
    note(desk.ledger, task=replace(Task("T-2", "x"), priority="high"))
    assert desk.outbox("task_id") == [("T-2",)]
