import sqlite3
from collections import Counter
from dataclasses import fields
from sqlite3 import Connection
from typing import Any

import pytest

from ralf_hub.errors import HubError
from ralf_hub.model import LANE_WAITS, Attempt, Delivery
from ralf_hub.store import outbox, verdicts
from ralf_hub.store.outbox import Draft
from ralf_hub.store.verdicts import Verdict

NOW, SOON, LATER = "2026-02-01T10:00:00.000Z", "2026-02-01T10:00:30.000Z", "2026-02-01T11:00:00.000Z"
BEFORE = "2026-02-01T09:00:00.000Z"


def put(conn: Connection, number: int, lane: str | None = None, now: str = NOW, **more: Any) -> int:
    given = {"connector": "a", "action": "post", "payload": f'{{"n":{number}}}', "task_id": lane, **more}
    outbox.insert(conn, Draft(f"evt_{number}", number, "note", lane=lane, **given), now=now)
    return int(conn.execute("SELECT max(id) FROM outbox").fetchone()[0])


def due(
    conn: Connection,
    now: str = NOW,
    connector: str = "a",
    limit: int = 100,
    held: frozenset[int] = frozenset(),
) -> list[int]:
    return [row.id for row in outbox.due(conn, connector, now=now, limit=limit, held=held)]


def finish(conn: Connection, number: int, state: str = "delivered", *, at: str = NOW, **more: Any) -> None:
    row = outbox.get(conn, number)
    assert row is not None
    attempt = Attempt(number, at, 5, more.pop("outcome", state), error=more.get("last_error"))
    given = {
        "attempts_before": row.attempts,
        "attempts": row.attempts + 1,
        "next_attempt_at": at,
        "last_error": None,
        **more,
    }
    verdicts.record(conn, [Verdict(attempt, state, **given)], now=at)


def states(conn: Connection) -> list[str]:
    return [state for (state,) in conn.execute("SELECT state FROM outbox ORDER BY id")]


def dues(conn: Connection) -> list[str]:
    return [moment for (moment,) in conn.execute("SELECT next_attempt_at FROM outbox ORDER BY id")]


# --- one row --------------------------------------------------------------------------------------


def test_a_draft_becomes_a_delivery(conn: Connection) -> None:
    number = put(conn, 7, "T-1", payload='{"text": "ü", "n": [1, null]}')
    assert outbox.get(conn, number) == Delivery(
        id=number,
        event_id="evt_7",
        event_type="note",
        connector="a",
        action="post",
        payload={"text": "ü", "n": [1, None]},
        task_id="T-1",
        lane="T-1",
        next_attempt_at=NOW,
        created_at=NOW,
    )
    assert conn.execute("SELECT event_seq FROM outbox").fetchone() == (7,)
    assert outbox.get(conn, 99) is None


def test_every_column_comes_back_in_its_field(conn: Connection) -> None:
    put(conn, 1)
    names = [item.name for item in fields(Delivery) if item.name not in {"id", "payload", "attempts"}]
    values = {name: f"value of {name}" for name in names} | {"state": "dead", "next_attempt_at": LATER}
    assignments = ", ".join(f"{name} = ?" for name in values)
    conn.execute(f"UPDATE outbox SET {assignments}, attempts = 3, payload = '[7]'", tuple(values.values()))
    assert outbox.get(conn, 1) == Delivery(id=1, payload=[7], attempts=3, **values)


def test_what_cannot_be_worded_is_kept_dead_with_its_reason_and_holds_nobody(conn: Connection) -> None:
    put(conn, 1, "T-1", dead_because="cannot be worded")
    put(conn, 2, "T-1")
    first = outbox.get(conn, 1)
    assert first is not None
    assert (first.state, first.last_error) == ("dead", "cannot be worded")
    assert due(conn) == [2]


def test_an_event_has_each_action_of_a_connector_once(conn: Connection) -> None:
    put(conn, 1)
    put(conn, 1, connector="b")
    put(conn, 1, action="other")
    with pytest.raises(sqlite3.IntegrityError):
        put(conn, 1)


# --- claiming -------------------------------------------------------------------------------------


