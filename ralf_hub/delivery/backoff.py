"""When a delivery that failed is tried again: exponential, full jitter, never before the service wants us."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

RETRY_AFTER_MAX_S: Final = 86_400.0
"""A service may ask for at most a day of patience; more is treated as a day."""
HORIZON_MS: Final = 3 * 86_400 * 1000
"""Probes of an open breaker burn no attempts; a delivery first tried this long ago ends with its next failure."""
_DOUBLINGS_MAX: Final = 40


def patience_s(asked_s: float | None) -> float:
    """Return how long to wait for a service that asked for *asked_s*: 0 to a day; 0 for what is no number."""
    if asked_s is None or not asked_s > 0:  # NaN as well: it may come from a header
        return 0.0
    return min(asked_s, RETRY_AFTER_MAX_S)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The schedule of one hub: the first step and the longest one in seconds, and how many tries count."""

    first_s: float
    max_s: float
    max_attempts: int

    def ceiling_s(self, failures: int) -> float:
        """Return the longest wait after so many failures (1 after the first)."""
        return min(self.max_s, self.first_s * 2.0 ** min(max(failures - 1, 0), _DOUBLINGS_MAX))

    def delay_s(
        self, failures: int, random: Callable[[], float], retry_after_s: float | None = None
    ) -> float:
        """Return the wait before the next try: random between 0 and the ceiling, at least what the service asked."""
        return max(random() * self.ceiling_s(failures), patience_s(retry_after_s))

    def is_spent(self, attempts: int) -> bool:
        """Return whether a delivery with so many counted attempts has had its last one."""
        return attempts >= self.max_attempts
