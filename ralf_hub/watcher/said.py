"""A task as RALF's files describe it together, and a digest of each thing they say: what changed since is told by it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from ralf_hub.model import OPEN_STATUSES, PENDING, Json
from ralf_hub.store.workspace import TaskSeen
from ralf_hub.workspace.records import QueueItem, TaskRecord

TITLE_LENGTH_MAX: Final = 500
SHELVED_FOLDERS: Final = frozenset({"improvements"})
"""Folders of tasks that RALF's executor takes nothing from: its planner moves them to `active` first."""
MERGED: Final = ("title", "description", "type", "priority", "feature_id", "parent_id", "depends_on")
"""The fields that files and hub may both change; metadata are merged key by key."""
KEYS: Final = "metadata_keys"


def digest(value: Json) -> str:
    """Return a short digest of a JSON value."""
    return hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


@dataclass(frozen=True)
class FileTask:
    """A task as the files describe it together: its own file, and its entry in queue.yaml.

    `changed_ms` is when the files last changed; `text_digest` is that of the description where its text is left out.
    Without slots, so that `seen` is made once.
    """

    id: str
    fields: Mapping[str, Any]
    status: str
    created_at: str | None
    changed_ms: int = 0
    shelved: bool = False
    text_digest: str | None = None

    @cached_property
    def seen(self) -> TaskSeen:
        """What is remembered of it."""
        said: dict[str, Json] = {name: digest(self.fields[name]) for name in (*MERGED, "metadata")}
        if self.text_digest is not None:
            said["description"] = self.text_digest
        said[KEYS] = sorted(self.fields["metadata"])
        return TaskSeen(self.status, digest([said, self.status]), said)


def file_task(
    record: TaskRecord, item: QueueItem | None, *, changed_ms: int = 0, text: str | None = None
) -> FileTask:
    """Return the task of *record*, with links as the hub has them, and of its entry in queue.yaml."""
    metadata: dict[str, Json] = {**dict(record.metadata), "file": record.file}
    depends_on = record.depends_on
    priority, status = record.priority, record.status
    if item is not None:
        depends_on = tuple(dict.fromkeys([*depends_on, *item.depends_on]))
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
    shelved = record.folder in SHELVED_FOLDERS
    return FileTask(record.id, fields, status, record.created_at, changed_ms, shelved, text)


def queue_task(task_id: str, item: QueueItem, *, changed_ms: int = 0) -> FileTask:
    """Return a task that stands in queue.yaml alone."""
    fields = {
        "title": item.title[:TITLE_LENGTH_MAX] or task_id,
        "description": "",
        "type": item.type,
        "priority": item.priority,
        "feature_id": item.feature_id,
        "parent_id": None,
        "depends_on": item.depends_on,
        "metadata": {**dict(item.metadata), **_queue_metadata(item)},
    }
    return FileTask(task_id, fields, item.status, item.created_at, changed_ms)


def _queue_metadata(item: QueueItem) -> dict[str, Json]:
    known = {"priority_score": item.priority_score, "claimed_by": item.claimed_by}
    return {name: value for name, value in known.items() if value is not None}
