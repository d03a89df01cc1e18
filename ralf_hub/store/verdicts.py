"""Recording what tries came to: attempts appended, deliveries moved on, lanes kept honest."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ralf_hub.model import Attempt
from ralf_hub.store.rows import dump

ERROR_LENGTH_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt means for its delivery."""

    attempt: Attempt
    state: str
    attempts: int
    next_attempt_at: str
    last_error: str | None
    lane: str | None
    connector: str


def record(conn: sqlite3.Connection, verdicts: Sequence[Verdict], *, now: str) -> None:
    """Write attempts and verdicts in few statements. A row someone cancelled meanwhile keeps that state."""
    conn.executemany(
        "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, status_code, error, response) "
        "SELECT ?, ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM outbox WHERE id = ?)",
        [
            (
                a.delivery_id,
                a.started_at,
                a.duration_ms,
                a.outcome,
                a.status_code,
                a.error,
                a.response,
                a.delivery_id,
            )
            for a in (verdict.attempt for verdict in verdicts)
        ],
    )
    delivered = [(v.attempt.delivery_id, v.attempts) for v in verdicts if v.state == "delivered"]
    if delivered:
        # Also where it was cancelled or replayed meanwhile: it has been delivered, that is a fact.
        conn.execute(
            "UPDATE outbox SET state = 'delivered', delivered_at = ?1, last_outcome = 'delivered', last_error = NULL, "
            "attempts = j.n, first_attempt_at = coalesce(first_attempt_at, ?1) "
            "FROM (SELECT value ->> 0 AS id, value ->> 1 AS n FROM json_each(?2)) AS j WHERE outbox.id = j.id",
            (now, dump(delivered)),
        )
    for verdict in verdicts:
        if verdict.state != "delivered":
            conn.execute(
                "UPDATE outbox SET state = ?, attempts = ?, next_attempt_at = ?, last_outcome = ?, last_error = ?, "
                "first_attempt_at = coalesce(first_attempt_at, ?) WHERE id = ? AND state = 'pending'",
                (
                    verdict.state,
                    verdict.attempts,
                    verdict.next_attempt_at,
                    verdict.attempt.outcome,
                    (verdict.last_error or "")[:ERROR_LENGTH_MAX],
                    verdict.attempt.started_at,
                    verdict.attempt.delivery_id,
                ),
            )
        if verdict.lane is not None:
            _move_lane(conn, verdict, now)


def _move_lane(conn: sqlite3.Connection, verdict: Verdict, now: str) -> None:
    """Keep the lane behind a delivery honest: what waits for a retry is due no earlier, what waits no more is due."""
    if verdict.state == "pending":
        conn.execute(
            "UPDATE outbox INDEXED BY outbox_lane SET next_attempt_at = ? "
            "WHERE state = 'pending' AND connector = ? AND lane = ? AND id > ? AND next_attempt_at < ?",
            (
                verdict.next_attempt_at,
                verdict.connector,
                verdict.lane,
                verdict.attempt.delivery_id,
                verdict.next_attempt_at,
            ),
        )
    else:
        conn.execute(
            "UPDATE outbox SET next_attempt_at = ?1 WHERE id = (SELECT id FROM outbox INDEXED BY outbox_lane "
            "WHERE state = 'pending' AND connector = ?2 AND lane = ?3 ORDER BY id LIMIT 1) "
            "AND attempts = 0 AND next_attempt_at > ?1",
            (now, verdict.connector, verdict.lane),
        )
