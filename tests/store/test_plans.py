"""How SQLite finds rows: what runs often or over tables that grow uses its index, and says so when one is lost."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from ralf_hub.model import Attempt, Delivery
from ralf_hub.store import events, features, links, outbox, schema, tasks, verdicts
from ralf_hub.store.outbox import Draft
from ralf_hub.store.rows import encode_cursor
from ralf_hub.store.verdicts import Verdict

NOW = "2026-02-01T10:00:00.000Z"
GROWING: Final = {"outbox", "o", "p", "tasks", "events", "attempts", "a", "links", "features"}
ROW = Delivery(1, "e", "note", "a", "post", "{}", "T-1", "T-1")


class Planner(sqlite3.Connection):
    """A connection that asks for the plan of every statement, with its values bound, before it runs it."""

    plans: list[list[str]]

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        if sql.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
            steps = super().execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
            self.plans.append([str(step[3]).replace("COVERING ", "") for step in steps])
        return super().execute(sql, parameters)


@pytest.fixture
def planner(db_path: Path) -> Iterator[Planner]:
    with closing(sqlite3.connect(db_path, isolation_level=None, factory=Planner)) as conn:
        conn.plans = []
        schema.configure(conn, writer=True)
        yield conn


def plans(conn: Planner, run: Callable[[Planner], Any]) -> list[list[str]]:
    """Return the steps of every statement that *run* runs."""
    conn.plans.clear()
    run(conn)
    assert conn.plans
    return list(conn.plans)


def steps(conn: Planner, run: Callable[[Planner], Any]) -> set[str]:
    return {step for plan in plans(conn, run) for step in plan}


OFTEN: Final[dict[str, tuple[Callable[[Planner], Any], set[str]]]] = {
    "due": (
        lambda c: outbox.due(c, "a", now=NOW, limit=10, held=frozenset({1})),
        {
            "SEARCH o USING INDEX outbox_due (connector=? AND next_attempt_at<?)",
            "SEARCH p USING INDEX outbox_lane (connector=? AND lane=? AND id<?)",
        },
    ),
    "next_later": (
        lambda c: outbox.next_later(c, "a", now=NOW),
        {"SEARCH outbox USING INDEX outbox_due (connector=? AND next_attempt_at>?)"},
    ),
    "insert into a lane": (
        lambda c: outbox.insert(c, Draft("e", 1, "note", "a", "post", "{}", "T-1", "T-1"), now=NOW),
        {"SEARCH outbox USING INDEX outbox_lane (connector=? AND lane=?)"},
    ),
    "ahead_in_lane": (
        lambda c: outbox.ahead_in_lane(c, ROW),
        {"SEARCH outbox USING INDEX outbox_lane (connector=? AND lane=? AND id<?)"},
    ),
    "mark_intent": (
        lambda c: outbox.mark_intent(c, [1, 2], now=NOW),
        {"SEARCH outbox USING INTEGER PRIMARY KEY (rowid=?)"},
    ),
    "record": (
        lambda c: verdicts.record(
            c,
            [
                Verdict(Attempt(1, NOW, 1, "delivered"), "delivered", 0, 1, NOW, None),
                Verdict(Attempt(2, NOW, 1, "retry"), "pending", 0, 1, NOW, "x"),
            ],
            now=NOW,
        ),
        {"SEARCH outbox USING INTEGER PRIMARY KEY (rowid=?)"},
    ),
    "first_due": (
        lambda c: outbox.first_due(c, ["a"]),
        {"SEARCH outbox USING INDEX outbox_due (connector=?)"},
    ),
    "oldest_pending": (
        lambda c: outbox.oldest_pending(c, ["a"]),
        {"SEARCH outbox USING INDEX outbox_undelivered (state=?)"},
    ),
    "dead deliveries": (
        lambda c: outbox.page(c, limit=10, state="dead", cursor=encode_cursor("deliveries", 5)),
        {"SEARCH outbox USING INDEX outbox_undelivered (state=? AND id<?)"},
    ),
    "pending deliveries of a connector": (
        lambda c: outbox.page(c, limit=10, state="pending", connector="a"),
        {"SEARCH outbox USING INDEX outbox_undelivered (state=?)"},
    ),
    "deliveries of a connector": (
        lambda c: outbox.page(c, limit=10, connector="a", cursor=encode_cursor("deliveries", 5)),
        {"SEARCH outbox USING INDEX outbox_by_connector (connector=? AND id<?)"},
    ),
    "deliveries of a task": (
        lambda c: outbox.page(c, limit=10, task_id="T-1", state="dead"),
        {"SEARCH outbox USING INDEX outbox_by_task (task_id=?)"},
    ),
    "what a bulk replay would take": (
        lambda c: outbox.matching(c, state="dead", connector="a"),
        {"SEARCH outbox USING INDEX outbox_undelivered (state=?)"},
    ),
    "attempts of a delivery": (
        lambda c: outbox.attempts_of(c, 1),
        {"SEARCH attempts USING INDEX attempts_by_delivery (delivery_id=?)"},
    ),
    "task": (
        lambda c: tasks.get(c, "T-1"),
        {"SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (id=?)"},
    ),
    "tasks of a status": (
        lambda c: tasks.page(c, limit=10, status="failed", cursor=encode_cursor("tasks", NOW, "T-1")),
        {"SEARCH tasks USING INDEX tasks_by_status (status=? AND (created_at,id)<(?,?))"},
    ),
    "tasks of a feature": (
        lambda c: tasks.page(c, limit=10, feature_id="F-1"),
        {"SEARCH tasks USING INDEX tasks_by_feature (feature_id=?)"},
    ),
    "lapsed leases": (
        lambda c: tasks.with_lapsed_lease(c, now=NOW, limit=10),
        {"SEARCH tasks USING INDEX tasks_leased (lease_expires_at>? AND lease_expires_at<?)"},
    ),
    "events from a place on": (
        lambda c: events.after(c, 5, limit=10),
        {"SEARCH events USING INTEGER PRIMARY KEY (rowid>?)"},
    ),
    "events of a task": (
        lambda c: events.after(c, 5, limit=10, task_id="T-1"),
        {"SEARCH events USING INDEX events_by_task (task_id=? AND seq>?)"},
    ),
    "event": (
        lambda c: events.get(c, "evt"),
        {"SEARCH events USING INDEX sqlite_autoindex_events_1 (id=?)"},
    ),
    "feature": (
        lambda c: features.get(c, "F-1"),
        {"SEARCH features USING INDEX sqlite_autoindex_features_1 (id=?)"},
    ),
    "links of tasks": (
        lambda c: links.of_entities(c, "task", ["T-1"]),
        {"SEARCH links USING INDEX links_by_entity (entity_type=? AND entity_id=?)"},
    ),
    "dead letters": (
        lambda c: c.execute("SELECT * FROM v_dead_letters LIMIT 5").fetchall(),
        {
            "SEARCH o USING INDEX outbox_undelivered (state=?)",
            "SEARCH a USING INDEX attempts_by_delivery (delivery_id=?)",
        },
    ),
}


@pytest.mark.parametrize("name", OFTEN)
def test_what_runs_often_searches_its_index_and_sorts_nothing_that_grows(planner: Planner, name: str) -> None:
    run, wanted = OFTEN[name]
    found = plans(planner, run)
    assert wanted <= {step for plan in found for step in plan}, found
    for plan in found:
        walked = [step for step in plan if step.startswith("SCAN ") and step.split()[1] in GROWING]
        assert walked == [], plan
        sorted_here = any("TEMP B-TREE FOR ORDER BY" in step for step in plan)
        # The links of one page of tasks are sorted: no more rows than a page has.
        assert not sorted_here or any(step.startswith("SEARCH links") for step in plan), plan


def test_the_numbers_of_the_queue_are_read_from_indexes(planner: Planner) -> None:
    assert steps(planner, tasks.queue_numbers) == {
        "SCAN tasks USING INDEX tasks_pending_by_priority",
        "SEARCH tasks USING INDEX tasks_by_status (status=?)",
    }
    (plan,) = plans(planner, lambda c: tasks.waiting(c, 5))
    assert "SCAN tasks" not in plan
    assert plan.count("SEARCH tasks USING INDEX tasks_by_status (status=?)") == 2


def test_the_queue_is_walked_in_its_order(planner: Planner) -> None:
    """Its index holds the pending tasks only, and the first that waits for nobody ends the walk."""
    (plan, *_) = plans(planner, lambda c: tasks.claimable(c, 1))
    assert plan[0] == "SCAN tasks USING INDEX tasks_queue"
    assert "SEARCH d USING PRIMARY KEY (task_id=?)" in plan
    assert not any("TEMP B-TREE" in step for step in plan)


def test_lists_without_a_filter_walk_their_order_and_stop_at_the_limit(planner: Planner) -> None:
    assert plans(planner, lambda c: outbox.page(c, limit=10))[-1] == ["SCAN outbox"]
    assert ["SCAN tasks USING INDEX tasks_by_creation"] in plans(planner, lambda c: tasks.page(c, limit=10))
    after = encode_cursor("tasks", NOW, "T-1")
    found = steps(planner, lambda c: tasks.page(c, limit=10, cursor=after))
    assert "SEARCH tasks USING INDEX tasks_by_creation ((created_at,id)<(?,?))" in found


def test_a_lost_index_is_noticed(planner: Planner) -> None:
    planner.execute("DROP INDEX outbox_undelivered")
    assert "SCAN outbox" in steps(planner, lambda c: outbox.page(c, limit=10, state="dead"))
    planner.execute("DROP INDEX outbox_due")
    with pytest.raises(sqlite3.OperationalError, match="no such index: outbox_due"):
        outbox.due(planner, "a", now=NOW, limit=1, held=frozenset())


def test_a_long_lane_costs_a_claim_no_more_than_a_short_one(planner: Planner) -> None:
    planner.execute("BEGIN")
    for number in range(2000):
        outbox.insert(planner, Draft(f"e{number}", number, "note", "a", "post", "{}", "T-1", "T-1"), now=NOW)
    planner.execute("COMMIT")
    ticks = 0

    def count() -> None:
        nonlocal ticks
        ticks += 1

    planner.set_progress_handler(count, 10)
    assert len(outbox.due(planner, "a", now=NOW, limit=64, held=frozenset())) == 1
    planner.set_progress_handler(None, 0)
    assert ticks < 50
