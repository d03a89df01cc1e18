"""`verify` and what changes meanwhile: routes come and go, and retention deletes what is old."""

from ralf_hub.clock import iso
from ralf_hub.delivery.expected import expected, fingerprint
from ralf_hub.intake.tasks import TaskDraft, create
from ralf_hub.store import retention, routes
from ralf_hub.store.beside import write
from ralf_hub.store.retention import Cutoffs
from tests.store.house import BOTH, House, found, router, speaker
from tests.support import START_MS

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
