"""Where things stand in a workspace: RALF has moved them twice, and any folder level may be given."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ralf_hub.workspace.files import relative
from ralf_hub.workspace.records import WorkspaceMissingError

STATUS_BY_FOLDER: Final = {
    "completed": "completed",
    "cancelled": "cancelled",
    "working": "in_progress",
    "active": "pending",
    "improvements": "pending",
}
"""The folders of tasks, strongest first: a task found in several is what the first of them says."""

PROJECT: Final = Path("5-project-memory", "blackbox5")
COMMUNICATIONS: Final = (
    Path(".autonomous", "agents", "communications"),
    Path(".autonomous", "communications"),
)
TASKS: Final = (Path("tasks"), Path(".autonomous", "tasks"))
EVENTS_FILES: Final = ("events.yaml", "events.ldjson")
QUEUE_FILE: Final = "queue.yaml"

LayoutName = Literal["modern", "flat"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of one workspace; absolute paths, present only where they exist.

    `root` is the folder the settings name and bounds everything that is read; `project` is the
    folder RALF works in, `root` itself or one below. `name` is the form new tasks take there:
    `modern` is tasks/active/<ID>/task.md, `flat` is .autonomous/tasks/active/<ID>-slug.md.
    """

    name: LayoutName
    root: Path
    project: Path
    tasks: tuple[Path, ...]
    communications: Path
    features: Path | None
    events: Path | None

    @property
    def queue(self) -> Path:
        """The place of queue.yaml, whether it exists or not."""
        return self.communications / QUEUE_FILE

    @property
    def active(self) -> Path:
        """The folder that takes new tasks, whether it exists or not."""
        return self.project / TASKS[0 if self.name == "modern" else 1] / "active"

    def relative(self, path: Path) -> str:
        """Return *path* as records and problems name it."""
        return relative(path, self.root)


def find_layout(path: Path, events_file: str | None = None) -> Layout:
    """Return the layout of the workspace at *path*; *events_file* (relative to it) overrides the usual one.

    Raises WorkspaceMissingError when *path* is no folder that can be listed.
    """
    try:
        root = path.resolve(strict=True)
        os.listdir(root)  # noqa: PTH208 - only to learn whether it may be listed
    except (OSError, RuntimeError) as error:
        raise WorkspaceMissingError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    project = _project(root)
    communications = _communications(project)
    features = project / "plans" / "features"
    return Layout(
        name=_name(project),
        root=root,
        project=project,
        tasks=tuple(project / place for place in TASKS if (project / place).is_dir()),
        communications=communications,
        features=features if features.is_dir() else None,
        events=_events(root, project, communications, events_file),
    )


def _project(root: Path) -> Path:
    """Return the project's folder: below a repository's root, else *root* itself.

    The project below is asked first, because the repository's root has an `.autonomous` of its own.
    """
    if (root / PROJECT).is_dir():
        return root / PROJECT
    if _looks_like_project(root):
        return root
    memory = root if root.name == PROJECT.parts[0] else root / PROJECT.parts[0]
    if memory.is_dir():
        for child in sorted(memory.iterdir()):
            if not child.name.startswith((".", "_")) and _looks_like_project(child):
                return child
    return root


def _looks_like_project(folder: Path) -> bool:
    return any((folder / place).is_dir() for place in (*TASKS, *COMMUNICATIONS))


def _communications(project: Path) -> Path:
    for wanted in ((*EVENTS_FILES, QUEUE_FILE), ()):
        for place in COMMUNICATIONS:
            folder = project / place
            if folder.is_dir() and (not wanted or any(os.path.lexists(folder / name) for name in wanted)):
                return folder
    return project / COMMUNICATIONS[0]


def _events(root: Path, project: Path, communications: Path, events_file: str | None) -> Path | None:
    if events_file:
        named = [base / events_file for base in (root, project, communications)]
        return next((path for path in named if os.path.lexists(path)), named[0])
    return next((communications / n for n in EVENTS_FILES if os.path.lexists(communications / n)), None)


def _name(project: Path) -> LayoutName:
    """Return which form RALF uses now: the modern one as soon as its folders of tasks exist."""
    if any((project / TASKS[0] / folder).is_dir() for folder in STATUS_BY_FOLDER):
        return "modern"
    if any((project / TASKS[1] / folder).is_dir() for folder in STATUS_BY_FOLDER):
        return "flat"
    return "flat" if (project / COMMUNICATIONS[1]).is_dir() else "modern"
