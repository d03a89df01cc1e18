import sqlite3
from dataclasses import fields, replace
from sqlite3 import Connection
from typing import Any

import pytest

from ralf_hub.model import Event
from ralf_hub.store import events

FULL = Event(
    id="evt_1",
    type="task_completed",
    occurred_at="2026-02-01T10:00:00.000Z",
    source="workspace",
    task_id="T-1",
    data={"title": "Tïtle", "nested": [1, {"a": None}]},
    seq=1,
    recorded_at="2026-02-01T10:00:01.000Z",
)


def put(conn: Connection, number: int, kind: str = "note", **more: Any) -> int:
    return events.append(conn, Event(f"evt_{number}", kind, "2026", **more), [])


def test_every_field_comes_back(conn: Connection) -> None:
    bare = Event("evt_2", "note", "2026")
    assert events.append(conn, FULL, ["slack"]) == 1
    assert events.append(conn, bare, None) == 2
    assert events.get(conn, "evt_1") == FULL
    assert events.get(conn, "evt_2") == replace(bare, seq=2)
    assert events.get(conn, "evt_3") is None
    assert [item.name for item in fields(Event) if getattr(FULL, item.name) == getattr(bare, item.name)] == []


def test_an_id_is_known_once(conn: Connection) -> None:
    put(conn, 1)
    with pytest.raises(sqlite3.IntegrityError):
        put(conn, 1)


def test_seq_has_no_gaps_whatever_was_undone(conn: Connection) -> None:
    put(conn, 1)
    for undo in ("ROLLBACK", "ROLLBACK TO part"):
        conn.execute("BEGIN")
        conn.execute("SAVEPOINT part")
        put(conn, 2)
        put(conn, 3)
        conn.execute(undo)
        if conn.in_transaction:
            conn.execute("COMMIT")
    with pytest.raises(sqlite3.IntegrityError):
        put(conn, 1)
    assert [put(conn, 2), put(conn, 3)] == [2, 3]


def test_seq_never_comes_back(conn: Connection) -> None:
    for n in range(5):
        put(conn, n)
    conn.execute("DELETE FROM events WHERE seq > 2")
    assert put(conn, 9) == 6


def test_reading_on_from_a_place(conn: Connection) -> None:
    for n in range(1, 11):
        put(conn, n, "note" if n % 2 else "task_failed", task_id=f"T-{n % 3}")
    cases: list[tuple[int, dict[str, Any], list[int]]] = [
        (0, {}, [1, 2, 3, 4]),
        (8, {}, [9, 10]),
        (10, {}, []),
        (99, {}, []),
        (2, {"types": ["note"]}, [3, 5, 7, 9]),
        (2, {"types": ["note", "task_failed"]}, [3, 4, 5, 6]),
        (0, {"types": ["unknown"]}, []),
        (0, {"task_id": "T-1"}, [1, 4, 7, 10]),
        (1, {"task_id": "T-1", "types": ["note"]}, [7]),
    ]
    for after, given, expected in cases:
        assert [event.seq for event in events.after(conn, after, limit=4, **given)] == expected


def test_how_many_there_are(conn: Connection) -> None:
    assert events.total(conn) == 0
    for n in range(1, 11):
        put(conn, n, "note" if n % 2 else "task_failed", task_id=f"T-{n % 3}")
    assert events.total(conn) == 10
    assert events.total(conn, ["note"]) == 5
    assert events.total(conn, ["note", "task_failed"]) == 10
    assert events.total(conn, task_id="T-1") == 4
    assert events.total(conn, ["note"], "T-1") == 2
    conn.execute("DELETE FROM events WHERE seq <= 4")
    assert events.total(conn) == 6
    conn.execute("DELETE FROM events")
    assert events.total(conn) == 0


def test_how_far_back_they_go(conn: Connection) -> None:
    assert events.bounds(conn) == (0, 0)
    for n in range(1, 4):
        put(conn, n)
    assert events.bounds(conn) == (1, 3)
    conn.execute("DELETE FROM events WHERE seq = 1")
    assert events.bounds(conn) == (2, 3)
    conn.execute("DELETE FROM events")
    assert events.bounds(conn) == (4, 3)
