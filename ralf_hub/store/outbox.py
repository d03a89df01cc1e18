"""The outbox in SQL: deliveries are put in, claimed, judged and recorded, replayed, cancelled.

Claiming writes nothing: what is being sent is held in the dispatcher's memory, and a row stays `pending` until the
verdict is recorded. A crash therefore leaves every unfinished delivery pending and due.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ralf_hub.model import LANE_WAITS, Attempt, Delivery
from ralf_hub.store.rows import Page, Where, dump, load, page_of, position_in, scalar

_COLUMNS: Final = (
    "id, event_id, event_type, connector, action, payload, task_id, lane, state, attempts, next_attempt_at, "
    "first_attempt_at, last_error, last_outcome, created_at, delivered_at, replayed_at"
)


def _make(row: tuple[Any, ...]) -> Delivery:
    return Delivery(
        id=row[0],
        event_id=row[1],
        event_type=row[2],
        connector=row[3],
        action=row[4],
        payload=load(row[5]),
        task_id=row[6],
        lane=row[7],
        state=row[8],
        attempts=row[9],
        next_attempt_at=row[10],
        first_attempt_at=row[11],
        last_error=row[12],
        last_outcome=row[13],
        created_at=row[14],
        delivered_at=row[15],
        replayed_at=row[16],
    )


@dataclass(frozen=True, slots=True)
class Draft:
    """A delivery about to be put into the outbox."""

    event_id: str
    event_seq: int
    event_type: str
    connector: str
    action: str
    payload: str
    """JSON text."""
    task_id: str | None
    lane: str | None
    dead_because: str | None = None
    """Set where no payload could be made: the duty is kept, dead with this reason, instead of vanishing."""


_INSERT: Final = (
    "INSERT INTO outbox (event_id, event_seq, event_type, task_id, connector, action, lane, payload, state, "
    "last_error, created_at, next_attempt_at) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11, "
    "CASE WHEN ?7 IS NOT NULL AND EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_lane WHERE state = 'pending' "
    f"AND connector = ?5 AND lane = ?7) THEN '{LANE_WAITS}' ELSE ?11 END)"
)


def insert(conn: sqlite3.Connection, draft: Draft, *, now: str) -> None:
    """Put *draft* into the outbox, due now or, behind another in its lane, when that one is done."""
    conn.execute(
        _INSERT,
        (
            draft.event_id,
            draft.event_seq,
            draft.event_type,
            draft.task_id,
            draft.connector,
            draft.action,
            draft.lane,
            draft.payload,
            "dead" if draft.dead_because else "pending",
            draft.dead_because,
            now,
        ),
    )


# --- claiming -------------------------------------------------------------------------------------

_DUE: Final = (
    f"SELECT {_COLUMNS} FROM outbox AS o INDEXED BY outbox_due "
    "WHERE o.state = 'pending' AND o.connector = ? AND o.next_attempt_at <= ? "
    "AND NOT EXISTS (SELECT 1 FROM outbox AS p INDEXED BY outbox_lane WHERE p.state = 'pending' "
    "AND p.connector = o.connector AND p.lane = o.lane AND p.id < o.id) "
    "ORDER BY o.next_attempt_at, o.id LIMIT ?"
)


def due(
    conn: sqlite3.Connection, connector: str, *, now: str, limit: int, held: frozenset[int]
) -> list[Delivery]:
    """Return up to *limit* due deliveries of *connector*, oldest due first, none behind another of its lane.

    *held* are the ids already in the dispatcher's hands; they are read in the same step, so nothing goes out twice.
    """
    rows = conn.execute(_DUE, (connector, now, limit + len(held))).fetchall()
    return [_make(row) for row in rows if row[0] not in held][:limit]


def next_later(conn: sqlite3.Connection, connector: str, *, now: str) -> str | None:
    """Return when the next delivery of *connector* that is not due yet will be; None when there is none."""
    return scalar(  # type: ignore[no-any-return]
        conn,
        "SELECT next_attempt_at FROM outbox INDEXED BY outbox_due WHERE state = 'pending' AND connector = ? "
        "AND next_attempt_at > ? ORDER BY next_attempt_at LIMIT 1",
        (connector, now),
    )


def mark_intent(conn: sqlite3.Connection, ids: Iterable[int], *, now: str) -> None:
    """Note, before a creating action is sent, that from now on its object may exist outside."""
    conn.execute(
        "UPDATE outbox SET first_attempt_at = coalesce(first_attempt_at, ?) WHERE id IN (SELECT value FROM json_each(?))",
        (now, dump(list(ids))),
    )


# --- reading --------------------------------------------------------------------------------------


def get(conn: sqlite3.Connection, delivery_id: int) -> Delivery | None:
    """Return one delivery, or None."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM outbox WHERE id = ?", (delivery_id,)).fetchone()
    return None if row is None else _make(row)


def attempts_of(conn: sqlite3.Connection, delivery_id: int, *, limit: int = 200) -> list[Attempt]:
    """Return the attempts of one delivery, oldest first, the last *limit* of them."""
    rows = conn.execute(
        "SELECT delivery_id, started_at, duration_ms, outcome, status_code, error, response, id FROM attempts "
        "WHERE delivery_id = ? ORDER BY id DESC LIMIT ?",
        (delivery_id, limit),
    ).fetchall()
    return [Attempt(*row) for row in reversed(rows)]


def ahead_in_lane(conn: sqlite3.Connection, delivery: Delivery) -> int | None:
    """Return the id of the delivery this one waits for, or None."""
    if delivery.lane is None:
        return None
    return scalar(  # type: ignore[no-any-return]
        conn,
        "SELECT id FROM outbox WHERE state = 'pending' AND connector = ? AND lane = ? AND id < ? ORDER BY id LIMIT 1",
        (delivery.connector, delivery.lane, delivery.id),
    )


