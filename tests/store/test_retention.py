"""What is old is found by an index, a few rows at a time, and counted about right."""

import itertools
import sqlite3
from typing import Final

import pytest

from ralf_hub.store import retention
from ralf_hub.store.retention import Cutoffs

OLD: Final = Cutoffs(*["2026-01-01T00:00:00.000Z"] * 3, "2026-01-01", "2026-01-01T00:00:00.000Z")
LONG_AGO, NOW = "2025-01-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z"
WALKS: Final[dict[str, set[str]]] = {
    "deliveries": set(),
    "events": {"SCAN events", "SCAN outbox"},  # from the first on, and no further than a slice
    "webhook_receipts": set(),
    "api_usage": set(),
    "idempotency_keys": set(),
    "jobs": {"SCAN jobs"},  # there never are many
}


def event(conn: sqlite3.Connection, number: int, at: str) -> None:
    conn.execute(
        "INSERT INTO events (id, type, source, occurred_at, recorded_at) VALUES (?, 'x', 't', ?, ?)",
        (f"e{number}", at, at),
    )


def delivery(conn: sqlite3.Connection, number: int, state: str, at: str) -> None:
    conn.execute(
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, state, next_attempt_at, "
        "created_at, delivered_at) VALUES (?1, 10, 'x', 'c', 'a', '{}', ?2, ?3, ?3, iif(?2 = 'delivered', ?3, NULL))",
        (f"d{number}", state, at),
    )


@pytest.mark.parametrize("table", retention.steps(OLD))
def test_what_is_old_is_found_without_looking_at_what_is_young(conn: sqlite3.Connection, table: str) -> None:
    statements: list[str] = []
    conn.set_trace_callback(lambda said: statements.append(said) if said.startswith("DELETE") else None)
    retention.steps(OLD)[table](conn)
    conn.set_trace_callback(None)
    assert statements
    walks = {
        str(row[3])
        for statement in statements
        for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")
        if row[3].startswith("SCAN") and "subquery" not in row[3]
    }
    assert walks <= WALKS[table], walks


def test_old_rows_are_counted_and_then_deleted(conn: sqlite3.Connection) -> None:
    assert retention.count_old(conn, OLD) == 0
    for number in range(9):
        event(conn, number, LONG_AGO if number < 6 else NOW)
    for number, (state, at) in enumerate(
        [
            ("delivered", LONG_AGO),
            ("dead", LONG_AGO),
            ("cancelled", LONG_AGO),
            ("delivered", NOW),
            ("dead", NOW),
            ("pending", LONG_AGO),
        ]
    ):
        delivery(conn, number, state, at)
    assert retention.count_old(conn, OLD) == 6 + 3
    deleted, finished = retention.prune_some(conn, OLD, lambda: 0.0)
    assert (deleted, finished) == ({"deliveries": 3, "events": 6}, True)
    assert retention.count_old(conn, OLD) == 0
    assert conn.execute("SELECT state FROM outbox ORDER BY id").fetchall() == [
        ("delivered",),
        ("dead",),
        ("pending",),
    ]


def test_all_events_old_are_counted_too(conn: sqlite3.Connection) -> None:
    for number in range(5):
        event(conn, number, LONG_AGO)
    assert retention.count_old(conn, OLD) == 5


def test_finished_jobs_are_forgotten_and_running_ones_are_not(conn: sqlite3.Connection) -> None:
    for name, state, at in (("a", "done", LONG_AGO), ("b", "running", LONG_AGO), ("c", "cancelled", NOW)):
        conn.execute(
            "INSERT INTO jobs VALUES (?, 'prune', ?, '{}', 1, 0, 0, 't', ?, ?)", (name, state, at, at)
        )
    retention.prune_some(conn, OLD, lambda: 0.0)
    assert conn.execute("SELECT id FROM jobs").fetchall() == [("b",), ("c",)]


def test_giving_room_back_takes_few_pages_at_a_time_and_leaves_some(conn: sqlite3.Connection) -> None:
    conn.execute("INSERT INTO meta VALUES ('large', ?)", ("x" * 4096 * 600,))
    conn.execute("DELETE FROM meta WHERE key = 'large'")
    free = [conn.execute("PRAGMA freelist_count").fetchone()[0]]
    while retention.vacuum_some(conn):
        free.append(conn.execute("PRAGMA freelist_count").fetchone()[0])
    assert free[0] > 500
    assert {before - after for before, after in itertools.pairwise(free)} == {retention.VACUUM_PAGES}
    assert conn.execute("PRAGMA freelist_count").fetchone()[0] == retention.FREE_PAGES_KEPT
