"""What is known of RALF's files, in SQL: records by content, tasks as last read, problems, counts."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ralf_hub.model import Json
from ralf_hub.store.rows import dump, load, scalar

PROBLEMS_MAX: Final = 2_000
"""Problems kept of one area; a file that is nothing but damage must not fill the database."""


class Standing(NamedTuple):
    """How often a record was taken over, how often it stands in the file, and in which generation that was counted."""

    recorded: int
    standing: int
    generation: int


# --- records of events.yaml -----------------------------------------------------------------------


def standings(conn: sqlite3.Connection, fingerprints: Iterable[str]) -> dict[str, Standing]:
    """Return the counts of those *fingerprints* that are known."""
    rows = conn.execute(
        "SELECT fingerprint, recorded, standing, generation FROM workspace_records "
        "WHERE fingerprint IN (SELECT value FROM json_each(?))",
        (dump(list(fingerprints)),),
    )
    return {row[0]: Standing(*row[1:]) for row in rows}


def save_standings(
    conn: sqlite3.Connection, changed: Mapping[str, tuple[int, int, int]], types: Mapping[str, str]
) -> None:
    """Write counts; *types* names the type of each new fingerprint."""
    conn.executemany(
        "INSERT INTO workspace_records (fingerprint, type, recorded, standing, generation) VALUES (?,?,?,?,?) "
        "ON CONFLICT (fingerprint) DO UPDATE SET recorded = excluded.recorded, standing = excluded.standing, "
        "generation = excluded.generation",
        [(name, types.get(name, ""), *counts) for name, counts in changed.items()],
    )


def types_of(conn: sqlite3.Connection, fingerprints: Iterable[str]) -> dict[str, str]:
    """Return the types of known *fingerprints*."""
    rows = conn.execute(
        "SELECT fingerprint, type FROM workspace_records WHERE fingerprint IN (SELECT value FROM json_each(?))",
        (dump(list(fingerprints)),),
    )
    return dict(rows.fetchall())


def expect(conn: sqlite3.Connection, fingerprint: str, record_type: str) -> bool:
    """Count a record that the hub itself is about to write, so that reading it back is no news.

    Returns whether it was counted before: then an earlier try may have written it.
    """
    known = conn.execute("SELECT 1 FROM workspace_records WHERE fingerprint = ?", (fingerprint,)).fetchone()
    if known is None:
        conn.execute("INSERT INTO workspace_records VALUES (?, ?, 1, 0, 0)", (fingerprint, record_type))
    return known is not None


# --- tasks and features as last read --------------------------------------------------------------


class TaskSeen(NamedTuple):
    """What the files said of a task when they were last read; `said` has a digest per field."""

    status: str
    digest: str
    said: Mapping[str, Json] | None = None


def tasks_seen(conn: sqlite3.Connection) -> dict[str, str]:
    """Return the digest of every task as last read, by id."""
    return dict(conn.execute("SELECT task_id, digest FROM workspace_tasks").fetchall())


def task_seen(conn: sqlite3.Connection, task_id: str) -> TaskSeen | None:
    """Return what was last read of one task, or None."""
    row = conn.execute(
        "SELECT status, digest, said FROM workspace_tasks WHERE task_id = ?", (task_id,)
    ).fetchone()
    return None if row is None else TaskSeen(row[0], row[1], load(row[2]))


def save_task_seen(
    conn: sqlite3.Connection, task_id: str, seen: TaskSeen, *, told: str | None = None
) -> None:
    """Note what was read of a task; *told* is the event that went out because of it."""
    conn.execute(
        "INSERT INTO workspace_tasks (task_id, status, digest, said, told) VALUES (?,?,?,?,?) "
        "ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, digest = excluded.digest, "
        "said = excluded.said, told = coalesce(excluded.told, told)",
        (task_id, seen.status, seen.digest, None if seen.said is None else dump(dict(seen.said)), told),
    )


def forget_tasks(conn: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Forget what was read of tasks whose files are gone; the tasks themselves stay."""
    conn.executemany("DELETE FROM workspace_tasks WHERE task_id = ?", [(task_id,) for task_id in ids])


