"""Every past version of the schema, with data in every table of it, becomes the present one and loses nothing."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from ralf_hub.errors import DatabaseRefusedError
from ralf_hub.store import schema
from ralf_hub.store.database import Database
from ralf_hub.store.verify import verify
from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub
from tests.support import eventually

NEWEST: Final = schema.migrations()[-1].number
PAST: Final = range(1, NEWEST)
AT: Final = "2026-02-02T02:40:00.000Z"
LATER: Final = "2026-02-02T02:41:00.000Z"
FAR: Final = "9999-12-31T23:59:59.999Z"
HASH: Final = "0" * 64
TASK: Final = '{"type":"task_created","timestamp":"2026-02-02T02:40:00.000Z","data":{"task_id":"T-1"}}'

Row = dict[str, Any]


def _delivery(number: int, state: str, **more: Any) -> Row:
    return {
        "id": number, "event_id": f"evt_{number}", "event_seq": number, "event_type": "task_created",
        "task_id": "T-1", "connector": "sink", "action": "notify", "lane": "T-1", "payload": TASK,
        "state": state, "next_attempt_at": AT, "created_at": AT, **more,
    }  # fmt: skip


SEEDS: Final[dict[str, list[Row]]] = {
    "meta": [{"key": "note", "value": "kept"}],
    "tasks": [
        {"id": "T-1", "title": "Tide clock ünïcode ☂", "status": "in_progress", "created_at": AT, "updated_at": AT,
         "metadata": '{"deep":{"list":[1,2.5,null]}}', "depends_on": "[]", "version": 7, "assignee": "ralf",
         "lease_expires_at": FAR, "queue_rank": 3, "queue_priority": 0, "shelved": 1},
        {"id": "T-2", "title": "Done", "status": "completed", "result": '"good"', "created_at": AT,
         "updated_at": AT, "completed_at": LATER, "depends_on": '["T-1"]', "priority": "critical"},
    ],
    "task_dependencies": [{"task_id": "T-2", "depends_on": "T-1"}],
    "features": [{"id": "F-1", "title": "Tides", "created_at": AT, "updated_at": AT}],
    "events": [
        {"seq": number, "id": f"evt_{number}", "type": "task_created", "source": "api", "task_id": "T-1",
         "occurred_at": AT, "recorded_at": AT, "data": "{}", "routed": '["sink"]'}
        for number in range(1, 5)
    ],
    "outbox": [
        _delivery(1, "delivered", attempts=2, delivered_at=LATER, last_outcome="delivered"),
        _delivery(2, "dead", attempts=1, last_error="HTTP 400", last_outcome="rejected"),
        _delivery(3, "pending"),
        _delivery(4, "pending", next_attempt_at=FAR),
    ],
    "attempts": [
        {"id": 1, "delivery_id": 1, "started_at": AT, "duration_ms": 9, "outcome": "retry", "status_code": 503},
        {"id": 2, "delivery_id": 1, "started_at": LATER, "duration_ms": 4, "outcome": "delivered"},
        {"id": 3, "delivery_id": 2, "started_at": AT, "duration_ms": 1, "outcome": "rejected", "error": "no"},
    ],
    "links": [
        {"connector": "jira", "entity_type": "task", "entity_id": "T-1", "external_id": "10001",
         "external_key": "RALF-1", "url": "https://x.example/RALF-1", "state": "linked", "marker": "m-1",
         "created_at": AT, "updated_at": AT},
    ],
    "task_counts": [],
    "outbox_counts": [],
    "api_keys": [
        {"id": "key_1", "name": "me", "key_sha256": HASH, "hint": "rh_abcde", "scopes": '["*"]', "kind": "oauth",
         "created_at": AT},
    ],
    "idempotency_keys": [
        {"principal": "key_1", "key": "k", "request_hash": HASH, "status": 201, "headers": "{}",
         "body": b"\x00\xff", "created_at": AT},
    ],
    "webhook_receipts": [
        {"id": "whr_1", "service": "github", "dedup_key": "d-1", "status": "processed", "event_id": "evt_1",
         "task_id": "T-1", "received_at": AT, "body": b"{}", "body_bytes": 2, "hint": "for the operator"},
        {"id": "whr_2", "service": "github", "status": "rejected", "reason": "bad_signature", "received_at": AT},
    ],
    "webhook_counts": [{"service": "github", "outcome": "accepted", "n": 12}],
    "api_usage": [{"day": "2026-02-02", "key_id": "key_1", "endpoint": "GET /health", "requests": 5}],
    "connectors": [
        {"name": "sink", "breaker": "closed", "paused": 0, "updated_at": AT},
        {"name": "jira", "breaker": "open", "reason": "HTTP 401", "failures": 5, "updated_at": AT},
    ],
    "jobs": [
        {"id": "job_1", "kind": "replay", "state": "cancelled", "parameters": '{"state":"dead"}', "total": 9,
         "done": 3, "last_id": 3, "created_by": "me", "created_at": AT, "updated_at": AT},
    ],
    "workspace_records": [
        {"fingerprint": "f-1", "type": "task_started", "recorded": 2, "standing": 1, "generation": 3},
    ],
    "workspace_tasks": [{"task_id": "T-1", "status": "in_progress", "digest": "d", "told": None, "said": "{}"}],
    "workspace_features": [{"feature_id": "F-1", "digest": "d"}],
    "workspace_state": [{"key": "imported", "value": "true"}],
    "workspace_problems": [{"file": "queue.yaml", "line": 3, "message": "no list", "area": "files"}],
    "workspace_counts": [{"name": "tasks", "n": 2}],
    "webhook_tasks": [{"task_id": "T-1", "service": "github", "held": 1}],
    "access_tokens": [
        {"token_sha256": HASH, "client_id": "key_1", "scopes": '["*"]', "created_at": AT, "expires_at": FAR},
    ],
}  # fmt: skip
"""Rows for every table; of each, the columns that a version has."""


def tables(conn: sqlite3.Connection) -> list[str]:
    sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [name for (name,) in conn.execute(sql)]


def columns(conn: sqlite3.Connection, table: str) -> list[str]:
    """Return the columns that can be written: not those made of others."""
    sql = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0"
    return [name for (name,) in conn.execute(sql, (table,))]


def contents(conn: sqlite3.Connection, shape: dict[str, list[str]]) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of the tables and columns of *shape*."""
    found = {}
    for table, names in shape.items():
        listed = ", ".join(f'"{name}"' for name in names)
        found[table] = sorted(conn.execute(f"SELECT {listed} FROM {table}").fetchall(), key=repr)
    return found


