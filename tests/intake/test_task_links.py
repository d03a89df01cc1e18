"""A feature's event knows what stands outside for the feature's tasks."""

from collections.abc import Sequence
from dataclasses import replace
from sqlite3 import Connection
from typing import ClassVar

import pytest

from ralf_hub.connectors.base import (
    Action,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Outcome,
    SendContext,
)
from ralf_hub.delivery.routing import Router
from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import Delivery, Feature, Link, Task
from ralf_hub.store import features, links, tasks
from tests.support import SettableClock

FEATURE = Feature("F-1", "Login")


class Teller(Connector):
    """Keeps the facts it was asked to plan for."""

    service: ClassVar[str] = "teller"
    default_events: ClassVar[tuple[str, ...]] = ("*",)
    uses_links = True

    def __init__(self, name: str) -> None:
        super().__init__(name, ConnectorSettings(), ConnectorEnv())
        self.facts: list[Fact] = []

    def plan(self, fact: Fact) -> Sequence[Action]:
        self.facts.append(fact)
        return [Action(f"tell:{link.entity_id}", {}, lane=link.entity_id) for link in fact.task_links]

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        del delivery, context
        return Delivered()


@pytest.fixture
def ledger(conn: Connection, clock: SettableClock) -> Ledger:
    now = clock.iso()
    features.save(conn, replace(FEATURE, created_at=now, updated_at=now))
    for number, feature in ((1, "F-1"), (2, "F-1"), (3, "F-2"), (4, None)):
        task = Task(f"T-{number}", "Work", feature_id=feature, created_at=now, updated_at=now)
        tasks.insert(conn, task)
        for name in ("teller", "other"):
            link = Link(name, f"{name}-{number}", state="linked", marker="m", entity_id=task.id)
            links.save(conn, link, now=now)
    return Ledger(conn, clock.clock, Router({"teller": Teller("teller")}))


def told(ledger: Ledger) -> Teller:
    teller = ledger.router.connectors["teller"]
    assert isinstance(teller, Teller)
    return teller


def test_a_feature_comes_with_the_links_of_its_own_tasks_by_that_connector(ledger: Ledger) -> None:
    ledger.record("feature_delivered", source="test", feature=FEATURE)
    (fact,) = told(ledger).facts
    assert [(link.connector, link.entity_id, link.external_id) for link in fact.task_links] == [
        ("teller", "T-1", "teller-1"),
        ("teller", "T-2", "teller-2"),
    ]
    rows = ledger.conn.execute("SELECT action, lane, task_id FROM outbox ORDER BY id").fetchall()
    assert rows == [("tell:T-1", "T-1", None), ("tell:T-2", "T-2", None)]


def test_a_task_comes_without(ledger: Ledger) -> None:
    task = tasks.get(ledger.conn, "T-1")
    ledger.record("task_completed", source="test", task=task)
    (fact,) = told(ledger).facts
    assert fact.task_links == ()
    assert fact.link is not None


def test_a_feature_of_very_many_tasks_comes_with_the_first_of_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "FEATURE_LINKS_MAX", 1)
    ledger.record("feature_delivered", source="test", feature=FEATURE)
    assert [link.entity_id for link in told(ledger).facts[0].task_links] == ["T-1"]


@pytest.mark.parametrize(
    ("task_id", "lane", "entity"),
    [
        ("T-1", None, ("task", "T-1")),
        ("T-1", "feature:F-1", ("task", "T-1")),
        (None, "T-1", ("task", "T-1")),
        (None, "feature:F-1", ("feature", "F-1")),
        (None, "alert:disk:a:b", ("alert", "disk:a:b")),
        (None, "feature:", None),
        (None, "other:x", None),
        (None, "", None),
        (None, None, None),
    ],
)
def test_what_a_delivery_is_about(
    task_id: str | None, lane: str | None, entity: tuple[str, str] | None
) -> None:
    assert Delivery(1, "e", "t", "c", "a", {}, task_id=task_id, lane=lane).entity == entity
