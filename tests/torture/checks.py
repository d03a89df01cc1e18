"""What must hold when the hub has come to rest: the ledger, the sink's log and the database against each other."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.torture.ledger import Promise
from tests.torture.sink import TAKEN

SHOWN_MAX: Final = 5
ORDERLY: Final = "term"
"""An end that doubles nothing: SIGTERM while the disk takes what is to be recorded."""
SLACK_S: Final = 1.0
"""What was sent just before a kill may be read by the sink a moment after it."""
ROUTES: Final[Mapping[str, frozenset[str]]] = {
    "first": frozenset(
        {"task_created", "task_progress", "task_completed", "task_failed", "webhook_received"}
    ),
    "second": frozenset({"task_completed", "task_failed", "webhook_received"}),
}
"""Which connector gets which events: written into the settings, and held against what arrived."""


class Arrival(NamedTuple):
    """One delivery as the sink saw it."""

    connector: str
    id: str
    type: str
    task: str | None
    seq: int
    at: float
    said: str


class End(NamedTuple):
    """How a process of the hub ended, and when."""

    at: float
    kind: str


class Row(NamedTuple):
    """One event of the database with what is needed to recognise it."""

    seq: int
    id: str
    type: str
    task: str | None
    note: str | None


class Duty(NamedTuple):
    """One delivery of the database."""

    event_id: str
    connector: str
    state: str
    reason: str | None


@dataclass
class Found:
    """What a round came to. `wrong` is empty when all holds."""

    events: int = 0
    delivered: int = 0
    dead: int = 0
    arrivals: int = 0
    doubled: int = 0
    doubled_by: Counter[str] = field(default_factory=Counter)
    doubled_per_end_max: int = 0
    lost: int = 0
    disordered: int = 0
    wrong: list[str] = field(default_factory=list)

    def say(self, what: str, which: Iterable[object]) -> int:
        """Note *which*, where there are any; return how many."""
        listed = list(which)
        if listed:
            shown = ", ".join(map(str, listed[:SHOWN_MAX]))
            self.wrong.append(f"{len(listed)} {what}: {shown}")
        return len(listed)


def _end_between(ends: Sequence[End], first_at: float, again_at: float) -> End | None:
    """Return the end of a process that lies between two arrivals, one that explains the second before one that does not."""
    between = [end for end in ends if first_at - SLACK_S <= end.at <= again_at]
    return min(between, key=lambda end: end.kind == ORDERLY, default=None)


def read_arrivals(log: Path, offset: int) -> tuple[list[Arrival], int]:
    """Return what the sink wrote since *offset*, and the offset to go on from."""
    with log.open("rb") as opened:
        opened.seek(offset)
        raw = opened.read()
    whole = raw.rfind(b"\n") + 1
    arrivals = [Arrival(**json.loads(line)) for line in raw[:whole].splitlines()]
    return arrivals, offset + whole


def key_of(row: Row) -> Promise:
    """Return what the ledger calls an event."""
    match row.type:
        case "task_progress":
            return Promise(row.type, row.note or "")
        case "webhook_received":
            return Promise(row.type, row.id)
        case _:
            return Promise(row.type, row.task or "")


class Checker:
    """Holds one round after the other against what was known before; one database, one sink."""

    def __init__(self, concurrency: int) -> None:
        self._in_flight_max = 2 * concurrency
        self._taken: dict[tuple[str, str], Arrival] = {}
        self._known: set[str] = set()

    def check(
        self,
        promises: Sequence[Promise],
        rows: Sequence[Row],
        duties: Sequence[Duty],
        arrivals: Sequence[Arrival],
        ends: Sequence[End],
    ) -> Found:
        """Return what this round came to: all it was promised, recorded, owed and shown since the one before."""
        found = Found(events=len(rows), arrivals=len(arrivals))
        found.say("deliveries with a forged signature", (a for a in arrivals if a.said == "forged"))
        self._known.update(row.id for row in rows)
        found.say("deliveries of what is not recorded", (a for a in arrivals if a.id not in self._known))
        self._check_arrivals(found, arrivals, ends)
        self._check_promises(found, promises, rows)
        self._check_duties(found, rows, duties)
        return found

    def _check_arrivals(self, found: Found, arrivals: Sequence[Arrival], ends: Sequence[End]) -> None:
        """Order holds for what arrives the first time; what arrives again has a reason that allows it."""
        last: dict[tuple[str, str], int] = {}
        per_end: Counter[tuple[End, str]] = Counter()
        unexplained = []
        disordered = []
        for arrival in arrivals:
            if arrival.said not in TAKEN:
                continue
            name = (arrival.connector, arrival.id)
            before = self._taken.get(name)
            self._taken[name] = arrival
            if before is None:
                if arrival.task is not None:
                    lane = (arrival.connector, arrival.task)
                    if arrival.seq < last.get(lane, 0):
                        disordered.append(arrival)
                    last[lane] = max(arrival.seq, last.get(lane, 0))
                continue
            found.doubled += 1
            end = _end_between(ends, before.at, arrival.at)
            if before.said == "kept":
                found.doubled_by["never answered"] += 1
            elif end is not None and end.kind != ORDERLY:
                found.doubled_by[end.kind] += 1
                per_end[end, arrival.connector] += 1
            else:
                unexplained.append(arrival)
        found.doubled_per_end_max = max(per_end.values(), default=0)
        found.disordered = found.say("deliveries out of order", disordered)
        found.say("deliveries doubled without a reason", unexplained)
        too_many = [f"{n} after {end}" for (end, _), n in per_end.items() if n > self._in_flight_max]
        found.say(f"ends with more than {self._in_flight_max} in flight", too_many)

    @staticmethod
    def _check_promises(found: Found, promises: Sequence[Promise], rows: Sequence[Row]) -> None:
        """Every promise is exactly one event."""
        recorded = Counter(map(key_of, rows))
        found.lost += found.say("promises without an event", (p for p in promises if not recorded[p]))
        found.say("promises with more events than one", (p for p in promises if recorded[p] > 1))
        found.say("promises given twice", (p for p, n in Counter(promises).items() if n > 1))

    def _check_duties(self, found: Found, rows: Sequence[Row], duties: Sequence[Duty]) -> None:
        """Every event was brought to each of its connectors, or is dead with a reason."""
        by_event: defaultdict[str, list[Duty]] = defaultdict(list)
        for duty in duties:
            by_event[duty.event_id].append(duty)
        missing, vanished, waiting, silent = [], [], [], []
        for row in rows:
            there = {duty.connector for duty in by_event[row.id]}
            missing += [
                (row.seq, name) for name, types in ROUTES.items() if row.type in types and name not in there
            ]
        for duty in duties:
            if duty.state == "delivered" and (duty.connector, duty.event_id) not in self._taken:
                vanished.append(duty)
            if duty.state == "pending":
                waiting.append(duty)
            if duty.state == "dead" and not duty.reason:
                silent.append(duty)
        found.delivered = sum(duty.state == "delivered" for duty in duties)
        found.dead = sum(duty.state == "dead" for duty in duties)
        found.lost += found.say("events without their delivery", missing)
        found.lost += found.say("deliveries recorded as done that never arrived", vanished)
        found.say("deliveries still waiting", waiting)
        found.say("deliveries dead without a reason", silent)
        found.say("deliveries of no event", (duty for duty in duties if duty.event_id not in self._known))


def events_of(rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Return rows of SQL as events."""
    return [Row(*row) for row in rows]
