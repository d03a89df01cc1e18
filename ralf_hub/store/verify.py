"""The proof: every event has exactly the deliveries its routes ask for, and the file is sound.

`events.routed` says for each event which connectors it went to; it was written in the transaction that put their
deliveries into the outbox. Here one is held against the other, the present routes against both, and every count that
triggers keep against what it counts. All in SQL over whole tables: a million rows take seconds, and few of them memory.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from ralf_hub.clock import FAR_FUTURE
from ralf_hub.model import Json
from ralf_hub.store import retention
from ralf_hub.store.routes import in_force
from ralf_hub.store.rows import load, scalar

LISTED_MAX: Final = 100
"""Findings of one kind that are listed; all are counted."""

KINDS: Final = {
    "missing": "deliveries that an event was routed to and that are not there",
    "doubled": "deliveries there are more of than there should be",
    "unexpected": "deliveries to a connector their event was not routed to",
    "orphaned": "deliveries whose event is not there, or is another than they say",
    "misrouted": "events routed otherwise than the routes in force say",
    "vanished": "events that are not there though later and earlier ones are",
    "stuck": "deliveries that wait for one before them in their lane that is not there",
    "miscounted": "kept counts that differ from what they count",
    "unlinked": "links that are said to stand and name nothing outside",
    "damaged": "faults of the database file itself",
}
"""What can be found, in words. Nothing found of any kind: clean."""


class Bounds(NamedTuple):
    """Who must and who may get an event."""

    least: frozenset[str]
    most: frozenset[str]


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of the settings at hand: their fingerprint, and (type, source, subject of an alert) -> `Bounds`."""

    fingerprint: str
    expected: Callable[[str, str, str | None], Bounds | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be."""

    kind: str
    message: str
    seq: int | None = None
    event_id: str | None = None
    connector: str | None = None
    delivery_id: int | None = None


@dataclass(slots=True)
class Report:
    """What was looked at and what was found. `counts` has every kind; `findings` lists the first of each."""

    events: int = 0
    history: int = 0
    routed: int = 0
    deliveries: int = 0
    pruned: int = 0
    rerouted: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not any(self.counts.values())

    def add(self, kind: str, n: int, findings: Iterable[Finding]) -> None:
        """Count *n* findings of *kind* and list the first of them."""
        self.counts[kind] += n
        self.findings.extend(islice(findings, LISTED_MAX))


Step = tuple[str, Callable[[sqlite3.Connection, Report], None]]


def steps(routes: Routes | None, *, integrity: bool = True) -> list[Step]:
    """Return the checks in order with their names. Run them inside one `beside.snapshot`."""
    return [
        ("events against deliveries", _duties),
        ("deliveries against events", _deliveries),
        ("events against routes", lambda conn, report: _routes(conn, report, routes)),
        ("gaps", _gaps),
        ("lanes", _lanes),
        ("counts", _counts),
        ("links", _links),
        ("states", _states),
        ("file", lambda conn, report: _file(conn, report, "integrity_check" if integrity else "quick_check")),
    ]


def verify(conn: sqlite3.Connection, routes: Routes | None = None, *, integrity: bool = True) -> Report:
    """Run every check on one moment of the database. sqlite3.DatabaseError when it cannot even be read."""
    report = Report()
    for _, check in steps(routes, integrity=integrity):
        check(conn, report)
    return report


# --- events and deliveries ------------------------------------------------------------------------

_DUTIES: Final = """
  SELECT e.seq AS seq, e.id AS event_id, e.type AS type, e.recorded_at AS recorded_at,
         iif(j.type = 'array', j.value ->> 0, j.value) AS connector, iif(j.type = 'array', j.value ->> 1, 1) AS due,
         (SELECT count(*) FROM outbox o
          WHERE o.event_id = e.id AND o.connector = iif(j.type = 'array', j.value ->> 0, j.value)) AS found
  FROM events e, json_each(e.routed) j
  WHERE e.routed IS NOT NULL
  LIMIT -1"""
"""One row per event and connector it went to. The LIMIT keeps SQLite from counting anew for every use of `found`."""

_OTHER_EVENT: Final = "(e.id IS NOT o.event_id OR e.type IS NOT o.event_type OR e.task_id IS NOT o.task_id)"
_DELIVERIES: Final = f"""
  FROM outbox o LEFT JOIN events e ON e.seq = o.event_seq
  WHERE ({_OTHER_EVENT} OR e.routed IS NULL OR instr(e.routed, '"' || o.connector || '"') = 0)"""
"""Every delivery that does not belong to its event. Names of connectors need no escapes in JSON."""


def _duties(conn: sqlite3.Connection, report: Report) -> None:
    """Hold every event against the outbox. A delivery as old as what retention deletes may be missing."""
    before = retention.pruned_before(conn)
    report.events, report.history = conn.execute(
        "SELECT count(*), count(*) - count(routed) FROM events"
    ).fetchone()
    report.routed, report.pruned, missing, doubled = conn.execute(
        "SELECT total(due), total(max(due - found, 0) * (recorded_at < ?1)), "
        "total(max(due - found, 0) * (recorded_at >= ?1)), total(max(found - due, 0)) "
        f"FROM ({_DUTIES})",
        (before,),
    ).fetchone()
    report.routed, report.pruned = int(report.routed), int(report.pruned)
    for kind, n, condition in (
        ("missing", missing, "found < due AND recorded_at >= ?1"),
        ("doubled", doubled, "found > due AND ?1 IS NOT NULL"),
    ):
        if n:
            rows = conn.execute(
                f"SELECT seq, event_id, type, connector, due, found FROM ({_DUTIES}) WHERE {condition} ORDER BY seq",
                (before,),
            )
            report.add(kind, int(n), (_duty_finding(kind, *row) for row in rows))


def _duty_finding(
    kind: str, seq: int, event_id: str, event_type: str, connector: str, due: int, found: int
) -> Finding:
    deliveries = "delivery" if due == 1 else "deliveries"
    message = f"{event_type}: {found} of {due} {deliveries} to {connector}"
    return Finding(kind, message, seq, event_id, connector)


def _deliveries(conn: sqlite3.Connection, report: Report) -> None:
    """Hold every delivery against its event."""
    report.deliveries = scalar(conn, "SELECT count(*) FROM outbox")
    orphaned, unexpected = conn.execute(
        f"SELECT coalesce(sum({_OTHER_EVENT}), 0), coalesce(sum(NOT {_OTHER_EVENT}), 0) {_DELIVERIES}"
    ).fetchone()
    for kind, n, condition in (
        ("orphaned", orphaned, _OTHER_EVENT),
        ("unexpected", unexpected, f"NOT {_OTHER_EVENT}"),
    ):
        if n:
            rows = conn.execute(
                "SELECT o.id, o.event_seq, o.event_id, o.connector, e.id IS o.event_id, e.type IS o.event_type "
                f"{_DELIVERIES} AND {condition} ORDER BY o.id"
            )
            report.add(kind, n, (_delivery_finding(kind, *row) for row in rows))


def _delivery_finding(
    kind: str, delivery_id: int, seq: int, event_id: str, connector: str, same: int, same_type: int
) -> Finding:
    if kind == "unexpected":
        message = f"the event was not routed to {connector}"
    elif not same:
        message = "its event is not there"
    else:
        message = f"its event has another {'task' if same_type else 'type'}"
    return Finding(kind, message, seq, event_id, connector, delivery_id)


def _routes(conn: sqlite3.Connection, report: Report, routes: Routes | None) -> None:
    """Route the events recorded since the present routes are in force once more, one kind of event at a time."""
    noted = in_force(conn)
    if routes is None or noted is None:
        why = "no hub has noted any yet" if routes is not None else "the settings at hand give none"
        report.notes.append(f"events were not held against the routes: {why}")
        return
    if noted.fingerprint != routes.fingerprint:
        report.notes.append(
            "events were not held against the routes: the hub was last run with others than those of the settings at "
            f"hand ({noted.fingerprint}, not {routes.fingerprint})"
        )
        return
    rows = conn.execute(
        "SELECT type, source, iif(type = 'system_alert', data ->> 'connector', NULL) AS about, routed, count(*), "
        "min(seq), min(id) FROM events WHERE seq > ? AND routed IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY min(seq)",
        (noted.since_seq,),
    )
    for event_type, source, about, routed, n, seq, event_id in rows:
        bounds = routes.expected(event_type, source, about)
        report.rerouted += 0 if bounds is None else n
        went = set(_names(load(routed)))
        if bounds is None or bounds.least <= went <= bounds.most:
            continue
        message = (
            f"{n} {event_type} from {source} went to {_list(went)}; the routes say {_list(bounds.least)}"
            + (f", perhaps {_list(bounds.most - bounds.least)}" if bounds.most > bounds.least else "")
        )
        report.add("misrouted", n, [Finding("misrouted", message, seq, event_id)])


def _names(routed: Json) -> Iterator[str]:
    for entry in routed if isinstance(routed, list) else [routed]:
        yield str(entry[0]) if isinstance(entry, list) and entry else str(entry)


def _list(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"


def _gaps(conn: sqlite3.Connection, report: Report) -> None:
    """Look for events that are gone: retention only ever takes the oldest."""
    first, last, n = conn.execute("SELECT min(seq), max(seq), count(*) FROM events").fetchone()
    if n == 0 or last - first + 1 == n:
        return
    rows = conn.execute(
        "SELECT before, seq FROM (SELECT seq, lag(seq) OVER (ORDER BY seq) AS before FROM events) "
        "WHERE seq > before + 1 ORDER BY seq"
    )
    report.add("vanished", last - first + 1 - n, (_gap_finding(*row) for row in rows))


def _gap_finding(before: int, seq: int) -> Finding:
    one = seq == before + 2
    message = f"event {before + 1} is gone" if one else f"events {before + 1} to {seq - 1} are gone"
    return Finding("vanished", message, before + 1)


_STUCK: Final = f"""
  FROM outbox o WHERE o.state = 'pending' AND o.next_attempt_at >= '{FAR_FUTURE}' AND NOT EXISTS
    (SELECT 1 FROM outbox p INDEXED BY outbox_lane
     WHERE p.state = 'pending' AND p.connector = o.connector AND p.lane = o.lane AND p.id < o.id)"""


def _lanes(conn: sqlite3.Connection, report: Report) -> None:
    """Look for deliveries that would never be due: they wait for one before them, and there is none."""
    n = scalar(conn, f"SELECT count(*) {_STUCK}")
    if n:
        rows = conn.execute(f"SELECT o.event_seq, o.event_id, o.connector, o.id {_STUCK} ORDER BY o.id")
        message = "is never due, for nothing before it is pending; `ralf-hub outbox replay` makes it due"
        report.add("stuck", n, (Finding("stuck", message, *row) for row in rows))


# --- counts, links, states, the file --------------------------------------------------------------

_COUNTED: Final = (
    ("task_counts", "tasks", "status"),
    ("outbox_counts", "outbox", "connector, state"),
)


def _counts(conn: sqlite3.Connection, report: Report) -> None:
    for kept, table, key in _COUNTED:
        rows = conn.execute(
            f"SELECT {key}, sum(kept), sum(real) FROM (SELECT {key}, n AS kept, 0 AS real FROM {kept} UNION ALL "
            f"SELECT {key}, 0, count(*) FROM {table} GROUP BY {key}) GROUP BY {key} HAVING sum(kept) <> sum(real)"
        )
        for *what, counted, real in rows:
            message = f"{kept} says {counted} for {' '.join(what)}, there are {real}"
            report.add("miscounted", 1, [Finding("miscounted", message)])


def _links(conn: sqlite3.Connection, report: Report) -> None:
    rows = conn.execute(
        "SELECT connector, entity_type, entity_id FROM links "
        "WHERE state = 'linked' AND coalesce(external_id, '') = '' ORDER BY connector, entity_type, entity_id"
    ).fetchall()
    report.add(
        "unlinked",
        len(rows),
        (Finding("unlinked", f"{kind} {name} has no external id", connector=by) for by, kind, name in rows),
    )


def _states(conn: sqlite3.Connection, report: Report) -> None:
    """Note what is odd but loses nothing: someone's hand-written SQL may mean it so."""
    unproven = scalar(
        conn,
        "SELECT count(*) FROM outbox o WHERE o.state = 'delivered' AND NOT EXISTS "
        "(SELECT 1 FROM attempts a WHERE a.delivery_id = o.id AND a.outcome = 'delivered')",
    )
    if unproven:
        report.notes.append(f"{unproven} deliveries are called delivered, and no attempt says so")
    reasonless = scalar(
        conn, "SELECT count(*) FROM outbox WHERE state = 'dead' AND coalesce(last_error, '') = ''"
    )
    if reasonless:
        report.notes.append(f"{reasonless} deliveries are dead without a reason")


def _file(conn: sqlite3.Connection, report: Report, pragma: str) -> None:
    for (message,) in conn.execute(f"PRAGMA {pragma}({LISTED_MAX})"):
        if message != "ok":
            report.add("damaged", 1, [Finding("damaged", message)])
    rows = conn.execute("PRAGMA foreign_key_check").fetchall()
    report.add("damaged", len(rows), (_reference_finding(*row) for row in rows))


def _reference_finding(table: str, rowid: int, parent: str, _: int) -> Finding:
    return Finding("damaged", f"row {rowid} of {table} belongs to a row of {parent} that is not there")
