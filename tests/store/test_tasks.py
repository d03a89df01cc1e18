import sqlite3
from collections import Counter
from dataclasses import fields, replace
from sqlite3 import Connection
from typing import Any

import pytest

from ralf_hub.errors import HubError
from ralf_hub.model import TASK_STATUSES, Feature, Link, Task
from ralf_hub.store import features, links, tasks

FULL = Task(
    id="T-full.1_x",
    title="Tïtle",
    status="in_progress",
    priority="critical",
    description="long\nü\x00",
    type="bug",
    feature_id="F-1",
    parent_id="T-0",
    depends_on=("T-2", "T-3"),
    progress=42,
    assignee="ralf",
    result={"files": [1, 2], "none": None},
    error="not yet",
    metadata={"nested": {"a": [True, 1.5]}},
    source="workspace",
    version=7,
    created_at="2026-02-01T10:00:00.000Z",
    updated_at="2026-02-01T11:00:00.000Z",
    started_at="2026-02-01T10:30:00.000Z",
    completed_at="2026-02-01T10:45:00.000Z",
    lease_expires_at="2026-02-01T12:00:00.000Z",
)


def put(conn: Connection, task_id: str, created: int = 0, **more: Any) -> Task:
    task = Task(task_id, "x", created_at=f"2026-02-01T10:00:{created:02}.000Z", updated_at="2026", **more)
    tasks.insert(conn, task)
    return task


def put_all(conn: Connection, count: int = 10, **more: Any) -> None:
    for n in range(count):
        put(conn, f"T-{n:02}", n, **more)


def ids(page: Any) -> list[str]:
    return [task.id for task in page.items]


# --- one row --------------------------------------------------------------------------------------


def test_every_field_comes_back(conn: Connection) -> None:
    default = Task("T-1", "x", created_at="2026", updated_at="2026")
    for task in (FULL, default):
        tasks.insert(conn, task)
        assert tasks.get(conn, task.id) == task
    unset = [item.name for item in fields(Task) if getattr(FULL, item.name) == getattr(default, item.name)]
    assert unset == ["links"]  # kept in a table of their own


def test_every_field_can_be_changed(conn: Connection) -> None:
    was = Task(FULL.id, "x", created_at="2026", updated_at="2026")
    tasks.insert(conn, was)
    assert tasks.update(conn, FULL, was=was)
    assert tasks.get(conn, FULL.id) == FULL
    assert conn.execute("SELECT depends_on FROM task_dependencies ORDER BY depends_on").fetchall() == [
        ("T-2",),
        ("T-3",),
    ]
    assert tasks.update(conn, replace(was, version=8), was=FULL)
    assert conn.execute("SELECT * FROM task_dependencies").fetchall() == []


def test_a_version_that_has_passed_is_not_written_over(conn: Connection) -> None:
    task = put(conn, "T-1")
    newer = replace(task, title="newer", version=2)
    assert tasks.update(conn, newer, was=task)
    assert not tasks.update(conn, replace(task, title="late", version=2, depends_on=("T-9",)), was=task)
    assert tasks.get(conn, "T-1") == newer
    assert conn.execute("SELECT * FROM task_dependencies").fetchall() == []


def test_a_task_has_its_links(conn: Connection) -> None:
    put(conn, "T-1")
    made = [
        Link(name, external_id=f"{name}-1", state="linked", entity_id="T-1", marker="m")
        for name in ("jira", "slack")
    ]
    for link in reversed(made):
        links.save(conn, link, now="2026")
    task = tasks.get(conn, "T-1")
    assert task is not None
    assert list(task.links) == made
    assert list(tasks.page(conn, limit=5).items[0].links) == made


def test_what_is_not_there_is_none(conn: Connection) -> None:
    assert tasks.get(conn, "T-1") is None
    assert not tasks.exists(conn, "T-1")
    put(conn, "T-1")
    assert tasks.exists(conn, "T-1")
    assert tasks.unknown(conn, ["T-1", "T-2", "T-1", "T-3"]) == ["T-2", "T-3"]


