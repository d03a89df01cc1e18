"""Features in SQL."""

import sqlite3
from typing import Any, Final

from ralf_hub.model import Feature
from ralf_hub.store.rows import Page, Where, dump, load, page_of, position_in, scalar

_COLUMNS: Final = (
    "id, title, status, priority, description, source, metadata, created_at, updated_at, delivered_at"
)
_TALLY: Final = (
    "(SELECT count(*) FROM tasks WHERE feature_id = features.id), "
    "(SELECT count(*) FROM tasks WHERE feature_id = features.id AND status = 'completed')"
)


def _make(row: tuple[Any, ...]) -> Feature:
    return Feature(
        id=row[0],
        title=row[1],
        status=row[2],
        priority=row[3],
        description=row[4],
        source=row[5],
        metadata=load(row[6]),
        created_at=row[7],
        updated_at=row[8],
        delivered_at=row[9],
        tasks_total=row[10],
        tasks_completed=row[11],
    )


def get(conn: sqlite3.Connection, feature_id: str) -> Feature | None:
    """Return one feature with the tally of its tasks, or None."""
    row = conn.execute(f"SELECT {_COLUMNS}, {_TALLY} FROM features WHERE id = ?", (feature_id,)).fetchone()
    return None if row is None else _make(row)


def page(
    conn: sqlite3.Connection, *, limit: int, cursor: str | None = None, status: str | None = None
) -> Page[Feature]:
    """Return features by id."""
    where = Where.of(status=status)
    total = scalar(conn, f"SELECT count(*) FROM features{where.sql}", where.values)
    if cursor is not None:
        where.add("id > ?", *position_in("features", cursor, str))
    rows = conn.execute(
        f"SELECT {_COLUMNS}, {_TALLY} FROM features{where.sql} ORDER BY id LIMIT ?",
        (*where.values, limit + 1),
    ).fetchall()
    return page_of("features", rows, limit, total, _make, lambda feature: (feature.id,))


def has_unfinished(conn: sqlite3.Connection, feature_id: str) -> bool:
    """Return whether a task of the feature is open or failed."""
    return bool(
        scalar(
            conn,
            "SELECT EXISTS (SELECT 1 FROM tasks WHERE feature_id = ? AND status NOT IN ('completed', 'cancelled'))",
            (feature_id,),
        )
    )


def save(conn: sqlite3.Connection, feature: Feature) -> None:
    """Insert *feature* or write it over the one with its id."""
    conn.execute(
        f"INSERT INTO features ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET "
        "title = excluded.title, status = excluded.status, priority = excluded.priority, "
        "description = excluded.description, source = excluded.source, metadata = excluded.metadata, "
        "updated_at = excluded.updated_at, delivered_at = excluded.delivered_at",
        (
            feature.id,
            feature.title,
            feature.status,
            feature.priority,
            feature.description,
            feature.source,
            dump(dict(feature.metadata)),
            feature.created_at,
            feature.updated_at,
            feature.delivered_at,
        ),
    )
