"""Bulk jobs in SQL: durable, so a restart goes on where the last commit left off."""

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from ralf_hub.model import Json
from ralf_hub.store.rows import Page, Where, dump, load, page_of, position_in, scalar

_COLUMNS: Final = "id, kind, state, parameters, total, done, last_id, created_by, created_at, updated_at"


@dataclass(frozen=True, slots=True)
class BulkJob:
    """Work on many rows, a few at a time. `last_id` is the last row looked at."""

    id: str
    kind: str
    state: str
    parameters: Json
    total: int
    done: int
    last_id: int
    created_by: str
    created_at: str
    updated_at: str


def _make(row: Any) -> BulkJob:
    return BulkJob(row[0], row[1], row[2], load(row[3]), *row[4:])


def insert(conn: sqlite3.Connection, job: BulkJob) -> None:
    """Add *job*."""
    conn.execute(
        f"INSERT INTO jobs ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",
        (
            job.id,
            job.kind,
            job.state,
            dump(job.parameters),
            job.total,
            job.done,
            job.last_id,
            job.created_by,
            job.created_at,
            job.updated_at,
        ),
    )


def get(conn: sqlite3.Connection, job_id: str) -> BulkJob | None:
    """Return one job, or None."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else _make(row)


def page(
    conn: sqlite3.Connection, *, limit: int, cursor: str | None = None, state: str | None = None
) -> Page[BulkJob]:
    """Return jobs, newest first."""
    where = Where.of(state=state)
    total = scalar(conn, f"SELECT count(*) FROM jobs{where.sql}", where.values)
    if cursor is not None:
        where.add("(created_at, id) < (?, ?)", *position_in("jobs", cursor, str, str))
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM jobs{where.sql} ORDER BY created_at DESC, id DESC LIMIT ?",
        (*where.values, limit + 1),
    ).fetchall()
    return page_of("jobs", rows, limit, total, _make, lambda job: (job.created_at, job.id))


def running(conn: sqlite3.Connection) -> list[BulkJob]:
    """Return the jobs that are not finished, oldest first."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM jobs WHERE state = 'running' ORDER BY created_at, id"
    ).fetchall()
    return [_make(row) for row in rows]


def advance(
    conn: sqlite3.Connection,
    job: BulkJob,
    *,
    done: int,
    finished: bool,
    now: str,
    last_id: int = 0,
    parameters: Json = None,
) -> None:
    """Note progress, and *parameters* where they change with it; a job someone cancelled stays cancelled."""
    conn.execute(
        "UPDATE jobs SET done = ?, last_id = ?, state = CASE WHEN state = 'running' AND ? THEN 'done' ELSE state END, "
        "parameters = ?, updated_at = ? WHERE id = ?",
        (done, last_id, finished, dump(job.parameters if parameters is None else parameters), now, job.id),
    )


def cancel(conn: sqlite3.Connection, job_id: str, *, now: str) -> bool:
    """Stop a running job; False when it is not running."""
    changed = conn.execute(
        "UPDATE jobs SET state = 'cancelled', updated_at = ? WHERE id = ? AND state = 'running'",
        (now, job_id),
    )
    return changed.rowcount == 1
