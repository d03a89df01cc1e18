"""What may happen to a task, and what event each change makes. Synchronous: runs inside the transaction."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ralf_hub.errors import ConflictError, FieldError, HubError, NotFoundError, ValidationError
from ralf_hub.intake.features import deliver_if_done, ensure
from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import (
    CANCELLED,
    COMPLETED,
    IN_PROGRESS,
    OPEN_STATUSES,
    PENDING,
    STATUS_EVENT,
    TASK_TRANSITIONS,
    Json,
    Task,
)
from ralf_hub.store import tasks

CHANGEABLE: Final = (
    "title",
    "description",
    "type",
    "priority",
    "feature_id",
    "parent_id",
    "depends_on",
    "metadata",
    "status",
    "progress",
    "assignee",
    "result",
    "error",
)
CHANGED_TEXT_MAX: Final = 2_000
"""Longer texts in an event's `changes` are cut: the task itself has them whole."""


@dataclass(frozen=True, slots=True)
class TaskDraft:
    """A task to create. Without an id one is made."""

    title: str
    id: str | None = None
    description: str = ""
    type: str | None = None
    priority: str = "medium"
    feature_id: str | None = None
    parent_id: str | None = None
    depends_on: tuple[str, ...] = ()
    assignee: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)


def create(ledger: Ledger, draft: TaskDraft, *, source: str) -> Task:
    """Create a task. ConflictError `task_exists`; ValidationError for dependencies nobody knows."""
    task_id = draft.id or _name(ledger)
    _check_dependencies(ledger, task_id, draft.depends_on)
    task = Task(
        id=task_id,
        title=draft.title,
        description=draft.description,
        type=draft.type,
        priority=draft.priority,
        feature_id=draft.feature_id,
        parent_id=draft.parent_id,
        depends_on=draft.depends_on,
        assignee=draft.assignee,
        metadata=draft.metadata,
        source=source,
        created_at=ledger.now,
        updated_at=ledger.now,
    )
    while not tasks.insert(ledger.conn, task):
        if draft.id is not None:
            raise ConflictError(f"A task with the id {task_id} exists.", code="task_exists")
        task = replace(task, id=_name(ledger))
    if task.feature_id is not None:
        ensure(ledger, task.feature_id, source=source)
    ledger.record("task_created", task=task, source=source, data=_facts(task))
    return task


def _name(ledger: Ledger) -> str:
    return f"TASK-{ledger.clock.now() // 1000}-{ledger.clock.token(4)}"


def new_id(ledger: Ledger) -> str:
    """Return an id in RALF's style, `TASK-<unix time>-<random>`, that no task has."""
    while True:
        task_id = _name(ledger)
        if not tasks.exists(ledger.conn, task_id):
            return task_id


def change(
    ledger: Ledger,
    task_id: str,
    changes: Mapping[str, Any],
    *,
    source: str,
    expected_version: int | None = None,
    occurred_at: str | None = None,
    data: Mapping[str, Json] | None = None,
) -> Task:
    """Change the fields given and record one event; nothing changed, nothing recorded.

    HubError `not_found`, `version_mismatch`, `invalid_transition` (with the allowed statuses), `validation_failed`.
    """
    was = _present(ledger, task_id, expected_version)
    wanted = {name: value for name, value in changes.items() if getattr(was, name) != value}
    if not wanted:
        return was
    status = wanted.get("status", was.status)
    _check_transition(was, status)
    if "progress" in wanted:
        _check_progress(was, status)
    if "depends_on" in wanted:
        _check_dependencies(ledger, task_id, wanted["depends_on"])
    task = settle(ledger, was, wanted)
    if task.feature_id is not None and task.feature_id != was.feature_id:
        ensure(ledger, task.feature_id, source=source)
    ledger.record(
        _event_type(was, task, wanted),
        task=task,
        source=source,
        occurred_at=occurred_at,
        data={**_facts(task), "previous_status": was.status, "changes": _shown(wanted), **(data or {})},
    )
    deliver_if_done(ledger, was, task, source=source)
    return task


def settle(ledger: Ledger, was: Task, wanted: Mapping[str, Any]) -> Task:
    """Write what was wanted and what follows from it; the event is the caller's, and so is asking what is allowed."""
    task = _applied(was, wanted, ledger.now)
    tasks.update(ledger.conn, task, was=was)
    return task


