"""What a running hub does by the clock: leases, outside changes, usage, checkpoints, bulk jobs, retention."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ralf_hub.bulk import add, next_replays, prune_step, replay_step
from ralf_hub.errors import StorageError
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.queue import expire_leases
from ralf_hub.model import Json
from ralf_hub.services import Services
from ralf_hub.store import jobs, metrics, retention, room, tasks
from ralf_hub.store.checkpoint import Checkpointer
from ralf_hub.store.file_check import FileCheck
from ralf_hub.store.room import Room

log = logging.getLogger(__name__)

GIVEN_WAY_S_MAX: Final = 0.05
MEASURED_EVERY_S: Final = 600.0
MEASURED_EVERY_TIMES: Final = 200
"""And as often as takes a two-hundredth of the time."""
ALERTED_WITHIN_S: Final = 3.0
"""How long the connectors have to tell of a damaged database before the hub ends."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do every so many seconds, for the first time after so many or at once."""

    name: str
    every_s: float
    do: Callable[[], Awaitable[None]]
    at_once: bool = False


class Upkeep:
    """The chores of one hub. A chore that fails is reported and tried again; it never ends the others."""

    def __init__(self, hub: Services, checkpointer: Checkpointer) -> None:
        self._hub = hub
        self._checkpointer = checkpointer
        self._version = -1
        self._measure_at = 0.0
        self.chores = (
            Chore("outside changes", 0.4, self.notice_outside_changes),
            Chore("leases", 1.0, self.end_leases),
            Chore("bulk jobs", 0.5, self.advance_jobs),
            Chore("checkpoints", 0.25, checkpointer.step),
            Chore("usage", 5.0, hub.write_usage),
            Chore("retention", 600.0, self.prune),
            Chore("room", 10.0, self.look_at_room, at_once=True),
            Chore("sizes", 15.0, self.measure_tables, at_once=True),
        )

    async def repeat(self, chore: Chore) -> None:
        """Do *chore* until cancelled. What the disk says again and again is logged once: it may be full of logs."""
        said = ""
        if not chore.at_once:
            await asyncio.sleep(chore.every_s)
        while True:
            try:
                await chore.do()
            except StorageError as error:
                if said != str(error):
                    log.error("chore %s failed; it is tried again: %s", chore.name, error)  # noqa: TRY400 - no bug
                said = str(error)
            except Exception:
                log.exception("chore %s failed; it is tried again", chore.name)
            else:
                said = ""
            await asyncio.sleep(chore.every_s)

    async def notice_outside_changes(self) -> None:
        """See what someone else wrote: a command, or a person with sqlite3."""
        hub = self._hub
        version = await hub.db.data_version()
        if version == self._version:
            return
        hub.feed.look()
        await hub.reload_keys()
        await hub.dispatcher.refresh()
        self._version = version  # last: what failed is done again

    async def end_leases(self) -> None:
        """Return tasks whose lease has ended to the queue."""
        hub = self._hub
        now = hub.clock.iso()
        if await hub.db.read(lambda conn: tasks.with_lapsed_lease(conn, now=now, limit=1)):
            await hub.intake.accept(expire_leases)

    async def advance_jobs(self) -> None:
        """Do the bulk jobs to their end, a step of each in turn; each step is one commit, so a restart goes on from there."""
        hub = self._hub
        pruned = False
        while running := await hub.db.read(jobs.running):
            for job in running:
                pruned = pruned or job.kind == "prune"
                begun = hub.clock.monotonic()
                if job.kind == "replay":
                    ids = await hub.db.read(partial(next_replays, job=job))
                    await hub.intake.accept(partial(replay_step, job_id=job.id, ids=ids), bulk=True)
                else:
                    await hub.db.write(partial(prune_step, job_id=job.id, clock=hub.clock), bulk=True)
                await self._give_way(begun)
        if pruned:
            await self._give_room_back()

    async def prune(self) -> None:
        """Forget what is older than the settings say, and give the room back."""
        hub = self._hub
        old = retention.cutoffs(hub.settings.retention, hub.clock.now())
        total: dict[str, int] = {}
        finished = False
        while not finished:
            begun = hub.clock.monotonic()
            deleted, finished = await hub.db.write(
                partial(retention.prune_some, cutoffs=old, monotonic=hub.clock.monotonic), bulk=True
            )
            total = add(total, deleted)
            await self._give_way(begun)
        for table, n in total.items():
            log.info("retention: %d rows of %s forgotten", n, table)
        await self._give_room_back()

    async def look_at_room(self) -> None:
        """See how much is left of the disk, and tell once when it is little and once when there is enough again."""
        hub = self._hub
        hub.room = found = await asyncio.to_thread(room.look, hub.db.path, hub.settings.database.free_mib_min)
        since = await hub.db.read(room.low_since)
        if since is None and found.is_little:
            log.warning("the disk of the database is nearly full: %s", found.words)
            await hub.intake.accept(partial(_tell_of_room, found=found, is_little=True))
        elif since is not None and found.is_enough:
            log.info("there is room on the disk of the database again: %s", found.words)
            await hub.intake.accept(partial(_tell_of_room, found=found, is_little=False))

    async def measure_tables(self) -> None:
        """See how large the tables are, every ten minutes; a large file, which takes long, less often."""
        hub = self._hub
        begun = hub.clock.monotonic()
        if begun < self._measure_at:
            return
        hub.table_bytes = await asyncio.to_thread(metrics.table_bytes, hub.db.path)
        ended = hub.clock.monotonic()
        self._measure_at = ended + max(MEASURED_EVERY_S, MEASURED_EVERY_TIMES * (ended - begun))

    async def _give_room_back(self) -> None:
        """Make the file as small as what is in it allows, a few pages at a time."""
        hub = self._hub
        begun = hub.clock.monotonic()
        while await hub.db.run_alone(retention.vacuum_some):
            await self._give_way(begun)
            begun = hub.clock.monotonic()

    async def _give_way(self, begun: float) -> None:
        """Leave the database to others between two steps: at once where nobody waits, else for as long as one took."""
        hub = self._hub
        await asyncio.sleep(min(hub.clock.monotonic() - begun, GIVEN_WAY_S_MAX) if hub.db.waiting else 0)


