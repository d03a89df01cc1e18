"""Tasks and features of RALF's files become the hub's, as far as the files changed. Synchronous.

The files and the hub both change tasks. What the files said last time is remembered, so that only what has changed
in them since is taken over; what the hub knows beyond that stays.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ralf_hub.intake.features import deliver, deliver_if_done
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import settle
from ralf_hub.model import COMPLETED, STATUS_EVENT, Feature, Json, Task
from ralf_hub.store import features, tasks, workspace
from ralf_hub.store.workspace import TaskSeen
from ralf_hub.watcher.merging import Merged, Written, merge, read_back
from ralf_hub.watcher.said import FileTask
from ralf_hub.workspace.records import FeatureRecord

SOURCE: Final = "workspace"
FEATURE_DONE: Final = frozenset({"completed", "delivered"})


def take_tasks(ledger: Ledger, changed: Sequence[FileTask], *, first: bool, notify: bool) -> None:
    """Take over tasks that are new in the files or changed there. The *first* import makes no events."""
    ended: list[tuple[Task | None, Task]] = []
    for found in changed:
        seen = workspace.task_seen(ledger.conn, found.id)
        was = tasks.get(ledger.conn, found.id)
        if was is None:
            task, told = _create(ledger, found, first=first, notify=notify), None
        else:
            task, told = _take_task(ledger, was, found, seen, first=first, notify=notify)
        _remember(ledger, found, told)
        ended.append((was, task))
    for was, task in [] if first else ended:  # after all of them: a feature may have got a new task, too
        deliver_if_done(ledger, was, task, source=SOURCE, notify=notify)


def adopt_tasks(ledger: Ledger, found: Sequence[FileTask], written: Mapping[str, Written]) -> list[FileTask]:
    """Remember what the files say now that the hub itself has written the tasks in *written*: that is no news.

    Returns those of *found* in which RALF changed something in the same moment: they are to be taken over.
    """
    changed: list[FileTask] = []
    for task in found:
        if tasks.exists(ledger.conn, task.id):
            seen = read_back(written[task.id], task, workspace.task_seen(ledger.conn, task.id))
            _remember(ledger, task, None, seen)
            if seen.digest != task.seen.digest:
                changed.append(task)
    return changed


def _remember(ledger: Ledger, task: FileTask, told: str | None, seen: TaskSeen | None = None) -> None:
    workspace.save_task_seen(ledger.conn, task.id, seen or task.seen, told=told)
    tasks.shelve(ledger.conn, task.id, shelved=task.shelved)


def _take_task(
    ledger: Ledger, was: Task, found: FileTask, seen: TaskSeen | None, *, first: bool, notify: bool
) -> tuple[Task, str | None]:
    """Take over what changed of a task; returns it, and the event that told of another status."""
    if seen is None:  # made by the hub itself, or known from events alone: the files confirm it
        return was, None
    merged = merge(was, found, seen)
    changes = dict(merged.wanted)
    if merged.metadata is not None:
        changes["metadata"] = merged.metadata
    task = settle(ledger, was, changes) if changes else was
    if first or not (merged.wanted or merged.lost):
        return task, None
    kind = STATUS_EVENT[task.status] if task.status != was.status else "task_updated"
    ledger.record(kind, source=SOURCE, task=task, data=_data(was, task, merged), notify=notify)
    return task, kind if task.status != was.status else None


def _data(was: Task, task: Task, merged: Merged) -> dict[str, Json]:
    """Return what the event says; `lost` is what a newer change overruled, and `kept` whose stands."""
    shown = {name: value for name, value in merged.wanted.items() if name != "description"}
    data: dict[str, Json] = {
        "title": task.title,
        "status": task.status,
        "priority": task.priority,
        "previous_status": was.status,
        "changes": shown,
    }
    if merged.lost:
        data["lost"] = merged.lost
        data["kept"] = "hub" if merged.hub_won and not merged.files_won else "workspace"
    return data


def _create(ledger: Ledger, found: FileTask, *, first: bool, notify: bool) -> Task:
    at = found.created_at or ledger.now
    fields: dict[str, Any] = dict(found.fields)
    task = Task(
        id=found.id,
        **fields,
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
    return task


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
