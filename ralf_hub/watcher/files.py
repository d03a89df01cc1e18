"""Reading the workspace's tasks, queue and features: whole at first, then only what changed. Runs in a thread."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ralf_hub.model import PENDING, PRIORITY_RANK
from ralf_hub.store.tasks import Rank
from ralf_hub.watcher.said import FileTask, digest, file_task, queue_task
from ralf_hub.watcher.shelf import NO_STAMP, Held, Shelf, Stamp
from ralf_hub.workspace.layout import Layout, find_layout
from ralf_hub.workspace.queue import Queue, taking_order
from ralf_hub.workspace.records import FeatureRecord, Problem, QueueItem, TaskRecord
from ralf_hub.workspace.scan import (
    PROGRESS_EVERY,
    Progress,
    ScanSettings,
    read_source,
    read_task_file,
    scan_features,
    scan_queue,
    task_files,
)
from ralf_hub.workspace.tasks import TaskSource

NS_PER_MS: Final = 1_000_000
TEXTS_HELD_MAX: Final = 1_000
"""Descriptions kept between reading a file and taking its task over; the rest is read once more."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What is noted of the files as a whole; None is what has not changed since the last time."""

    features: Sequence[FeatureRecord] | None
    ranks: dict[str, Rank] | None
    queue_items: int
    features_found: int
    by_status: dict[str, int]
    problems: list[Problem] | None


