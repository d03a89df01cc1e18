"""Forgetting what is old, a few rows at a time, so that no write ever waits long."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ralf_hub.clock import iso
from ralf_hub.store.rows import scalar

SLICE: Final = 20
"""Rows that one statement deletes at most."""
RECEIPTS_SLICE: Final = 4
"""Fewer: with a body each is up to 64 KiB."""
STEP_S: Final = 0.006
"""How long a step goes on with further slices before what it did is committed and others have their turn."""
FREE_PAGES_KEPT: Final = 256
"""Free pages that stay in the file for what comes next: 1 MiB."""
VACUUM_PAGES: Final = 32
DAY_MS: Final = 86_400_000
_PRUNED_BEFORE: Final = "deliveries_pruned_before"


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """Before which moment each kind of row is old, as ISO text."""

    events: str
    deliveries: str
    receipts: str
    usage_day: str
    idempotency: str


class Kept(Protocol):
    """How many days each kind of row is kept: `[retention]`."""

    @property
    def events_days(self) -> int:
        """Of events."""

    @property
    def deliveries_days(self) -> int:
        """Of finished deliveries."""

    @property
    def webhook_receipts_days(self) -> int:
        """Of receipts."""

    @property
    def api_usage_days(self) -> int:
        """Of API usage."""


def cutoffs(kept: Kept, now_ms: int) -> Cutoffs:
    """Return what is old at *now_ms*."""
    return Cutoffs(
        events=iso(now_ms - kept.events_days * DAY_MS),
        deliveries=iso(now_ms - kept.deliveries_days * DAY_MS),
        receipts=iso(now_ms - kept.webhook_receipts_days * DAY_MS),
        usage_day=iso(now_ms - kept.api_usage_days * DAY_MS)[:10],
        idempotency=iso(now_ms - DAY_MS),
    )


Step = Callable[[sqlite3.Connection], int]


def steps(cutoffs: Cutoffs) -> dict[str, Step]:
    """Return one slice per table: each deletes up to `SLICE` old rows and returns how many; 0 means done.

    What is still pending is never touched, nor are tasks, features, links and keys.
    """

    def delete(sql: str, *values: str, rows: int = SLICE) -> Step:
        return lambda conn: conn.execute(sql, (*values, rows)).rowcount

    return {
        "deliveries": lambda conn: _prune_deliveries(conn, cutoffs.deliveries),
        "events": delete(
            # From the oldest on and no further than the first that is young or still in the outbox: `seq` has no gaps.
            "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?2) "
            "AND seq < coalesce((SELECT event_seq FROM outbox ORDER BY id LIMIT 1), 9e18) "
            "AND seq < coalesce((SELECT seq FROM (SELECT seq, recorded_at FROM events ORDER BY seq LIMIT ?2) "
            "WHERE recorded_at >= ?1 ORDER BY seq LIMIT 1), 9e18)",
            cutoffs.events,
        ),
        "webhook_receipts": delete(
            "DELETE FROM webhook_receipts WHERE id IN (SELECT id FROM webhook_receipts INDEXED BY receipts_by_time "
            "WHERE received_at < ? ORDER BY received_at LIMIT ?)",
            cutoffs.receipts,
            rows=RECEIPTS_SLICE,
        ),
        "api_usage": delete(
            "DELETE FROM api_usage WHERE (day, key_id, endpoint) IN (SELECT day, key_id, endpoint FROM api_usage "
            "WHERE day < ? LIMIT ?)",
            cutoffs.usage_day,
        ),
        "jobs": delete(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state <> 'running' AND updated_at < ? LIMIT ?)",
            cutoffs.deliveries,
        ),
        "idempotency_keys": delete(
            "DELETE FROM idempotency_keys WHERE (principal, key) IN (SELECT principal, key FROM idempotency_keys "
            "INDEXED BY idempotency_by_age WHERE created_at < ? ORDER BY created_at LIMIT ?)",
            cutoffs.idempotency,
        ),
    }


def _prune_deliveries(conn: sqlite3.Connection, before: str) -> int:
    """Delete some finished deliveries, and note how far back any may be missing from now on."""
    deleted = conn.execute(
        "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE delivered_at < ?1 AND created_at < ?1 "
        "AND state = 'delivered' LIMIT ?2)",
        (before, SLICE),
    ).rowcount
    deleted += conn.execute(
        # From the oldest of each state on, so that the young ones need not be looked through every time. That they are
        # not delivered is said for the index, which holds only such.
        "DELETE FROM outbox WHERE created_at < ?1 AND id IN ("
        "SELECT id FROM (SELECT id FROM outbox WHERE state = 'dead' AND state <> 'delivered' ORDER BY id LIMIT ?2) UNION ALL "
        "SELECT id FROM (SELECT id FROM outbox WHERE state = 'cancelled' AND state <> 'delivered' ORDER BY id LIMIT ?2))",
        (before, SLICE),
    ).rowcount
    if deleted:
        conn.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
            (_PRUNED_BEFORE, before),
        )
    return deleted


def pruned_before(conn: sqlite3.Connection) -> str:
    """Return up to which `created_at` deliveries may have been deleted by the rule; empty: none has been."""
    found: str | None = scalar(conn, "SELECT value FROM meta WHERE key = ?", (_PRUNED_BEFORE,))
    return found or ""


def prune_some(
    conn: sqlite3.Connection, cutoffs: Cutoffs, monotonic: Callable[[], float]
) -> tuple[dict[str, int], bool]:
    """Delete what is old for about `STEP_S`; return how many rows of which table, and whether nothing is left."""
    until = monotonic() + STEP_S
    deleted: dict[str, int] = {}
    for table, delete in steps(cutoffs).items():
        while n := delete(conn):
            deleted[table] = deleted.get(table, 0) + n
            if monotonic() >= until:
                return deleted, False
    return deleted, True


def count_old(conn: sqlite3.Connection, cutoffs: Cutoffs) -> int:
    """Return about how many rows are old: for a progress bar. It walks over what is old, so it is for a read."""
    total: int = conn.execute(
        "SELECT (SELECT count(*) FROM outbox WHERE delivered_at < ?1 AND state = 'delivered') "
        "+ (SELECT count(*) FROM outbox WHERE state IN ('dead', 'cancelled') AND state <> 'delivered' AND created_at < ?1) "
        # Events are recorded in the order of `seq`, which has no gaps: it is enough to find the first young one.
        "+ (SELECT coalesce((SELECT seq FROM events WHERE recorded_at >= ?2 ORDER BY seq LIMIT 1), max(seq) + 1, 0) "
        "   - coalesce(min(seq), 0) FROM events) "
        "+ (SELECT count(*) FROM webhook_receipts WHERE received_at < ?3) "
        "+ (SELECT count(*) FROM api_usage WHERE day < ?4) "
        "+ (SELECT count(*) FROM idempotency_keys WHERE created_at < ?5)",
        (cutoffs.deliveries, cutoffs.events, cutoffs.receipts, cutoffs.usage_day, cutoffs.idempotency),
    ).fetchone()[0]
    return total


def vacuum_some(conn: sqlite3.Connection, pages: int = VACUUM_PAGES) -> bool:
    """Give up to *pages* free pages back to the file system; return whether there are more. Outside any transaction."""
    free = scalar(conn, "PRAGMA freelist_count") - FREE_PAGES_KEPT
    if free <= 0:
        return False
    # Not `execute`: the statement returns a row without columns per page, and Python would stop after the first.
    conn.executescript(f"PRAGMA incremental_vacuum({min(pages, free)})")
    return bool(free > pages)