def outline(conn: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """Return what the schema consists of: every column, index, trigger and view."""
    found: set[tuple[Any, ...]] = set()
    for kind, name, sql in conn.execute("SELECT type, name, sql FROM sqlite_schema"):
        found.add((kind, name, None if kind == "table" else sql))
        if kind == "table":
            found.update(conn.execute("SELECT ?, * FROM pragma_table_xinfo(?)", (name, name)))
    return found


def made(path: Path, version: int) -> dict[str, list[str]]:
    """Make a database as the program of schema *version* did, with rows in every table; return its shape."""
    path.touch(0o600)
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
        conn.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        conn.execute("PRAGMA journal_mode = WAL")
        schema.migrate(conn, path, schema.migrations()[:version])
        conn.execute("PRAGMA foreign_keys = ON")
        shape = {table: columns(conn, table) for table in tables(conn)}
        for table in [name for name in SEEDS if name in shape]:
            for row in SEEDS[table]:
                given = {name: value for name, value in row.items() if name in shape[table]}
                marks = ", ".join("?" * len(given))
                conn.execute(
                    f"INSERT INTO {table} ({', '.join(given)}) VALUES ({marks})", tuple(given.values())
                )
    return shape


def test_every_table_has_rows_to_lose(tmp_path: Path) -> None:
    shape = made(tmp_path / "hub.db", NEWEST)
    assert set(shape) == set(SEEDS), "a new table needs rows here"
    for table, rows in SEEDS.items():
        assert {name for row in rows for name in row} <= set(shape[table]), table
        assert rows or table.endswith("_counts"), table


@pytest.mark.parametrize("version", PAST)
async def test_every_past_version_is_upgraded_with_all_its_rows(tmp_path: Path, version: int) -> None:
    path, fresh = tmp_path / "hub.db", tmp_path / "fresh.db"
    shape = made(path, version)
    with closing(sqlite3.connect(path)) as conn:
        before = contents(conn, shape)
    assert all(before.values()), "every table has rows"
    database = await Database.open(path)
    await database.close()
    schema.prepare(fresh)
    with closing(sqlite3.connect(path)) as conn, closing(sqlite3.connect(fresh)) as new:
        assert conn.execute("PRAGMA user_version").fetchone() == (NEWEST,)
        assert contents(conn, shape) == before
        assert outline(conn) == outline(new)
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
        report = verify(conn)
        assert report.clean, report.findings
        assert (report.events, report.deliveries) == (4, 4)
    print(f"schema {version} -> {NEWEST}: {sum(map(len, before.values()))} rows in {len(before)} tables kept")


@pytest.mark.parametrize("version", PAST)
def test_an_upgrade_that_is_interrupted_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path = tmp_path / "hub.db"
    shape = made(path, version)
    with closing(sqlite3.connect(path)) as conn:
        before = contents(conn, shape)
    steps = schema.migrations()
    half = schema.Migration(steps[-1].number, "half.sql", steps[-1].sql + "\nINSERT INTO nowhere VALUES (1);")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: [*steps[:-1], half])
        with pytest.raises(DatabaseRefusedError, match=r"half\.sql failed"):
            schema.prepare(path)
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("PRAGMA user_version").fetchone() == (NEWEST,)
        assert contents(conn, shape) == before


def test_a_newer_version_is_left_untouched_to_the_byte_and_the_second(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    made(path, NEWEST)
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"PRAGMA user_version = {NEWEST + 1}")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    os.utime(path, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    stamp, content = path.stat(), path.read_bytes()
    with pytest.raises(DatabaseRefusedError, match="it was left untouched"):
        schema.prepare(path)
    after = path.stat()
    assert path.read_bytes() == content
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (
        stamp.st_mtime_ns,
        stamp.st_size,
        stamp.st_ino,
    )


@pytest.mark.journey
async def test_a_hub_started_on_the_oldest_version_delivers_what_was_pending(tmp_path: Path) -> None:
    async with Receiver() as sink:
        settings = f'[connectors.sink]\ntype = "webhook"\nurl = "{sink.url}/hook"\nevents = ["*"]\n'
        hub = Hub(tmp_path, settings)
        made(hub.db, 1)
        async with hub:
            pending = "SELECT count(*) FROM outbox WHERE state = 'pending'"
            await eventually(lambda: hub.value(pending) == 0, within_s=20)
            task = await hub.ok("GET", "/api/v1/tasks/T-1")
            assert (task["title"], task["version"]) == ("Tide clock ünïcode ☂", 7)
            assert hub.command("verify").returncode == 0
    assert [item.json["type"] for item in sink.accepted] == ["task_created"] * 2