class Files:
    """The files as last read, and which tasks have not been taken over since.

    `known` are the digests of the tasks as they were last taken over.
    """

    def __init__(self, path: Path, settings: ScanSettings) -> None:
        self._path = path
        self._settings = settings
        self.layout: Layout = find_layout(path, settings.events_file)
        self.known: dict[str, str] = {}
        self._shelf = Shelf()
        self._texts: dict[str, str] = {}
        self._queue = Queue("empty", "id", (), ())
        self._queue_stamp: Stamp | None = None
        self._queued: dict[str, QueueItem] = {}
        self._priorities: dict[str, str] = {}
        self._features: list[FeatureRecord] = []
        self._feature_problems: list[Problem] = []
        self._walk_problems: list[Problem] = []
        self._due: dict[str, None] = {}
        self._news = _News()

    # --- reading ----------------------------------------------------------------------------------

    def read_all(self, progress: Progress | None = None) -> None:
        """Look at every file and read those that changed. WorkspaceMissingError where the workspace is gone."""
        self.layout = find_layout(self._path, self._settings.events_file)
        problems: list[Problem] = []
        met: set[str] = set()
        for path, source in task_files(self.layout, self._settings, problems):
            if len(met) >= self._settings.limits.task_files_max:
                limit = f"task_files_max ({self._settings.limits.task_files_max})"
                problems.append(
                    Problem(source.file, None, f"more than {limit} task files; the rest is not read")
                )
                break
            met.add(source.file)
            self._read(path, source)
            if progress is not None and len(met) % PROGRESS_EVERY == 0:
                progress("tasks", len(met))
        for file in set(self._shelf.files()) - met:
            self._shelf.drop(file)
        if progress is not None:
            progress("tasks", len(met))
        if problems != self._walk_problems:
            self._walk_problems, self._news.problems = problems, True
        self._read_features()
        self._settle()

    def read_changed(self, paths: Iterable[Path], *, features: bool = False) -> None:
        """Read the files at *paths* anew, whole folders where a folder changed, and queue.yaml where it did."""
        for path in paths:
            for file in self._shelf.below(self.layout.relative(path)):
                self._forget(file)
            if path.is_dir() and not path.is_symlink():
                for file_path in sorted(path.rglob("*.md")):
                    self._read_at(file_path)
            else:
                self._read_at(path)
        if features:
            self._read_features()
        self._settle()

    def find_events(self) -> bool:
        """Look for an events file where there was none; return whether there is one."""
        if self.layout.events is None:
            self.layout = find_layout(self._path, self._settings.events_file)
        return self.layout.events is not None

    def _forget(self, file: str) -> None:
        held = self._shelf.held(file)
        self._news.problems = self._news.problems or (held is not None and bool(held.problems))
        self._shelf.drop(file)
        self._texts.pop(file, None)

    def _read(self, path: Path, source: TaskSource) -> None:
        stamp = _stamp(path)
        held = self._shelf.held(source.file)
        if held is not None and held.stamp == stamp != NO_STAMP:
            return
        record, problems = read_source(path, source, self.layout, self._settings)
        self._hold(source.file, record, problems, stamp)

    def _read_at(self, path: Path) -> None:
        stamp = _stamp(path)
        record, problems = read_task_file(path, self.layout, self._settings)
        if record is not None or problems:
            self._hold(self.layout.relative(path), record, problems, stamp)

    def _hold(self, file: str, record: TaskRecord | None, problems: Sequence[Problem], stamp: Stamp) -> None:
        before = self._shelf.held(file)
        if tuple(problems) != (() if before is None else before.problems):
            self._news.problems = True
        text = "" if record is None else record.description
        self._texts.pop(file, None)
        if text and len(self._texts) < TEXTS_HELD_MAX:
            self._texts[file] = text
        slim = None if record is None else replace(record, description="")
        self._shelf.put(file, Held(slim, digest(text), tuple(problems), stamp))

    def _read_features(self) -> None:
        found, problems = scan_features(self.layout, self._settings)
        if found != self._features:
            self._features, self._news.features = found, True
        if problems != self._feature_problems:
            self._feature_problems, self._news.problems = problems, True

    def _settle(self) -> None:
        touched, names_moved = self._shelf.settle()
        self._due.update(dict.fromkeys(touched))
        for task_id in touched & self._queued.keys():  # its header's priority counts in the queue, too
            self._priorities.pop(task_id, None)
            self._news.ranks = True
        self._news.problems = self._news.problems or self._shelf.problems_moved
        self._shelf.problems_moved = False
        self._read_queue(anyway=names_moved)

    def _read_queue(self, *, anyway: bool) -> None:
        """Read queue.yaml where it changed; tasks whose entry says something else are due."""
        stamp = _stamp(self.layout.queue)
        if stamp != self._queue_stamp:
            queue = scan_queue(self.layout, self._settings)
            self._news.problems = self._news.problems or queue.problems != self._queue.problems
            self._queue, self._queue_stamp = queue, stamp
        elif not anyway:
            return
        name_of = self._shelf.name_of
        queued = {
            name_of(item.id): replace(item, line=0, depends_on=tuple(map(name_of, item.depends_on)))
            for item in self._queue.items
        }
        for task_id in self._queued.keys() | queued.keys():
            if self._queued.get(task_id) != queued.get(task_id):
                self._due[task_id] = None
                self._priorities.pop(task_id, None)
        self._queued, self._news.ranks = queued, True

    # --- what was read ----------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many task files there are."""
        return len(self._shelf.files())

    def name_of(self, name: str) -> str:
        """Return the id of the task that RALF calls *name*."""
        return self._shelf.name_of(name)

    def files_of(self, task_id: str) -> tuple[str, ...]:
        """Return the files of a task, relative to the workspace."""
        return self._shelf.files_of(task_id)

    def stamp_of(self, file: str) -> Stamp:
        """Return the state in which a file was read."""
        held = self._shelf.held(file)
        return NO_STAMP if held is None else held.stamp

    def due(self, count_max: int) -> list[FileTask]:
        """Return tasks that say something else than when they were last taken over; `took` them, or `again`."""
        found: list[FileTask] = []
        while self._due and len(found) < count_max:
            task_id = next(iter(self._due))
            del self._due[task_id]
            task = self.task(task_id)
            if task is not None and self.known.get(task_id) != task.seen.digest:
                found.append(self._with_text(task))
        return found

    def took(self, tasks: Iterable[FileTask]) -> None:
        """Note that *tasks* were taken over."""
        self.known.update((task.id, task.seen.digest) for task in tasks)

    def again(self, tasks: Iterable[FileTask]) -> None:
        """Note that *tasks* could not be taken over now."""
        self._due.update(dict.fromkeys(task.id for task in tasks))

    def task(self, task_id: str) -> FileTask | None:
        """Return a task as the files have it, without its description's text; None where they have none."""
        record, item = self._shelf.task(task_id), self._queued.get(task_id)
        queue_ms = 0 if item is None or self._queue_stamp is None else self._queue_stamp[0] // NS_PER_MS
        if record is None:
            return None if item is None else queue_task(task_id, item, changed_ms=queue_ms)
        held = self._shelf.held(record.file)
        changed_ms = max(held.stamp[0] // NS_PER_MS if held else 0, queue_ms)
        return file_task(record, item, changed_ms=changed_ms, text=held.text_digest if held else None)

    def _with_text(self, task: FileTask) -> FileTask:
        """Return *task* with its description: as it was kept, or read once more."""
        file = task.fields["metadata"].get("file")
        if file is None or task.id not in self._shelf:
            return task
        text = self._texts.pop(file, None)
        if text is None and task.text_digest != _NO_TEXT:
            record, _ = read_task_file(self.layout.root / file, self.layout, self._settings)
            text = "" if record is None else record.description
        return replace(task, fields={**task.fields, "description": text or ""})

    def notes(self) -> Notes:
        """Return what is to be noted of the files as a whole, once."""
        news, self._news = self._news, _News()
        problems = None
        if news.problems:
            problems = [
                *self._walk_problems,
                *self._shelf.problems(),
                *self._queue.problems,
                *self._feature_problems,
            ]
        return Notes(
            features=self._features if news.features else None,
            ranks=self._ranks() if news.ranks else None,
            queue_items=len(self._queue.items),
            features_found=len(self._features),
            by_status={status: n for status, n in self._shelf.by_status.items() if n},
            problems=problems,
        )

    def _ranks(self) -> dict[str, Rank]:
        """Return where tasks stand in RALF's order; what stands before an urgent task is as urgent."""
        ranks: dict[str, Rank] = {}
        urgent = max(PRIORITY_RANK.values())
        order = taking_order(self._queue)
        for place, item in reversed(list(enumerate(order))):
            task_id = self.name_of(item.id)
            own = PRIORITY_RANK[self._priority_of(task_id, item)]
            if item.status == PENDING:
                urgent = min(urgent, own)
            ranks[task_id] = Rank(place, min(urgent, own))
        return ranks

    def _priority_of(self, task_id: str, item: QueueItem) -> str:
        """Return the priority of a task that stands in the queue; known until its file or its entry changes."""
        known = self._priorities.get(task_id)
        if known is None:
            task = self.task(task_id)
            known = self._priorities[task_id] = item.priority if task is None else task.fields["priority"]
        return known


@dataclass(slots=True)
class _News:
    """What changed since it was last noted."""

    features: bool = False
    problems: bool = False
    ranks: bool = False


_NO_TEXT: Final = digest("")


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return NO_STAMP
    return status.st_mtime_ns, status.st_size, status.st_ino