def test_the_oldest_due_goes_first(conn: Connection) -> None:
    for number, now in enumerate((LATER, BEFORE, NOW, NOW), 1):
        put(conn, number, now=now)
    put(conn, 5, connector="b")
    assert due(conn) == [2, 3, 4]
    assert due(conn, limit=2) == [2, 3]
    assert due(conn, LATER) == [2, 3, 4, 1]
    assert due(conn, connector="b") == [5]
    assert due(conn, connector="c") == []


def test_what_is_held_is_not_given_again_and_does_not_use_up_the_limit(conn: Connection) -> None:
    for number in range(1, 7):
        put(conn, number)
    assert due(conn, limit=3, held=frozenset({1, 2, 5, 77})) == [3, 4, 6]


def test_a_lane_goes_one_by_one_and_others_do_not_wait_for_it(conn: Connection) -> None:
    for number in (1, 2, 3):
        put(conn, number, "T-1")
    put(conn, 4, "T-2")
    put(conn, 5, "T-1", connector="b")
    put(conn, 6)
    put(conn, 7)
    assert due(conn) == [1, 4, 6, 7]
    assert due(conn, connector="b") == [5]
    assert due(conn, held=frozenset({1})) == [4, 6, 7]
    finish(conn, 1)
    assert due(conn) == [2, 4, 6, 7]


def test_only_the_first_of_a_lane_has_a_time(conn: Connection) -> None:
    for number in (1, 2, 3):
        put(conn, number, "T-1")
    assert dues(conn) == [NOW, LANE_WAITS, LANE_WAITS]
    assert [row.due_at for row in outbox.page(conn, limit=5).items] == [None, None, NOW]
    finish(conn, 1, "pending", next_attempt_at=LATER)
    assert dues(conn) == [LATER, LANE_WAITS, LANE_WAITS]
    assert due(conn, SOON) == []
    finish(conn, 1)
    assert dues(conn)[1:] == [NOW, LANE_WAITS]


def test_the_next_one_due_later(conn: Connection) -> None:
    assert outbox.next_later(conn, "a", now=NOW) is None
    put(conn, 1)
    put(conn, 2, now=LATER)
    put(conn, 3, now=SOON)
    put(conn, 4, connector="b", now=SOON)
    assert outbox.next_later(conn, "a", now=NOW) == SOON
    assert outbox.next_later(conn, "a", now=SOON) == LATER
    assert outbox.next_later(conn, "a", now=LATER) is None


def test_what_may_exist_outside_from_now_on_is_noted_once(conn: Connection) -> None:
    for number in (1, 2, 3):
        put(conn, number)
    outbox.mark_intent(conn, [1, 2], now=NOW)
    outbox.mark_intent(conn, [2, 3, 99], now=LATER)
    found = conn.execute("SELECT first_attempt_at FROM outbox ORDER BY id").fetchall()
    assert found == [(NOW,), (NOW,), (LATER,)]


def test_who_is_ahead(conn: Connection) -> None:
    for number in (1, 2, 3):
        put(conn, number, "T-1")
    put(conn, 4)
    rows = {number: outbox.get(conn, number) for number in (1, 2, 3, 4)}
    ahead = {number: outbox.ahead_in_lane(conn, row) for number, row in rows.items() if row is not None}
    assert ahead == {1: None, 2: 1, 3: 1, 4: None}


# --- verdicts -------------------------------------------------------------------------------------


def test_a_delivered_one_is_done(conn: Connection) -> None:
    put(conn, 1)
    finish(conn, 1, "pending", next_attempt_at=SOON, last_error="no", outcome="retry")
    finish(conn, 1, at=LATER)
    row = outbox.get(conn, 1)
    assert row is not None
    assert (row.state, row.attempts, row.last_error, row.last_outcome) == ("delivered", 2, None, "delivered")
    assert (row.first_attempt_at, row.delivered_at) == (NOW, LATER)


def test_a_retry_waits_and_says_why(conn: Connection) -> None:
    put(conn, 1)
    finish(conn, 1, "pending", next_attempt_at=LATER, last_error="no " * 1000, outcome="retry")
    row = outbox.get(conn, 1)
    assert row is not None
    assert (row.state, row.attempts, row.next_attempt_at, row.last_outcome) == ("pending", 1, LATER, "retry")
    assert row.last_error == ("no " * 1000)[: verdicts.ERROR_LENGTH_MAX]