@pytest.mark.parametrize(
    "change",
    [
        "status = 'done'",
        "priority = 'urgent'",
        "progress = 101",
        "progress = -1",
        "metadata = '{'",
        "depends_on = 'T-1'",
        "result = 'plain text'",
        "id = ''",
        "version = 'one'",
    ],
)
def test_the_table_refuses_what_makes_no_sense_also_by_hand(conn: Connection, change: str) -> None:
    put(conn, "T-1")
    with pytest.raises(sqlite3.IntegrityError):
        conn.execute(f"UPDATE tasks SET {change}")


# --- lists ----------------------------------------------------------------------------------------


def test_pages_follow_one_another_newest_first(conn: Connection) -> None:
    put_all(conn, 25)
    seen: list[str] = []
    cursor = None
    while True:
        page = tasks.page(conn, limit=10, cursor=cursor)
        assert page.total == 25
        seen += ids(page)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"T-{n:02}" for n in reversed(range(25))]


def test_a_cursor_stands_still_while_tasks_come_and_go(conn: Connection) -> None:
    put_all(conn, 10)
    first = tasks.page(conn, limit=4)
    put(conn, "T-newest", 59)
    put(conn, "T-old", 0)
    conn.execute("DELETE FROM tasks WHERE id = 'T-06'")  # the very row the cursor points at
    second = tasks.page(conn, limit=20, cursor=first.next_cursor)
    assert ids(first) == ["T-09", "T-08", "T-07", "T-06"]
    assert ids(second) == ["T-05", "T-04", "T-03", "T-02", "T-01", "T-old", "T-00"]


def test_tasks_of_one_moment_are_told_apart(conn: Connection) -> None:
    for n in range(9):
        put(conn, f"T-{n}")
    first = tasks.page(conn, limit=4)
    assert ids(first) + ids(tasks.page(conn, limit=9, cursor=first.next_cursor)) == [
        f"T-{n}" for n in reversed(range(9))
    ]


def test_another_lists_cursor_is_refused(conn: Connection) -> None:
    put_all(conn)
    features.save(conn, Feature("F-1", "x", created_at="2026", updated_at="2026"))
    features.save(conn, Feature("F-2", "x", created_at="2026", updated_at="2026"))
    foreign = features.page(conn, limit=1).next_cursor
    with pytest.raises(HubError) as caught:
        tasks.page(conn, limit=3, cursor=foreign)
    assert caught.value.code == "invalid_cursor"


def test_filters_narrow_the_list_and_its_total(conn: Connection) -> None:
    put(conn, "T-1", 1, status="completed", priority="high", feature_id="F-1")
    put(conn, "T-2", 2, status="completed", priority="low", feature_id="F-2")
    put(conn, "T-3", 3, status="failed", priority="high", feature_id="F-1", description="ends in 50% or a_b")
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["T-3", "T-2", "T-1"]),
        ({"status": "completed"}, ["T-2", "T-1"]),
        ({"priority": "high"}, ["T-3", "T-1"]),
        ({"feature_id": "F-1"}, ["T-3", "T-1"]),
        ({"status": "completed", "priority": "high", "feature_id": "F-1"}, ["T-1"]),
        ({"status": "cancelled"}, []),
        ({"q": "50%"}, ["T-3"]),
        ({"q": "5%"}, []),
        ({"q": "t-2"}, ["T-2"]),
        ({"q": "a_b"}, ["T-3"]),
        ({"q": "axb"}, []),
        ({"q": "' OR 1=1 --"}, []),
    ]
    for given, expected in cases:
        page = tasks.page(conn, limit=10, **given)
        assert (ids(page), page.total) == (expected, len(expected)), given


# --- counts ---------------------------------------------------------------------------------------


