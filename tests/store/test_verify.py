"""Every way in which deliveries can go missing is done to a real database by hand, and found."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ralf_hub.clock import iso
from ralf_hub.connectors.base import (
    Action,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    EventFilter,
    Fact,
    Outcome,
    SendContext,
)
from ralf_hub.delivery.expected import expected, fingerprint
from ralf_hub.delivery.routing import Router
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import TaskDraft, change, create
from ralf_hub.model import Delivery, Event, Link
from ralf_hub.store import links, outbox, retention, routes
from ralf_hub.store.beside import write
from ralf_hub.store.retention import Cutoffs
from ralf_hub.store.verify import LISTED_MAX, Report, Routes, verify
from tests.support import START_MS, SettableClock, connect


class Speaker(Connector):
    """Plans one action, but two for a completed task, none for progress, and fails over a feature."""

    service = "speaker"
    tells_people = True

    def plan(self, fact: Fact) -> Sequence[Action]:
        match fact.event.type:
            case "task_progress":
                return []
            case "task_completed":
                return [Action("say", {}), Action("close", {})]
            case "feature_created":
                raise ValueError("no words")
        return [Action("say", {"text": fact.event.type})]

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:  # noqa: ARG002 - the base's names
        raise AssertionError("verify sends nothing")


def speaker(name: str, *events: str, **narrowing: tuple[str, ...]) -> Speaker:
    settings = ConnectorSettings(events=events or ("*",), filter=EventFilter(**narrowing))  # type: ignore[arg-type]
    return Speaker(name, settings, ConnectorEnv())


def router(*connectors: Connector) -> Router:
    return Router({connector.name: connector for connector in connectors})


def as_routes(of: Router) -> Routes:
    return Routes(fingerprint(of), partial(expected, of))


BOTH = router(speaker("jira", "task_*", "feature_*"), speaker("slack", "*"))


@pytest.fixture
def house(conn: sqlite3.Connection, clock: SettableClock) -> "House":
    return House(conn, clock)


class House:
    """A database with a history, as the hub leaves it."""

    def __init__(self, conn: sqlite3.Connection, clock: SettableClock) -> None:
        self.conn = conn
        self.clock = clock
        write(conn, lambda conn: routes.put_in_force(conn, fingerprint(BOTH)))

    def ledger(self, by: Router = BOTH) -> Ledger:
        return Ledger(self.conn, self.clock.clock, by)

    def record(self, event_type: str, by: Router = BOTH, **more: object) -> Event:
        return write(self.conn, lambda _: self.ledger(by).record(event_type, source="test", **more))  # type: ignore[arg-type]

    def task(self, task_id: str = "T-1", priority: str = "medium") -> None:
        write(
            self.conn,
            lambda _: create(
                self.ledger(), TaskDraft("A task", id=task_id, priority=priority), source="test"
            ),
        )

    def complete(self, task_id: str = "T-1") -> None:
        write(self.conn, lambda _: change(self.ledger(), task_id, {"status": "completed"}, source="test"))

    def sql(self, sql: str, *values: object) -> int:
        return self.conn.execute(sql, values).rowcount

    def verify(self, by: Router | None = BOTH) -> Report:
        return verify(self.conn, None if by is None else as_routes(by))


def found(report: Report) -> dict[str, int]:
    return {kind: n for kind, n in report.counts.items() if n}


@pytest.fixture
def day(house: House) -> House:
    """Seven events: one each of no, one and two actions per connector, one that cannot be worded, one history."""
    house.record("agent_stop", notify=False)
    house.task()
    house.record("task_progress", task_id="T-1", data={"progress": 50})
    house.complete()
    house.record("feature_created", data={"feature_id": "F-1"})
    house.record("agent_start")
    house.record("system_alert", data={"connector": "slack", "code": "connector_down"})
    return house


def test_what_the_hub_writes_is_clean(day: House) -> None:
    report = day.verify()
    assert found(report) == {}
    assert report.clean
    assert report.findings == []
    assert report.notes == []
    assert (report.events, report.history, report.rerouted) == (7, 1, 6)
    # created 2, progress 0, completed 2 + 2, feature 2 (dead: no words), agent 1 (slack), alert 1 (jira: it is on slack)
    assert report.routed == report.deliveries == 10
    assert report.pruned == 0


def test_an_empty_database_is_clean(conn: sqlite3.Connection) -> None:
    report = verify(conn, as_routes(BOTH))
    assert report.clean
    assert report.events == report.deliveries == 0
    assert report.notes == ["events were not held against the routes: no hub has noted any yet"]


def test_a_deleted_delivery_is_missing_and_named(day: House) -> None:
    [(delivery_id, event_id, seq)] = day.conn.execute(
        "SELECT id, event_id, event_seq FROM outbox WHERE event_type = 'task_created' AND connector = 'jira'"
    ).fetchall()
    assert day.sql("DELETE FROM outbox WHERE id = ?", delivery_id) == 1
    report = day.verify()
    assert found(report) == {"missing": 1}
    [finding] = report.findings
    assert (finding.kind, finding.seq, finding.event_id, finding.connector) == (
        "missing",
        seq,
        event_id,
        "jira",
    )
    assert finding.message == "task_created: 0 of 1 delivery to jira"


def test_one_of_two_actions_that_is_gone_is_missing(day: House) -> None:
    assert day.sql("DELETE FROM outbox WHERE connector = 'jira' AND action = 'close'") == 1
    report = day.verify()
    assert found(report) == {"missing": 1}
    assert report.findings[0].message == "task_completed: 1 of 2 deliveries to jira"


def test_every_missing_delivery_is_counted_and_the_first_are_listed(house: House) -> None:
    for _ in range(LISTED_MAX + 20):
        house.record("agent_start")
    assert house.sql("DELETE FROM outbox") == LISTED_MAX + 20
    report = house.verify()
    assert found(report) == {"missing": LISTED_MAX + 20}
    assert [finding.seq for finding in report.findings] == list(range(1, LISTED_MAX + 1))


@pytest.mark.parametrize("action", ["say again", "SAY"])
def test_a_doubled_delivery_is_found(day: House, action: str) -> None:
    columns = (
        "event_id, event_seq, event_type, task_id, connector, lane, payload, next_attempt_at, created_at"
    )
    day.sql(
        f"INSERT INTO outbox ({columns}, action) SELECT {columns}, ? FROM outbox "
        "WHERE event_type = 'agent_start' AND connector = 'slack'",
        action,
    )
    report = day.verify()
    assert found(report) == {"doubled": 1}
    assert report.findings[0].message == "agent_start: 2 of 1 delivery to slack"


def test_a_delivery_where_nothing_was_to_be_said_is_one_too_many(day: House) -> None:
    day.sql(
        "INSERT INTO outbox (event_id, event_seq, event_type, task_id, connector, action, payload, next_attempt_at, "
        "created_at) SELECT id, seq, type, task_id, 'jira', 'say', '{}', recorded_at, recorded_at FROM events "
        "WHERE type = 'task_progress'"
    )
    assert found(day.verify()) == {"doubled": 1}


def test_the_same_action_twice_cannot_even_be_written(day: House) -> None:
    columns = "event_id, event_seq, event_type, task_id, connector, action, lane, payload, next_attempt_at, created_at"
    with pytest.raises(sqlite3.IntegrityError):
        day.sql(f"INSERT INTO outbox ({columns}) SELECT {columns} FROM outbox LIMIT 1")


def test_a_route_added_to_an_event_is_a_missing_delivery(day: House) -> None:
    assert day.sql("""UPDATE events SET routed = '["slack","pager"]' WHERE type = 'agent_start'""") == 1
    report = day.verify()
    # Also the routes in force know no pager.
    assert found(report) == {"missing": 1, "misrouted": 1}
    assert report.findings[0].connector == "pager"


@pytest.mark.parametrize("routed", ["[]", None, '["slac"]', '{"a": 1}', '"x"', "null", "7"])
def test_a_route_taken_from_an_event_leaves_an_unexpected_delivery(day: House, routed: str | None) -> None:
    assert day.sql("UPDATE events SET routed = ? WHERE type = 'agent_start'", routed) == 1
    report = day.verify(None)
    assert report.counts["unexpected"] == 1
    [finding] = [finding for finding in report.findings if finding.kind == "unexpected"]
    assert finding.message == "the event was not routed to slack"
    assert finding.delivery_id is not None


def test_a_deleted_event_leaves_a_gap_and_orphans(day: House) -> None:
    assert day.sql("DELETE FROM events WHERE type = 'task_created'") == 1
    report = day.verify()
    assert found(report) == {"orphaned": 2, "vanished": 1}
    assert {finding.message for finding in report.findings} == {"its event is not there", "event 2 is gone"}


def test_several_deleted_events_are_one_gap_of_several(day: House) -> None:
    day.sql("DELETE FROM outbox WHERE event_seq IN (3, 4)")
    day.sql("DELETE FROM events WHERE seq IN (3, 4)")
    report = day.verify()
    assert found(report) == {"vanished": 2}
    assert [finding.message for finding in report.findings] == ["events 3 to 4 are gone"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("event_type = 'task_failed'", "its event has another type"),
        ("task_id = 'T-2'", "its event has another task"),
        ("task_id = NULL", "its event has another task"),
        ("event_id = 'evt_x'", "its event is not there"),
        ("event_seq = 999", "its event is not there"),
    ],
)
def test_a_delivery_that_says_another_event_is_orphaned(day: House, change: str, message: str) -> None:
    day.sql(f"UPDATE outbox SET {change} WHERE event_type = 'task_created' AND connector = 'slack'")
    report = day.verify()
    assert report.counts["orphaned"] == 1
    assert message in [finding.message for finding in report.findings]


# --- routes ---------------------------------------------------------------------------------------


def test_an_event_that_was_never_routed_is_found_by_routing_it_again(day: House) -> None:
    """Both sides of the book were changed alike; only the routes still know."""
    day.sql("DELETE FROM outbox WHERE event_type = 'task_created'")
    day.sql("UPDATE events SET routed = '[]' WHERE type = 'task_created'")
    assert day.verify(None).clean
    report = day.verify()
    assert found(report) == {"misrouted": 1}
    assert report.findings[0].message == "1 task_created from test went to nobody; the routes say jira, slack"


def test_an_event_that_went_too_far_is_found(day: House) -> None:
    day.record("agent_note", router(speaker("jira"), speaker("slack")))
    report = day.verify()
    assert found(report) == {"misrouted": 1}
    assert report.findings[0].message == "1 agent_note from test went to jira, slack; the routes say slack"


def test_events_from_before_the_present_routes_are_not_held_against_them(day: House) -> None:
    only_slack = router(speaker("slack", "*"))
    assert expected(only_slack, "task_created", "test", None) != expected(BOTH, "task_created", "test", None)
    write(day.conn, lambda conn: routes.put_in_force(conn, fingerprint(only_slack)))
    day.record("task_created", only_slack, task_id="T-7")
    report = day.verify(only_slack)
    assert report.clean
    assert report.rerouted == 1


def test_a_reload_without_a_change_of_routes_begins_nothing_anew(day: House) -> None:
    before = routes.in_force(day.conn)
    write(day.conn, lambda conn: routes.put_in_force(conn, fingerprint(BOTH)))
    assert routes.in_force(day.conn) == before
    assert before is not None
    assert before.since_seq == 0


def test_other_settings_than_the_hubs_are_said_and_prove_nothing(day: House) -> None:
    day.sql("DELETE FROM outbox WHERE event_type = 'task_created'")
    day.sql("UPDATE events SET routed = '[]' WHERE type = 'task_created'")
    report = day.verify(router(speaker("slack", "nothing")))
    assert report.clean
    assert report.rerouted == 0
    assert "the hub was last run with others" in report.notes[0]


def test_an_event_a_command_routed_otherwise_is_where_the_proof_begins(day: House) -> None:
    elsewhere = router(speaker("slack", "*"))
    event = day.record("task_created", elsewhere, task_id="T-9")
    assert found(day.verify()) == {"misrouted": 1}
    write(day.conn, lambda conn: routes.went_other_ways(conn, fingerprint(elsewhere), event.seq))
    assert day.verify().clean
    day.record("task_created", task_id="T-10")
    assert day.verify().rerouted == 1


def test_an_event_a_command_routed_alike_changes_nothing(day: House) -> None:
    event = day.record("task_created", task_id="T-9")
    before = routes.in_force(day.conn)
    write(day.conn, lambda conn: routes.went_other_ways(conn, fingerprint(BOTH), event.seq))
    assert routes.in_force(day.conn) == before


def test_what_a_filter_decided_is_taken_either_way(house: House) -> None:
    urgent = router(speaker("pager", "task_*", priority=("critical",)), speaker("slack", "*"))
    house.sql("DELETE FROM meta")
    write(house.conn, lambda conn: routes.put_in_force(conn, fingerprint(urgent)))
    for task_id, priority in (("T-1", "critical"), ("T-2", "low")):
        draft = TaskDraft("A task", id=task_id, priority=priority)
        write(house.conn, lambda _, draft=draft: create(house.ledger(urgent), draft, source="test"))  # type: ignore[misc]
    assert house.conn.execute("SELECT routed FROM events ORDER BY seq").fetchall() == [
        ('["pager","slack"]',),
        ('["slack"]',),
    ]
    report = house.verify(urgent)
    assert report.clean
    assert report.rerouted == 2
    house.sql("UPDATE events SET routed = '[\"pager\"]' WHERE seq = 2")
    house.sql("UPDATE outbox SET connector = 'pager' WHERE event_seq = 2")
    report = house.verify(urgent)
    assert report.counts["misrouted"] == 1
    assert "the routes say slack, perhaps pager" in report.findings[0].message


def test_a_word_sent_to_one_connector_is_not_held_against_the_routes(house: House) -> None:
    house.record("notification", only=BOTH.connectors["jira"])
    report = house.verify()
    assert report.clean
    assert (report.routed, report.rerouted) == (1, 0)


# --- retention ------------------------------------------------------------------------------------


def cutoffs(moment: str) -> Cutoffs:
    return Cutoffs(moment, moment, moment, moment[:10], moment)


def prune(house: House, moment: str, *, keep_events: bool = True) -> None:
    old = Cutoffs("", moment, "", "", "") if keep_events else cutoffs(moment)
    for step in retention.steps(old).values():
        while write(house.conn, step):
            pass


def test_deliveries_that_retention_deleted_are_not_missing(house: House) -> None:
    house.record("agent_start")
    house.sql("UPDATE outbox SET state = 'dead', last_error = 'no'")
    house.clock.advance(60)
    house.record("agent_start")
    prune(house, iso(START_MS + 30_000))
    assert house.conn.execute("SELECT count(*) FROM outbox").fetchone() == (1,)
    report = house.verify()
    assert report.clean
    assert (report.routed, report.deliveries, report.pruned) == (2, 1, 1)


def test_a_delivery_younger_than_what_retention_deleted_is_missing(house: House) -> None:
    house.record("agent_start")
    house.sql("UPDATE outbox SET state = 'cancelled'")
    prune(house, iso(START_MS + 1))
    house.clock.advance(60)
    house.record("agent_start")
    house.sql("DELETE FROM outbox")
    report = house.verify()
    assert found(report) == {"missing": 1}
    assert report.findings[0].seq == 2


def test_what_was_pruned_by_an_earlier_stricter_rule_stays_excused(house: House) -> None:
    house.record("agent_start")
    house.sql("UPDATE outbox SET state = 'cancelled'")
    prune(house, iso(START_MS + 1))
    house.record("agent_start")
    house.sql("UPDATE outbox SET state = 'cancelled'")
    prune(house, iso(START_MS - 1))
    assert retention.pruned_before(house.conn) == iso(START_MS + 1)
    assert house.verify().clean


def test_retention_takes_events_from_the_oldest_on_and_leaves_no_gap(house: House) -> None:
    """A clock that was ahead for a while left an event that is young among old ones."""
    for later_s in (0, 7200, 0, 0):
        house.clock.advance(later_s)
        house.record("agent_start", notify=False)
        house.clock.advance(-later_s)
    prune(house, iso(START_MS + 3_600_000), keep_events=False)
    assert [seq for (seq,) in house.conn.execute("SELECT seq FROM events")] == [2, 3, 4]
    assert house.verify().clean


def test_retention_keeps_events_whose_deliveries_still_stand(house: House) -> None:
    house.record("agent_start")
    house.record("agent_start")
    house.sql("UPDATE outbox SET state = 'dead', last_error = 'no' WHERE event_seq = 1")
    prune(house, iso(START_MS + 1), keep_events=False)
    assert house.conn.execute("SELECT seq FROM events").fetchall() == [(2,)]
    assert house.verify().clean


# --- counts, links, states, the file --------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE outbox_counts SET n = n + 1 WHERE connector = 'slack' AND state = 'pending'", "outbox_counts says 5 for slack pending, there are 4"),
        ("DELETE FROM outbox_counts WHERE connector = 'slack' AND state = 'dead'", "outbox_counts says 0 for slack dead, there are 1"),
        ("INSERT INTO outbox_counts VALUES ('ghost', 'dead', 3)", "outbox_counts says 3 for ghost dead, there are 0"),
        ("UPDATE task_counts SET n = 0 WHERE status = 'completed'", "task_counts says 0 for completed, there are 1"),
        ("INSERT INTO task_counts VALUES ('failed', 2)", "task_counts says 2 for failed, there are 0"),
    ],
)  # fmt: skip
def test_a_count_that_is_wrong_is_found(day: House, change: str, message: str) -> None:
    day.sql(change)
    report = day.verify()
    assert found(report) == {"miscounted": 1}
    assert report.findings[0].message == message


def test_a_link_that_names_nothing_outside_is_found(day: House) -> None:
    linked = Link("jira", state="linked", entity_id="T-1", marker="m")
    links.save(day.conn, linked, now=day.clock.iso())
    report = day.verify()
    assert found(report) == {"unlinked": 1}
    assert (report.findings[0].connector, report.findings[0].message) == (
        "jira",
        "task T-1 has no external id",
    )


@pytest.mark.parametrize("state", ["creating", "ambiguous", "broken"])
def test_a_link_that_does_not_stand_yet_is_none_of_it(day: House, state: str) -> None:
    links.save(day.conn, Link("jira", state=state, entity_id="T-1", marker="m"), now=day.clock.iso())
    assert day.verify().clean


def test_what_loses_nothing_is_only_noted(day: House) -> None:
    day.sql("UPDATE outbox SET state = 'dead', last_error = NULL WHERE event_type = 'agent_start'")
    day.sql(
        "UPDATE outbox SET state = 'delivered', delivered_at = created_at WHERE event_type = 'task_created'"
    )
    report = day.verify()
    assert report.clean
    assert report.notes == [
        "2 deliveries are called delivered, and no attempt says so",
        "1 deliveries are dead without a reason",
    ]


def test_a_cancelled_and_a_replayed_delivery_are_clean(day: House) -> None:
    assert outbox.cancel(day.conn, 1, reason="no need")
    assert outbox.replay(day.conn, 1, now=day.clock.iso())
    assert outbox.cancel(day.conn, 2, reason="no need")
    report = day.verify()
    assert report.clean
    assert report.notes == []


def test_an_attempt_without_its_delivery_is_damage(day: House) -> None:
    day.sql("PRAGMA foreign_keys = OFF")
    day.sql(
        "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome) VALUES (777, 'x', 1, 'retry')"
    )
    report = day.verify()
    assert found(report) == {"damaged": 1}
    assert "of attempts belongs to a row of outbox that is not there" in report.findings[0].message


def test_an_index_that_lacks_rows_is_damage(day: House, db_path: Path) -> None:
    day.sql("PRAGMA writable_schema = ON")
    assert day.sql(
        "UPDATE sqlite_schema SET sql = replace(sql, '''pending''', '''dead''') WHERE name = 'outbox_due'"
    )
    day.conn.close()
    with closing(connect(db_path)) as conn:
        report = verify(conn, as_routes(BOTH))
        assert report.counts["damaged"] > 0
        assert any("outbox_due" in finding.message for finding in report.findings)
        assert not verify(conn, None, integrity=True).clean


# --- what it costs --------------------------------------------------------------------------------


@pytest.fixture
def traced(conn: sqlite3.Connection) -> Iterator[Callable[[], list[str]]]:
    seen: list[str] = []
    conn.set_trace_callback(seen.append)
    yield lambda: seen
    conn.set_trace_callback(None)


def test_the_number_of_statements_does_not_grow_with_the_rows(
    house: House, traced: Callable[[], list[str]]
) -> None:
    house.record("agent_start")
    traced().clear()
    house.verify()
    few = len(traced())
    for _ in range(50):
        house.record("agent_start")
    traced().clear()
    assert house.verify().clean
    assert len(traced()) == few
