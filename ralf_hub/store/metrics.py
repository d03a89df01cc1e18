"""Numbers for people in SQL: none of them scans a table that grows."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from ralf_hub.clock import MS_PER_S, iso, parse_iso
from ralf_hub.model import TASK_STATUSES
from ralf_hub.store import outbox, schema, tasks
from ralf_hub.store.lanes import storage_error
from ralf_hub.store.rows import scalar

DAY_MS: Final = 86_400 * 1000
DURATIONS_MAX: Final = 1_000
"""Mean and p95 of task durations are those of the last so many completed tasks."""


def task_numbers(conn: sqlite3.Connection, now_ms: int) -> dict[str, Any]:
    """Return counts by status, what was completed in the last 24 hours, success rate, durations in seconds."""
    by_status = dict.fromkeys(TASK_STATUSES, 0) | tasks.counts(conn)
    completed, failed = by_status["completed"], by_status["failed"]
    rows = conn.execute(
        "SELECT started_at, completed_at FROM tasks WHERE completed_at IS NOT NULL ORDER BY completed_at DESC LIMIT ?",
        (DURATIONS_MAX,),
    ).fetchall()
    seconds = sorted(
        (parse_iso(end) - parse_iso(start)) / MS_PER_S for start, end in rows if start is not None
    )
    return {
        "total": sum(by_status.values()),
        "by_status": by_status,
        "completed_24h": scalar(
            conn, "SELECT count(*) FROM tasks WHERE completed_at >= ?", (iso(now_ms - DAY_MS),)
        ),
        "success_rate": round(completed / (completed + failed), 4) if completed + failed else None,
        "mean_duration_s": round(sum(seconds) / len(seconds), 3) if seconds else None,
        "p95_duration_s": round(seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))], 3)
        if seconds
        else None,
    }


def queue_numbers(conn: sqlite3.Connection, now_ms: int) -> dict[str, Any]:
    """Return the queue's depth, its tasks by priority, and the age of the oldest in seconds."""
    depth, by_priority, oldest = tasks.queue_numbers(conn)
    age = None if oldest is None else round((now_ms - parse_iso(oldest)) / MS_PER_S, 3)
    return {"depth": depth, "by_priority": by_priority, "oldest_pending_age_s": age}


def delivery_numbers(conn: sqlite3.Connection, now_ms: int, names: list[str]) -> dict[str, dict[str, Any]]:
    """Return for each connector what is pending, delivered, dead and cancelled, and how old the oldest pending is."""
    counts = outbox.counts(conn)
    listed = sorted({*names, *counts})
    oldest = outbox.oldest_pending(conn, listed)
    numbers: dict[str, dict[str, Any]] = {}
    for name in listed:
        states = counts.get(name, {})
        delivered, dead = states.get("delivered", 0), states.get("dead", 0)
        since = oldest.get(name)
        numbers[name] = {
            "pending": states.get("pending", 0),
            "delivered": delivered,
            "dead": dead,
            "cancelled": states.get("cancelled", 0),
            "success_rate": round(delivered / (delivered + dead), 4) if delivered + dead else None,
            "oldest_pending_age_s": None
            if since is None
            else round((now_ms - parse_iso(since)) / MS_PER_S, 3),
        }
    return numbers


def webhook_numbers(conn: sqlite3.Connection) -> dict[str, Any]:
    """Return how many webhooks were accepted, came twice, or were rejected and why."""
    numbers: dict[str, Any] = {"accepted": 0, "duplicate": 0, "rejected": {}}
    for outcome, n in conn.execute("SELECT outcome, sum(n) FROM webhook_counts GROUP BY outcome"):
        kind, _, reason = outcome.partition(":")
        if kind == "rejected":
            numbers["rejected"][reason] = n
        else:
            numbers[kind] = n
    return numbers


def rss_bytes() -> int:
    """Return the memory this process holds, 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def file_bytes(path: Path) -> int:
    """Return the size of the database with its write-ahead log."""
    return sum(part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.exists())


def table_bytes(path: Path) -> dict[str, int]:
    """Return how many bytes each table takes with its indexes; nothing where this SQLite cannot tell.

    StorageError where the file is damaged. Reads every page, so it is for a thread; each tree by itself, so that the
    log can be cleared in between.
    """
    found: dict[str, int] = {}
    with closing(schema.connect(path, writer=False)) as conn:
        trees = conn.execute("SELECT name, tbl_name FROM sqlite_schema WHERE rootpage > 0").fetchall()
        for name, table in trees:
            try:
                size = scalar(conn, "SELECT sum(pgsize) FROM dbstat WHERE name = ?", (name,))
            except sqlite3.OperationalError:  # it was built without: https://www.sqlite.org/dbstat.html
                return {}
            except sqlite3.DatabaseError as error:
                raise storage_error(error) from error
            found[table] = found.get(table, 0) + (size or 0)
    return found


def table_sizes(conn: sqlite3.Connection) -> dict[str, int]:
    """Return for each table that grows how many rows it has ever been given: kept by SQLite, nothing is counted."""
    return dict(conn.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
