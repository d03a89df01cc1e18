"""Taking over what is new in the events file, batch by batch, each in one transaction."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from ralf_hub.clock import MS_PER_S, Clock
from ralf_hub.intake.ledger import Intake, Ledger
from ralf_hub.model import Json
from ralf_hub.store import workspace
from ralf_hub.store.database import Database
from ralf_hub.watcher import history
from ralf_hub.watcher.files import Files
from ralf_hub.watcher.progress import Progress, no_progress
from ralf_hub.workspace.files import RefusedError
from ralf_hub.workspace.following import Batch, FileState, Following, read_problem, unchanged
from ralf_hub.workspace.scan import ScanSettings, follow_events

SETTLED_AFTER_S: Final = 0.3
"""A file untouched for so long is taken to be written to its end."""


class EventsFile:
    """Where the reading of the events file stands, and its next step."""

    def __init__(
        self,
        *,
        settings: ScanSettings,
        private: frozenset[str],
        db: Database,
        intake: Intake,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._private = private
        self._db = db
        self._intake = intake
        self._clock = clock
        self._state: FileState | None = None
        self._still: tuple[tuple[int, int], float] | None = None

    def stands_at(self, stored: dict[str, Json] | None) -> None:
        """Go on from the stored state; None: from the beginning."""
        self._state = None if stored is None else FileState.from_json(stored)

    @property
    def is_unfinished(self) -> bool:
        """Whether the end of the file was left for later, since somebody may still have been writing it."""
        return self._state is not None and self._state.size < 0

    async def has_news(self, files: Files) -> bool:
        """Return whether the file is another than the one that was read, by its looks."""
        events = files.layout.events
        return events is not None and not await asyncio.to_thread(unchanged, events, self._state)

    def _is_settled(self, status: os.stat_result) -> bool:
        """Return whether the file has not been written to for a moment.

        Its time tells, unless that lies ahead of the clock (another machine's, or one that was set back): then
        whether it has stood still since an earlier look.
        """
        age_s = self._clock.now() / MS_PER_S - status.st_mtime
        if age_s >= 0:
            return age_s >= SETTLED_AFTER_S
        looks, now_s = (status.st_mtime_ns, status.st_size), self._clock.monotonic()
        if self._still is None or self._still[0] != looks:
            self._still = looks, now_s
        return now_s - self._still[1] >= SETTLED_AFTER_S

    async def read(
        self,
        files: Files,
        *,
        thorough: bool,
        first: bool,
        notify: bool,
        progress: Progress = no_progress,
    ) -> bool:
        """Take over what is new; return whether the file was read. See `following.follow` for *thorough*."""
        if not await asyncio.to_thread(files.find_events):
            return False
        events = files.layout.events
        if events is None or not (thorough or await self.has_news(files)):
            return False
        try:
            settled = self._is_settled(events.stat())
            following = await asyncio.to_thread(
                follow_events, files.layout, self._settings, self._state, settled=settled, thorough=thorough
            )
        except FileNotFoundError:
            return False
        except (OSError, RefusedError) as error:
            problem = read_problem(files.layout.relative(events), error)
            row = [(problem.file, problem.line, problem.message)]
            await self._db.write(lambda conn: workspace.add_problems(conn, "events", row))
            return False
        if following is not None:
            async for found in self._take(files, following, first=first, notify=notify):
                progress("events", found.read_bytes, found.total_bytes)
        return following is not None

    async def _take(
        self, files: Files, following: Following, *, first: bool, notify: bool
    ) -> AsyncIterator[Batch]:
        """Take over batch by batch, yielding each when it is on disk."""
        await self._intake.accept(lambda ledger: history.begin(ledger, following), bulk=True)
        while (batch := await asyncio.to_thread(next, following.batches, None)) is not None:
            found: Batch = batch

            def take(ledger: Ledger, found: Batch = found) -> history.Taken:
                return history.take(
                    ledger,
                    found,
                    generation=following.generation,
                    name_of=files.name_of,
                    first=first,
                    notify=notify,
                    private=self._private,
                )

            await self._intake.accept(take, bulk=True)
            self._state = found.state
            yield found
