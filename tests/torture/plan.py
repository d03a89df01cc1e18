"""What goes wrong and when: made from a seed, so that a seed repeats it. Pure."""

import errno
from dataclasses import dataclass
from random import Random
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Fault:
    """Something done to the hub or around it, `after_s` seconds after the one before, for `for_s` seconds."""

    after_s: float
    kind: str
    for_s: float = 0.0
    how: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        said = " ".join(f"{name}={value}" for name, value in self.how)
        return f"+{self.after_s:.2f} s {self.kind} {said} for {self.for_s:.2f} s".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class Round:
    """Two series of faults that run beside each other: of the process, and of the world around it."""

    process: tuple[Fault, ...]
    world: tuple[Fault, ...]


PROCESS: Final = {"kill": 14, "term": 2, "stop": 2, "reload": 3}
"""How often which happens: SIGKILL, SIGTERM, SIGSTOP and SIGCONT, changed settings with SIGHUP."""
WORLD: Final = {
    "refuse": 2,
    "hang": 2,
    "drop": 2,
    "keep": 3,
    "500": 2,
    "429": 2,
    "410": 1,
    "401": 1,
    "disk full": 3,
    "write errors": 2,
    "sync errors": 3,
    "clock": 3,
}
"""The receivers refuse, hang, drop, take without answering, answer with a status; the disk; the clock."""
DISK: Final = frozenset({"disk full", "write errors", "sync errors"})


def plan(seed: int, number: int, *, faults: int, gap_s: float = 1.5) -> Round:
    """Return the round *number* of *seed*: so many faults of the process, and half as many around it.

    Those of the process come up to *gap_s* apart, not counting the time it takes the hub to start again.
    """
    chance = Random(f"{seed}/{number}")
    process = [_process(chance, gap_s) for _ in range(faults)]
    world = [_world(chance) for _ in range(max(1, faults // 2))]
    return Round(tuple(process), tuple(world))


def _pick(chance: Random, weights: dict[str, int]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]


def _process(chance: Random, gap_s: float) -> Fault:
    kind = _pick(chance, PROCESS)
    after_s = chance.uniform(0.05, gap_s)
    if kind == "stop":
        return Fault(after_s, kind, chance.uniform(0.1, 2.0))
    if kind == "reload":
        return Fault(after_s, kind, how=(("settings", chance.choice(["other", "invalid", "rotated"])),))
    return Fault(after_s, kind)


def _world(chance: Random) -> Fault:
    kind = _pick(chance, WORLD)
    after_s, for_s = chance.uniform(0.1, 2.0), chance.uniform(0.3, 2.5)
    match kind:
        case "disk full":
            how = (("room_bytes", chance.choice([0, 4096, 300_000])),)
            return Fault(after_s, kind, for_s, how)
        case "write errors" | "sync errors":
            number = chance.choice([errno.EIO, errno.ENOSPC])
            return Fault(after_s, kind, for_s, (("errno", number), ("one_in", chance.choice([1, 2, 7]))))
        case "clock":
            return Fault(after_s, kind, for_s, (("seconds", chance.choice([-7200, -61, -2, 3, 90, 5400])),))
    share = chance.choice([0.2, 0.6, 1.0])
    how = (("share", share), ("only", chance.choice([None, "first", "second"])))
    if kind.isdigit():
        status: dict[str, Any] = {"status": int(kind), "retry_after": "1" if kind == "429" else None}
        return Fault(after_s, kind, for_s, (*how, *status.items()))
    return Fault(after_s, kind, for_s, how)
