"""A database after a morning's work, the same every time: what the queries of docs/sql.md are shown on."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.connectors.webhook import WebhookConnector, WebhookSettings
from ralf_hub.delivery.routing import Router
from ralf_hub.intake import tasks as lifecycle
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import TaskDraft
from tests.support import SettableClock, connect

SIX: Final = 1_773_036_000_000
"""2026-03-09T06:00:00.000Z: when the morning begins."""
NOON: Final = "2026-03-09T12:00:00.000Z"
"""What `now` is in the queries."""


def lived_in(path: Path) -> None:
    """Fill the empty database at *path*."""
    clock = SettableClock(SIX)
    with closing(connect(path)) as conn:
        _work(conn, clock)
        _send(conn)
        _calls(conn, clock)


def _work(conn: sqlite3.Connection, clock: SettableClock) -> None:
    """Tasks come and go: one is done, one fails, one is on the way, two wait for others."""
    router = Router(
        {
            name: WebhookConnector(
                name,
                WebhookSettings(url=SecretStr(f"https://{name}.example/"), events=events),
                ConnectorEnv(),
            )
            for name, events in (
                ("slack", ("task_*", "!task_started", "feature_*")),
                ("wiki", ("task_started", "task_completed")),
            )
        }
    )

    def ledger() -> Ledger:
        return Ledger(conn, clock.clock, router)

    def change(task_id: str, source: str, **fields: object) -> None:
        lifecycle.change(ledger(), task_id, fields, source=source)

    for draft in (
        TaskDraft("Show spring and neap tides", id="TASK-TIDE-003", priority="high", feature_id="F-001"),
        TaskDraft("Read the gauge", id="TASK-TIDE-004", feature_id="F-001"),
        TaskDraft("Fetch the timetable", id="TASK-BOARD-001", priority="critical", feature_id="F-002"),
        TaskDraft("Draw the board", id="TASK-BOARD-002", feature_id="F-002", depends_on=("TASK-BOARD-001",)),
        TaskDraft("Hang the board", id="TASK-BOARD-003", feature_id="F-002", depends_on=("TASK-BOARD-002",)),
    ):
        lifecycle.create(ledger(), draft, source="workspace")
        clock.advance(60)
    clock.advance(1500)
    change("TASK-TIDE-003", "api:executor", status="in_progress", assignee="executor-1")
    clock.advance(4500)
    change("TASK-TIDE-003", "api:executor", status="completed", result="The ring is widest at the equinox.")
    change("TASK-TIDE-004", "api:executor", status="in_progress", assignee="executor-2")
    clock.advance(900)
    change("TASK-TIDE-004", "api:executor", status="failed", error="the gauge does not answer")
    clock.advance(60)
    change("TASK-BOARD-001", "api:executor", status="in_progress", assignee="executor-1")


def _send(conn: sqlite3.Connection) -> None:
    """What the dispatcher made of it: most was delivered, one is dead, one waits."""
    conn.execute(
        "UPDATE outbox SET state = 'delivered', attempts = 1, delivered_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at,"
        " '+' || (id % 3 + 1) || '.250 seconds') WHERE connector = 'slack'"
    )
    conn.execute(
        "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, status_code)"
        " SELECT id, created_at, 90 + 35 * (id % 5), 'delivered', 200 FROM outbox WHERE state = 'delivered' ORDER BY id"
    )
    (last,) = conn.execute("SELECT max(id) FROM outbox WHERE connector = 'slack'").fetchone()
    conn.execute("DELETE FROM attempts WHERE delivery_id = ?", (last,))
    conn.execute(
        "UPDATE outbox SET state = 'dead', attempts = 1, delivered_at = NULL, last_outcome = 'rejected',"
        " last_error = 'Slack says channel_is_archived: the channel is archived' WHERE id = ?",
        (last,),
    )
    conn.execute(
        "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, status_code, error)"
        " SELECT id, created_at, 140, 'rejected', 200, last_error FROM outbox WHERE id = ?",
        (last,),
    )
    for minute, duration in ((0, 30000), (5, 30000)):
        conn.execute(
            "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, error)"
            " SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', created_at, '+' || ? || ' minutes'), ?, 'ambiguous',"
            " 'no answer within 30 s' FROM outbox WHERE connector = 'wiki' ORDER BY id LIMIT 1",
            (minute, duration),
        )
    conn.execute(
        "UPDATE outbox SET attempts = 2, last_error = 'no answer within 30 s', last_outcome = 'ambiguous',"
        " next_attempt_at = '2026-03-09T11:40:00.000Z' WHERE id = (SELECT min(id) FROM outbox WHERE connector = 'wiki')"
    )
    conn.execute(
        "INSERT INTO connectors (name, breaker, reason, failures, opened_at, probe_at, updated_at) VALUES"
        " ('wiki', 'open', 'no answer within 30 s', 5, '2026-03-09T08:10:00.000Z', '2026-03-09T12:05:00.000Z', '2026-03-09T11:40:00.000Z')"
    )
    conn.execute(
        "INSERT INTO links VALUES ('jira', 'task', 'TASK-TIDE-003', '10042', 'RALF-12', 'https://acme.atlassian.net/browse/RALF-12',"
        " 'linked', 'Done', 'ralf-evt-1', '2026-03-09T06:00:02.000Z', '2026-03-09T08:00:01.000Z')"
    )


def _calls(conn: sqlite3.Connection, clock: SettableClock) -> None:
    """Who called: keys, their use, webhooks."""
    for key_id, name, scopes, used in (
        ("key_1", "dashboard", '["tasks:read", "events:read"]', "2026-03-09T11:58:00.000Z"),
        ("key_2", "old laptop", '["*"]', None),
    ):
        conn.execute(
            "INSERT INTO api_keys (id, name, key_sha256, hint, scopes, created_at, last_used_at) VALUES (?,?,?,?,?,?,?)",
            (key_id, name, key_id * 12, "rh_abc", scopes, clock.iso(), used),
        )
    for row in (
        ("2026-03-08", "key_1", "GET /api/v1/tasks", 410, 0, 0, 820_000, 90_000),
        ("2026-03-09", "key_1", "GET /api/v1/tasks", 120, 3, 0, 300_000, 26_000),
        ("2026-03-09", "key_1", "GET /api/v1/events", 40, 0, 0, 64_000, 12_000),
    ):
        conn.execute("INSERT INTO api_usage VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    for number, (service, status, reason, event_type) in enumerate(
        (
            ("github", "processed", None, "issues.opened"),
            ("github", "rejected", "mismatch", None),
            ("github", "rejected", "mismatch", None),
            ("gitlab", "ignored", "own_identity", "note"),
        )
    ):
        conn.execute(
            "INSERT INTO webhook_receipts (id, service, dedup_key, status, reason, event_type, received_at, remote)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, '192.0.2.7')",
            (
                f"rcp_{number}",
                service,
                f"d-{number}",
                status,
                reason,
                event_type,
                f"2026-03-09T09:0{number}:00.000Z",
            ),
        )
    conn.execute(
        "INSERT INTO workspace_problems (file, line, message, area) VALUES"
        " ('.autonomous/tasks/active/TASK-9/task.md', 3, 'status: \"nearly\" is none of the known ones', 'files')"
    )
