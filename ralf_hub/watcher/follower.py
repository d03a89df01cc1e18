"""Follows a workspace: imports it once, then takes over every change, also those made while the hub was down.

Readers run in a thread; each chunk is one transaction. File notifications are hints: what was read is remembered by
content, so a lost or doubled hint loses and doubles nothing, and where they fail the files are looked at by the clock.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from watchfiles import awatch

from ralf_hub.clock import Clock
from ralf_hub.config.models import WorkspaceSettings
from ralf_hub.intake.ledger import Intake, Ledger
from ralf_hub.model import Json
from ralf_hub.store import workspace
from ralf_hub.store.database import Database
from ralf_hub.watcher import history, mirror
from ralf_hub.watcher.files import Files, Reading
from ralf_hub.workspace.files import RefusedError
from ralf_hub.workspace.following import Batch, FileState, Following, read_problem, unchanged
from ralf_hub.workspace.meaning import PRIVATE_TYPES, Meaning
from ralf_hub.workspace.records import WorkspaceMissingError
from ralf_hub.workspace.scan import ScanSettings, follow_events

log = logging.getLogger(__name__)

SETTLED_AFTER_S: Final = 0.3
"""A file untouched for so long is taken to be written to its end."""
GATHER_S: Final = 0.1
"""Changes that come together are read together."""
THOROUGH_EVERY_S: Final = 300.0
TASKS_PER_COMMIT: Final = 200
CHANGED_PATHS_MAX: Final = 500
_IMPORTED: Final = "imported"


def scan_settings(settings: WorkspaceSettings) -> ScanSettings:
    """Return `[workspace]` as the readers take it."""
    zone: tzinfo = UTC if settings.timezone == "UTC" else ZoneInfo(settings.timezone)
    meaning = Meaning(dict(settings.event_types), settings.keep_prompts)
    events_file = None if settings.events_file is None else str(settings.events_file)
    return ScanSettings(zone=zone, events_file=events_file, meaning=meaning)


class Follower:
    """Follows one workspace. `status` is what the API shows of it."""

    def __init__(
        self,
        *,
        settings: WorkspaceSettings,
        path: Path,
        db: Database,
        intake: Intake,
        clock: Clock,
        deliver_history: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> None:
        self._path = path
        self._settings = scan_settings(settings)
        self._private = frozenset() if settings.keep_prompts else PRIVATE_TYPES
        self._poll_s = settings.poll_s
        self._db = db
        self._intake = intake
        self._clock = clock
        self._deliver_history = deliver_history
        self._progress = progress
        self._files: Files | None = None
        self._names: dict[str, str] = {}
        self._state: FileState | None = None
        self._first = True
        self._changed: set[Path] = set()
        self._hint = asyncio.Event()
        self._scanning = False
        self._last_scan_at: str | None = None
        self._missing: str | None = None

    def status(self) -> dict[str, Json]:
        """Return path, layout, last scan and whether one is running."""
        return {
            "path": str(self._path),
            "layout": None if self._files is None else self._files.layout.name,
            "last_scan_at": self._last_scan_at,
            "scanning": self._scanning,
            "missing": self._missing,
        }

    # --- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow until cancelled; a workspace that is missing or fails is reported and looked for again."""
        while True:
            try:
                await self._follow()
            except WorkspaceMissingError as error:
                if self._missing is None:
                    log.error("workspace: %s", error)  # noqa: TRY400 - the message says it all
                self._missing = str(error)
            except Exception:
                log.exception("workspace %s could not be followed; it is read again", self._path)
            await asyncio.sleep(self._poll_s)

    async def _follow(self) -> None:
        files = self._files = await asyncio.to_thread(Files, self._path, self._settings)
        self._missing = None
        await self._load_state()
        await self.read_all()
        watching = asyncio.create_task(self._watch(), name="workspace watched")
        try:
            due = self._clock.monotonic() + THOROUGH_EVERY_S
            while True:
                await self._wait(files)
                if not files.layout.root.is_dir():
                    raise WorkspaceMissingError(f"{self._path}: No such file or directory")
                thorough = self._clock.monotonic() >= due or watching.done()
                if thorough:
                    due = self._clock.monotonic() + THOROUGH_EVERY_S
                await self._read_changes(thorough=thorough)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await watching

    async def _wait(self, files: Files) -> None:
        """Wait for a hint, or for the moment to look without one."""
        unfinished = files.layout.events is not None and not await asyncio.to_thread(
            unchanged, files.layout.events, self._state
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_AFTER_S if unfinished else self._poll_s):
                await self._hint.wait()
                await asyncio.sleep(GATHER_S)
        self._hint.clear()

    async def _watch(self) -> None:
        """Gather hints from the operating system; ends where it gives none."""
        files = self._files
        if files is None:
            return
        layout = files.layout
        wanted = [*layout.tasks, layout.communications, layout.features, layout.root]
        places = [place for place in wanted if place is not None and place.is_dir()]
        deep = [place for place in places if place != layout.root]
        try:
            async for changes in awatch(*(deep or places), debounce=200, step=20, recursive=True):
                self._changed.update(Path(path) for _, path in changes)
                self._hint.set()
        except (OSError, RuntimeError) as error:
            log.warning("workspace: no notifications (%s); it is looked at every %s s", error, self._poll_s)

    async def _read_changes(self, *, thorough: bool) -> None:
        files = self._files
        if files is None:
            return
        changed, self._changed = self._changed, set()
        layout = files.layout
        own = {layout.events, layout.queue}
        paths = {
            path
            for path in changed
            if path not in own and any(path.is_relative_to(base) for base in layout.tasks)
        }
        others = layout.queue in changed or any(
            layout.features is not None and path.is_relative_to(layout.features) for path in changed
        )
        if thorough or len(paths) > CHANGED_PATHS_MAX:
            await self.read_all(thorough=thorough)
            return
        await self._read_events(
            thorough=False
        )  # first: a record says more than the folder that moves after it
        if paths or others:
            await self._take(await asyncio.to_thread(files.read_changed, sorted(paths)))

    # --- reading and taking over ----------------------------------------------------------------

    async def _load_state(self) -> None:
        imported, stored = await self._db.read(
            lambda conn: (workspace.state(conn, _IMPORTED), workspace.state(conn, history.EVENTS_STATE))
        )
        self._first = not (isinstance(imported, dict) and imported.get("path") == str(self._path))
        self._state = FileState.from_json(stored) if isinstance(stored, dict) and not self._first else None

    @property
    def _notify(self) -> bool:
        return self._deliver_history or not self._first

    async def read_all(self, *, thorough: bool = True) -> None:
        """Read the whole workspace; the first time all of it is history."""
        if self._files is None:
            return
        self._scanning = True
        try:
            reading = await asyncio.to_thread(self._files.read_all, self._progress)
            if self._first:
                await self._take(reading)
                await self._read_events(thorough=thorough)
                await self._db.write(self._mark_imported)
                self._first = False
            else:
                self._names = reading.names
                await self._read_events(thorough=thorough)
                await self._take(reading)
        finally:
            self._scanning = False

    def _mark_imported(self, conn: Any) -> None:
        workspace.save_state(conn, _IMPORTED, {"path": str(self._path), "at": self._clock.iso()})

    async def _take(self, reading: Reading) -> None:
        """Take over what the files say differently from last time."""
        self._names = reading.names
        seen = await self._db.read(workspace.tasks_seen)
        changed = [task for task in reading.tasks if seen.get(task.id) != task.seen]
        first, notify = self._first, self._notify
        await self._intake.accept(
            lambda ledger: mirror.take_features(ledger, reading.features, first=first, notify=notify),
            bulk=True,
        )
        for start in range(0, len(changed), TASKS_PER_COMMIT):
            chunk = changed[start : start + TASKS_PER_COMMIT]

            def take(ledger: Ledger, chunk: list[mirror.FileTask] = chunk) -> None:
                mirror.take_tasks(ledger, chunk, first=first, notify=notify)

            await self._intake.accept(take, bulk=True)
        await self._db.write(lambda conn: self._note(conn, reading), bulk=True)
        self._last_scan_at = self._clock.iso()

    @staticmethod
    def _note(conn: Any, reading: Reading) -> None:
        workspace.forget_problems(conn, "files")
        workspace.add_problems(conn, "files", [(p.file, p.line, p.message) for p in reading.problems])
        workspace.set_counts(conn, "tasks", reading.by_status)
        workspace.set_counts(conn, "queue", {"items": reading.queue_items})
        workspace.set_counts(conn, "features", {"found": len(reading.features)})

    async def _read_events(self, *, thorough: bool) -> None:
        files = self._files
        if files is None or files.layout.events is None:
            return
        events = files.layout.events
        if not thorough and await asyncio.to_thread(unchanged, events, self._state):
            return
        try:
            settled = self._clock.now() / 1000 - events.stat().st_mtime >= SETTLED_AFTER_S
            following = await asyncio.to_thread(
                follow_events, files.layout, self._settings, self._state, settled=settled, thorough=thorough
            )
        except FileNotFoundError:
            return
        except (OSError, RefusedError) as error:
            problem = read_problem(files.layout.relative(events), error)
            row = [(problem.file, problem.line, problem.message)]
            await self._db.write(lambda conn: workspace.add_problems(conn, "events", row))
            return
        if following is not None:
            await self._take_events(following)

    async def _take_events(self, following: Following) -> None:
        await self._intake.accept(lambda ledger: history.begin(ledger, following))
        first, notify, private = self._first, self._notify, self._private
        while (batch := await asyncio.to_thread(next, following.batches, None)) is not None:
            found: Batch = batch

            def take(ledger: Ledger, found: Batch = found) -> history.Taken:
                return history.take(
                    ledger,
                    found,
                    generation=following.generation,
                    names=self._names,
                    first=first,
                    notify=notify,
                    private=private,
                )

            await self._intake.accept(take, bulk=True)
            self._state = found.state
            if self._progress is not None:
                self._progress("events", found.read_bytes)
        self._last_scan_at = self._clock.iso()
