"""Tasks as RALF keeps them: one Markdown file each, whose folder says how the task stands."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from typing import Final

from ralf_hub.model import Json
from ralf_hub.workspace import words
from ralf_hub.workspace.headers import Head, read_head
from ralf_hub.workspace.layout import STATUS_BY_FOLDER
from ralf_hub.workspace.records import Problem, TaskRecord
from ralf_hub.workspace.scalars import clean_text, json_safe, time_iso

TITLE_CHARACTERS_MAX: Final = 300
STRENGTH: Final = {folder: rank for rank, folder in enumerate(STATUS_BY_FOLDER)}

_ID_HEADING = re.compile(
    r"(?:Task:?\s+)?([A-Z][A-Za-z0-9]*[-_][A-Za-z0-9._-]*[A-Za-z0-9])\s*(?::|\s[-\u2014\u2013])\s*(.*)"
)
_WORD_HEADING = re.compile(r"(?:Task|TASK)(?:[ ]Context)?:\s*(.*)")
_HOLE_HEADING = re.compile(r"[\[\w${}<>-]*[\[{<$][^:]*:\s*(.*)")
_FEATURE = re.compile(r"\bF(?:EATURE)?-(\d{3})\b")
_PLACEHOLDER_IDS = frozenset({"TASK-XXX", "TASK-ID", "TASK-NNN", "SUBTASK-XXX"})
_TITLE_SOURCES = ("title", "name", "task")
_DEPENDS = ("depends_on", "dependencies", "blocked_by", "blockedby", "blocked")
_ESTIMATES = (
    "estimated_effort", "estimated_minutes", "estimated_time", "estimated", "estimate", "effort", "estimated_duration"
)  # fmt: skip
_GOALS = ("linked_goal", "goal", "goal_id")
_KEPT = (
    "category", "source", "agent", "project", "context_level", "linked_sub_goal", "linked_plan", "plan", "parallel",
    "conflicts_with", "completed", "completed_at", "started", "github", "source_learning", "run", "assignee",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaskSource:
    """Where a task's text was found: file and folder names only, no content."""

    file: str
    folder: str
    stem: str
    parent: str | None = None
    is_context: bool = False


def read_task(text: str, source: TaskSource, zone: tzinfo = UTC) -> tuple[TaskRecord, list[Problem]]:
    """Return the task in *text*, found at *source*, and what was wrong with it.

    The folder decides the status; only in a folder RALF gives no status to does the text. What the
    text says stays in `metadata` (`status_text`, `priority_text`, `estimate`).
    """
    head = read_head(text)
    problems = [Problem(source.file, line, message) for line, message in head.damage]
    name = words.id_of(source.stem)
    if name != source.stem and not words.is_id(source.stem):
        problems.append(Problem(source.file, None, "the name cannot be an id; some characters were replaced"))
    heading_id, heading_title = _heading(head.heading, (source.stem, name))
    if heading_id == source.stem and words.is_id(source.stem):
        name = source.stem  # it says so itself: the hub writes such ids, whatever they look like
    title = next((t for key in _TITLE_SOURCES if (t := words.filled(head.text(key)))), None)
    if not heading_title and not head.fields:
        problems.append(Problem(source.file, 1, "neither heading nor header; only its name is known"))
    title = heading_title or title or name
    priority_text = head.text("priority")
    status_text = head.text("status")
    aliases = [source.stem, heading_id, *(words.filled(head.text(key)) for key in ("task_id", "id"))]
    return TaskRecord(
        id=name,
        title=clean_text(title[:TITLE_CHARACTERS_MAX]),
        status=STATUS_BY_FOLDER.get(source.folder) or words.status(status_text) or "pending",
        priority=words.priority(priority_text) or "medium",
        file=source.file,
        folder=source.folder,
        stem=source.stem,
        description=clean_text(_description(head)),
        type=words.filled(head.text("type")),
        feature_id=_feature(head, title),
        parent_id=_parent(head, source),
        depends_on=tuple(other for other in words.ids_in(head.values(*_DEPENDS)) if other != name),
        created_at=time_iso(head.text("created", "created_at", "date", "added"), zone),
        aliases=tuple(dict.fromkeys(a for a in aliases if a and a != name and _is_name(a))),
        is_context=source.is_context,
        metadata=_metadata(head, source, status_text, priority_text),
    ), problems


def _is_name(text: str) -> bool:
    return words.is_id(text) and text not in _PLACEHOLDER_IDS and words.filled(text) is not None