def take_told(conn: sqlite3.Connection, task_id: str, event_type: str) -> bool:
    """Return whether *event_type* was just told of the task because its folder moved, and forget it."""
    taken = conn.execute(
        "UPDATE workspace_tasks SET told = NULL WHERE task_id = ? AND told = ?", (task_id, event_type)
    )
    return taken.rowcount == 1


def features_seen(conn: sqlite3.Connection) -> dict[str, str]:
    """Return the digest of every feature as last read."""
    return dict(conn.execute("SELECT feature_id, digest FROM workspace_features").fetchall())


def save_feature_seen(conn: sqlite3.Connection, feature_id: str, digest: str) -> None:
    """Note what was read of a feature."""
    conn.execute("INSERT OR REPLACE INTO workspace_features VALUES (?, ?)", (feature_id, digest))


# --- where the reading stands ---------------------------------------------------------------------


def state(conn: sqlite3.Connection, key: str) -> Json:
    """Return a stored state, or None."""
    return load(scalar(conn, "SELECT value FROM workspace_state WHERE key = ?", (key,)))


def save_state(conn: sqlite3.Connection, key: str, value: Json) -> None:
    """Store a state."""
    conn.execute("INSERT OR REPLACE INTO workspace_state VALUES (?, ?)", (key, dump(value)))


# --- problems and counts --------------------------------------------------------------------------

ProblemRow = tuple[str, int | None, str]
"""File, line (None: all of it), message."""


def forget_problems(conn: sqlite3.Connection, area: str, *, from_line: int = 0) -> None:
    """Forget the problems of *area*; with *from_line*, those from that line on."""
    conn.execute("DELETE FROM workspace_problems WHERE area = ? AND line >= ?", (area, from_line))


def add_problems(conn: sqlite3.Connection, area: str, rows: Sequence[ProblemRow]) -> None:
    """Add problems, up to the limit of the area."""
    if not rows:
        return
    room = PROBLEMS_MAX - scalar(conn, "SELECT count(*) FROM workspace_problems WHERE area = ?", (area,))
    conn.executemany(
        "INSERT OR IGNORE INTO workspace_problems (area, file, line, message) VALUES (?,?,?,?)",
        [(area, file, line or 0, message) for file, line, message in rows[: max(0, room)]],
    )


def problems(conn: sqlite3.Connection, *, limit: int) -> list[dict[str, Json]]:
    """Return what could not be read, by file and line; line None means the whole file."""
    rows = conn.execute(
        "SELECT file, line, message FROM workspace_problems ORDER BY file, line LIMIT ?", (limit,)
    )
    return [{"file": file, "line": line or None, "message": message} for file, line, message in rows]


def set_counts(conn: sqlite3.Connection, prefix: str, counts: Mapping[str, int]) -> None:
    """Replace every count that begins with *prefix*, and the one of that name."""
    conn.execute(
        "DELETE FROM workspace_counts WHERE name = ? OR substr(name, 1, ?) = ?",
        (prefix, len(prefix) + 1, prefix + "."),
    )
    add_counts(conn, prefix, counts)


def add_counts(conn: sqlite3.Connection, prefix: str, counts: Mapping[str, int]) -> None:
    """Add to the counts below *prefix* and to their sum."""
    rows = [(f"{prefix}.{name}", n) for name, n in counts.items()]
    rows.append((prefix, sum(counts.values())))
    conn.executemany(
        "INSERT INTO workspace_counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n", rows
    )


def counts(conn: sqlite3.Connection) -> dict[str, Json]:
    """Return what was read from the files, as `/api/v1/workspace` shows it."""
    numbers: dict[str, int] = dict(conn.execute("SELECT name, n FROM workspace_counts").fetchall())

    def below(prefix: str) -> dict[str, int]:
        return {
            name[len(prefix) :]: n for name, n in sorted(numbers.items()) if name.startswith(prefix) and n
        }

    return {
        "tasks": numbers.get("tasks", 0),
        "tasks_by_status": below("tasks."),
        "events": numbers.get("events", 0),
        "events_by_type": below("events."),
        "queue": numbers.get("queue", 0),
        "features": numbers.get("features", 0),
    }
