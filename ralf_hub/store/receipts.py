"""Receipts of webhooks in SQL: what came, what became of it, and the tasks that services may have open at once."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ralf_hub.model import Json
from ralf_hub.store.rows import Page, Where, dump, load, page_of, position_in, scalar

REJECTED_MAX: Final = 1_000
"""Rejected receipts kept, the newest: a flood of them must not fill the disk. All are counted."""

_COLUMNS: Final = (
    "id, service, dedup_key, status, reason, hint, event_type, event_id, task_id, headers, body_bytes, answer, "
    "duplicates, remote, received_at, processed_at"
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is kept of one webhook. `body` is written only, lists leave it out.

    `status`: accepted, ignored (genuine, but nothing to act on), failed (accepted, and the hub could not act), rejected.
    """

    id: str
    service: str
    dedup_key: str | None
    status: str
    received_at: str
    reason: str | None = None
    hint: str | None = None
    event_type: str | None = None
    event_id: str | None = None
    task_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    body_bytes: int = 0
    answer: Json = None
    duplicates: int = 0
    remote: str | None = None
    processed_at: str | None = None


def _make(row: tuple[Any, ...]) -> Receipt:
    return Receipt(
        id=row[0],
        service=row[1],
        dedup_key=row[2],
        status=row[3],
        reason=row[4],
        hint=row[5],
        event_type=row[6],
        event_id=row[7],
        task_id=row[8],
        headers=load(row[9]),
        body_bytes=row[10],
        answer=load(row[11]),
        duplicates=row[12],
        remote=row[13],
        received_at=row[14],
        processed_at=row[15],
    )


def insert(conn: sqlite3.Connection, receipt: Receipt) -> None:
    """Add *receipt*. sqlite3.IntegrityError where the service has sent this delivery before."""
    conn.execute(
        f"INSERT INTO webhook_receipts ({_COLUMNS}, body) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            receipt.id,
            receipt.service,
            receipt.dedup_key,
            receipt.status,
            receipt.reason,
            receipt.hint,
            receipt.event_type,
            receipt.event_id,
            receipt.task_id,
            dump(dict(receipt.headers)),
            receipt.body_bytes,
            None if receipt.answer is None else dump(receipt.answer),
            receipt.duplicates,
            receipt.remote,
            receipt.received_at,
            receipt.processed_at,
            receipt.body,
        ),
    )


