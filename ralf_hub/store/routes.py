"""Since which event the present routes decide who gets one: what `verify` may hold events against."""

import sqlite3
from dataclasses import dataclass
from typing import Final

from ralf_hub.store.rows import dump, load, scalar

_KEY: Final = "routes"


@dataclass(frozen=True, slots=True)
class RoutesInForce:
    """Events with a `seq` above *since_seq* were routed by the routes with this fingerprint."""

    fingerprint: str
    since_seq: int


def in_force(conn: sqlite3.Connection) -> RoutesInForce | None:
    """Return what the hub last noted, None where no hub has run yet."""
    noted: str | None = scalar(conn, "SELECT value FROM meta WHERE key = ?", (_KEY,))
    return None if noted is None else RoutesInForce(**load(noted))


def put_in_force(conn: sqlite3.Connection, fingerprint: str) -> None:
    """Note that from the next event on these routes decide; routes that are in force already stay as noted."""
    known = in_force(conn)
    if known is None or known.fingerprint != fingerprint:
        last = scalar(conn, "SELECT seq FROM sqlite_sequence WHERE name = 'events'") or 0
        _note(conn, RoutesInForce(fingerprint, last))


def went_other_ways(conn: sqlite3.Connection, fingerprint: str, seq: int) -> None:
    """Note that the event *seq* went by these routes; where the hub has others, `verify` begins after it."""
    known = in_force(conn)
    if known is not None and known.fingerprint != fingerprint:
        _note(conn, RoutesInForce(known.fingerprint, seq))


def _note(conn: sqlite3.Connection, routes: RoutesInForce) -> None:
    value = dump({"fingerprint": routes.fingerprint, "since_seq": routes.since_seq})
    conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, value))
