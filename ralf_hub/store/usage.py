"""API usage in SQL: added to in small batches, read by key, endpoint or day."""

import sqlite3
from collections.abc import Mapping
from typing import Any, Final, Protocol

GROUPS: Final = {"key": "key_id", "endpoint": "endpoint", "day": "day"}


class UsageRow(Protocol):
    """The numbers of one key at one endpoint on one day."""

    requests: int
    errors_4xx: int
    errors_5xx: int
    duration_us: int
    bytes_out: int


def add(conn: sqlite3.Connection, usage: Mapping[tuple[str, str, str], UsageRow]) -> None:
    """Add numbers by (day, key, endpoint)."""
    conn.executemany(
        "INSERT INTO api_usage VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (day, key_id, endpoint) DO UPDATE SET "
        "requests = requests + excluded.requests, errors_4xx = errors_4xx + excluded.errors_4xx, "
        "errors_5xx = errors_5xx + excluded.errors_5xx, duration_us = duration_us + excluded.duration_us, "
        "bytes_out = bytes_out + excluded.bytes_out",
        [
            (*place, row.requests, row.errors_4xx, row.errors_5xx, row.duration_us, row.bytes_out)
            for place, row in usage.items()
        ],
    )


def summed(conn: sqlite3.Connection, *, since: str, until: str, by: str) -> list[dict[str, Any]]:
    """Return the usage from day *since* to day *until*, both included, summed by `key`, `endpoint` or `day`."""
    column = GROUPS[by]
    rows = conn.execute(
        f"SELECT {column}, sum(requests), sum(errors_4xx), sum(errors_5xx), sum(duration_us), sum(bytes_out) "
        f"FROM api_usage WHERE day BETWEEN ? AND ? GROUP BY {column} ORDER BY {column}",
        (since, until),
    ).fetchall()
    return [
        {
            by: row[0],
            "requests": row[1],
            "errors_4xx": row[2],
            "errors_5xx": row[3],
            "mean_ms": round(row[4] / row[1] / 1000, 3) if row[1] else None,
            "bytes_out": row[5],
        }
        for row in rows
    ]