def by_key(conn: sqlite3.Connection, service: str, dedup_key: str) -> Receipt | None:
    """Return the receipt of this delivery, or None where it has not come yet."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM webhook_receipts WHERE service = ? AND dedup_key = ?", (service, dedup_key)
    ).fetchone()
    return None if row is None else _make(row)


def came_again(conn: sqlite3.Connection, receipt: Receipt) -> None:
    """Count one more delivery of what *receipt* stands for."""
    conn.execute("UPDATE webhook_receipts SET duplicates = duplicates + 1 WHERE id = ?", (receipt.id,))


def count(conn: sqlite3.Connection, service: str, outcome: str) -> None:
    """Count a webhook for the numbers: accepted, duplicate, or rejected:REASON."""
    conn.execute(
        "INSERT INTO webhook_counts VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1", (service, outcome)
    )


def trim_rejected(conn: sqlite3.Connection) -> None:
    """Forget all but the newest rejected ones."""
    conn.execute(
        "DELETE FROM webhook_receipts WHERE id IN (SELECT id FROM webhook_receipts INDEXED BY receipts_rejected "
        "WHERE status = 'rejected' ORDER BY received_at DESC, id DESC LIMIT -1 OFFSET ?)",
        (REJECTED_MAX,),
    )


def page(
    conn: sqlite3.Connection,
    *,
    limit: int,
    cursor: str | None = None,
    service: str | None = None,
    status: str | None = None,
) -> Page[Receipt]:
    """Return receipts, newest first."""
    where = Where.of(service=service, status=status)
    total = scalar(conn, f"SELECT count(*) FROM webhook_receipts{where.sql}", where.values)
    if cursor is not None:
        where.add("(received_at, id) < (?, ?)", *position_in("webhooks", cursor, str, str))
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM webhook_receipts{where.sql} ORDER BY received_at DESC, id DESC LIMIT ?",
        (*where.values, limit + 1),
    ).fetchall()
    return page_of("webhooks", rows, limit, total, _make, lambda receipt: (receipt.received_at, receipt.id))


def last_received(conn: sqlite3.Connection, service: str) -> str | None:
    """Return when *service* last sent something genuine."""
    found: str | None = scalar(
        conn,
        "SELECT max(received_at) FROM webhook_receipts WHERE service = ? AND dedup_key IS NOT NULL",
        (service,),
    )
    return found


def known_keys(conn: sqlite3.Connection, service: str, keys: Iterable[str]) -> set[str]:
    """Return those of *keys* that *service* has delivered."""
    rows = conn.execute(
        "SELECT dedup_key FROM webhook_receipts WHERE service = ? AND dedup_key IN (SELECT value FROM json_each(?))",
        (service, dump(list(keys))),
    )
    return {row[0] for row in rows}


def caught_up(conn: sqlite3.Connection, service: str) -> str | None:
    """Return up to when the deliveries that failed at *service* have been asked for."""
    found: str | None = scalar(conn, "SELECT value FROM meta WHERE key = ?", (f"caught_up:{service}",))
    return found


def note_caught_up(conn: sqlite3.Connection, service: str, moment: str) -> None:
    """Note that what failed before *moment* has been asked for."""
    conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"caught_up:{service}", moment))


# --- how many tasks a service may have open -------------------------------------------------------


def note_task(conn: sqlite3.Connection, task_id: str, service: str, *, held: bool) -> None:
    """Note a task that a service with a limit has made."""
    conn.execute("INSERT OR REPLACE INTO webhook_tasks VALUES (?, ?, ?)", (task_id, service, int(held)))


def open_tasks(conn: sqlite3.Connection, service: str) -> int:
    """Return how many of the tasks a service made are pending or in progress."""
    return scalar(  # type: ignore[no-any-return]
        conn,
        "SELECT count(*) FROM webhook_tasks w JOIN tasks t ON t.id = w.task_id "
        "WHERE w.service = ? AND w.held = 0 AND t.status IN ('pending', 'in_progress')",
        (service,),
    )


def held_tasks(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return service and id of the tasks that are held, the most urgent and oldest first."""
    return conn.execute(
        "SELECT w.service, w.task_id FROM webhook_tasks w JOIN tasks t ON t.id = w.task_id WHERE w.held = 1 "
        "AND t.status = 'blocked' ORDER BY t.priority_rank, t.created_at, t.id"
    ).fetchall()


def let_go(conn: sqlite3.Connection, task_id: str) -> None:
    """Note that a task is held no more."""
    conn.execute("UPDATE webhook_tasks SET held = 0 WHERE task_id = ?", (task_id,))


def forget_ended(conn: sqlite3.Connection) -> None:
    """Forget tasks that have ended for good, and that somebody else has moved on are held no more."""
    conn.execute(
        "DELETE FROM webhook_tasks WHERE task_id IN (SELECT w.task_id FROM webhook_tasks w JOIN tasks t "
        "ON t.id = w.task_id WHERE t.status IN ('completed', 'cancelled'))"
    )
    conn.execute(
        "UPDATE webhook_tasks SET held = 0 WHERE held = 1 AND task_id IN (SELECT w.task_id FROM webhook_tasks w "
        "JOIN tasks t ON t.id = w.task_id WHERE w.held = 1 AND t.status <> 'blocked')"
    )


def has_limited_tasks(conn: sqlite3.Connection) -> bool:
    """Return whether there is a task of a service with a limit."""
    return scalar(conn, "SELECT 1 FROM webhook_tasks LIMIT 1") is not None
