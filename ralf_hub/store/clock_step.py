"""When the wall clock is set back, whatever waits for a moment would wait for it longer than it was meant to."""

import sqlite3
from typing import Final

from ralf_hub.clock import FAR_FUTURE, MS_PER_S
from ralf_hub.store.rows import scalar

_LAST_KNOWN: Final = """
  SELECT max(moment) FROM (
    SELECT recorded_at AS moment FROM events WHERE seq = (SELECT max(seq) FROM events) UNION ALL
    SELECT started_at FROM attempts WHERE id = (SELECT max(id) FROM attempts) UNION ALL
    SELECT value FROM meta WHERE key = 'heartbeat' UNION ALL
    SELECT max(created_at, coalesce((SELECT max(started_at) FROM attempts WHERE delivery_id = outbox.id), ''))
    FROM outbox INDEXED BY outbox_due
    WHERE state = 'pending' AND next_attempt_at > ?1 AND next_attempt_at < ?2)"""
"""Also what waits tells: it was put in or tried at a moment that has been, even where the clock was ahead only shortly."""

_WAITING: Final = (
    ("outbox", "next_attempt_at", "state = 'pending' AND"),
    ("connectors", "probe_at", ""),
    ("connectors", "held_until", ""),
    ("tasks", "lease_expires_at", ""),
)


def last_known(conn: sqlite3.Connection, now: str) -> str | None:
    """Return the latest moment at which the hub is known to have done something, as ISO text. It is *now*."""
    return scalar(conn, _LAST_KNOWN, (now, FAR_FUTURE))  # type: ignore[no-any-return]


def bring_forward(conn: sqlite3.Connection, *, by_ms: int, now: str) -> int:
    """Move what waits for a moment after *now* by so much, though not before *now*; return how many deliveries.

    A delivery behind another in its lane is due at its `created_at` when its turn comes: that must not lie ahead either.
    """
    moved = 0
    for table, column, condition in _WAITING:
        changed = conn.execute(
            f"UPDATE {table} SET {column} = max(?1, strftime('%Y-%m-%dT%H:%M:%fZ', {column}, ?2)) "
            f"WHERE {condition} {column} > ?1 AND {column} < '{FAR_FUTURE}'",
            (now, f"-{by_ms / MS_PER_S:.3f} seconds"),
        )
        moved += changed.rowcount if table == "outbox" else 0
    conn.execute("UPDATE outbox SET created_at = ?1 WHERE state = 'pending' AND created_at > ?1", (now,))
    return moved