def _present(ledger: Ledger, task_id: str, expected_version: int | None) -> Task:
    """Return the task as it is. HubError `not_found`, `version_mismatch`."""
    task = tasks.get(ledger.conn, task_id)
    if task is None:
        raise NotFoundError(f"There is no task {task_id}.")
    if expected_version is not None and task.version != expected_version:
        raise HubError(
            f"The task is at version {task.version}, you changed version {expected_version}.",
            code="version_mismatch",
            extra={"version": task.version},
        )
    return task


def _applied(was: Task, wanted: Mapping[str, Any], now: str) -> Task:
    """Return the task with what was wanted and what follows from it."""
    task = replace(was, **wanted, version=was.version + 1, updated_at=now)
    if task.status == was.status:
        return task
    follows: dict[str, Any] = {}
    if task.status != IN_PROGRESS:
        follows["lease_expires_at"] = None
    if task.status == IN_PROGRESS:
        follows["started_at"] = was.started_at or now
        if "error" not in wanted:
            follows["error"] = None
    if task.status == COMPLETED:
        follows |= {"completed_at": now, "started_at": was.started_at or now, "progress": 100}
        if "error" not in wanted:
            follows["error"] = None
    if task.status == PENDING and "assignee" not in wanted:
        follows["assignee"] = None
    return replace(task, **follows)


def _check_transition(was: Task, status: str) -> None:
    allowed = TASK_TRANSITIONS[was.status]
    if status != was.status and status not in allowed:
        raise ConflictError(
            f"A task that is {was.status} cannot become {status}.",
            code="invalid_transition",
            extra={"current": was.status, "requested": status, "allowed": sorted(allowed)},
        )


def _check_progress(was: Task, status: str) -> None:
    """Refuse progress of what has ended and stays so."""
    if was.status not in OPEN_STATUSES and status not in OPEN_STATUSES:
        raise ConflictError(
            f"A task that is {was.status} makes no progress.",
            code="invalid_transition",
            extra={"current": was.status, "allowed": sorted(TASK_TRANSITIONS[was.status])},
        )


def _check_dependencies(ledger: Ledger, task_id: str, depends_on: tuple[str, ...]) -> None:
    """Refuse what nobody knows and what would close a cycle: such a task could never be taken."""
    if not depends_on:
        return
    errors = [
        FieldError(f"depends_on[{depends_on.index(other)}]", f"There is no task {other}.")
        for other in tasks.unknown(ledger.conn, [other for other in depends_on if other != task_id])
    ]
    if task_id in depends_on or tasks.reaches(ledger.conn, depends_on, task_id):
        errors.append(
            FieldError("depends_on", f"Task {task_id} would wait for itself: the dependencies form a cycle.")
        )
    if errors:
        raise ValidationError(errors=errors)


def _event_type(was: Task, task: Task, wanted: Mapping[str, Any]) -> str:
    if task.status != was.status:
        return STATUS_EVENT[task.status]
    return "task_progress" if set(wanted) <= {"progress"} else "task_updated"


def _facts(task: Task) -> dict[str, Json]:
    """Return what an event says of its task: enough to read it without asking for the task."""
    facts: dict[str, Json] = {"title": task.title, "status": task.status, "priority": task.priority}
    if task.feature_id is not None:
        facts["feature_id"] = task.feature_id
    if task.status == COMPLETED and task.result is not None:
        facts["result"] = task.result
    if task.error is not None:
        facts["error"] = task.error
    if task.progress:
        facts["progress"] = task.progress
    return facts


def _shown(wanted: Mapping[str, Any]) -> dict[str, Json]:
    return {
        name: f"{value[:CHANGED_TEXT_MAX]}…"
        if isinstance(value, str) and len(value) > CHANGED_TEXT_MAX
        else value
        for name, value in wanted.items()
    }


def progress(
    ledger: Ledger,
    task_id: str,
    percent: int,
    note: str | None,
    *,
    source: str,
    expected_version: int | None = None,
) -> Task:
    """Note how far a task has come; always an event, since a note alone is news too.

    HubError `not_found`, `version_mismatch`, `invalid_transition`.
    """
    was = _present(ledger, task_id, expected_version)
    _check_progress(was, was.status)
    task = replace(was, progress=percent, version=was.version + 1, updated_at=ledger.now)
    tasks.update(ledger.conn, task, was=was)
    data = {**_facts(task), "progress": percent, **({"note": note} if note else {})}
    ledger.record("task_progress", task=task, source=source, data=data)
    return task


def cancel(ledger: Ledger, task_id: str, *, source: str, expected_version: int | None = None) -> Task:
    """Cancel a task; one that is cancelled already stays so without a second event."""
    return change(ledger, task_id, {"status": CANCELLED}, source=source, expected_version=expected_version)
