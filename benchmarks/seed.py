"""Databases of many rows, made once by plain SQL through the real schema and kept in `var/bench/seeds`.

Triggers, checks and indexes are those of the hub; only the journal is left out while a seed is made.
"""

import contextlib
import hashlib
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ralf_hub.clock import system_now
from ralf_hub.store import schema

FOLDER: Final = Path(__file__).parents[1] / "var" / "bench" / "seeds"
CHUNK: Final = 50_000
SPAN_MS: Final = 5 * 86_400_000
"""The rows of a seed were made within so long before it."""
KEPT_S: Final = 15 * 86_400
"""A seed older than this is made anew: before the hub's retention begins to eat it."""
CONNECTOR: Final = "sink"

_NUMBERS: Final = (
    "WITH RECURSIVE n (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :first + :count), t (i, ms, at) "
    "AS (SELECT i, :start + i * :step, strftime('%Y-%m-%dT%H:%M:%fZ', (:start + i * :step) / 1000.0, 'unixepoch') FROM n) "
)
_TASKS: Final = f"""{_NUMBERS} INSERT INTO tasks (id, title, description, status, priority, created_at, updated_at)
SELECT printf('T-%d', i), printf('Task %d of many', i), 'Everything that has to be done before.',
  iif(i % 10, 'completed', 'pending'),
  CASE i % 4 WHEN 0 THEN 'critical' WHEN 1 THEN 'high' WHEN 2 THEN 'medium' ELSE 'low' END, at, at FROM t"""
_EVENTS: Final = f"""{_NUMBERS} INSERT INTO events (seq, id, type, source, task_id, occurred_at, recorded_at, data, routed)
SELECT i, printf('evt_%012x%s', ms, lower(hex(randomblob(8)))), 'task_created', 'api', printf('T-%d', i % :tasks), at, at,
  json_object('title', printf('Task %d of many', i), 'status', 'pending', 'priority', 'high'), '["{CONNECTOR}"]' FROM t"""
_OUTBOX: Final = f"""{_NUMBERS} INSERT INTO outbox (id, event_id, event_seq, event_type, task_id, connector, action, lane,
  payload, state, attempts, next_attempt_at, first_attempt_at, last_outcome, created_at, delivered_at)
SELECT i, e.id, i, e.type, e.task_id, '{CONNECTOR}', 'notify', e.task_id,
  json_object('type', e.type, 'timestamp', at, 'data', json_object('seq', i, 'event_id', e.id, 'task_id', e.task_id,
    'task', json_object('id', e.task_id, 'title', printf('Task %d of many', i), 'status', 'pending', 'priority', 'high',
      'description', 'Everything that has to be done before.', 'depends_on', json_array(), 'progress', 0, 'version', 1,
      'links', json_array(), 'source', 'api', 'created_at', at, 'updated_at', at))),
  iif(i > :delivered, 'pending', 'delivered'), i <= :delivered, at, iif(i > :delivered, NULL, at),
  iif(i > :delivered, NULL, 'delivered'), at, iif(i > :delivered, NULL, at)
FROM t JOIN events AS e ON e.seq = t.i"""
_ATTEMPTS: Final = f"""{_NUMBERS} INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, status_code)
SELECT i, at, 3, 'delivered', 204 FROM t WHERE i <= :delivered"""


@dataclass(frozen=True, slots=True)
class Seed:
    """What a database holds: tasks, deliveries that are done, deliveries that are due (one lane each)."""

    tasks: int = 0
    delivered: int = 0
    pending: int = 0

    @property
    def path(self) -> Path:
        """Where it lies, named by what it holds and by the schema."""
        sql = "".join(step.sql for step in schema.migrations()) + _TASKS + _EVENTS + _OUTBOX + _ATTEMPTS
        mark = hashlib.sha256(sql.encode()).hexdigest()[:8]
        return FOLDER / f"{self.tasks}-{self.delivered}-{self.pending}-{mark}" / "hub.db"

    def ready(self) -> Path:
        """Return the database, made now where it is not there yet: 5,000,000 deliveries take some minutes and 8 GB."""
        path = self.path
        if path.exists() and time.time() - path.stat().st_mtime < KEPT_S:
            return path
        _forget_others(path.parent)
        part = path.with_name("part.db")
        schema.prepare(part)
        with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as conn:
            self._fill(conn)
        part.rename(path)
        return path

    def copy(self, folder: Path) -> Path:
        """Put a copy into *folder*, for a hub that changes it much."""
        target = folder / "hub.db"
        shutil.copy(self.ready(), target)
        return target

    def _fill(self, conn: sqlite3.Connection) -> None:
        conn.execute("PRAGMA journal_mode = OFF")
        conn.execute("PRAGMA synchronous = OFF")
        conn.execute("PRAGMA cache_size = -500000")
        deliveries = self.delivered + self.pending
        start = system_now() - SPAN_MS
        values = {
            "tasks": max(self.tasks, self.pending, 1),
            "delivered": self.delivered,
            "start": start,
            "step": SPAN_MS // max(deliveries, self.tasks, 1),
        }
        for sql, rows in (
            (_TASKS, self.tasks),
            *((sql, deliveries) for sql in (_EVENTS, _OUTBOX, _ATTEMPTS)),
        ):
            for first in range(1, rows + 1, CHUNK):
                conn.execute("BEGIN")
                conn.execute(sql, {**values, "first": first, "count": min(CHUNK, rows + 1 - first)})
                conn.execute("COMMIT")
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")


def _forget_others(keep: Path) -> None:
    """Delete what is to be made anew, and the seeds of schemas that were: they are large."""
    mark = keep.name.rpartition("-")[2]
    for folder in keep.parent.glob("*"):
        if folder == keep or folder.name.rpartition("-")[2] != mark:
            shutil.rmtree(folder, ignore_errors=True)
