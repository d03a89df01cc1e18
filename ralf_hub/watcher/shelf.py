"""All task files as last read, kept so that a change costs the work on its own task and not on all of them."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from ralf_hub.workspace.records import Problem, TaskRecord
from ralf_hub.workspace.tasks import merge
from ralf_hub.workspace.words import id_of

Stamp = tuple[int, int, int]
"""What tells two states of a file apart: time of change in ns, size, inode."""

NO_STAMP: Final[Stamp] = (-1, -1, -1)


@dataclass(frozen=True, slots=True)
class Held:
    """One file: its task without the description's text, which is as long as all the rest, and what was wrong."""

    record: TaskRecord | None
    text_digest: str
    problems: tuple[Problem, ...]
    stamp: Stamp


class Shelf:
    """The files by name, and the tasks they make together (as `workspace.tasks.resolve` says), by id.

    Files whose names shorten to the same id make a group, and only groups with a changed file are looked at anew.
    """

    def __init__(self) -> None:
        self.files: dict[str, Held] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.by_status: Counter[str] = Counter()
        self.problems_moved = False
        """Whether `settle` found other problems than before; to be set back by whoever looks."""
        self._groups: dict[str, set[str]] = defaultdict(set)
        self._tasks_of: dict[str, dict[str, TaskRecord]] = {}
        self._problems_of: dict[str, list[Problem]] = {}
        self._claims: dict[str, set[str]] = defaultdict(set)
        self._mentions: dict[str, set[str]] = defaultdict(set)
        self._changed: set[str] = set()

    def put(self, file: str, held: Held) -> None:
        """Take what a file says now."""
        self.drop(file)
        self.files[file] = held
        if held.record is not None:
            group = id_of(held.record.stem)
            self._groups[group].add(file)
            self._changed.add(group)

    def drop(self, file: str) -> None:
        """Forget a file that is gone."""
        held = self.files.pop(file, None)
        if held is not None and held.record is not None:
            group = id_of(held.record.stem)
            self._groups[group].discard(file)
            self._changed.add(group)

    def below(self, place: str) -> list[str]:
        """Return the files at or below *place*."""
        if place in self.files:
            return [place]
        prefix = f"{place}/"
        return [file for file in self.files if file.startswith(prefix)]

    def files_of(self, task_id: str) -> list[str]:
        """Return the task's own files, not the notes of its runs."""
        found = self.tasks.get(task_id)
        group = () if found is None else sorted(self._groups.get(id_of(found.stem), ()))
        records = [self.files[file].record for file in group]
        return [
            r.file
            for r in records
            if r is not None and found is not None and r.stem == found.stem and not r.is_context
        ]

    def name_of(self, name: str) -> str:
        """Return the id of the task that RALF calls *name*; *name* itself where that is nobody's other name."""
        claims = () if name in self.tasks else self._claims.get(name, ())
        return next(iter(claims)) if len(claims) == 1 else name

    def linked(self, task_id: str) -> TaskRecord | None:
        """Return a task with the ids it names brought to those tasks have here."""
        task = self.tasks.get(task_id)
        if task is None:
            return None
        known = dict.fromkeys(self.name_of(other) for other in task.depends_on)
        known.pop(task_id, None)
        parent = None if task.parent_id is None else self.name_of(task.parent_id)
        return replace(task, depends_on=tuple(known), parent_id=parent)

    def problems(self) -> Iterator[Problem]:
        """Yield everything that is wrong, file by file."""
        for held in self.files.values():
            yield from held.problems
        for found in self._problems_of.values():
            yield from found

    def settle(self) -> tuple[set[str], bool]:
        """Look anew at the groups that changed; return the tasks touched, and whether names lead elsewhere now."""
        touched: set[str] = set()
        moved: set[str] = set()
        for group in self._changed:
            old = self._tasks_of.pop(group, {})
            names_before = self._let_go(old)
            records = [held.record for file in self._groups[group] if (held := self.files[file]).record]
            found, problems = merge(record for record in records if record is not None)
            moved |= names_before ^ self._take(found)
            touched |= old.keys() | found.keys()
            self.problems_moved = self.problems_moved or self._problems_of.pop(group, []) != problems
            if problems:
                self._problems_of[group] = problems
            if found:
                self._tasks_of[group] = found
            if not self._groups[group]:
                del self._groups[group]
        self._changed.clear()
        for name in moved:
            touched |= self._mentions.get(name, set())
        return touched, bool(moved)

    def _let_go(self, old: dict[str, TaskRecord]) -> set[str]:
        for task_id, task in old.items():
            del self.tasks[task_id]
            self.by_status[task.status] -= 1
            for alias in task.aliases:
                self._claims[alias].discard(task_id)
            for other in _mentioned(task):
                self._mentions[other].discard(task_id)
        return _names(old)

    def _take(self, found: dict[str, TaskRecord]) -> set[str]:
        for task_id, task in found.items():
            self.tasks[task_id] = task
            self.by_status[task.status] += 1
            for alias in task.aliases:
                self._claims[alias].add(task_id)
            for other in _mentioned(task):
                self._mentions[other].add(task_id)
        return _names(found)


def _mentioned(task: TaskRecord) -> list[str]:
    return [*task.depends_on, *([task.parent_id] if task.parent_id else [])]


def _names(tasks: dict[str, TaskRecord]) -> set[str]:
    return {*tasks, *(alias for task in tasks.values() for alias in task.aliases)}
