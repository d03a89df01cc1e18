"""The first import of a workspace, as a bar on a terminal."""

import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LABELS: Final = {"tasks": "workspace: task files read", "events": "workspace: events read"}


class ImportBar:
    """Told how far the import is, from several threads; draws from the first word on and is gone after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        self._rows: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Show it; `done` takes the bar away."""
        with self._lock:
            if what not in LABELS:
                self._end()
                return
            if self._bar is None:
                self._bar = _drawn()
                self._bar.start()
            if what not in self._rows:
                self._rows[what] = self._bar.add_task(LABELS[what], total=total)
            self._bar.update(self._rows[what], completed=done, total=total)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None
        self._rows.clear()


def _drawn() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TextColumn("{task.completed:,}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a file that takes the output keeps it, while the bar is drawn
    )
