"""Rate limits for callers: one small bucket per name, in memory, with the numbers its headers need."""

from collections import OrderedDict
from math import ceil
from typing import Final, NamedTuple

NAMES_MAX: Final = 10_000
"""Buckets kept at once; the one unused for longest is forgotten, which can only be kind to its owner."""
WINDOW_S: Final = 60
TOLERANCE: Final = 0.01
"""Of one call: sums of floating-point seconds are never exact, and a limit of 60 has to mean 60."""


class Allowance(NamedTuple):
    """What one call was told: may it pass, how many may follow at once, when one more may come, when all may."""

    allowed: bool
    limit: int
    remaining: int
    retry_after_s: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """Return the `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers)."""
        shown = {
            "RateLimit": f'"default";r={self.remaining};t={self.reset_s}',
            "RateLimit-Policy": f'"default";q={self.limit};w={WINDOW_S}',
        }
        return shown if self.allowed else {**shown, "Retry-After": str(self.retry_after_s)}


class RateLimiter:
    """A leaky bucket per name: *per_minute* calls may come at once, then one each 60/per_minute seconds."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._empty_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str, now: float) -> Allowance:
        """Count one call of *name* at *now* (seconds of a clock that never goes back)."""
        step = WINDOW_S / self.per_minute
        empty_at = max(self._empty_at.get(name, now), now)
        backlog = empty_at - now
        allowed = backlog <= WINDOW_S - step * (1 - TOLERANCE)
        if allowed:
            self._empty_at[name] = empty_at + step
            self._empty_at.move_to_end(name)
            if len(self._empty_at) > NAMES_MAX:
                self._empty_at.popitem(last=False)
            backlog += step
        return Allowance(
            allowed=allowed,
            limit=self.per_minute,
            remaining=max(0, int((WINDOW_S - backlog) / step + TOLERANCE)),
            retry_after_s=max(1, ceil(backlog - WINDOW_S + step * (1 - TOLERANCE))),
            reset_s=ceil(backlog),
        )
