"""Links in SQL: what stands outside for a task, a feature or an alert."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from ralf_hub.model import Link
from ralf_hub.store.rows import dump

_COLUMNS: Final = (
    "connector, entity_type, entity_id, external_id, external_key, url, state, last_state, marker"
)

FEATURE_LINKS_MAX: Final = 50


def _make(row: tuple[Any, ...]) -> Link:
    return Link(
        connector=row[0],
        entity_type=row[1],
        entity_id=row[2],
        external_id=row[3],
        external_key=row[4],
        url=row[5],
        state=row[6],
        last_state=row[7],
        marker=row[8],
    )


def get(conn: sqlite3.Connection, connector: str, entity_type: str, entity_id: str) -> Link | None:
    """Return the link of one connector to one entity, or None."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM links WHERE connector = ? AND entity_type = ? AND entity_id = ?",
        (connector, entity_type, entity_id),
    ).fetchone()
    return None if row is None else _make(row)


def by_external(conn: sqlite3.Connection, connector: str, external_id: str) -> Link | None:
    """Return the link that stands for this external object, or None."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM links WHERE connector = ? AND external_id = ?", (connector, external_id)
    ).fetchone()
    return None if row is None else _make(row)


def of_entity(conn: sqlite3.Connection, entity_type: str, entity_id: str) -> list[Link]:
    """Return every link of one entity."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM links WHERE entity_type = ? AND entity_id = ? ORDER BY connector",
        (entity_type, entity_id),
    ).fetchall()
    return [_make(row) for row in rows]


def of_entities(conn: sqlite3.Connection, entity_type: str, ids: Sequence[str]) -> dict[str, list[Link]]:
    """Return the links of several entities, by entity id."""
    found: dict[str, list[Link]] = {}
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM links WHERE entity_type = ? AND entity_id IN (SELECT value FROM json_each(?)) "
        "ORDER BY connector",
        (entity_type, dump(list(ids))),
    )
    for row in rows:
        found.setdefault(row[2], []).append(_make(row))
    return found


def of_feature(conn: sqlite3.Connection, connector: str, feature_id: str) -> tuple[Link, ...]:
    """Return one connector's links to the tasks of a feature, the first `FEATURE_LINKS_MAX` of them."""
    columns = ", ".join(f"l.{name.strip()}" for name in _COLUMNS.split(","))
    rows = conn.execute(
        f"SELECT {columns} FROM tasks AS t JOIN links AS l ON l.entity_type = 'task' AND l.entity_id = t.id "
        "WHERE l.connector = ? AND t.feature_id = ? ORDER BY t.created_at, t.id LIMIT ?",
        (connector, feature_id, FEATURE_LINKS_MAX),
    ).fetchall()
    return tuple(_make(row) for row in rows)


def save(conn: sqlite3.Connection, link: Link, *, now: str) -> None:
    """Insert or change *link*. What is None in it leaves what is known."""
    conn.execute(
        f"INSERT INTO links ({_COLUMNS}, created_at, updated_at) VALUES (?,?,?,?,?,?,?,?,?,?,?) "
        "ON CONFLICT (connector, entity_type, entity_id) DO UPDATE SET "
        "external_id = coalesce(excluded.external_id, external_id), "
        "external_key = coalesce(excluded.external_key, external_key), url = coalesce(excluded.url, url), "
        "state = excluded.state, last_state = coalesce(excluded.last_state, last_state), "
        "marker = CASE excluded.marker WHEN '' THEN marker ELSE excluded.marker END, updated_at = excluded.updated_at",
        (
            link.connector,
            link.entity_type,
            link.entity_id,
            link.external_id,
            link.external_key,
            link.url,
            link.state,
            link.last_state,
            link.marker,
            now,
            now,
        ),
    )


def for_thing(
    conn: sqlite3.Connection,
    connectors: Sequence[str],
    *,
    ids: Sequence[str],
    keys: Sequence[str] = (),
    urls: Sequence[str] = (),
) -> Link | None:
    """Return the link of one of *connectors* whose object goes by one of these ids, keys or URLs."""
    names = dump(list(connectors))
    for column, values in (("external_id", ids), ("external_key", keys), ("url", urls)):
        if not values:
            continue
        row = conn.execute(
            f"SELECT {_COLUMNS} FROM links WHERE {column} IN (SELECT value FROM json_each(?)) "
            "AND connector IN (SELECT value FROM json_each(?)) AND entity_type = 'task' "
            "ORDER BY updated_at DESC LIMIT 1",
            (dump(list(values)), names),
        ).fetchone()
        if row is not None:
            return _make(row)
    return None


def free(conn: sqlite3.Connection, connector: str, external_id: str) -> None:
    """Let go of an object, so that it may stand for another entity."""
    conn.execute("DELETE FROM links WHERE connector = ? AND external_id = ?", (connector, external_id))


def saw_state(conn: sqlite3.Connection, link: Link, state: str, *, now: str) -> None:
    """Note the state a link's object was last seen in."""
    conn.execute(
        "UPDATE links SET last_state = ?, updated_at = ? WHERE connector = ? AND entity_type = ? AND entity_id = ?",
        (state, now, link.connector, link.entity_type, link.entity_id),
    )
