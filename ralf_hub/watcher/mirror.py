"""Tasks, queue and features of RALF's files become the hub's, as far as the files changed. Synchronous.

The files and the hub both change tasks. What the files said last time is remembered, so that only what has changed
in them since is taken over; what the hub knows beyond that stays.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ralf_hub.intake.features import deliver
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import settle
from ralf_hub.model import (
    COMPLETED,
    FINAL_STATUSES,
    IN_PROGRESS,
    OPEN_STATUSES,
    PENDING,
    STATUS_EVENT,
    TASK_TRANSITIONS,
    Feature,
    Json,
    Task,
)
from ralf_hub.store import features, tasks, workspace
from ralf_hub.store.workspace import TaskSeen
from ralf_hub.workspace.records import FeatureRecord, QueueItem, TaskRecord

SOURCE: Final = "workspace"
TITLE_LENGTH_MAX: Final = 500
FEATURE_DONE: Final = frozenset({"completed", "delivered"})


@dataclass(frozen=True, slots=True)
class FileTask:
    """A task as the files describe it together: its own file, and its entry in queue.yaml."""

    id: str
    fields: Mapping[str, Any]
    status: str
    created_at: str | None

    @property
    def seen(self) -> TaskSeen:
        """What is remembered of it."""
        shown = orjson.dumps([self.fields, self.status], option=orjson.OPT_SORT_KEYS)
        return TaskSeen(self.status, hashlib.blake2b(shown, digest_size=16).hexdigest())


def file_tasks(
    records: Sequence[TaskRecord], queue: Sequence[QueueItem], names: Mapping[str, str]
) -> list[FileTask]:
    """Return every task the files know; one that stands in queue.yaml alone is a task too."""
    queued = {names.get(item.id, item.id): item for item in queue}
    found = [_file_task(record, queued.pop(record.id, None), names) for record in records]
    return found + [_queue_task(task_id, item, names) for task_id, item in queued.items()]


def _file_task(record: TaskRecord, item: QueueItem | None, names: Mapping[str, str]) -> FileTask:
    metadata: dict[str, Json] = {**dict(record.metadata), "file": record.file}
    depends_on = record.depends_on
    priority, status = record.priority, record.status
    if item is not None:
        depends_on = tuple(
            dict.fromkeys([*depends_on, *(names.get(other, other) for other in item.depends_on)])
        )
        metadata |= _queue_metadata(item)
        priority = record.priority if "priority_text" in record.metadata else item.priority
        if status == PENDING and item.status in OPEN_STATUSES:
            status = item.status
    fields = {
        "title": record.title[:TITLE_LENGTH_MAX] or record.id,
        "description": record.description,
        "type": record.type or (item.type if item else None),
        "priority": priority,
        "feature_id": record.feature_id or (item.feature_id if item else None),
        "parent_id": record.parent_id,
        "depends_on": depends_on,
        "metadata": metadata,
    }
    return FileTask(record.id, fields, status, record.created_at)


def _queue_task(task_id: str, item: QueueItem, names: Mapping[str, str]) -> FileTask:
    fields = {
        "title": item.title[:TITLE_LENGTH_MAX] or task_id,
        "description": "",
        "type": item.type,
        "priority": item.priority,
        "feature_id": item.feature_id,
        "parent_id": None,
        "depends_on": tuple(dict.fromkeys(names.get(other, other) for other in item.depends_on)),
        "metadata": {**dict(item.metadata), **_queue_metadata(item)},
    }
    return FileTask(task_id, fields, item.status, item.created_at)


def _queue_metadata(item: QueueItem) -> dict[str, Json]:
    known = {"queue_line": item.line, "priority_score": item.priority_score, "claimed_by": item.claimed_by}
    return {name: value for name, value in known.items() if value is not None and name != "queue_line"}


def take_tasks(ledger: Ledger, changed: Sequence[FileTask], *, first: bool, notify: bool) -> None:
    """Take over tasks that are new in the files or changed there. The *first* import makes no events."""
    known = {task.id: workspace.task_seen(ledger.conn, task.id) for task in changed}
    for task in changed:
        told = _take_task(ledger, task, known[task.id], first=first, notify=notify)
        workspace.save_task_seen(ledger.conn, task.id, task.seen, told=told)


def _take_task(
    ledger: Ledger, found: FileTask, seen: TaskSeen | None, *, first: bool, notify: bool
) -> str | None:
    was = tasks.get(ledger.conn, found.id)
    if was is None:
        _create(ledger, found, first=first, notify=notify)
        return None
    if seen is None:  # made by the hub itself, or known from events alone: the files confirm it
        return None
    wanted = {name: value for name, value in found.fields.items() if getattr(was, name) != value}
    if found.status != seen.status and _moves(was, found.status):
        wanted["status"] = found.status
    if not wanted:
        return None
    task = settle(ledger, was, wanted)
    if first:
        return None
    kind = STATUS_EVENT[task.status] if task.status != was.status else "task_updated"
    shown = {name: value for name, value in wanted.items() if name not in {"metadata", "description"}}
    data = {
        "title": task.title,
        "status": task.status,
        "priority": task.priority,
        "previous_status": was.status,
    }
    ledger.record(kind, source=SOURCE, task=task, data={**data, "changes": shown}, notify=notify)
    return kind if task.status != was.status else None


def _moves(was: Task, status: str) -> bool:
    """Return whether what the folders say now is news: an open folder says nothing against an open status."""
    if status == was.status or status not in TASK_TRANSITIONS[was.status]:
        return False
    return status in FINAL_STATUSES or was.status not in OPEN_STATUSES or status == IN_PROGRESS


def _create(ledger: Ledger, found: FileTask, *, first: bool, notify: bool) -> None:
    at = found.created_at or ledger.now
    task = Task(
        id=found.id,
        **found.fields,
        status=found.status,
        progress=100 if found.status == COMPLETED else 0,
        source=SOURCE,
        created_at=min(at, ledger.now),
        updated_at=ledger.now,
    )
    tasks.insert(ledger.conn, task)
    if not first:
        data = {"title": task.title, "status": task.status, "priority": task.priority}
        ledger.record("task_created", source=SOURCE, task=task, data=data, notify=notify)


def take_features(ledger: Ledger, found: Sequence[FeatureRecord], *, first: bool, notify: bool) -> None:
    """Take over features; one that turns completed is delivered, once."""
    seen = workspace.features_seen(ledger.conn)
    for record in found:
        digest = hashlib.blake2b(
            repr((record.title, record.status, record.priority, record.description)).encode()
        ).hexdigest()[:32]
        if seen.get(record.id) == digest:
            continue
        workspace.save_feature_seen(ledger.conn, record.id, digest)
        was = features.get(ledger.conn, record.id)
        done = record.status in FEATURE_DONE
        feature = Feature(
            id=record.id,
            title=record.title,
            status=record.status,
            priority=record.priority,
            description=record.description,
            source=SOURCE,
            metadata={**dict(record.metadata), "file": record.file},
            created_at=was.created_at if was else (record.created_at or ledger.now),
            updated_at=ledger.now,
            delivered_at=was.delivered_at if was else (ledger.now if done else None),
            tasks_total=was.tasks_total if was else 0,
            tasks_completed=was.tasks_completed if was else 0,
        )
        features.save(ledger.conn, feature)
        if first:
            continue
        if was is None:
            data = {"feature_id": record.id, "title": record.title}
            ledger.record("feature_created", source=SOURCE, feature=feature, data=data, notify=notify)
        if done and was is not None and was.delivered_at is None:
            deliver(ledger, feature, source=SOURCE, notify=notify)
