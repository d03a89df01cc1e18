"""Which files of a workspace are tasks, by name and place alone."""

import re
from collections.abc import Collection
from typing import Final

from ralf_hub.workspace.files import SKIPPED_DIRS
from ralf_hub.workspace.layout import STATUS_BY_FOLDER
from ralf_hub.workspace.tasks import TaskSource

TASK_FILES: Final = ("task.md", "TASK.md")
CONTEXT_FILE: Final = "TASK-CONTEXT.md"
SUBTASKS: Final = "subtasks"

Parts = tuple[str, ...]
"""The names that lead to a file or folder, from below a folder of tasks."""

_TASK_NAME = re.compile(r"(?:(?:[A-Z]+-)*(?:SUB)?TASK|RALF|IMP|STOP|FG|ACTION-PLAN)[-_].+")
_NOT_TASKS = frozenset({"README", "INDEX", "AGENT_CONTEXT", "ACTIVE-CONTEXT", "TASK-CONTEXT", "TEMPLATE"})


def is_own_folder(parts: Parts) -> bool:
    """Return whether the folder at *parts* can be one task's own: neither the top nor one of a status."""
    return len(parts) > (1 if parts[:1] and parts[0] in STATUS_BY_FOLDER else 0)


def is_named_as_task(stem: str) -> bool:
    """Return whether the name alone says task; any other file must have a task's header."""
    return _TASK_NAME.fullmatch(stem) is not None


def classify(parts: Parts, task_dirs: Collection[Parts], file: str) -> TaskSource | None:
    """Return what the file at *parts* is the source of, or None; *file* is its name for records.

    *task_dirs* are the folders above it that hold a task.md: inside one, other files are its notes,
    except in `subtasks`. Elsewhere a file is a task if its name is one, or, directly in a folder of a
    status, whatever its name; a folder below `working/` without a task.md holds the notes of a run.
    """
    *folders, name = parts
    if not name.endswith(".md") or any(map(_is_skipped, (*folders, name))):
        return None
    status = folders[0] if folders and folders[0] in STATUS_BY_FOLDER else ""
    owners = [parts[:depth] for depth in range(1, len(parts)) if parts[:depth] in task_dirs]
    if name in TASK_FILES:
        parent = owners[-2][-1] if len(owners) > 1 else _group_above(folders)
        return TaskSource(file, status, folders[-1], parent) if is_own_folder(tuple(folders)) else None
    if status == "working" and name == CONTEXT_FILE and len(folders) > 1:
        return TaskSource(file, status, folders[1], is_context=True)
    stem = name.removesuffix(".md")
    is_loose = bool(status) and len(folders) == 1
    is_note = bool(owners) and SUBTASKS not in folders[len(owners[-1]) :]
    if stem in _NOT_TASKS or is_note or not (is_loose or is_named_as_task(stem)):
        return None
    return TaskSource(file, status, stem, owners[-1][-1] if owners else _group_above(folders))


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in SKIPPED_DIRS or name.lower() in {"template", "templates"}


def _group_above(folders: list[str]) -> str | None:
    """Return the folder that `subtasks` stands in, where that is no folder of a status."""
    if SUBTASKS not in folders[1:]:
        return None
    group = folders[folders.index(SUBTASKS, 1) - 1]
    return None if group in STATUS_BY_FOLDER else group
