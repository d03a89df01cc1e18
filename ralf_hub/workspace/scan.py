"""Walking a workspace: which files are tasks, and everything the readers make of the tree."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final

from ralf_hub.workspace import features as features_
from ralf_hub.workspace import tasks as tasks_
from ralf_hub.workspace.events import Reading
from ralf_hub.workspace.files import RefusedError, Walk, read_regular, reason
from ralf_hub.workspace.following import FileState, Following, follow
from ralf_hub.workspace.layout import Layout, find_layout
from ralf_hub.workspace.meaning import Meaning
from ralf_hub.workspace.queue import Queue, read_queue
from ralf_hub.workspace.records import FeatureRecord, Limits, Problem, TaskRecord, capped
from ralf_hub.workspace.sources import TASK_FILES, classify, is_named_as_task, is_own_folder
from ralf_hub.workspace.tasks import TaskSource

PROGRESS_EVERY: Final = 100

Progress = Callable[[str, int], None]
"""Called with what is being read and how many of it were read so far."""


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """What of the settings the readers need: the zone of naive times, the events file, meanings, limits."""

    zone: tzinfo = UTC
    events_file: str | None = None
    meaning: Meaning = field(default_factory=Meaning)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything but the events, which are streamed (`follow_events`), as it stands now.

    `records` are the tasks file by file, `tasks` what they say together.
    """

    layout: Layout
    records: tuple[TaskRecord, ...]
    tasks: tuple[TaskRecord, ...]
    names: dict[str, str]
    queue: Queue
    features: tuple[FeatureRecord, ...]
    problems: tuple[Problem, ...]


def scan(path: Path, settings: ScanSettings | None = None, progress: Progress | None = None) -> Snapshot:
    """Read the tasks, the queue and the features of the workspace at *path*.

    Whatever cannot be read is a problem, never an error, but for a workspace that is not there:
    WorkspaceMissingError.
    """
    settings = settings or ScanSettings()
    layout = find_layout(path, settings.events_file)
    problems: list[Problem] = []
    records = list(iter_tasks(layout, settings, problems, progress))
    resolution = tasks_.resolve(records)
    queue = scan_queue(layout, settings)
    found, feature_problems = scan_features(layout, settings)
    problems += [*resolution.problems, *queue.problems, *feature_problems]
    return Snapshot(
        layout=layout,
        records=tuple(records),
        tasks=resolution.tasks,
        names=dict(resolution.names),
        queue=queue,
        features=tuple(found),
        problems=capped(problems, settings.limits.problems_max),
    )


# --- events ---------------------------------------------------------------------------------------


def follow_events(
    layout: Layout,
    settings: ScanSettings,
    state: FileState | None = None,
    *,
    settled: bool = True,
    thorough: bool = True,
) -> Following | None:
    """Read what is new in the events file; None where there is none. See `following.follow`.

    Raises RefusedError or OSError, which `following.read_problem` puts in words.
    """
    if layout.events is None:
        return None
    file = layout.relative(layout.events)
    reading = Reading(file, settings.zone, settings.meaning, settings.limits)
    return follow(layout.events, layout.root, reading, state, settled=settled, thorough=thorough)


# --- tasks ----------------------------------------------------------------------------------------


def iter_tasks(
    layout: Layout, settings: ScanSettings, problems: list[Problem], progress: Progress | None = None
) -> Iterator[TaskRecord]:
    """Yield the task of every task file, appending to *problems*."""
    count = 0
    for path, source in task_files(layout, settings, problems):
        count += 1
        if count > settings.limits.task_files_max:
            message = f"more than task_files_max ({settings.limits.task_files_max}) task files; the rest is not read"
            problems.append(Problem(source.file, None, message))
            break
        record = _read_task_file(path, source, layout, settings, problems)
        if record is not None:
            yield record
        if progress is not None and count % PROGRESS_EVERY == 0:
            progress("tasks", count)
    if progress is not None:
        progress("tasks", count)


def read_task_file(
    path: Path, layout: Layout, settings: ScanSettings
) -> tuple[TaskRecord | None, list[Problem]]:
    """Return the task in the file at *path*, for a single change; None where it is no task file, or gone."""
    problems: list[Problem] = []
    base = next((base for base in layout.tasks if path.is_relative_to(base)), None)
    if base is None:
        return None, problems
    parts = path.relative_to(base).parts
    above = (parts[:depth] for depth in range(1, len(parts)))
    task_dirs = {dirs for dirs in above if is_own_folder(dirs) and _has_task_file(base.joinpath(*dirs))}
    source = classify(parts, task_dirs, layout.relative(path))
    if source is None:
        return None, problems
    return _read_task_file(path, source, layout, settings, problems), problems


