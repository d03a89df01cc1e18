"""Notices that the wall clock was set back, while the hub runs or while it did not, and puts right what waits.

Deliveries, probes, holds and leases wait for moments of the wall clock, which survive a restart. A clock that was ahead
and is corrected would leave them waiting until it is there again: hours, or years after a boot with an empty battery.
"""

import logging
from typing import Final

from ralf_hub.clock import MS_PER_S, iso, parse_iso
from ralf_hub.errors import StorageError
from ralf_hub.services import Services
from ralf_hub.store import clock_step

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
"""A step back that is shorter than this goes unnoticed, and delays nothing by more."""


class ClockWatch:
    """Looks every second whether the wall clock shows an earlier moment than before; at the start, than on disk."""

    def __init__(self, hub: Services) -> None:
        self._hub = hub
        self._seen: tuple[int, float] | None = None
        """The wall clock, milliseconds, and the monotonic one, seconds, at the last look."""

    async def begin(self) -> None:
        """Look for the first time. Where the disk does not let it, the next look does what is left to do."""
        try:
            await self.look()
        except StorageError as error:
            log.warning("nobody knows yet whether the clock was set back: %s", error)

    async def look(self) -> None:
        """Put right what waits, if the clock was set back since the last look. StorageError: it was not, yet."""
        clock = self._hub.clock
        now_ms, monotonic_s = clock.now(), clock.monotonic()
        if self._seen is None:
            back_ms = await self._behind_ms(now_ms)
        else:
            seen_ms, seen_s = self._seen
            passed_ms = round((monotonic_s - seen_s) * MS_PER_S)
            back_ms = seen_ms + passed_ms - now_ms if now_ms < seen_ms else 0
        if back_ms > 0:
            await self._put_right(back_ms, now_ms)
        self._seen = now_ms, monotonic_s

    async def _behind_ms(self, now_ms: int) -> int:
        """Return by how much the clock is behind what was last written."""
        last = await self._hub.db.read(clock_step.last_known)
        try:
            return parse_iso(last) - now_ms if last is not None else 0
        except ValueError:  # written by hand
            return 0

    async def _put_right(self, back_ms: int, now_ms: int) -> None:
        hub = self._hub
        moved = await hub.db.write(
            lambda conn: clock_step.bring_forward(conn, by_ms=back_ms, now=iso(now_ms)), bulk=True
        )
        log.warning(
            "the clock was set back by %.1f s: what waits was moved with it, %d deliveries among it",
            back_ms / MS_PER_S,
            moved,
        )
        await hub.dispatcher.refresh()