def _heading(heading: str, own: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Return the id and the title in a heading: `TASK-001: Title`, `Task: Title`, `[TASK-ID]: Title`.

    *own*, the names the file or folder gives the task, are ids there whatever they look like.
    """
    for name in own:
        if words.is_id(name) and heading.startswith(f"{name}:"):
            return name, words.title(heading[len(name) + 1 :])
    found = _ID_HEADING.fullmatch(heading)
    if found:
        return found[1], words.title(found[2])
    found = _WORD_HEADING.fullmatch(heading) or _HOLE_HEADING.fullmatch(heading)
    return None, words.title(found[1] if found else heading)


def _description(head: Head) -> str:
    for name in (
        "objective",
        "description",
        "goal",
        "summary",
        "overview",
        "instruction",
        "problem_statement",
    ):
        if head.sections.get(name):
            return head.sections[name]
    body = [
        line for line in head.sections.get("", "").split("\n") if not line.startswith(("**", "- **", "---"))
    ]
    return "\n".join(body).strip()


def _feature(head: Head, title: str) -> str | None:
    for text in (head.text("feature_id", "feature"), title):
        found = _FEATURE.search(str(text or ""))
        if found:
            return f"F-{found[1]}"
    return None


def _parent(head: Head, source: TaskSource) -> str | None:
    if source.parent:
        return words.id_of(source.parent)
    named = words.ids_in([head.text("parent_task", "parent")])
    return named[0] if named else None


def _metadata(head: Head, source: TaskSource, status_text: object, priority_text: object) -> dict[str, Json]:
    estimate = head.text(*_ESTIMATES)
    found: dict[str, object] = {
        "folder": source.folder or None,
        "status_text": status_text,
        "priority_text": priority_text,
        "estimate": estimate,
        "estimate_minutes": words.estimate_minutes(estimate),
        "goal": head.text(*_GOALS),
        **{key: head.text(key) for key in _KEPT},
    }
    return {key: json_safe(value) for key, value in found.items() if value is not None and value != ""}


# --- several files, one task ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resolution:
    """The tasks of a workspace, one per id; `names` leads from every other name to the id."""

    tasks: tuple[TaskRecord, ...]
    problems: tuple[Problem, ...]
    names: Mapping[str, str]


def resolve(records: Iterable[TaskRecord]) -> Resolution:
    """Return one task for each id, from the records of all files.

    The same name in several folders is one task: completed over cancelled over working over active,
    and a problem, since RALF means to move a folder, not to copy it. The notes of a run below
    `working/` beside the task's own file are no contradiction. Two different names that shorten to
    the same id are two tasks: the first in alphabetical order takes the short id, the others keep
    their full names, and that is a problem too.
    """
    tasks, problems = merge(records)
    names = _names(tasks)
    kept = [replace(t, aliases=tuple(a for a in t.aliases if names.get(a) == t.id)) for t in tasks.values()]
    linked = [_linked(task, tasks, names) for task in kept]
    return Resolution(tuple(sorted(linked, key=lambda t: t.id)), tuple(problems), names)


def merge(records: Iterable[TaskRecord]) -> tuple[dict[str, TaskRecord], list[Problem]]:
    """Return the tasks of *records* by id, and what was wrong; the first half of `resolve`.

    Only records whose names shorten to the same id (`words.id_of`) have to be given together.
    """
    by_stem: dict[str, list[TaskRecord]] = defaultdict(list)
    for record in records:
        by_stem[record.stem].append(record)
    tasks: dict[str, TaskRecord] = {}
    problems: list[Problem] = []
    for stem in sorted(by_stem, key=lambda name: (name != words.id_of(name), name)):
        task = _merged(by_stem[stem], problems)
        if task.id in tasks:
            problems.append(
                Problem(task.file, None, f"its id {task.id} is that of another task; its full name is used")
            )
            full = words.id_of(f"{stem}.") if words.is_id(stem) else task.id
            task = replace(task, id=stem if words.is_id(stem) and stem not in tasks else full, aliases=())
        tasks.setdefault(task.id, task)
    return tasks, problems


def _merged(records: Sequence[TaskRecord], problems: list[Problem]) -> TaskRecord:
    """Return the one task of records with the same name."""
    ordered = sorted(records, key=lambda r: (STRENGTH.get(r.folder, len(STRENGTH)), r.is_context, r.file))
    winner, texts = ordered[0], [record for record in ordered if not record.is_context]
    if len(texts) > 1:
        others = ", ".join(record.file for record in texts[1:])
        problems.append(
            Problem(texts[0].file, None, f"the same task stands in {len(texts)} places, also {others}")
        )
    best = texts[0] if texts else winner
    if best is winner:
        return winner
    return replace(
        best, status=winner.status, folder=winner.folder, metadata={**best.metadata, "folder": winner.folder}
    )


def _names(tasks: Mapping[str, TaskRecord]) -> dict[str, str]:
    """Return every alias that means one task only and is not itself the id of another."""
    claims: dict[str, set[str]] = defaultdict(set)
    for task in tasks.values():
        for alias in task.aliases:
            claims[alias].add(task.id)
    return {alias: next(iter(ids)) for alias, ids in claims.items() if len(ids) == 1 and alias not in tasks}


def _linked(task: TaskRecord, tasks: Mapping[str, TaskRecord], names: Mapping[str, str]) -> TaskRecord:
    """Return *task* with the ids it names brought to the ids tasks have here."""
    known = tuple(dict.fromkeys(i if i in tasks else names.get(i, i) for i in task.depends_on))
    parent = task.parent_id
    if parent is not None and parent not in tasks:
        parent = names.get(parent, parent)
    return replace(task, depends_on=tuple(i for i in known if i != task.id), parent_id=parent)
