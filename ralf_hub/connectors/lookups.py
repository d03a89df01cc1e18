"""What one process knows of creations it has tried, where the service can only be searched with a lag.

It is bounded and kept in memory only: a hub that starts anew knows nothing, and looks from the beginning.
"""

from typing import Final

from ralf_hub.clock import MS_PER_S, Clock

REMEMBERED_MAX: Final = 2_000
LOOKS_NEEDED: Final = 2


class Lookups:
    """Counts the searches for one delivery's object that found nothing, each a lag after the one before."""

    def __init__(self, clock: Clock, *, lag_s: float) -> None:
        self._clock = clock
        self._lag_ms = lag_s * MS_PER_S
        self._looks: dict[int, tuple[int, int]] = {}
        self._absent: dict[int, None] = {}

    def surely_absent(self, delivery_id: int) -> bool:
        """Return whether the last try is known to have made nothing."""
        return delivery_id in self._absent

    def note_absent(self, delivery_id: int) -> None:
        """Note that the last try made nothing: it was refused, or never sent."""
        self._absent[delivery_id] = None
        _bound(self._absent)

    def forget(self, delivery_id: int) -> None:
        """Forget what is known: the object is about to be made."""
        self._absent.pop(delivery_id, None)
        self._looks.pop(delivery_id, None)

    def found_nothing(self, delivery_id: int) -> bool:
        """Count a search without a find; return whether that was enough of them.

        The first only starts the clock: the try it is about may have ended just before it.
        """
        now = self._clock.now()
        looks, last = self._looks.get(delivery_id, (-1, now - self._lag_ms))
        if now - last >= self._lag_ms:
            looks, last = looks + 1, now
        self._looks[delivery_id] = (looks, int(last))
        _bound(self._looks)
        return looks >= LOOKS_NEEDED


def _bound(known: dict[int, tuple[int, int]] | dict[int, None]) -> None:
    while len(known) > REMEMBERED_MAX:
        known.pop(next(iter(known)))  # the one noted longest ago