def test_every_field_of_an_attempt_comes_back_in_order(conn: Connection) -> None:
    put(conn, 1)
    attempts = [
        Attempt(1, NOW, 12, "retry", 500, "the service failed", "oh"),
        Attempt(1, LATER, 13, "delivered"),
    ]
    for attempt in attempts:
        verdicts.record(conn, [Verdict(attempt, "pending", 0, 0, NOW, None)], now=NOW)
    found = outbox.attempts_of(conn, 1)
    assert [item.id for item in found] == [1, 2]
    assert [(*_values(item),) for item in found] == [(*_values(item),) for item in attempts]
    assert [item.id for item in outbox.attempts_of(conn, 1, limit=1)] == [2]


def _values(attempt: Attempt) -> list[object]:
    return [getattr(attempt, item.name) for item in fields(Attempt) if item.name != "id"]


def test_many_verdicts_are_recorded_together(conn: Connection) -> None:
    for number in range(1, 7):
        put(conn, number, f"T-{number % 2}")
    made = [
        Verdict(Attempt(1, NOW, 1, "delivered"), "delivered", 0, 1, NOW, None),
        Verdict(Attempt(2, NOW, 1, "retry"), "pending", 0, 1, LATER, "later"),
        Verdict(Attempt(3, NOW, 1, "rejected"), "dead", 0, 1, NOW, "never"),
        Verdict(Attempt(99, NOW, 1, "delivered"), "delivered", 0, 1, NOW, None),  # deleted meanwhile
    ]
    verdicts.record(conn, made, now=NOW)
    verdicts.record(conn, [], now=NOW)
    assert states(conn) == ["delivered", "pending", "dead", "pending", "pending", "pending"]
    assert conn.execute("SELECT delivery_id FROM attempts").fetchall() == [(1,), (2,), (3,)]
    assert due(conn) == [5]


@pytest.mark.parametrize(
    ("verdict", "state"), [("pending", "cancelled"), ("dead", "cancelled"), ("delivered", "delivered")]
)
def test_a_delivery_cancelled_while_it_was_out_stays_so_unless_it_arrived(
    conn: Connection, verdict: str, state: str
) -> None:
    put(conn, 1)
    assert outbox.cancel(conn, 1, reason="no need")
    finish(conn, 1, verdict, next_attempt_at=LATER)
    assert states(conn) == [state]
    assert conn.execute("SELECT count(*) FROM attempts").fetchone() == (1,)


@pytest.mark.parametrize("verdict", ["pending", "dead"])
def test_a_delivery_replayed_while_its_last_try_was_out_starts_over(conn: Connection, verdict: str) -> None:
    put(conn, 1)
    conn.execute("UPDATE outbox SET attempts = 11")
    late = Verdict(Attempt(1, NOW, 5, "retry"), verdict, 11, 12, LATER, "gave up")
    outbox.cancel(conn, 1, reason="x")
    outbox.replay(conn, 1, now=SOON)
    verdicts.record(conn, [late], now=NOW)
    row = outbox.get(conn, 1)
    assert row is not None
    assert (row.state, row.attempts, row.next_attempt_at) == ("pending", 0, SOON)


# --- replay, cancel, hurry ------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["delivered", "dead", "cancelled"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["api", "sql"])
def test_a_replay_is_due_now_with_all_its_attempts(conn: Connection, state: str, by_hand: bool) -> None:  # noqa: FBT001
    put(conn, 1)
    conn.execute(
        "UPDATE outbox SET state = ?, attempts = 12, delivered_at = 'x', first_attempt_at = ?, last_error = 'why'",
        (state, BEFORE),
    )
    if by_hand:
        conn.execute(
            "UPDATE outbox SET state = 'pending', next_attempt_at = ? WHERE state = ?", (SOON, state)
        )
    else:
        assert outbox.replay(conn, 1, now=SOON)
    row = outbox.get(conn, 1)
    assert row is not None
    assert (row.state, row.attempts, row.next_attempt_at, row.delivered_at) == ("pending", 0, SOON, None)
    assert (row.first_attempt_at, row.last_error) == (BEFORE, None)
    assert row.replayed_at is not None
    assert by_hand or row.replayed_at == SOON


def test_what_is_pending_is_not_replayed_but_hurried(conn: Connection) -> None:
    put(conn, 1, now=LATER)
    conn.execute("UPDATE outbox SET attempts = 3")
    assert not outbox.replay(conn, 1, now=NOW)
    assert outbox.hurry(conn, 1, now=NOW)
    assert due(conn) == [1]
    assert conn.execute("SELECT attempts, replayed_at FROM outbox").fetchone() == (3, None)
    finish(conn, 1)
    assert not outbox.hurry(conn, 1, now=NOW)
    assert not outbox.replay(conn, 99, now=NOW)
    assert not outbox.hurry(conn, 99, now=NOW)


