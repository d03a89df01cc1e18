"""What the connectors' tests share: a moment that stands still, facts, and deliveries as the store gives them back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson

from ralf_hub.clock import Clock, parse_iso
from ralf_hub.connectors.base import (
    Action,
    Connector,
    ConnectorEnv,
    Delivered,
    Fact,
    Http,
    HttpRequest,
    HttpResponse,
    Outcome,
    SendContext,
)
from ralf_hub.connectors.registry import connector_class
from ralf_hub.delivery.transport import Transport
from ralf_hub.model import Delivery, Event, Feature, Link, Task

AT = "2026-02-01T16:01:00.000Z"
NOW_MS = parse_iso(AT)
HUB = "http://127.0.0.1:8080"
TASK = Task("TASK-7", "Fix the login", priority="high", status="completed", created_at=AT, updated_at=AT)
FEATURE = Feature("F-1", "Login", tasks_total=4, tasks_completed=4)
CLOCK = Clock(now=lambda: NOW_MS)


def fact(
    kind: str = "task_completed", data: dict[str, Any] | None = None, task: Task | None = TASK, **more: Any
) -> Fact:
    event = Event(
        "evt_0123456789abcdef", kind, AT, task_id=None if task is None else task.id, data=data or {}, seq=41
    )
    return Fact(event, task, hub_url=HUB, **more)


def connector(kind: str, name: str | None = None, clock: Clock = CLOCK, **settings: Any) -> Any:
    """Build a connector as the hub does, from its settings."""
    made = connector_class(kind)
    return made(name or kind, made.settings_model(**settings), ConnectorEnv(clock=clock, hub_url=HUB))


def delivery(action: Action, about: Fact, number: int = 1) -> Delivery:
    """Make the outbox row of *action*, its payload having been JSON in between."""
    return Delivery(
        id=number,
        event_id=about.event.id,
        event_type=about.event.type,
        connector="x",
        action=action.name,
        payload=orjson.loads(orjson.dumps(action.payload)),
        task_id=about.event.task_id,
        created_at=AT,
    )


def planned(made: Connector, about: Fact, number: int = 1) -> Delivery:
    (action,) = made.plan(about)
    return delivery(action, about, number)


async def nowhere(request: HttpRequest) -> HttpResponse:
    raise AssertionError(f"nothing should be sent: {request.method}")


@asynccontextmanager
async def network() -> AsyncIterator[Http]:
    """The hub's own transport, allowed to reach loopback."""
    async with Transport(allowed_networks=("127.0.0.0/8",), timeout_s=2.0) as transport:
        yield transport


class Sender:
    """Sends deliveries one after the other and keeps the link, as the dispatcher does."""

    def __init__(self, made: Connector, http: Http) -> None:
        self.made = made
        self.http = http
        self.link: Link | None = None

    async def send(self, row: Delivery, *, again: bool = False) -> Outcome:
        if again:
            row = replace(row, first_attempt_at=AT)
        outcome = await self.made.send(row, SendContext(self.http, self.made.env.clock, self.link, again))
        if isinstance(outcome, Delivered) and outcome.link is not None:
            self.link = outcome.link
        return outcome