async def check_whole_file(hub: Services, alerted_within_s: float = ALERTED_WITHIN_S) -> None:
    """Read the database from end to end while the hub serves; end the hub where it would not have started with it."""
    begun = hub.clock.monotonic()
    try:
        damage = await FileCheck(hub.db.path).run()
    except StorageError as error:
        log.error("the database was not read from end to end: %s", error)  # noqa: TRY400 - told whole
        return
    if damage is None:
        log.info(
            "the database was read from end to end in %.0f s: it is whole", hub.clock.monotonic() - begun
        )
        return
    hub.damage = damage  # from here on `/health` says so
    log.error("%s", damage)
    try:
        await hub.intake.accept(_tell_of_damage)
        await asyncio.sleep(alerted_within_s)
    except StorageError as error:
        log.error("the connectors cannot be told of it: %s", error)  # noqa: TRY400 - told whole
    hub.end()


def _tell_of_room(ledger: Ledger, found: Room, *, is_little: bool) -> None:
    """Record an alert that the disk is nearly full, or that it is no longer, and note which was last told."""
    message = (
        f"The disk of the hub's database is nearly full: {found.words}. When it is full, the hub takes nothing more."
        if is_little
        else f"There is room on the disk of the hub's database again: {found.words}."
    )
    data: dict[str, Json] = {
        "code": "disk_low",
        "severity": "error" if is_little else "info",
        "resolved": not is_little,
        "message": message,
    }
    ledger.record("system_alert", source="hub", data=data)
    room.note_low(ledger.conn, ledger.now if is_little else None)


def _tell_of_damage(ledger: Ledger) -> None:
    data: dict[str, Json] = {
        "code": "database_damaged",
        "severity": "critical",
        "message": "The database is damaged and the hub stops: restore the last good backup. Its log says more.",
    }
    ledger.record("system_alert", source="hub", data=data)
