"""A database as the hub leaves it, for tests that then break it by hand."""

import sqlite3
from collections.abc import Sequence
from functools import partial

from ralf_hub.connectors.base import (
    Action,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    EventFilter,
    Fact,
    Outcome,
    SendContext,
)
from ralf_hub.delivery.expected import expected, fingerprint
from ralf_hub.delivery.routing import Router
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import TaskDraft, change, create
from ralf_hub.model import Delivery, Event
from ralf_hub.store import routes
from ralf_hub.store.beside import write
from ralf_hub.store.verify import Report, Routes, verify
from tests.support import SettableClock


class Speaker(Connector):
    """Plans one action, but two for a completed task, none for progress, and fails over a feature."""

    service = "speaker"
    tells_people = True

    def plan(self, fact: Fact) -> Sequence[Action]:
        match fact.event.type:
            case "task_progress":
                return []
            case "task_completed":
                return [Action("say", {}), Action("close", {})]
            case "feature_created":
                raise ValueError("no words")
        return [Action("say", {"text": fact.event.type})]

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:  # noqa: ARG002 - the base's names
        raise AssertionError("verify sends nothing")


def speaker(name: str, *events: str, **narrowing: tuple[str, ...]) -> Speaker:
    settings = ConnectorSettings(events=events or ("*",), filter=EventFilter(**narrowing))  # type: ignore[arg-type]
    return Speaker(name, settings, ConnectorEnv())


def router(*connectors: Connector) -> Router:
    return Router({connector.name: connector for connector in connectors})


def as_routes(of: Router) -> Routes:
    return Routes(fingerprint(of), partial(expected, of))


BOTH = router(speaker("jira", "task_*", "feature_*"), speaker("slack", "*"))


class House:
    """A database with a history, as the hub leaves it."""

    def __init__(self, conn: sqlite3.Connection, clock: SettableClock) -> None:
        self.conn = conn
        self.clock = clock
        write(conn, lambda conn: routes.put_in_force(conn, fingerprint(BOTH)))

    def ledger(self, by: Router = BOTH) -> Ledger:
        return Ledger(self.conn, self.clock.clock, by)

    def record(self, event_type: str, by: Router = BOTH, **more: object) -> Event:
        return write(self.conn, lambda _: self.ledger(by).record(event_type, source="test", **more))  # type: ignore[arg-type]

    def task(self, task_id: str = "T-1", priority: str = "medium") -> None:
        write(
            self.conn,
            lambda _: create(
                self.ledger(), TaskDraft("A task", id=task_id, priority=priority), source="test"
            ),
        )

    def complete(self, task_id: str = "T-1") -> None:
        write(self.conn, lambda _: change(self.ledger(), task_id, {"status": "completed"}, source="test"))

    def sql(self, sql: str, *values: object) -> int:
        return self.conn.execute(sql, values).rowcount

    def verify(self, by: Router | None = BOTH) -> Report:
        return verify(self.conn, None if by is None else as_routes(by))


def found(report: Report) -> dict[str, int]:
    return {kind: n for kind, n in report.counts.items() if n}
