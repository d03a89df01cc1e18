"""Events in SQL: appended, never changed, read by `seq`."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from ralf_hub.model import Event
from ralf_hub.store.rows import Where, dump, load, scalar

_COLUMNS: Final = "seq, id, type, source, task_id, occurred_at, recorded_at, data"


def _make(row: tuple[Any, ...]) -> Event:
    return Event(
        seq=row[0],
        id=row[1],
        type=row[2],
        source=row[3],
        task_id=row[4],
        occurred_at=row[5],
        recorded_at=row[6],
        data=load(row[7]),
    )


def append(conn: sqlite3.Connection, event: Event, routed: Sequence[str] | None) -> int:
    """Add *event* and return its `seq`. sqlite3.IntegrityError when its id is known.

    *routed* are the connectors it goes to, so that `verify` can hold the outbox against it; None for history. Each
    is one delivery (`reroute` where it is not).
    """
    cursor = conn.execute(
        "INSERT INTO events (id, type, source, task_id, occurred_at, recorded_at, data, routed) "
        "VALUES (?,?,?,?,?,?,?,?)",
        (
            event.id,
            event.type,
            event.source,
            event.task_id,
            event.occurred_at,
            event.recorded_at,
            dump(dict(event.data)) if event.data else "{}",
            None if routed is None else dump(list(routed)),
        ),
    )
    return cursor.lastrowid or 0


def reroute(conn: sqlite3.Connection, seq: int, deliveries: Sequence[tuple[str, int]]) -> None:
    """Note how many deliveries each connector got where not all of them got exactly one: `["slack", ["jira", 2]]`."""
    routed = [name if n == 1 else [name, n] for name, n in deliveries]
    conn.execute("UPDATE events SET routed = ? WHERE seq = ?", (dump(routed), seq))


def note_trace(conn: sqlite3.Connection, seq: int, traceparent: str) -> None:
    """Note the trace an event belongs to."""
    conn.execute("UPDATE events SET traceparent = ? WHERE seq = ?", (traceparent, seq))


def trace_of(conn: sqlite3.Connection, event_id: str) -> str | None:
    """Return the trace an event belongs to, None where none was kept."""
    found: str | None = scalar(conn, "SELECT traceparent FROM events WHERE id = ?", (event_id,))
    return found


def get(conn: sqlite3.Connection, event_id: str) -> Event | None:
    """Return one event by id, or None."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM events WHERE id = ?", (event_id,)).fetchone()
    return None if row is None else _make(row)


def after(
    conn: sqlite3.Connection,
    seq: int,
    *,
    limit: int,
    types: Sequence[str] = (),
    task_id: str | None = None,
) -> list[Event]:
    """Return up to *limit* events after *seq*, in order."""
    return _between(conn, "ASC", limit, types, task_id, after=seq)


def before(
    conn: sqlite3.Connection,
    seq: int,
    *,
    limit: int,
    types: Sequence[str] = (),
    task_id: str | None = None,
    after: int = 0,
) -> list[Event]:
    """Return up to *limit* events before *seq* and after *after*, the last one first."""
    return _between(conn, "DESC", limit, types, task_id, after=after, before=seq)


def _between(
    conn: sqlite3.Connection,
    order: str,
    limit: int,
    types: Sequence[str],
    task_id: str | None,
    *,
    after: int,
    before: int | None = None,
) -> list[Event]:
    where = Where.of(task_id=task_id)
    where.add("seq > ?", after)
    if before is not None:
        where.add("seq < ?", before)
    if types:
        where.add("type IN (SELECT value FROM json_each(?))", dump(list(types)))
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM events{where.sql} ORDER BY seq {order} LIMIT ?", (*where.values, limit)
    ).fetchall()
    return [_make(row) for row in rows]


def bounds(conn: sqlite3.Connection) -> tuple[int, int]:
    """Return the lowest `seq` still kept and the highest ever given; (0, 0) when there was none yet."""
    first = scalar(conn, "SELECT seq FROM events ORDER BY seq LIMIT 1")
    last = scalar(conn, "SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    return (first if first is not None else (last or 0) + 1) if last else 0, last or 0


def total(conn: sqlite3.Connection, types: Sequence[str] = (), task_id: str | None = None) -> int:
    """Return how many events are kept, of some types and one task where given."""
    if not types and task_id is None:
        first, last = bounds(conn)
        return last - first + 1 if last else 0
    if types and task_id is None:
        sql, values = (
            "SELECT count(*) FROM events WHERE type IN (SELECT value FROM json_each(?))",
            [dump(list(types))],
        )
    elif types:
        sql = "SELECT count(*) FROM events WHERE task_id = ? AND type IN (SELECT value FROM json_each(?))"
        values = [task_id or "", dump(list(types))]
    else:
        sql, values = "SELECT count(*) FROM events WHERE task_id = ?", [task_id or ""]
    return scalar(conn, sql, values)  # type: ignore[no-any-return]
