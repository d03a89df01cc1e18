"""Follows a workspace: imports it once, then takes over every change, also those made while the hub was down.

Readers run in a thread; each chunk is one transaction. File notifications are hints: what was read is remembered by
content, so a lost or doubled hint loses and doubles nothing, and where they fail the files are looked at by the clock.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from ralf_hub.clock import Clock
from ralf_hub.config.models import WorkspaceSettings
from ralf_hub.errors import StorageError
from ralf_hub.intake.ledger import Intake, Ledger
from ralf_hub.model import Json
from ralf_hub.store import tasks as stored_tasks
from ralf_hub.store import workspace
from ralf_hub.store.database import Database
from ralf_hub.store.tasks import Rank
from ralf_hub.watcher import history, mirror
from ralf_hub.watcher.eventsfile import SETTLED_AFTER_S, EventsFile
from ralf_hub.watcher.files import Files, Notes
from ralf_hub.watcher.hints import hints
from ralf_hub.watcher.merging import Written
from ralf_hub.watcher.progress import Progress, no_progress
from ralf_hub.watcher.said import FileTask
from ralf_hub.workspace.layout import Layout
from ralf_hub.workspace.meaning import PRIVATE_TYPES, Meaning
from ralf_hub.workspace.records import Limits, WorkspaceMissingError
from ralf_hub.workspace.scan import ScanSettings

log = logging.getLogger(__name__)

T = TypeVar("T")

GATHER_S: Final = 0.1
"""Changes that come together are read together."""
THOROUGH_EVERY_S: Final = 300.0
TASKS_PER_COMMIT: Final = 100
CHANGED_PATHS_MAX: Final = 500
_IMPORTED: Final = "imported"


def scan_settings(settings: WorkspaceSettings) -> ScanSettings:
    """Return `[workspace]` as the readers take it."""
    zone: tzinfo = UTC if settings.timezone == "UTC" else ZoneInfo(settings.timezone)
    meaning = Meaning(dict(settings.event_types), settings.keep_prompts)
    events_file = None if settings.events_file is None else str(settings.events_file)
    return ScanSettings(zone=zone, events_file=events_file, meaning=meaning)


class Follower:
    """Follows one workspace. `status` is what the API shows of it.

    `turn` is held by whoever reads or writes the files: the follower, or the desk that writes back.
    """

    def __init__(
        self,
        *,
        settings: WorkspaceSettings,
        path: Path,
        db: Database,
        intake: Intake,
        clock: Clock,
        deliver_history: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        self._path = path
        self._settings = scan_settings(settings)
        self._poll_s = settings.poll_s
        self._db = db
        self._intake = intake
        self._clock = clock
        self._deliver_history = deliver_history
        self._progress = progress
        self.turn = asyncio.Lock()
        self.files: Files | None = None
        private = frozenset() if settings.keep_prompts else PRIVATE_TYPES
        self._events = EventsFile(settings=self._settings, private=private, db=db, intake=intake, clock=clock)
        self._ranks: dict[str, Rank] = {}
        self._counted: object = None
        self._first = True
        self._changed: set[Path] = set()
        self._hint = asyncio.Event()
        self._watching = False
        self._look_at_all = False
        self._scanning = False
        self._last_scan_at: str | None = None
        self._missing: str | None = None

    def status(self) -> dict[str, Json]:
        """Return path, layout, last scan and whether one is running."""
        return {
            "path": str(self._path),
            "layout": None if self.files is None else self.files.layout.name,
            "last_scan_at": self._last_scan_at,
            "scanning": self._scanning,
            "missing": self._missing,
        }

    @property
    def layout(self) -> Layout | None:
        """Where things stand; None while the workspace is not there."""
        return None if self.files is None else self.files.layout

    @property
    def limits(self) -> Limits:
        """How much is read of each file."""
        return self._settings.limits

    @property
    def is_ready(self) -> bool:
        """Whether the workspace is there and has been read to its end once."""
        return self.files is not None and not self._first and self._missing is None

    def look_soon(self) -> None:
        """Look at the files without waiting for a notification."""
        self._hint.set()

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
            except StorageError as error:
                log.error("workspace: what is new waits for the disk: %s", error)  # noqa: TRY400 - no bug
            except Exception:
                log.exception("workspace %s could not be followed; it is read again", self._path)
            await asyncio.sleep(self._poll_s)

    async def _follow(self) -> None:
        files = await asyncio.to_thread(Files, self._path, self._settings)
        await self._load_state(files)
        self.files, self._missing = files, None
        await self.read_all()
        watching = asyncio.create_task(self._watch(files.layout, files.count), name="workspace watched")
        try:
            due = self._clock.monotonic() + THOROUGH_EVERY_S
            while True:
                await self._wait(files)
                if not files.layout.root.is_dir():
                    raise WorkspaceMissingError(f"{self._path}: No such file or directory")
                if self._look_at_all:
                    self._look_at_all = False
                    await self.read_all(thorough=False)
                if self._clock.monotonic() >= due or watching.done():
                    due = self._clock.monotonic() + THOROUGH_EVERY_S
                    self._changed.clear()
                    await self.read_all()
                else:
                    await self._read_changes(files)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await watching

    async def _wait(self, files: Files) -> None:
        """Wait for a hint, or for the moment to look without one."""
        unfinished = await self._events.has_news(files)
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLED_AFTER_S if unfinished else self._poll_s):
                await self._hint.wait()
                await asyncio.sleep(GATHER_S)
        self._hint.clear()

    async def _watch(self, layout: Layout, folders: int) -> None:
        """Gather hints from the operating system; ends where it gives none."""
        wanted = [*layout.tasks, layout.communications, layout.features, layout.root]
        places = [place for place in wanted if place is not None and place.is_dir()]
        deep = [place for place in places if place != layout.root]
        try:
            async with aclosing(hints(deep or places, folders)) as told:
                async for changed in told:
                    if not self._watching:  # set up only now: what changed meanwhile was nobody's hint
                        self._watching = self._look_at_all = True
                    self._changed |= changed
                    self._hint.set()
        except (OSError, RuntimeError) as error:
            log.warning("workspace: no notifications (%s); it is looked at every %s s", error, self._poll_s)

    async def _read_changes(self, files: Files) -> None:
        changed, self._changed = self._changed, set()
        layout = files.layout
        paths = [path for path in sorted(changed) if any(path.is_relative_to(base) for base in layout.tasks)]
        features = any(
            layout.features is not None and path.is_relative_to(layout.features) for path in changed
        )
        if len(paths) > CHANGED_PATHS_MAX:
            await self.read_all(thorough=False)
            return
        if paths:
            await self._read_events_to_their_end(files)
        async with self.turn:
            await self.pull(paths, features=features)

    async def _read_events_to_their_end(self, files: Files) -> None:
        """Read events before folders: RALF writes the record first, and it says more than the folder that moves."""
        async with self.turn:
            await self._read_events(files, thorough=False)
        if self._events.is_unfinished:
            await asyncio.sleep(SETTLED_AFTER_S)

    # --- reading and taking over ----------------------------------------------------------------

    async def _load_state(self, files: Files) -> None:
        imported, events, known, ranks = await self._db.read(
            lambda conn: (
                workspace.state(conn, _IMPORTED),
                workspace.state(conn, history.EVENTS_STATE),
                workspace.tasks_seen(conn),
                stored_tasks.ranks(conn),
            )
        )
        self._first = not (isinstance(imported, dict) and imported.get("path") == str(self._path))
        self._events.stands_at(events if isinstance(events, dict) and not self._first else None)
        files.known.update(known)
        self._ranks = ranks

    @property
    def _notify(self) -> bool:
        return self._deliver_history or not self._first

    async def read_all(self, *, thorough: bool = True) -> None:
        """Look at the whole workspace; the first time all of it is history."""
        files = self.files
        if files is None:
            return
        self._scanning = True
        try:
            async with self.turn:
                await asyncio.to_thread(files.read_all, lambda what, count: self._progress(what, count, None))
                if self._first:
                    await self._take(files)
                    await self._read_events(files, thorough=thorough)
                    await self._db.write(self._mark_imported)
                    self._first = False
                else:
                    await self._read_events(files, thorough=thorough)
                    await self._take(files)
        finally:
            self._scanning = False
            self._progress("done", 0, None)
            if not self._first:
                self._progress = no_progress  # later looks are short

    def _mark_imported(self, conn: Connection) -> None:
        workspace.save_state(conn, _IMPORTED, {"path": str(self._path), "at": self._clock.iso()})

    async def _read_events(self, files: Files, *, thorough: bool) -> None:
        if await self._events.read(
            files, thorough=thorough, first=self._first, notify=self._notify, progress=self._progress
        ):
            self._last_scan_at = self._clock.iso()

    async def pull(self, paths: Iterable[Path], *, features: bool = False) -> None:
        """Take over what changed in the events, at *paths* and in queue.yaml. To be called with `turn` in hand."""
        files = self.files
        if files is None:
            return
        await self._read_events(files, thorough=False)
        await asyncio.to_thread(files.read_changed, list(paths), features=features)
        await self._take(files)

    async def adopt(self, paths: Iterable[Path], own: Mapping[str, Written]) -> None:
        """Remember what the files at *paths* say of the tasks in *own*, as which the hub has just written them."""
        files = self.files
        if files is None:
            return
        await asyncio.to_thread(files.read_changed, list(paths))
        while due := await asyncio.to_thread(files.due, TASKS_PER_COMMIT):
            others = [task for task in due if task.id not in own]
            if mine := [task for task in due if task.id in own]:
                others += await self._commit(
                    files, mine, partial(mirror.adopt_tasks, found=mine, written=own)
                )
            if others:
                await self._take_chunk(files, others)
        await self._note(files)

    async def _take(self, files: Files) -> None:
        """Take over what the files say differently from last time."""
        while chunk := await asyncio.to_thread(files.due, TASKS_PER_COMMIT):
            await self._take_chunk(files, chunk)
        await self._note(files)
        self._last_scan_at = self._clock.iso()

    async def _take_chunk(self, files: Files, chunk: list[FileTask]) -> None:
        first, notify = self._first, self._notify
        await self._commit(
            files, chunk, partial(mirror.take_tasks, changed=chunk, first=first, notify=notify)
        )

    async def _commit(self, files: Files, chunk: list[FileTask], change: Callable[[Ledger], T]) -> T:
        """Run *change*, which takes *chunk* over; where it fails the tasks stay due."""
        try:
            found = await self._intake.accept(change, bulk=True)
        except BaseException:
            files.again(chunk)
            raise
        files.took(chunk)
        return found

    async def _note(self, files: Files) -> None:
        """Take over features, ranks, counts and problems, as far as they changed."""
        notes = await asyncio.to_thread(files.notes)
        first, notify = self._first, self._notify
        if notes.features is not None:
            found = notes.features
            await self._intake.accept(
                lambda ledger: mirror.take_features(ledger, found, first=first, notify=notify), bulk=True
            )
        ranks = self._ranks if notes.ranks is None else notes.ranks
        moved = {task_id: rank for task_id, rank in ranks.items() if self._ranks.get(task_id) != rank}
        gone = self._ranks.keys() - ranks.keys()

        counted = (notes.by_status, notes.queue_items, notes.features_found)
        if moved or gone or notes.problems is not None or counted != self._counted:

            def write(conn: Connection) -> None:
                stored_tasks.set_ranks(conn, moved, gone=gone)
                _write_notes(conn, notes)

            await self._db.write(write, bulk=True)
        self._ranks, self._counted = ranks, counted


def _write_notes(conn: Connection, notes: Notes) -> None:
    if notes.problems is not None:
        workspace.forget_problems(conn, "files")
        workspace.add_problems(conn, "files", [(p.file, p.line, p.message) for p in notes.problems])
    workspace.set_counts(conn, "tasks", notes.by_status)
    workspace.set_counts(conn, "queue", {"items": notes.queue_items})
    workspace.set_counts(conn, "features", {"found": notes.features_found})
