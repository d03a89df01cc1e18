"""What is known of each connector across restarts: breaker, pause, last delivery, last error."""

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

_COLUMNS: Final = (
    "name, breaker, reason, failures, opened_at, probe_at, probes, paused, paused_by, held_until, "
    "last_delivered_at, last_error, last_error_at"
)

_PAUSED: Final = 7


@dataclass(frozen=True, slots=True)
class ConnectorState:
    """The durable state of one connector. `breaker`: closed, open (probes itself), disabled (someone must resume)."""

    name: str
    breaker: str = "closed"
    reason: str | None = None
    failures: int = 0
    opened_at: str | None = None
    probe_at: str | None = None
    probes: int = 0
    paused: bool = False
    paused_by: str | None = None
    held_until: str | None = None
    last_delivered_at: str | None = None
    last_error: str | None = None
    last_error_at: str | None = None


def _make(row: Any) -> ConnectorState:
    values = [*row]
    values[_PAUSED] = bool(values[_PAUSED])
    return ConnectorState(*values)


def everyone(conn: sqlite3.Connection) -> dict[str, ConnectorState]:
    """Return the state of every connector ever seen, by name."""
    return {row[0]: _make(row) for row in conn.execute(f"SELECT {_COLUMNS} FROM connectors")}


def get(conn: sqlite3.Connection, name: str) -> ConnectorState:
    """Return the state of one connector; a new one is closed and not paused."""
    row = conn.execute(f"SELECT {_COLUMNS} FROM connectors WHERE name = ?", (name,)).fetchone()
    return ConnectorState(name) if row is None else _make(row)


def save(conn: sqlite3.Connection, state: ConnectorState, *, now: str) -> None:
    """Write what was learnt while delivering; a pause set meanwhile by someone else stays as it is."""
    conn.execute(
        f"INSERT INTO connectors ({_COLUMNS}, updated_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
        "ON CONFLICT (name) DO UPDATE SET breaker = excluded.breaker, reason = excluded.reason, "
        "failures = excluded.failures, opened_at = excluded.opened_at, probe_at = excluded.probe_at, "
        "probes = excluded.probes, held_until = excluded.held_until, last_delivered_at = excluded.last_delivered_at, "
        "last_error = excluded.last_error, last_error_at = excluded.last_error_at, updated_at = excluded.updated_at",
        (
            state.name,
            state.breaker,
            state.reason,
            state.failures,
            state.opened_at,
            state.probe_at,
            state.probes,
            int(state.paused),
            state.paused_by,
            state.held_until,
            state.last_delivered_at,
            state.last_error,
            state.last_error_at,
            now,
        ),
    )


def set_paused(conn: sqlite3.Connection, name: str, *, paused: bool, by: str | None, now: str) -> None:
    """Pause or unpause without touching what else is known."""
    conn.execute(
        "INSERT INTO connectors (name, paused, paused_by, updated_at) VALUES (?,?,?,?) "
        "ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, paused_by = excluded.paused_by, "
        "updated_at = excluded.updated_at",
        (name, int(paused), by, now),
    )


def probe_at(conn: sqlite3.Connection, moment: str) -> None:
    """Let every open breaker be probed at *moment*."""
    conn.execute("UPDATE connectors SET probe_at = ? WHERE breaker = 'open'", (moment,))
