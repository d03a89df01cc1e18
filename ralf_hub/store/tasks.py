"""Tasks in SQL: read, write, the queue's order, leases."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ralf_hub.model import Link, Task
from ralf_hub.store import links
from ralf_hub.store.rows import Page, Where, dump, like, load, page_of, position_in, scalar

_COLUMNS: Final = (
    "id, title, status, priority, description, type, feature_id, parent_id, depends_on, progress, assignee, "
    "result, error, metadata, source, version, created_at, updated_at, started_at, completed_at, lease_expires_at"
)

UNMET: Final = (
    "EXISTS (SELECT 1 FROM task_dependencies d JOIN tasks t ON t.id = d.depends_on "
    "WHERE d.task_id = tasks.id AND t.status NOT IN ('completed', 'cancelled'))"
)
"""A task waits while a task it depends on exists and has not ended; what nobody knows cannot be waited for."""

_TAKEN_IN_ORDER: Final = "take_priority, take_place, created_at, id"

_GET: Final = (
    f"SELECT {_COLUMNS}, EXISTS (SELECT 1 FROM links WHERE entity_type = 'task' AND entity_id = tasks.id) "
    "FROM tasks WHERE id = ?"
)
_INSERT: Final = f"INSERT INTO tasks ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING"
_UPDATE: Final = (
    "UPDATE tasks SET title=?, status=?, priority=?, description=?, type=?, feature_id=?, parent_id=?, depends_on=?, "
    "progress=?, assignee=?, result=?, error=?, metadata=?, source=?, version=?, created_at=?, updated_at=?, "
    "started_at=?, completed_at=?, lease_expires_at=? WHERE id=? AND version=?"
)


def _make(row: tuple[Any, ...], task_links: Sequence[Link] = ()) -> Task:
    return Task(
        id=row[0],
        title=row[1],
        status=row[2],
        priority=row[3],
        description=row[4],
        type=row[5],
        feature_id=row[6],
        parent_id=row[7],
        depends_on=() if row[8] == "[]" else tuple(load(row[8])),
        progress=row[9],
        assignee=row[10],
        result=load(row[11]),
        error=row[12],
        metadata={} if row[13] == "{}" else load(row[13]),
        links=tuple(task_links),
        source=row[14],
        version=row[15],
        created_at=row[16],
        updated_at=row[17],
        started_at=row[18],
        completed_at=row[19],
        lease_expires_at=row[20],
    )


def _values(task: Task) -> tuple[Any, ...]:
    return (
        task.id,
        task.title,
        task.status,
        task.priority,
        task.description,
        task.type,
        task.feature_id,
        task.parent_id,
        dump(list(task.depends_on)) if task.depends_on else "[]",
        task.progress,
        task.assignee,
        None if task.result is None else dump(task.result),
        task.error,
        dump(dict(task.metadata)) if task.metadata else "{}",
        task.source,
        task.version,
        task.created_at,
        task.updated_at,
        task.started_at,
        task.completed_at,
        task.lease_expires_at,
    )


def get(conn: sqlite3.Connection, task_id: str) -> Task | None:
    """Return the task with its links, or None."""
    row = conn.execute(_GET, (task_id,)).fetchone()
    return None if row is None else _make(row, links.of_entity(conn, "task", task_id) if row[-1] else ())


def exists(conn: sqlite3.Connection, task_id: str) -> bool:
    """Return whether a task has this id."""
    return conn.execute("SELECT 1 FROM tasks WHERE id = ?", (task_id,)).fetchone() is not None


def insert(conn: sqlite3.Connection, task: Task) -> bool:
    """Add *task*; False when its id is taken."""
    added = conn.execute(_INSERT, _values(task)).rowcount == 1
    if added and task.depends_on:
        _store_dependencies(conn, task)
    return added


def update(conn: sqlite3.Connection, task: Task, *, was: Task) -> bool:
    """Write *task* over *was*; False when the row is no longer the version that was read."""
    values = _values(task)
    changed = conn.execute(_UPDATE, (*values[1:], task.id, was.version)).rowcount == 1
    if changed and task.depends_on != was.depends_on:
        conn.execute("DELETE FROM task_dependencies WHERE task_id = ?", (task.id,))
        _store_dependencies(conn, task)
    return changed


def _store_dependencies(conn: sqlite3.Connection, task: Task) -> None:
    conn.executemany(
        "INSERT OR IGNORE INTO task_dependencies VALUES (?, ?)",
        [(task.id, other) for other in task.depends_on],
    )


def unknown(conn: sqlite3.Connection, ids: Iterable[str]) -> list[str]:
    """Return those of *ids* that no task has."""
    return [task_id for task_id in ids if not exists(conn, task_id)]


def reaches(conn: sqlite3.Connection, start: Iterable[str], target: str) -> bool:
    """Return whether following dependencies from *start* comes to *target*: then target -> start closes a cycle."""
    return (
        conn.execute(
            "WITH RECURSIVE reach(id) AS (SELECT value FROM json_each(?) "
            "UNION SELECT d.depends_on FROM task_dependencies d JOIN reach ON d.task_id = reach.id) "
            "SELECT 1 FROM reach WHERE id = ? LIMIT 1",
            (dump(list(start)), target),
        ).fetchone()
        is not None
    )


def page(
    conn: sqlite3.Connection,
    *,
    limit: int,
    cursor: str | None = None,
    status: str | None = None,
    priority: str | None = None,
    feature_id: str | None = None,
    q: str | None = None,
) -> Page[Task]:
    """Return tasks, newest first."""
    where = Where.of(status=status, priority=priority, feature_id=feature_id)
    if q:
        pattern = like(q)
        where.add(
            r"(title LIKE ? ESCAPE '\' OR id LIKE ? ESCAPE '\' OR description LIKE ? ESCAPE '\')",
            *[pattern] * 3,
        )
    if priority is None and feature_id is None and not q:
        total = count(conn, status)  # kept by triggers
    else:
        total = scalar(conn, f"SELECT count(*) FROM tasks{where.sql}", where.values)
    if cursor is not None:
        where.add("(created_at, id) < (?, ?)", *position_in("tasks", cursor, str, str))
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM tasks{where.sql} ORDER BY created_at DESC, id DESC LIMIT ?",
        (*where.values, limit + 1),
    ).fetchall()
    by_task = links.of_entities(conn, "task", [row[0] for row in rows])
    return page_of(
        "tasks",
        rows,
        limit,
        total,
        lambda row: _make(row, by_task.get(row[0], ())),
        lambda task: (task.created_at, task.id),
    )


def count(conn: sqlite3.Connection, status: str | None = None) -> int:
    """Return how many tasks there are, of one status or all."""
    if status is None:
        return scalar(conn, "SELECT coalesce(sum(n), 0) FROM task_counts")  # type: ignore[no-any-return]
    return scalar(conn, "SELECT coalesce(sum(n), 0) FROM task_counts WHERE status = ?", (status,))  # type: ignore[no-any-return]


def counts(conn: sqlite3.Connection) -> dict[str, int]:
    """Return how many tasks each status has."""
    return dict(conn.execute("SELECT status, n FROM task_counts").fetchall())


def claimable(conn: sqlite3.Connection, limit: int) -> list[Task]:
    """Return the pending tasks that wait for nobody, in the order RALF will take them.

    Tasks of queue.yaml among each other as RALF's own script takes them, the others by priority, then age.
    """
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM tasks INDEXED BY tasks_queue "
        f"WHERE status = 'pending' AND shelved = 0 AND NOT {UNMET} ORDER BY {_TAKEN_IN_ORDER} LIMIT ?",
        (limit,),
    ).fetchall()
    by_task = links.of_entities(conn, "task", [row[0] for row in rows])
    return [_make(row, by_task.get(row[0], ())) for row in rows]


def waiting(conn: sqlite3.Connection, limit: int) -> list[Task]:
    """Return the tasks that cannot be taken: blocked, put aside, or pending with dependencies that are not done."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM tasks WHERE id IN (SELECT id FROM tasks WHERE status = 'blocked' "
        "UNION ALL SELECT id FROM tasks INDEXED BY tasks_shelved WHERE shelved = 1 AND status = 'pending' "
        f"UNION ALL SELECT id FROM tasks INDEXED BY tasks_by_status WHERE status = 'pending' AND {UNMET}) ORDER BY {_TAKEN_IN_ORDER} LIMIT ?",
        (limit,),
    ).fetchall()
    return [_make(row) for row in rows]


