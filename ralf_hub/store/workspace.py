"""What is known of RALF's files, in SQL: problems and counts."""

import sqlite3

from ralf_hub.model import Json


def problems(conn: sqlite3.Connection, *, limit: int) -> list[dict[str, Json]]:
    """Return what could not be read, by file and line."""
    rows = conn.execute(
        "SELECT file, line, message FROM workspace_problems ORDER BY file, line LIMIT ?", (limit,)
    )
    return [{"file": file, "line": line, "message": message} for file, line, message in rows]


def counts(conn: sqlite3.Connection) -> dict[str, Json]:
    """Return what was read from the files, as `/api/v1/workspace` shows it."""
    numbers: dict[str, int] = dict(conn.execute("SELECT name, n FROM workspace_counts").fetchall())

    def below(prefix: str) -> dict[str, int]:
        return {name[len(prefix) :]: n for name, n in sorted(numbers.items()) if name.startswith(prefix)}

    return {
        "tasks": numbers.get("tasks", 0),
        "tasks_by_status": below("tasks."),
        "events": numbers.get("events", 0),
        "events_by_type": below("events."),
        "queue": numbers.get("queue", 0),
        "features": numbers.get("features", 0),
    }