@pytest.mark.parametrize(
    ("moment", "due_at"),
    [
        ("'2026-02-01 10:00:30'", SOON),
        ("'2026-02-01'", "2026-02-01T00:00:00.000Z"),
        ("datetime('2026-02-01 10:00:00', '+30 seconds')", SOON),
        ("julianday('2026-02-01 10:00:30')", SOON),
        ("strftime('%Y-%m-%dT%H:%M:%fZ', '2026-02-01 10:00:30')", SOON),
    ],
)
def test_a_time_written_by_hand_becomes_one_of_the_hubs(conn: Connection, moment: str, due_at: str) -> None:
    put(conn, 1)
    conn.execute(f"UPDATE outbox SET next_attempt_at = {moment}")
    assert dues(conn) == [due_at]


@pytest.mark.parametrize("moment", ["'soon'", "NULL", "''", "'2026-13-45'"])
def test_what_is_no_time_is_refused(conn: Connection, moment: str) -> None:
    put(conn, 1)
    with pytest.raises(sqlite3.IntegrityError):
        conn.execute(f"UPDATE outbox SET next_attempt_at = {moment}")
    assert dues(conn) == [NOW]


@pytest.mark.parametrize(
    ("state", "given_up"), [("pending", True), ("dead", True), ("delivered", False), ("cancelled", False)]
)
def test_what_can_be_cancelled(conn: Connection, state: str, given_up: bool) -> None:  # noqa: FBT001
    put(conn, 1)
    conn.execute("UPDATE outbox SET state = ?, last_error = 'why'", (state,))
    assert outbox.cancel(conn, 1, reason="cancelled by me") is given_up
    found = conn.execute("SELECT state, last_error FROM outbox").fetchone()
    assert found == (("cancelled", "cancelled by me") if given_up else (state, "why"))


# --- lanes, whoever changes them ------------------------------------------------------------------


def lane_of(conn: Connection, count: int = 4) -> None:
    for number in range(1, count + 1):
        put(conn, number, "T-1", now=f"2026-02-01T10:00:0{number}.000Z")
    conn.execute("UPDATE outbox SET next_attempt_at = ? WHERE id = 1", (LATER,))


@pytest.mark.parametrize(
    ("change", "next_up"),
    [
        ("UPDATE outbox SET state = 'cancelled' WHERE id = 1", 2),
        ("UPDATE outbox SET state = 'dead' WHERE id = 1", 2),
        ("UPDATE outbox SET state = 'delivered' WHERE id IN (1, 2)", 3),
        ("UPDATE outbox SET state = 'cancelled' WHERE id < 4", 4),
        ("DELETE FROM outbox WHERE id = 1", 2),
        ("DELETE FROM outbox WHERE id IN (1, 3)", 2),
        ("UPDATE outbox SET lane = 'other' WHERE id = 1", 2),
        ("UPDATE outbox SET lane = NULL WHERE id = 1", 2),
        ("UPDATE outbox SET connector = 'b' WHERE id = 1", 2),
        ("UPDATE outbox SET lane = NULL WHERE id = 3", 3),
        ("UPDATE outbox SET lane = 'other' WHERE id = 3", 3),
        ("UPDATE outbox SET next_attempt_at = '2026-02-01 10:00:00' WHERE id = 1", 1),
    ],
)
def test_the_next_of_a_lane_is_due_when_the_first_is_gone_whoever_took_it_away(
    conn: Connection, change: str, next_up: int
) -> None:
    lane_of(conn)
    assert due(conn, SOON) == []
    conn.execute(change)
    assert due(conn, SOON) == [next_up]


def test_what_is_taken_from_the_middle_hurries_nobody(conn: Connection) -> None:
    lane_of(conn)
    conn.execute("UPDATE outbox SET state = 'cancelled' WHERE id = 2")
    conn.execute("DELETE FROM outbox WHERE id = 3")
    assert due(conn, SOON) == []
    assert dues(conn)[0] == LATER


