"""What the readers of RALF's files give out: frozen values, and the limits they read within."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ralf_hub.model import Json

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the readers take in; what is larger is refused and reported by the limit's name.

    `events_bytes_max` is large because the file is streamed, never held; the others bound what is
    held in memory at once.
    """

    events_bytes_max: int = 512 * MIB
    record_bytes_max: int = MIB
    queue_bytes_max: int = 16 * MIB
    task_bytes_max: int = MIB
    task_files_max: int = 200_000
    depth_max: int = 12
    problems_max: int = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the workspace that could not be read as it should.

    `file` is relative to the workspace's root with `/`; `line` counts from 1, None where the whole
    file is meant. The message never quotes the file: a line of it may be a private prompt.
    """

    file: str
    line: int | None
    message: str


def capped(problems: Sequence[Problem], problems_max: int) -> tuple[Problem, ...]:
    """Return the first *problems_max* of *problems*, and in place of the rest one that counts them."""
    if len(problems) <= problems_max:
        return tuple(problems)
    rest = problems[problems_max:]
    more = Problem(
        rest[0].file, rest[0].line, f"{len(rest)} more problems from here on (problems_max is {problems_max})"
    )
    return (*problems[:problems_max], more)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One record of events.yaml or events.ldjson.

    `type` is the hub's name (see `meaning`), `raw_type` what the file says; `data` is every other
    field, JSON only. `complete` is False for a record at the end of a file without a final newline.
    """

    type: str
    raw_type: str
    task_id: str | None
    occurred_at: str | None
    data: Mapping[str, Json]
    fingerprint: str
    line: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task as one file says it, or as several files together do (`tasks.resolve`).

    `folder` is the folder that decided the status (`active`, `completed`, ...); `aliases` are the
    other names RALF may call the task by: its heading's id, its folder's full name.
    """

    id: str
    title: str
    status: str
    priority: str
    file: str
    folder: str
    stem: str
    description: str = ""
    type: str | None = None
    feature_id: str | None = None
    parent_id: str | None = None
    depends_on: tuple[str, ...] = ()
    created_at: str | None = None
    aliases: tuple[str, ...] = ()
    is_context: bool = False
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One entry of queue.yaml, whatever its schema."""

    id: str
    title: str
    status: str
    priority: str
    line: int
    priority_score: float | None = None
    depends_on: tuple[str, ...] = ()
    type: str | None = None
    feature_id: str | None = None
    claimed_by: str | None = None
    created_at: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeatureRecord:
    """One planned capability: a FEATURE-*.md, or an entry of BACKLOG.md that has no file of its own."""

    id: str
    title: str
    status: str
    priority: str
    file: str
    line: int = 1
    description: str = ""
    task_ids: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    created_at: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)


class WorkspaceMissingError(Exception):
    """The workspace's folder is not there, is not a folder, or may not be opened."""
