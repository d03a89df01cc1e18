"""What of a task's files is news, when the hub may have changed the task too. Pure.

Like merging two branches: what the files said when they were last read is the common ground. A field that only they
changed is taken over; one that only the hub changed stays; where both did, the newer change stands and the other is
kept in an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ralf_hub.clock import parse_iso
from ralf_hub.model import (
    FAILED,
    FINAL_STATUSES,
    IN_PROGRESS,
    OPEN_STATUSES,
    PENDING,
    TASK_TRANSITIONS,
    Json,
    Task,
)
from ralf_hub.store.workspace import TaskSeen
from ralf_hub.watcher.said import KEYS, MERGED, FileTask, digest
from ralf_hub.workspace.records import TaskRecord
from ralf_hub.workspace.surgery_task import description_as_read, title_as_read

LOST_CHARACTERS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Merged:
    """`wanted` is to be taken over, `metadata` with it but as no news; `lost` is what a newer change overruled.

    `hub_won` are the lost values of the files, `files_won` those of the hub.
    """

    wanted: Mapping[str, Any]
    metadata: Mapping[str, Json] | None = None
    files_won: Mapping[str, Json] = field(default_factory=dict)
    hub_won: Mapping[str, Json] = field(default_factory=dict)

    @property
    def lost(self) -> dict[str, Json]:
        """Every value that did not last, whoever's it was."""
        return {**self.files_won, **self.hub_won}


def merge(was: Task, found: FileTask, seen: TaskSeen) -> Merged:
    """Return what the files bring for the task *was*; *seen* is what they said before."""
    wanted: dict[str, Any] = {}
    files_won: dict[str, Json] = {}
    hub_won: dict[str, Json] = {}
    hub_is_newer = parse_iso(was.updated_at) > found.changed_ms
    said = found.seen.said or {}
    for name in MERGED:
        before = None if seen.said is None else seen.said.get(name)
        mine, theirs = getattr(was, name), found.fields[name]
        if before == said[name] or theirs in (mine, as_read(name, mine)):
            continue
        if before is None or before in {digest(mine), digest(as_read(name, mine))}:
            wanted[name] = theirs
        elif hub_is_newer:
            hub_won[name] = _shown(theirs)
        else:
            wanted[name] = theirs
            files_won[name] = _shown(mine)
    if found.status != seen.status and _moves(was, found.status):
        if was.status != seen.status and hub_is_newer and found.status not in FINAL_STATUSES:
            hub_won["status"] = found.status
        else:
            wanted["status"] = found.status
            if was.status not in {seen.status, *_MAY_FOLLOW.get(found.status, ())}:
                files_won["status"] = was.status
    return Merged(wanted, _metadata(was, found, seen), files_won, hub_won)


@dataclass(frozen=True, slots=True)
class Written:
    """A task as the hub wrote it; `made` is what its new file says, where it got one."""

    task: Task
    made: TaskRecord | None = None


def read_back(written: Written, found: FileTask, seen: TaskSeen | None) -> TaskSeen:
    """Return what is to be remembered of files that the hub has just brought in line with a task.

    What says neither what was written nor what it said before was changed by RALF in that moment. It is remembered as
    it was, and so is news to `merge`.
    """
    said = dict(found.seen.said or {})
    for name, before in _before(written, seen).items():
        mine = getattr(written.task, name)
        if said[name] != before and found.fields[name] not in (mine, as_read(name, mine)):
            said[name] = before
    before_status, status = PENDING if seen is None else seen.status, written.task.status
    usual = {before_status, status} | ({PENDING} if status not in FINAL_STATUSES else set())
    now = found.status if found.status in usual else before_status
    return TaskSeen(now, digest([said, now]), said)


def _before(written: Written, seen: TaskSeen | None) -> dict[str, Json]:
    """Return what fields said before, as digests; of a new file, what was put into it."""
    if seen is not None and seen.said is not None:
        return {name: seen.said[name] for name in MERGED if name in seen.said}
    made = written.made
    return (
        {}
        if made is None
        else {name: digest(getattr(made, name)) for name in ("title", "description", "priority")}
    )


_MAY_FOLLOW: Final = dict.fromkeys((*FINAL_STATUSES, IN_PROGRESS), OPEN_STATUSES)
"""A task that goes on its usual way loses nothing: what was open and is now completed was not in dispute."""


def as_read(name: str, value: Json) -> Json:
    """Return what the files say once the hub has written *value* to field *name*."""
    if name == "title":
        return title_as_read(value)
    return description_as_read(value) if name == "description" else value


def may_become(status: str, wanted: str) -> bool:
    """Return whether a task may go from *status* to *wanted* because RALF's files say so.

    As by the API, and one way more: RALF tries a failed task again without telling, so it may be found to have ended.
    """
    return wanted in TASK_TRANSITIONS[status] or (status == FAILED and wanted in FINAL_STATUSES)


def _moves(was: Task, status: str) -> bool:
    """Return whether what the files say now is news: an open folder says nothing against an open status."""
    if not may_become(was.status, status):
        return False
    return status in FINAL_STATUSES or was.status not in OPEN_STATUSES or status == IN_PROGRESS


def _metadata(was: Task, found: FileTask, seen: TaskSeen) -> dict[str, Json] | None:
    """Return the task's metadata with those of the files; what others put there stays. None: nothing new."""
    said = found.seen.said or {}
    if seen.said is not None and seen.said.get("metadata") == said["metadata"]:
        return None
    theirs: Mapping[str, Json] = found.fields["metadata"]
    dropped = set((seen.said or {}).get(KEYS, ())) - theirs.keys()
    merged = {key: value for key, value in was.metadata.items() if key not in dropped} | dict(theirs)
    return None if merged == was.metadata else merged


def _shown(value: Json) -> Json:
    return value[:LOST_CHARACTERS_MAX] if isinstance(value, str) else value
