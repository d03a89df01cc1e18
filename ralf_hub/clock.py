"""Time and ids, passed in wherever they are needed so that tests can set them.

Inside the hub a moment is an `int`: milliseconds since 1970 in UTC. In the database and
on the wire it is text, `2026-02-01T16:01:00.000Z`, which sorts as time does.
"""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

MS_PER_S = 1000
S_PER_DAY = 86_400
FAR_FUTURE = "9999-12-31T23:59:59.999Z"


@lru_cache(maxsize=8)
def _day(day: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day * S_PER_DAY))


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def iso(ms: int) -> str:
    """Return *ms* as ISO-8601 text in UTC with milliseconds and `Z`."""
    second, rest = divmod(ms, MS_PER_S)
    return f"{_second(second)}.{rest:03d}Z"


def parse_iso(text: str) -> int:
    """Return ISO-8601 *text* as milliseconds; text without an offset is UTC. ValueError when it is no time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * MS_PER_S)


def system_now() -> int:
    """Return the wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


_random = random.Random(secrets.randbits(256))  # noqa: S311 - names, not secrets: those come from `secrets`


def system_token(size: int) -> str:
    """Return *size* random bytes as hex, for names of things. Never for keys."""
    return f"{_random.getrandbits(8 * size):0{2 * size}x}"


class HighWater:
    """A wall clock that remembers the latest moment it has shown, so that one set back is noticed."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.highest_ms = 0

    def __call__(self) -> int:
        """Return the wall clock in milliseconds."""
        now = self._now()
        self.highest_ms = max(self.highest_ms, now)
        return now


@dataclass(frozen=True, slots=True)
class Clock:
    """The sources of time, ids and randomness of one hub."""

    now: Callable[[], int] = system_now
    token: Callable[[int], str] = system_token
    monotonic: Callable[[], float] = time.monotonic

    def iso(self) -> str:
        """Return the present moment as ISO text."""
        return iso(self.now())

    def day(self) -> str:
        """Return the present day in UTC, `2026-02-01`."""
        return _day(self.now() // (MS_PER_S * S_PER_DAY))

    def id(self, prefix: str) -> str:
        """Return a new id such as `evt_0199...`: sorts by time, unique without asking anyone."""
        return f"{prefix}_{self.now():012x}{self.token(8)}"
