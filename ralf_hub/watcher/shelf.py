"""All task files as last read, kept so that a change costs the work on its own task and not on all of them.

What is kept for every file is bytes and text, not objects: Python's collector walks objects again and again, and
while it walks a large heap the event loop stands still.
"""

import pickle
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

from ralf_hub.workspace.records import Problem, TaskRecord
from ralf_hub.workspace.tasks import merge
from ralf_hub.workspace.words import id_of

Stamp = tuple[int, int, int]
"""What tells two states of a file apart: time of change in ns, size, inode."""

NO_STAMP: Final[Stamp] = (-1, -1, -1)

_Fact = tuple[str, str, tuple[str, ...], tuple[str, ...]]
"""Of a task: its group, status, other names, and the tasks it names."""


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
        self.by_status: Counter[str] = Counter()
        self.problems_moved = False
        """Whether `settle` found other problems than before; to be set back by whoever looks."""
        self._files: dict[str, bytes] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._tasks: dict[str, _Fact] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._file_problems: dict[str, tuple[Problem, ...]] = {}
        self._group_problems: dict[str, list[Problem]] = {}
        self._claims: dict[str, tuple[str, ...]] = {}
        self._mentions: dict[str, tuple[str, ...]] = {}
        self._changed: set[str] = set()

    # --- files ------------------------------------------------------------------------------------

    def held(self, file: str) -> Held | None:
        """Return what a file said when it was last read; None where it was not."""
        found = self._files.get(file)
        return None if found is None else pickle.loads(found)  # noqa: S301 - made in this process # nosec B301

    def files(self) -> Collection[str]:
        """Return the names of all files."""
        return self._files.keys()

    def put(self, file: str, held: Held) -> None:
        """Take what a file says now."""
        self.drop(file)
        self._files[file] = pickle.dumps(held, pickle.HIGHEST_PROTOCOL)
        if held.problems:
            self._file_problems[file] = held.problems
        if held.record is not None:
            group = id_of(held.record.stem)
            _add(self._groups, group, file)
            self._changed.add(group)

    def drop(self, file: str) -> None:
        """Forget a file that is gone."""
        held = self.held(file)
        if held is None:
            return
        del self._files[file]
        self._file_problems.pop(file, None)
        if held.record is not None:
            group = id_of(held.record.stem)
            _remove(self._groups, group, file)
            self._changed.add(group)

    def below(self, place: str) -> list[str]:
        """Return the files at or below *place*."""
        if place in self._files:
            return [place]
        prefix = f"{place}/"
        return [file for file in self._files if file.startswith(prefix)]

    def problems(self) -> Iterator[Problem]:
        """Yield everything that is wrong, file by file."""
        for found in self._file_problems.values():
            yield from found
        for problems in self._group_problems.values():
            yield from problems

    # --- tasks ------------------------------------------------------------------------------------

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._tasks

    def task(self, task_id: str) -> TaskRecord | None:
        """Return a task with the ids it names brought to those tasks have here."""
        fact = self._tasks.get(task_id)
        if fact is None:
            return None
        task = merge(self._records(fact[0]))[0][task_id]
        known = dict.fromkeys(self.name_of(other) for other in task.depends_on)
        known.pop(task_id, None)
        parent = None if task.parent_id is None else self.name_of(task.parent_id)
        return replace(task, depends_on=tuple(known), parent_id=parent)

    def files_of(self, task_id: str) -> tuple[str, ...]:
        """Return the task's own files, not the notes of its runs."""
        fact = self._tasks.get(task_id)
        if fact is None:
            return ()
        records = self._records(fact[0])
        stem = merge(records)[0][task_id].stem
        return tuple(record.file for record in records if record.stem == stem and not record.is_context)

    def name_of(self, name: str) -> str:
        """Return the id of the task that RALF calls *name*; *name* itself where that is nobody's other name."""
        claims = () if name in self._tasks else self._claims.get(name, ())
        return claims[0] if len(claims) == 1 else name

    def _records(self, group: str) -> list[TaskRecord]:
        found = (self.held(file) for file in sorted(self._groups.get(group, ())))
        return [held.record for held in found if held is not None and held.record is not None]

    def settle(self) -> tuple[set[str], bool]:
        """Look anew at the groups that changed; return the tasks touched, and whether names lead elsewhere now."""
        touched: set[str] = set()
        moved: set[str] = set()
        for group in self._changed:
            members = self._members.pop(group, ())
            names_before = self._let_go(members)
            found, problems = merge(self._records(group))
            moved |= names_before ^ self._take(group, found)
            touched.update(members, found)
            if self._group_problems.pop(group, []) != problems:
                self.problems_moved = True
            if problems:
                self._group_problems[group] = problems
            if found:
                self._members[group] = tuple(found)
        self._changed.clear()
        for name in moved:
            touched.update(self._mentions.get(name, ()))
        return touched, bool(moved)

    def _let_go(self, members: tuple[str, ...]) -> set[str]:
        names = set(members)
        for task_id in members:
            _, status, aliases, mentioned = self._tasks.pop(task_id)
            self.by_status[status] -= 1
            names.update(aliases)
            for alias in aliases:
                _remove(self._claims, alias, task_id)
            for other in mentioned:
                _remove(self._mentions, other, task_id)
        return names

    def _take(self, group: str, found: dict[str, TaskRecord]) -> set[str]:
        names = set(found)
        for task_id, task in found.items():
            mentioned = (*task.depends_on, *([task.parent_id] if task.parent_id else []))
            self._tasks[task_id] = (group, task.status, task.aliases, mentioned)
            self.by_status[task.status] += 1
            names.update(task.aliases)
            for alias in task.aliases:
                _add(self._claims, alias, task_id)
            for other in mentioned:
                _add(self._mentions, other, task_id)
        return names


def _add(table: dict[str, tuple[str, ...]], key: str, value: str) -> None:
    table[key] = (*table.get(key, ()), value)


def _remove(table: dict[str, tuple[str, ...]], key: str, value: str) -> None:
    left = tuple(one for one in table.get(key, ()) if one != value)
    if left:
        table[key] = left
    else:
        table.pop(key, None)
