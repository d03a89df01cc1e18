"""The heart of the promise: a change, its event and all its deliveries go into one transaction.

Whoever changes something does it through a `Ledger`: `record` appends the event, asks the router who gets it, lets
those connectors plan and puts one row per action into the outbox. `Intake.accept` commits and then, and only then,
tells the dispatcher and the live stream.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from ralf_hub.clock import Clock
from ralf_hub.connectors.base import Connector, Fact
from ralf_hub.context import EventTrace, Tracing
from ralf_hub.delivery.routing import Router
from ralf_hub.model import Event, Feature, Json, Link, Task
from ralf_hub.store import events, links, outbox
from ralf_hub.store.database import Database
from ralf_hub.store.rows import dump

log = logging.getLogger(__name__)
T = TypeVar("T")

PLAN_ERROR_LENGTH_MAX: Final = 300


class Listener(Protocol):
    """Told of every commit, in commit order."""

    def __call__(self, appended: list[Event], connectors: set[str]) -> None:
        """Take note of the events it appended and the connectors it gave deliveries."""


@dataclass(slots=True)
class Ledger:
    """One transaction's view: the connection, the moment it happens, and what it has recorded so far."""

    conn: sqlite3.Connection
    clock: Clock
    router: Router
    hub_url: str = ""
    now: str = ""
    trace: EventTrace | None = None
    """Notes the events in traces, where those are kept."""
    events: list[Event] = field(default_factory=list)
    connectors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.now = self.now or self.clock.iso()

    def record(
        self,
        event_type: str,
        *,
        source: str,
        task: Task | None = None,
        feature: Feature | None = None,
        task_id: str | None = None,
        data: Mapping[str, Json] | None = None,
        occurred_at: str | None = None,
        notify: bool = True,
        only: Connector | None = None,
    ) -> Event:
        """Append an event and, unless *notify* is False (history), its deliveries. Returns it with its `seq`.

        With *only*, it goes to that connector and no other, whatever the routes say.
        """
        event = Event(
            id=self.clock.id("evt"),
            type=event_type,
            source=source,
            task_id=task.id if task is not None else task_id,
            occurred_at=occurred_at or self.now,
            recorded_at=self.now,
            data=data or {},
        )
        chosen = [only] if only is not None else self.router.route(event, task) if notify else []
        seq = events.append(self.conn, event, [connector.name for connector in chosen] if notify else None)
        event = replace(event, seq=seq)
        self.events.append(event)
        if self.trace is not None:
            events.note_trace(self.conn, seq, self.trace.begin(event))
        fact = Fact(event, task, feature, hub_url=self.hub_url)
        counts = [(connector.name, self._deliver(connector, fact)) for connector in chosen]
        if any(n != 1 for _, n in counts):
            events.reroute(self.conn, seq, counts)
        return event

    def _deliver(self, connector: Connector, fact: Fact) -> int:
        """Put what *connector* plans into the outbox and return how many actions that is.

        A fault in one connector's wording must not refuse the change; the duty stays, dead and visible.
        """
        entity = _entity(fact)
        if connector.uses_links and entity is not None:
            fact = replace(fact, link=links.get(self.conn, connector.name, *entity))
            if entity[0] == "feature":
                fact = replace(fact, task_links=links.of_feature(self.conn, connector.name, entity[1]))
        try:
            marker, drafts = _planned(connector, fact)
        except Exception as error:
            log.exception("connector %s cannot word event %s", connector.name, fact.event.id)
            text = f"cannot be worded: {type(error).__name__}: {error}"
            reason = text.encode("utf-8", "replace").decode()[:PLAN_ERROR_LENGTH_MAX]
            outbox.insert(
                self.conn, _draft(connector, fact, "notify", "{}", dead_because=reason), now=self.now
            )
            return 1
        if marker is not None and entity is not None and fact.link is None:
            link = Link(connector.name, marker=marker, entity_type=entity[0], entity_id=entity[1])
            links.save(self.conn, link, now=self.now)
        for draft in drafts:
            outbox.insert(self.conn, draft, now=self.now)
        if drafts:
            self.connectors.add(connector.name)
        return len(drafts)


def _planned(connector: Connector, fact: Fact) -> tuple[str | None, list[outbox.Draft]]:
    """Return the marker of what *connector* makes outside, if it makes something, and its deliveries. Any Exception."""
    actions = connector.plan(fact)
    if len({action.name for action in actions}) < len(actions):
        raise ValueError("two actions have one name")
    drafts = [
        _draft(connector, fact, action.name, dump(action.payload), where=action.lane) for action in actions
    ]
    return next((action.marker for action in actions if action.marker is not None), None), drafts


def _draft(
    connector: Connector,
    fact: Fact,
    action: str,
    payload: str,
    *,
    where: str | None = None,
    dead_because: str | None = None,
) -> outbox.Draft:
    event = fact.event
    return outbox.Draft(
        event_id=event.id,
        event_seq=event.seq,
        event_type=event.type,
        connector=connector.name,
        action=action,
        payload=payload,
        task_id=event.task_id,
        lane=where or lane(fact),
        dead_because=dead_because,
    )


def lane(fact: Fact) -> str | None:
    """Return what an event's deliveries are ordered by: its task, its feature, its alert; None needs no order."""
    entity = _entity(fact)
    if entity is None:
        return None
    kind, name = entity
    return name if kind == "task" else f"{kind}:{name}"


def _entity(fact: Fact) -> tuple[str, str] | None:
    if fact.event.task_id is not None:
        return "task", fact.event.task_id
    if fact.feature is not None:
        return "feature", fact.feature.id
    code = fact.event.data.get("code") if fact.event.type == "system_alert" else None
    if code is None:
        return None
    # That a connector fails and that it works again is one story, told in order.
    kind = "connector" if str(code).startswith("connector_") else code
    return "alert", f"{kind}:{fact.event.data.get('connector', '')}"


class Intake:
    """Accepts changes. One per hub; commands that work beside a running hub use `Ledger` on their own connection."""

    def __init__(self, db: Database, clock: Clock, router: Router, hub_url: str = "") -> None:
        self.db = db
        self.clock = clock
        self.router = router
        self.hub_url = hub_url
        self.listeners: list[Listener] = []
        self.tracing: Tracing | None = None

    async def accept(
        self, change: Callable[[Ledger], T], *, after: Callable[[T], None] | None = None, bulk: bool = False
    ) -> T:
        """Run *change* in one transaction and return its result once it is on disk. StorageError: nothing happened.

        *after* is called with the result right after the commit, in commit order, before any listener. With *bulk*,
        for what takes longer than a few milliseconds, it runs on the database's thread and not on the loop.
        """
        trace = self.tracing.events() if self.tracing is not None else None

        def run(conn: sqlite3.Connection) -> tuple[T, Ledger]:
            ledger = Ledger(conn, self.clock, self.router, self.hub_url, trace=trace)
            return change(ledger), ledger

        def tell(done: tuple[T, Ledger]) -> None:
            if after is not None:
                after(done[0])
            self._tell(done[1])
            if trace is not None:
                trace.committed()

        result, _ = await self.db.write(run, after=tell, bulk=bulk)
        return result

    def _tell(self, ledger: Ledger) -> None:
        if not (ledger.events or ledger.connectors):
            return
        for listener in self.listeners:
            try:
                listener(ledger.events, ledger.connectors)
            except Exception:  # the others must hear of it all the same
                log.exception("a listener failed after a commit")