def test_a_replay_goes_before_what_came_after_it_and_holds_it_up(conn: Connection) -> None:
    lane_of(conn)
    conn.execute("UPDATE outbox SET state = 'dead' WHERE id = 1")
    assert due(conn, SOON) == [2]
    outbox.replay(conn, 1, now=NOW)
    assert due(conn, SOON) == [1]
    finish(conn, 2)  # it was out already
    assert due(conn, SOON) == [1]
    finish(conn, 1)
    assert due(conn, SOON) == [3]


def test_a_retry_of_the_first_is_not_hurried_by_what_is_replayed_before_it(conn: Connection) -> None:
    lane_of(conn)
    conn.execute("UPDATE outbox SET state = 'delivered' WHERE id = 1")
    finish(conn, 2, "pending", next_attempt_at=LATER)
    outbox.replay(conn, 1, now=NOW)
    finish(conn, 1)
    assert due(conn, SOON) == []
    assert due(conn, LATER) == [2]


def test_what_was_cancelled_while_it_waited_and_replayed_without_a_time_is_not_stuck(
    conn: Connection,
) -> None:
    lane_of(conn)
    conn.execute("UPDATE outbox SET state = 'cancelled' WHERE id = 3")
    conn.execute("UPDATE outbox SET state = 'cancelled' WHERE id IN (1, 2, 4)")
    conn.execute("UPDATE outbox SET state = 'pending' WHERE id = 3")
    assert due(conn, SOON) == [3]


# --- counts and lists -----------------------------------------------------------------------------


def test_counts_stay_right_whoever_writes(conn: Connection) -> None:
    for number in range(1, 13):
        put(conn, number, "T-1" if number % 2 else None, connector="ab"[number % 2])
    finish(conn, 1)
    outbox.cancel(conn, 2, reason="x")
    conn.execute("UPDATE outbox SET state = 'dead' WHERE id IN (3, 4)")
    conn.execute("UPDATE outbox SET state = 'pending' WHERE id = 4")
    conn.execute("UPDATE outbox SET state = 'pending' WHERE id = 5")
    conn.execute("DELETE FROM outbox WHERE id IN (1, 6)")
    conn.execute("UPDATE outbox SET connector = 'c', state = 'dead' WHERE id = 7")
    conn.execute("UPDATE outbox SET connector = 'c' WHERE id = 8")
    real = Counter(conn.execute("SELECT connector, state FROM outbox").fetchall())
    counted = {
        (connector, state): n
        for connector, found in outbox.counts(conn).items()
        for state, n in found.items()
        if n
    }
    assert counted == real


def test_pages_follow_one_another_newest_first_and_stand_still(conn: Connection) -> None:
    for number in range(1, 10):
        put(conn, number, connector="ab"[number % 2], task_id=f"T-{number % 3}")
    conn.execute("UPDATE outbox SET state = 'dead' WHERE id IN (2, 4, 5)")

    def listed(**given: Any) -> tuple[list[int], int]:
        page = outbox.page(conn, limit=20, **given)
        return [row.id for row in page.items], page.total

    assert listed() == ([9, 8, 7, 6, 5, 4, 3, 2, 1], 9)
    assert listed(state="dead") == ([5, 4, 2], 3)
    assert listed(connector="a") == ([8, 6, 4, 2], 4)
    assert listed(connector="a", state="dead") == ([4, 2], 2)
    assert listed(task_id="T-1") == ([7, 4, 1], 3)
    assert listed(task_id="T-1", state="dead", connector="a") == ([4], 1)
    assert listed(connector="c") == ([], 0)
    first = outbox.page(conn, limit=4)
    put(conn, 20)
    conn.execute("DELETE FROM outbox WHERE id = 6")
    second = outbox.page(conn, limit=9, cursor=first.next_cursor)
    assert [row.id for row in (*first.items, *second.items)] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(HubError):
        outbox.page(conn, limit=4, cursor="WyJhIl0")


def test_the_oldest_pending_is_the_one_put_in_first_whenever_it_is_due(conn: Connection) -> None:
    put(conn, 1, now=BEFORE)
    put(conn, 2, now=NOW)
    put(conn, 3, now=SOON, connector="b")
    put(conn, 4, connector="c")
    finish(conn, 1, "pending", next_attempt_at=LATER)
    finish(conn, 4)
    assert outbox.oldest_pending(conn, ["a", "b", "c", "d"]) == {"a": BEFORE, "b": SOON}
    assert outbox.first_due(conn, ["a", "b", "c", "d"]) == {"a": NOW, "b": SOON}