_UNDELIVERED: Final = "state <> 'delivered'"
"""Says nothing new of a row that is pending, dead or cancelled; it lets SQLite use the small index of those."""


def _filters(
    state: str | None, connector: str | None, task_id: str | None, since: str | None, until: str | None
) -> Where:
    where = Where.of(state=state, connector=connector, task_id=task_id)
    if task_id is None and state not in {None, "delivered"}:
        where.add(_UNDELIVERED)
    if since is not None:
        where.add("created_at >= ?", since)
    if until is not None:
        where.add("created_at < ?", until)
    return where


def page(
    conn: sqlite3.Connection,
    *,
    limit: int,
    cursor: str | None = None,
    state: str | None = None,
    connector: str | None = None,
    task_id: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Page[Delivery]:
    """Return deliveries, newest first."""
    where = _filters(state, connector, task_id, since, until)
    if task_id is None and since is None and until is None:
        counts = Where.of(state=state, connector=connector)
        total = scalar(conn, f"SELECT coalesce(sum(n), 0) FROM outbox_counts{counts.sql}", counts.values)
    else:
        total = scalar(conn, f"SELECT count(*) FROM outbox{where.sql}", where.values)
    if cursor is not None:
        where.add("id < ?", *position_in("deliveries", cursor, int))
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM outbox{where.sql} ORDER BY id DESC LIMIT ?", (*where.values, limit + 1)
    ).fetchall()
    return page_of("deliveries", rows, limit, total, _make, lambda delivery: (delivery.id,))


def counts(conn: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Return how many deliveries each connector has in each state."""
    found: dict[str, dict[str, int]] = {}
    for connector, state, n in conn.execute("SELECT connector, state, n FROM outbox_counts"):
        found.setdefault(connector, {})[state] = n
    return found


def first_due(conn: sqlite3.Connection, connectors: Sequence[str]) -> dict[str, str]:
    """Return for each connector that has pending deliveries when the first of them is or was due: one seek each."""
    rows = conn.execute(
        "SELECT value, (SELECT next_attempt_at FROM outbox INDEXED BY outbox_due WHERE state = 'pending' "
        "AND connector = value ORDER BY next_attempt_at LIMIT 1) FROM json_each(?)",
        (dump(list(connectors)),),
    ).fetchall()
    return {name: moment for name, moment in rows if moment is not None}


def oldest_pending(conn: sqlite3.Connection, connectors: Sequence[str]) -> dict[str, str]:
    """Return when the oldest pending delivery of each connector was put in; those that have none are left out."""
    rows = conn.execute(
        "SELECT c.connector, (SELECT created_at FROM outbox INDEXED BY outbox_undelivered WHERE state = 'pending' "
        f"AND {_UNDELIVERED} AND connector = c.connector ORDER BY id LIMIT 1) FROM outbox_counts AS c "
        "WHERE c.state = 'pending' AND c.n > 0 AND c.connector IN (SELECT value FROM json_each(?))",
        (dump(list(connectors)),),
    ).fetchall()
    return dict(rows)


# --- by hand --------------------------------------------------------------------------------------


def replay(conn: sqlite3.Connection, delivery_id: int, *, now: str, state: str | None = None) -> bool:
    """Make one delivery due again; False when there is none, it is pending, or in another *state* than the one given.

    A trigger gives it new attempts.
    """
    changed = conn.execute(
        "UPDATE outbox SET state = 'pending', next_attempt_at = ?1, replayed_at = ?1 "
        "WHERE id = ?2 AND state <> 'pending' AND state = coalesce(?3, state)",
        (now, delivery_id, state),
    )
    return changed.rowcount == 1


def hurry(conn: sqlite3.Connection, delivery_id: int, *, now: str) -> bool:
    """Make a pending delivery due now; False when it is not pending."""
    changed = conn.execute(
        "UPDATE outbox SET next_attempt_at = ? WHERE id = ? AND state = 'pending'", (now, delivery_id)
    )
    return changed.rowcount == 1


def cancel(conn: sqlite3.Connection, delivery_id: int, *, reason: str) -> bool:
    """Give up one pending or dead delivery; False when it is neither."""
    changed = conn.execute(
        "UPDATE outbox SET state = 'cancelled', last_error = ? WHERE id = ? AND state IN ('pending', 'dead')",
        (reason, delivery_id),
    )
    return changed.rowcount == 1


def matching(
    conn: sqlite3.Connection,
    *,
    state: str,
    connector: str | None = None,
    since: str | None = None,
    until: str | None = None,
    task_id: str | None = None,
) -> tuple[int, int]:
    """Return how many deliveries bulk work would take, and the highest id among them."""
    where = _filters(state, connector, task_id, since, until)
    row = conn.execute(
        f"SELECT count(*), coalesce(max(id), 0) FROM outbox{where.sql}", where.values
    ).fetchone()
    return row[0], row[1]


def matching_ids(
    conn: sqlite3.Connection,
    *,
    state: str,
    connector: str | None,
    since: str | None,
    until: str | None,
    after_id: int,
    up_to_id: int,
    limit: int,
    task_id: str | None = None,
) -> list[int]:
    """Return the next *limit* of them."""
    where = _filters(state, connector, task_id, since, until)
    where.add("id > ? AND id <= ?", after_id, up_to_id)
    rows = conn.execute(f"SELECT id FROM outbox{where.sql} ORDER BY id LIMIT ?", (*where.values, limit))
    return [row[0] for row in rows]