def queue_numbers(conn: sqlite3.Connection) -> tuple[int, dict[str, int], str | None]:
    """Return depth, pending tasks by priority, and when the oldest pending task was created."""
    by_priority = dict(
        conn.execute(
            "SELECT priority, count(*) FROM tasks INDEXED BY tasks_pending_by_priority "
            "WHERE status = 'pending' GROUP BY priority"
        ).fetchall()
    )
    oldest = scalar(conn, "SELECT min(created_at) FROM tasks WHERE status = 'pending'")
    return sum(by_priority.values()), by_priority, oldest


def with_lapsed_lease(conn: sqlite3.Connection, *, now: str, limit: int) -> list[str]:
    """Return ids of tasks whose lease has ended."""
    rows = conn.execute(
        "SELECT id FROM tasks WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ? "
        "ORDER BY lease_expires_at LIMIT ?",
        (now, limit),
    ).fetchall()
    return [row[0] for row in rows]


class Rank(NamedTuple):
    """A task's place in queue.yaml, and the most urgent priority (0 to 3) from there on."""

    place: int
    priority: int


def set_ranks(conn: sqlite3.Connection, ranks: Mapping[str, Rank], *, gone: Iterable[str] = ()) -> None:
    """Note where tasks stand in queue.yaml; those *gone* stand there no more."""
    conn.executemany(
        "UPDATE tasks SET queue_rank = ?, queue_priority = ? WHERE id = ?",
        [(rank.place, rank.priority, task_id) for task_id, rank in ranks.items()],
    )
    conn.executemany(
        "UPDATE tasks SET queue_rank = NULL, queue_priority = NULL WHERE id = ?",
        [(task_id,) for task_id in gone],
    )


def ranks(conn: sqlite3.Connection) -> dict[str, Rank]:
    """Return where tasks stand in queue.yaml."""
    rows = conn.execute("SELECT id, queue_rank, queue_priority FROM tasks WHERE queue_rank IS NOT NULL")
    return {row[0]: Rank(row[1], row[2]) for row in rows}


def shelve(conn: sqlite3.Connection, task_id: str, *, shelved: bool) -> None:
    """Note whether RALF takes nothing from where the task stands."""
    conn.execute("UPDATE tasks SET shelved = ? WHERE id = ? AND shelved <> ?1", (shelved, task_id))
