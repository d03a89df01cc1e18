"""Forgetting what is old, a few rows at a time, so that no write ever waits long."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Before which moment each kind of row is old, as ISO text."""

    events: str
    deliveries: str
    receipts: str
    usage_day: str
    idempotency: str


Step = Callable[[sqlite3.Connection], int]


def steps(cutoffs: Cutoffs) -> dict[str, Step]:
    """Return one step per table: each deletes up to `CHUNK` old rows and returns how many; 0 means done.

    What is still pending is never touched, nor are tasks, features, links and keys.
    """

    def delete(sql: str, *values: str) -> Step:
        return lambda conn: conn.execute(sql, (*values, CHUNK)).rowcount

    return {
        "deliveries": delete(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE state <> 'pending' AND created_at < ? "
            "AND coalesce(delivered_at, created_at) < ? ORDER BY id LIMIT ?)",
            cutoffs.deliveries,
            cutoffs.deliveries,
        ),
        "events": delete(
            "DELETE FROM events WHERE seq IN (SELECT seq FROM events e WHERE recorded_at < ? AND seq < "
            "coalesce((SELECT min(event_seq) FROM outbox), (SELECT max(seq) + 1 FROM events)) ORDER BY seq LIMIT ?)",
            cutoffs.events,
        ),
        "webhook_receipts": delete(
            "DELETE FROM webhook_receipts WHERE id IN (SELECT id FROM webhook_receipts INDEXED BY receipts_by_time "
            "WHERE received_at < ? AND status <> 'accepted' ORDER BY received_at LIMIT ?)",
            cutoffs.receipts,
        ),
        "api_usage": delete(
            "DELETE FROM api_usage WHERE (day, key_id, endpoint) IN (SELECT day, key_id, endpoint FROM api_usage "
            "WHERE day < ? LIMIT ?)",
            cutoffs.usage_day,
        ),
        "idempotency_keys": delete(
            "DELETE FROM idempotency_keys WHERE (principal, key) IN (SELECT principal, key FROM idempotency_keys "
            "INDEXED BY idempotency_by_age WHERE created_at < ? ORDER BY created_at LIMIT ?)",
            cutoffs.idempotency,
        ),
    }


def vacuum_some(conn: sqlite3.Connection, pages: int = 200) -> None:
    """Give up to *pages* free pages back to the file system."""
    conn.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
