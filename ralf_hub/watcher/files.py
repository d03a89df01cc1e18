"""Reading the workspace's tasks, queue and features, whole at first, then only what changed. Runs in a thread."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ralf_hub.watcher.mirror import FileTask, file_tasks
from ralf_hub.workspace.layout import Layout, find_layout
from ralf_hub.workspace.records import FeatureRecord, Problem, TaskRecord
from ralf_hub.workspace.scan import (
    Progress,
    ScanSettings,
    iter_tasks,
    read_task_file,
    scan_features,
    scan_queue,
)
from ralf_hub.workspace.tasks import resolve


@dataclass(frozen=True, slots=True)
class Reading:
    """What the files say now."""

    tasks: list[FileTask]
    names: dict[str, str]
    features: list[FeatureRecord]
    queue_items: int
    by_status: dict[str, int]
    problems: list[Problem]


class Files:
    """The task files as last read, so that a change costs its own reading and not that of all."""

    def __init__(self, path: Path, settings: ScanSettings) -> None:
        self._path = path
        self._settings = settings
        self.layout: Layout = find_layout(path, settings.events_file)
        self._records: dict[str, TaskRecord] = {}
        self._problems: dict[str, list[Problem]] = {}

    def read_all(self, progress: Progress | None = None) -> Reading:
        """Read everything anew. WorkspaceMissingError where the workspace is gone."""
        self.layout = find_layout(self._path, self._settings.events_file)
        problems: list[Problem] = []
        self._records = {
            record.file: record for record in iter_tasks(self.layout, self._settings, problems, progress)
        }
        self._problems = {}
        for problem in problems:
            self._problems.setdefault(problem.file, []).append(problem)
        return self._reading()

    def read_changed(self, paths: Iterable[Path]) -> Reading:
        """Read the files at *paths* anew, whole folders where a folder changed."""
        for path in paths:
            self._forget(self.layout.relative(path))
            if path.is_dir() and not path.is_symlink():
                for file in sorted(path.rglob("*.md")):
                    self._read(file)
            else:
                self._read(path)
        return self._reading()

    def _read(self, path: Path) -> None:
        record, problems = read_task_file(path, self.layout, self._settings)
        file = self.layout.relative(path)
        if problems:
            self._problems[file] = problems
        if record is not None:
            self._records[record.file] = record

    def _forget(self, file: str) -> None:
        below = file + "/"
        gone = [name for name in {*self._records, *self._problems} if name == file or name.startswith(below)]
        for name in gone:
            self._records.pop(name, None)
            self._problems.pop(name, None)

    def _reading(self) -> Reading:
        resolution = resolve(self._records.values())
        queue = scan_queue(self.layout, self._settings)
        features, feature_problems = scan_features(self.layout, self._settings)
        by_status: dict[str, int] = {}
        for task in resolution.tasks:
            by_status[task.status] = by_status.get(task.status, 0) + 1
        problems = [problem for found in self._problems.values() for problem in found]
        names = dict(resolution.names)
        return Reading(
            tasks=file_tasks(resolution.tasks, queue.items, names),
            names=names,
            features=list(features),
            queue_items=len(queue.items),
            by_status=by_status,
            problems=[*problems, *resolution.problems, *queue.problems, *feature_problems],
        )