def read_source(
    path: Path, source: TaskSource, layout: Layout, settings: ScanSettings
) -> tuple[TaskRecord | None, list[Problem]]:
    """Return the task in the file at *path* that `task_files` found to be *source*."""
    problems: list[Problem] = []
    return _read_task_file(path, source, layout, settings, problems), problems


def _has_task_file(folder: Path) -> bool:
    return any((folder / name).exists() for name in TASK_FILES)


def task_files(
    layout: Layout, settings: ScanSettings, problems: list[Problem]
) -> Iterator[tuple[Path, TaskSource]]:
    """Yield every file that may hold a task, by its name and place."""
    walk = Walk(layout.root, settings.limits.depth_max)
    for base in layout.tasks:
        task_dirs: set[tuple[str, ...]] = set()
        for folder, _, files in walk.folders(base):
            parts = folder.relative_to(base).parts
            if is_own_folder(parts) and any(name in TASK_FILES for name in files):
                task_dirs.add(parts)
            for name in files:
                source = classify((*parts, name), task_dirs, layout.relative(folder / name))
                if source is not None:
                    yield folder / name, source
    problems.extend(walk.problems)


def _read_task_file(
    path: Path, source: TaskSource, layout: Layout, settings: ScanSettings, problems: list[Problem]
) -> TaskRecord | None:
    text = _text(path, layout, settings.limits.task_bytes_max, "task_bytes_max", problems)
    if text is None:
        return None
    record, found = tasks_.read_task(text, source, settings.zone)
    stray = not (source.is_context or path.name in TASK_FILES or is_named_as_task(source.stem))
    if stray and not {"status_text", "priority_text"} & record.metadata.keys():
        return None  # a note that lies beside the tasks
    problems.extend(found)
    return record


def _text(path: Path, layout: Layout, bytes_max: int, limit: str, problems: list[Problem]) -> str | None:
    """Return the text of *path*, or None after a problem; a file that has just vanished is none."""
    file = layout.relative(path)
    try:
        data = read_regular(path, layout.root, bytes_max, limit)
    except FileNotFoundError:
        return None
    except RefusedError as error:
        problems.append(Problem(file, None, str(error)))
        return None
    except OSError as error:
        problems.append(Problem(file, None, f"cannot be read: {reason(error)}"))
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        problems.append(
            Problem(file, data.count(b"\n", 0, error.start) + 1, "bytes that are not UTF-8; replaced")
        )
        return data.decode(errors="replace")


# --- queue and features ---------------------------------------------------------------------------


def scan_queue(layout: Layout, settings: ScanSettings) -> Queue:
    """Read queue.yaml; an empty queue where there is none."""
    problems: list[Problem] = []
    text = _text(layout.queue, layout, settings.limits.queue_bytes_max, "queue_bytes_max", problems)
    if text is None:
        return Queue("empty", "id", (), tuple(problems))
    queue = read_queue(text, layout.relative(layout.queue), settings.zone)
    return Queue(queue.schema, queue.key, queue.items, (*problems, *queue.problems))


def scan_features(layout: Layout, settings: ScanSettings) -> tuple[list[FeatureRecord], list[Problem]]:
    """Read the features' own files and BACKLOG.md."""
    problems: list[Problem] = []
    files: list[FeatureRecord] = []
    backlog: list[FeatureRecord] = []
    if layout.features is None:
        return [], problems
    walk = Walk(layout.root, 0)
    names = next((files for _, _, files in walk.folders(layout.features)), [])
    for name in names:
        if name != features_.BACKLOG and not features_.is_feature_file(name):
            continue
        path = layout.features / name
        text = _text(path, layout, settings.limits.task_bytes_max, "task_bytes_max", problems)
        if text is None:
            continue
        if name == features_.BACKLOG:
            backlog = features_.read_backlog(text, layout.relative(path), settings.zone)
        else:
            feature, found = features_.read_feature(text, layout.relative(path), settings.zone)
            files.append(feature)
            problems.extend(found)
    resolved, contradictions = features_.resolve_features(files, backlog)
    return resolved, [*(p for p in walk.problems if "depth_max" not in p.message), *problems, *contradictions]
