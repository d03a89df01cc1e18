"""Recording what tries came to: attempts appended, deliveries moved on."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ralf_hub.model import DELIVERED, Attempt
from ralf_hub.store.rows import dump

ERROR_LENGTH_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt means for its delivery. `attempts_before` counted when it was claimed, `attempts` count now."""

    attempt: Attempt
    state: str
    attempts_before: int
    attempts: int
    next_attempt_at: str
    last_error: str | None


def record(conn: sqlite3.Connection, verdicts: Sequence[Verdict], *, now: str) -> None:
    """Write attempts and verdicts in few statements.

    A delivery that someone cancelled or replayed meanwhile stays as they want it, unless it was delivered: that is
    a fact. What waits in the lane of a delivery that is done is due by a trigger.
    """
    conn.executemany(
        "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, status_code, error, response) "
        "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE EXISTS (SELECT 1 FROM outbox WHERE id = ?1)",
        [
            (a.delivery_id, a.started_at, a.duration_ms, a.outcome, a.status_code, a.error, a.response)
            for a in (verdict.attempt for verdict in verdicts)
        ],
    )
    delivered = [(v.attempt.delivery_id, v.attempts) for v in verdicts if v.state == DELIVERED]
    if delivered:
        conn.execute(
            "UPDATE outbox SET state = 'delivered', delivered_at = ?1, last_outcome = 'delivered', last_error = NULL, "
            "attempts = j.n, first_attempt_at = coalesce(first_attempt_at, ?1) FROM (SELECT json_extract(value, '$[0]') "
            "AS id, json_extract(value, '$[1]') AS n FROM json_each(?2)) AS j WHERE outbox.id = j.id",
            (now, dump(delivered)),
        )
    for verdict in verdicts:
        if verdict.state != DELIVERED:
            _not_delivered(conn, verdict)


def _not_delivered(conn: sqlite3.Connection, verdict: Verdict) -> None:
    conn.execute(
        "UPDATE outbox SET state = ?, attempts = ?, next_attempt_at = ?, last_outcome = ?, last_error = ?, "
        "first_attempt_at = coalesce(first_attempt_at, ?) WHERE id = ? AND state = 'pending' AND attempts = ?",
        (
            verdict.state,
            verdict.attempts,
            verdict.next_attempt_at,
            verdict.attempt.outcome,
            (verdict.last_error or "")[:ERROR_LENGTH_MAX],
            verdict.attempt.started_at,
            verdict.attempt.delivery_id,
            verdict.attempts_before,
        ),
    )