# --- bulk replay ----------------------------------------------------------------------------------


def test_a_bulk_replay_takes_what_matched_when_it_began_a_few_at_a_time(conn: Connection) -> None:
    for number in range(1, 13):
        put(conn, number, connector="ab"[number % 2], now=f"2026-02-01T10:{number:02}:00.000Z")
    conn.execute("UPDATE outbox SET state = 'dead' WHERE id <> 4")
    wanted = {
        "state": "dead",
        "connector": "a",
        "since": "2026-02-01T10:02:00.000Z",
        "until": "2026-02-01T10:12:00.000Z",
    }
    assert outbox.matching(conn, **wanted) == (4, 10)
    assert outbox.matching(conn, state="cancelled") == (0, 0)
    put(conn, 13, connector="a", now="2026-02-01T10:05:00.000Z", dead_because="after it began")
    last, found = 0, []
    while ids := outbox.matching_ids(conn, **wanted, after_id=last, up_to_id=10, limit=3):
        found.append(ids)
        last = ids[-1]
        assert all(outbox.replay(conn, number, now=NOW, state="dead") for number in ids)
    assert found == [[2, 6, 8], [10]]
    replayed = conn.execute("SELECT id FROM outbox WHERE replayed_at IS NOT NULL").fetchall()
    assert replayed == [(2,), (6,), (8,), (10,)]


def test_a_bulk_replay_of_delivered_ones_ends_although_they_are_delivered_again(conn: Connection) -> None:
    for number in range(1, 6):
        put(conn, number)
        finish(conn, number)
    wanted = {"state": "delivered", "connector": None, "since": None, "until": None}
    last, total = 0, 0
    while ids := outbox.matching_ids(conn, **wanted, after_id=last, up_to_id=5, limit=2):
        last = ids[-1]
        total += sum(outbox.replay(conn, number, now=NOW, state="delivered") for number in ids)
        for number in due(conn):
            finish(conn, number)
    assert total == 5


@pytest.mark.parametrize("now_is", ["pending", "delivered", "cancelled"])
def test_what_is_no_longer_in_the_state_that_was_asked_for_is_left_alone(
    conn: Connection, now_is: str
) -> None:
    put(conn, 1)
    conn.execute("UPDATE outbox SET state = ?", (now_is,))
    assert not outbox.replay(conn, 1, now=NOW, state="dead")
    assert conn.execute("SELECT state FROM outbox").fetchone() == (now_is,)


# --- views ----------------------------------------------------------------------------------------


def test_the_views_show_people_what_they_ask_for(conn: Connection) -> None:
    for number in (1, 2, 3):
        put(conn, number, "T-1")
    put(conn, 4, now="2100-01-01T00:00:00.000Z")
    put(conn, 5)
    finish(conn, 5, "dead", last_error="never", outcome="rejected")
    assert conn.execute("SELECT id FROM v_outbox_due").fetchall() == [(1,)]
    assert conn.execute("SELECT id, last_error, last_attempt_at FROM v_dead_letters").fetchall() == [
        (5, "never", NOW)
    ]
    lag = conn.execute("SELECT connector, pending, oldest_created_at, next_attempt_at FROM v_lag").fetchall()
    assert lag == [("a", 4, NOW, NOW)]
    age = conn.execute("SELECT oldest_pending_age_s FROM v_lag").fetchone()[0]
    assert isinstance(age, float)
    log = conn.execute("SELECT delivery_id, outcome, state, duration_ms FROM v_delivery_log").fetchall()
    assert log == [(5, "rejected", "dead", 5)]


def test_what_is_deleted_takes_its_attempts_with_it(conn: Connection) -> None:
    put(conn, 1)
    finish(conn, 1)
    conn.execute("DELETE FROM outbox")
    assert conn.execute("SELECT count(*) FROM attempts").fetchone() == (0,)


@pytest.mark.parametrize("change", ["state = 'sent'", "payload = 'x'", "attempts = 'many'"])
def test_the_table_refuses_what_makes_no_sense_also_by_hand(conn: Connection, change: str) -> None:
    put(conn, 1)
    with pytest.raises(sqlite3.IntegrityError):
        conn.execute(f"UPDATE outbox SET {change}")
