"""Notices that the wall clock was set back, while the hub runs or while it did not, and puts right what waits.

Deliveries, probes, holds and leases wait for moments of the wall clock, which survive a restart. A clock that was ahead
and is corrected would leave them waiting until it is there again: hours, or years after a boot with an empty battery.
"""

import logging
from typing import Final

from ralf_hub.clock import MS_PER_S, HighWater, iso, parse_iso
from ralf_hub.errors import StorageError
from ralf_hub.services import Services
from ralf_hub.store import clock_step

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0


class ClockWatch:
    """Looks every second whether the clock shows an earlier moment than it once did; at the start, than is on disk."""

    def __init__(self, hub: Services, shown: HighWater) -> None:
        self._hub = hub
        self._shown = shown
        self._began = False

    async def begin(self) -> None:
        """Look for the first time. Where the disk does not let it, the next look does what is left to do."""
        try:
            await self.look()
        except StorageError as error:
            log.warning("nobody knows yet whether the clock was set back: %s", error)

    async def look(self) -> None:
        """Put right what waits, if the clock was set back since the last look. StorageError: it was not, yet."""
        latest_ms = self._shown.highest_ms
        if not self._began:
            latest_ms = max(latest_ms, await self._last_known_ms())
        now_ms = self._hub.clock.now()
        if latest_ms > now_ms:
            await self._put_right(latest_ms - now_ms, now_ms)
            self._shown.highest_ms = now_ms
        self._began = True

    async def _last_known_ms(self) -> int:
        """Return the latest moment at which the hub is known to have done something; 0 where nothing tells."""
        now = self._hub.clock.iso()
        last = await self._hub.db.read(lambda conn: clock_step.last_known(conn, now))
        try:
            return parse_iso(last) if last is not None else 0
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
