"""Every way in which deliveries can go missing is done to a real database by hand, and found."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ralf_hub.clock import FAR_FUTURE
from ralf_hub.model import Link
from ralf_hub.store import links, outbox
from ralf_hub.store.verify import LISTED_MAX, verify
from tests.store.house import BOTH, House, as_routes, found
from tests.support import connect


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


# --- counts, links, states, the file --------------------------------------------------------------


def test_a_delivery_that_waits_for_none_before_it_is_stuck(day: House) -> None:
    day.sql("UPDATE outbox SET next_attempt_at = ? WHERE event_type = 'agent_start'", FAR_FUTURE)
    report = day.verify()
    assert found(report) == {"stuck": 1}
    assert report.findings[0].connector == "slack"
    assert outbox.hurry(day.conn, report.findings[0].delivery_id or 0, now=day.clock.iso())
    assert day.verify().clean


def test_a_delivery_that_waits_for_one_before_it_is_not_stuck(day: House) -> None:
    last = "SELECT max(id) FROM outbox WHERE lane = 'T-1' AND connector = 'jira'"
    assert day.sql(f"UPDATE outbox SET next_attempt_at = ? WHERE id = ({last})", FAR_FUTURE) == 1
    assert day.verify().clean


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
