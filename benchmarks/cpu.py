"""CPU time of other processes: what noise of a shared machine changes least.

A rate halves when somebody else takes half of the machine; the processor time of one request hardly moves.
"""

import contextlib
import os
import resource
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PROCESS_CLOCK: Final = 2
"""CPUCLOCK_SCHED: the clock that `clock_getcpuclockid(3)` gives for a process, with all its threads, in ns."""


def process_s(pid: int) -> float:
    """Return the seconds of CPU that process *pid* has used, user and system, threads that have ended included."""
    return time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)


def family(pid: int) -> list[int]:
    """Return *pid* and all that descend from it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += family(int(child))
    return found


def family_s(pid: int) -> float:
    """Return the seconds of CPU of *pid* and of those that descend from it and live."""
    total = 0.0
    for one in family(pid):
        with contextlib.suppress(OSError):
            total += process_s(one)
    return total


class Spent:
    """Seconds of CPU that processes use while the block runs."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._before = 0.0
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._before = sum(map(family_s, self._pids))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = sum(map(family_s, self._pids)) - self._before


def _machine_s() -> tuple[float, float]:
    """Return the CPU seconds the machine was busy and those it had, since it started; stolen ones were others'."""
    line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, line.split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    tick = os.sysconf("SC_CLK_TCK")
    return busy / tick, (busy + idle + iowait) / tick


def _ours_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Others:
    """The share of the machine that others used while the block ran. What was started in it must have ended."""

    def __init__(self) -> None:
        self.share = 0.0
        self.seconds = 0.0
        self._begun = (0.0, 0.0, 0.0, 0.0)

    def __enter__(self) -> Self:
        self._begun = (time.monotonic(), *_machine_s(), _ours_s())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        begun, busy, had, ours = self._begun
        busy_now, had_now = _machine_s()
        others = (busy_now - busy) - (_ours_s() - ours)
        self.share = max(0.0, others / (had_now - had)) if had_now > had else 0.0
        self.seconds = time.monotonic() - begun
