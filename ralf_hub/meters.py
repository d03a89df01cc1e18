"""Counters and latencies of this process, and the usage that is written down in small batches."""

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

SAMPLES_MAX: Final = 2_048
"""Latencies kept per series; quantiles are those of the last so many."""
ROWS_MAX: Final = 10_000
"""Usage rows that may wait to be written; beyond it new endpoints or keys wait for the next flush."""


MINUTES: Final = 30
"""Minutes of which is known what was delivered in each."""
MINUTE_MS: Final = 60_000
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms' buckets, in seconds; one more takes what is longer."""


class PerMinute:
    """How often something happened in each of the last minutes."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, now_ms: int) -> None:
        """Count one."""
        minute = now_ms // MINUTE_MS
        if minute not in self._counts:
            self._counts = {known: n for known, n in self._counts.items() if known > minute - MINUTES}
        self._counts[minute] = self._counts.get(minute, 0) + 1

    def last(self, now_ms: int) -> list[int]:
        """Return the counts of the last minutes, the present one at the end."""
        minute = now_ms // MINUTE_MS
        return [self._counts.get(known, 0) for known in range(minute - MINUTES + 1, minute + 1)]


class Latencies:
    """The last durations of one kind, in milliseconds, and a histogram of all."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=SAMPLES_MAX)
        self._buckets = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.sum_s = 0.0

    def add(self, ms: float) -> None:
        """Note one duration."""
        seconds = ms / 1000
        self._samples.append(ms)
        self._buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.count += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return the histogram as Prometheus wants it: upper bounds with how many were no longer."""
        bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
        return [(bound, float(n)) for bound, n in zip(bounds, accumulate(self._buckets), strict=True)]

    def quantiles(self) -> dict[str, float | None]:
        """Return p50, p95 and p99 of the last samples, None without any."""
        ordered = sorted(self._samples)
        return {
            name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None
            for name, share in (("p50_ms", 0.50), ("p95_ms", 0.95), ("p99_ms", 0.99))
        }


@dataclass(slots=True)
class Usage:
    """What one key did at one endpoint on one day."""

    requests: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    duration_us: int = 0
    bytes_out: int = 0


@dataclass(slots=True)
class Meters:
    """Everything counted in memory since the start."""

    started_ms: int
    requests: int = 0
    by_status: dict[int, int] = field(default_factory=dict)
    api: Latencies = field(default_factory=Latencies)
    deliveries: dict[str, Latencies] = field(default_factory=dict)
    delivered_each_minute: PerMinute = field(default_factory=PerMinute)
    usage: dict[tuple[str, str, str], Usage] = field(default_factory=dict)

    def answered(
        self, *, day: str, key_id: str, endpoint: str, status: int, duration_s: float | None, size: int
    ) -> None:
        """Count one answer; its time is left out where it is None."""
        self.requests += 1
        self.by_status[status] = self.by_status.get(status, 0) + 1
        if duration_s is not None:
            self.api.add(duration_s * 1000)
        row = self.usage.get((day, key_id, endpoint))
        if row is None:
            if len(self.usage) >= ROWS_MAX:
                return
            row = self.usage[day, key_id, endpoint] = Usage()
        row.requests += 1
        row.duration_us += int((duration_s or 0) * 1_000_000)
        row.bytes_out += size
        if status >= 500:  # noqa: PLR2004 - HTTP
            row.errors_5xx += 1
        elif status >= 400:  # noqa: PLR2004 - HTTP
            row.errors_4xx += 1

    def delivered(self, connector: str, duration_ms: float, now_ms: int) -> None:
        """Note a successful attempt, how long it took and when it was recorded."""
        self.delivered_each_minute.add(now_ms)
        series = self.deliveries.get(connector)
        if series is None:
            series = self.deliveries[connector] = Latencies()
        series.add(duration_ms)

    def take_usage(self) -> Mapping[tuple[str, str, str], Usage]:
        """Return the usage since the last call and forget it: it is about to be written down."""
        taken, self.usage = self.usage, {}
        return taken

    def give_back(self, usage: Mapping[tuple[str, str, str], Usage]) -> None:
        """Take usage back that could not be written."""
        for place, row in usage.items():
            known = self.usage.setdefault(place, Usage())
            for name in Usage.__slots__:
                setattr(known, name, getattr(known, name) + getattr(row, name))


def count_statuses(by_status: Mapping[int, int]) -> dict[str, int]:
    """Return the counts with text keys, as JSON wants them."""
    return {str(status): n for status, n in sorted(by_status.items())}