def test_counts_stay_right_whoever_writes(conn: Connection) -> None:
    put_all(conn, 12)
    conn.execute("UPDATE tasks SET status = 'completed' WHERE id < 'T-05'")
    conn.execute("UPDATE tasks SET status = 'completed' WHERE id < 'T-03'")
    conn.execute("UPDATE tasks SET status = 'failed', title = 'y' WHERE id = 'T-07'")
    conn.execute("DELETE FROM tasks WHERE id IN ('T-01', 'T-08')")
    conn.execute(
        "INSERT OR REPLACE INTO tasks (id, title, created_at, updated_at) VALUES ('T-20', 'x', 'x', 'x')"
    )
    real = Counter(status for (status,) in conn.execute("SELECT status FROM tasks"))
    assert {status: n for status, n in tasks.counts(conn).items() if n} == real
    assert tasks.count(conn) == sum(real.values())
    for status in TASK_STATUSES:
        assert tasks.count(conn, status) == real[status]


# --- the queue ------------------------------------------------------------------------------------


def test_the_queue_is_in_the_order_of_priority_then_age(conn: Connection) -> None:
    put(conn, "low", 0, priority="low")
    put(conn, "b", 2)
    put(conn, "a", 2)
    put(conn, "older", 1)
    put(conn, "high", 9, priority="high")
    put(conn, "critical", 9, priority="critical")
    put(conn, "waits", 0, priority="critical", depends_on=("low",))
    put(conn, "lost its dependency", 3, depends_on=("never heard of",))
    put(conn, "done", 0, status="completed")
    found = [task.id for task in tasks.claimable(conn, 20)]
    assert found == ["critical", "high", "older", "a", "b", "lost its dependency", "low"]
    assert [task.id for task in tasks.claimable(conn, 2)] == found[:2]
    assert [task.id for task in tasks.waiting(conn, 20)] == ["waits"]


def test_what_is_blocked_is_shown_as_waiting(conn: Connection) -> None:
    put(conn, "blocked", status="blocked")
    put(conn, "pending")
    assert [task.id for task in tasks.waiting(conn, 20)] == ["blocked"]


def test_numbers_of_the_queue(conn: Connection) -> None:
    assert tasks.queue_numbers(conn) == (0, {}, None)
    put(conn, "a", 5, priority="low")
    put(conn, "b", 7, priority="low")
    put(conn, "c", 9, priority="high")
    put(conn, "d", 1, status="completed")
    assert tasks.queue_numbers(conn) == (3, {"high": 1, "low": 2}, "2026-02-01T10:00:05.000Z")


def test_leases_that_have_ended(conn: Connection) -> None:
    put(conn, "a", status="in_progress", lease_expires_at="2026-02-01T10:00:01.000Z")
    put(conn, "b", status="in_progress", lease_expires_at="2026-02-01T10:00:00.000Z")
    put(conn, "c", status="in_progress")
    now = "2026-02-01T10:00:01.000Z"
    assert tasks.with_lapsed_lease(conn, now=now, limit=9) == ["b", "a"]
    assert tasks.with_lapsed_lease(conn, now=now, limit=1) == ["b"]
    assert tasks.with_lapsed_lease(conn, now="2026-02-01T09:00:00.000Z", limit=9) == []


def test_following_dependencies(conn: Connection) -> None:
    put(conn, "a")
    put(conn, "b", depends_on=("a",))
    put(conn, "c", depends_on=("b", "x"))
    assert tasks.reaches(conn, ["c"], "a")
    assert tasks.reaches(conn, ["a"], "a")
    assert tasks.reaches(conn, ["c"], "x")
    assert not tasks.reaches(conn, ["a"], "c")
    assert not tasks.reaches(conn, [], "a")
    conn.execute(
        "INSERT INTO task_dependencies VALUES ('a', 'c')"
    )  # by hand, past every check: it still ends
    assert not tasks.reaches(conn, ["c"], "nowhere")
