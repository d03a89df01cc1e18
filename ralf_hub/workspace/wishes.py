"""What the hub wants RALF's files to say of one task, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ralf_hub.model import CANCELLED, COMPLETED, Json
from ralf_hub.workspace.records import TaskRecord

FOLDER_OF: Final[Mapping[str, str]] = {COMPLETED: "completed", CANCELLED: "cancelled"}
"""Where a task stands by its status; `active` for every other one."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One task as the hub has it, and what of it is to be written.

    `changed` names the fields that changed; `creates` says that the task is new and gets a file of its own.
    `files` are the files RALF has for it, relative to the workspace; `as_read` is the state (time of change in ns, size,
    inode) in which each was read: a file in another one holds a change nobody has seen, and is not written over. Times
    are ISO text in UTC.
    """

    id: str
    title: str
    status: str
    priority: str
    description: str = ""
    type: str | None = None
    feature_id: str | None = None
    parent_id: str | None = None
    depends_on: tuple[str, ...] = ()
    assignee: str | None = None
    source: str = "api"
    created_at: str = ""
    started_at: str | None = None
    completed_at: str | None = None
    updated_at: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    creates: bool = False
    changed: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
    as_read: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The folder its status belongs in."""
        return FOLDER_OF.get(self.status, "active")


@dataclass(slots=True)
class Done:
    """What was done for one wish: the files touched (relative), and what could not be done, in words.

    `made` is what the file of a new task says, as the readers will find it.
    """

    touched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    made: TaskRecord | None = None


class BusyError(Exception):
    """Somebody else is writing; to be tried again soon."""


class ForbiddenError(Exception):
    """What must never be written: outside the workspace, or through a link. No later try will do better."""


def seconds(moment: str) -> str:
    """Return the ISO text *moment* without fractions, as RALF's scripts write times."""
    return f"{moment[:19]}Z" if moment else ""
