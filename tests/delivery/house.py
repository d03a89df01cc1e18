"""A hub's inner rooms on real parts: a database file, an intake, a dispatcher, real sockets to a sink on loopback."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar, Self

import orjson
from aiohttp import web

from ralf_hub.clock import Clock
from ralf_hub.connectors.base import (
    Action,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    HttpConnector,
    HttpRequest,
    HttpResponse,
    Link,
    Outcome,
    SendContext,
)
from ralf_hub.connectors.judging import judge_status
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.dispatcher import Dispatcher, DispatchPolicy
from ralf_hub.delivery.routing import Router
from ralf_hub.delivery.transport import Transport
from ralf_hub.intake.ledger import Intake
from ralf_hub.model import Delivery, Event
from ralf_hub.secrets import Redactor
from ralf_hub.store.database import Database
from tests.doubles.server import Double, Seen
from tests.support import rows

Answer = Callable[[Seen], Awaitable[web.Response]]

FAST = DispatchPolicy(
    concurrency=4, timeout_s=5.0, backoff=Backoff(0.01, 0.05, 12), breaker=BreakerPolicy(1000, 0.02, 0.05)
)
"""Quick enough for real time, and a breaker that stays out of the way."""


class Sink(Double):
    """Takes posts on any path. `answers` decides by path; without one it is 204."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Answer] = {}
        self.taken: list[tuple[str, Any]] = []
        self.open: dict[str, int] = {}
        self.most_open: dict[str, int] = {}

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/{path:.*}", self._take)]

    def bodies(self, path: str) -> list[Any]:
        """Return what was taken on *path*: answered with 2xx."""
        return [body for where, body in self.taken if where == path]

    def numbers(self, path: str) -> list[int]:
        return [body["n"] for body in self.bodies(path)]

    async def _take(self, request: web.Request) -> web.Response:
        path = request.path
        body = await request.read()
        seen = Seen(request.method, path, dict(request.query), dict(request.headers), body)
        self.open[path] = self.open.get(path, 0) + 1
        self.most_open[path] = max(self.most_open.get(path, 0), self.open[path])
        try:
            answer = self.answers.get(path)
            response = web.Response(status=204) if answer is None else await answer(seen)
        finally:
            self.open[path] -= 1
        if response.status // 100 == 2:
            self.taken.append((path, orjson.loads(body)))
        return response


def always(status: int, headers: Mapping[str, str] | None = None, text: str = "") -> Answer:
    async def answer(_: Seen) -> web.Response:
        return web.Response(status=status, headers=headers, text=text)

    return answer


class PosterSettings(ConnectorSettings):
    url: str = ""


class Poster(HttpConnector):
    """The smallest connector that does all a connector does: one post per event."""

    service: ClassVar[str] = "poster"
    settings_model: ClassVar[type[ConnectorSettings]] = PosterSettings
    default_events: ClassVar[tuple[str, ...]] = ("task_*", "feature_*", "note")

    def plan(self, fact: Fact) -> Sequence[Action]:
        about = {key: fact.event.data[key] for key in ("n", "code", "connector") if key in fact.event.data}
        return [Action("post", {"type": fact.event.type, "task": fact.event.task_id, **about})]

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest:
        body = {"delivery": delivery.id, "again": context.may_have_been_sent, **delivery.payload}
        headers = {"Content-Type": "application/json"}
        return HttpRequest("POST", self.settings.url, headers, orjson.dumps(body))

    def judge(self, delivery: Delivery, response: HttpResponse) -> Outcome:
        del delivery
        return judge_status(response, self.env.clock.now())


class Keeper(Poster):
    """One that keeps an object per task: it is told of its link and whether a try may have happened before."""

    uses_links = True

    def plan(self, fact: Fact) -> Sequence[Action]:
        name = "create" if fact.link is None else "update"
        marker = f"ralf:{fact.event.task_id}" if fact.link is None else None
        return [Action(name, {"n": fact.event.data.get("n")}, marker=marker)]

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest:
        link = context.link
        body = {
            "delivery": delivery.id,
            "action": delivery.action,
            "again": context.may_have_been_sent,
            "marker": link.marker if link else None,
            "external_id": link.external_id if link else None,
            **delivery.payload,
        }
        return HttpRequest(
            "POST", self.settings.url, {"Content-Type": "application/json"}, orjson.dumps(body)
        )

    def judge(self, delivery: Delivery, response: HttpResponse) -> Outcome:
        outcome = judge_status(response, self.env.clock.now(), creates=delivery.action == "create")
        if isinstance(outcome, Delivered) and delivery.action == "create":
            return Delivered(outcome.status_code, link=Link("", external_id=response.text, state="linked"))
        return outcome


class House:
    """Everything between a change and the wire. Use as an async context manager; `start` lets the dispatcher run."""

    def __init__(self, path: Path, clock: Clock | None = None, policy: DispatchPolicy = FAST) -> None:
        self.path = path
        self.clock = clock or Clock()
        self.policy = policy
        self.redact = Redactor()
        self.connectors: dict[str, Any] = {}
        self._stack = AsyncExitStack()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.db = await Database.open(self.path)
        self._stack.push_async_callback(self.db.close)
        self.transport = await self._stack.enter_async_context(Transport(allowed_networks=["127.0.0.0/8"]))
        self.intake = Intake(self.db, self.clock, Router({}))
        self.dispatcher = Dispatcher(
            db=self.db,
            accept=self.intake.accept,
            http=self.transport,
            clock=self.clock,
            random=random.random,
            redact=self.redact,
            policy=self.policy,
        )
        self.intake.listeners.append(lambda _, names: self.dispatcher.wake(names) if names else None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(grace_s=0)
        await self._stack.aclose()

    def add(self, name: str, url: str, kind: type[Poster] = Poster, **settings: Any) -> None:
        given = PosterSettings(url=url, **settings)
        self.connectors[name] = kind(name, given, ConnectorEnv(clock=self.clock))

    async def configure(self) -> None:
        self.intake.router = Router(self.connectors)
        await self.dispatcher.configure(self.connectors, self.policy)

    async def start(self) -> None:
        await self.configure()
        self._running = asyncio.create_task(self.dispatcher.run())

    async def stop(self, grace_s: float = 5.0) -> None:
        if self._running is not None:
            await self.dispatcher.stop(grace_s)
            await self._running
            self._running = None

    async def tell(self, n: int, task_id: str | None = None, kind: str = "note") -> Event:
        """Record an event that goes to every connector that wants *kind*."""
        return await self.intake.accept(
            lambda ledger: ledger.record(kind, source="test", task_id=task_id, data={"n": n})
        )

    def states(self) -> dict[str, int]:
        found = rows(self.path, "SELECT state, count(*) FROM outbox GROUP BY state")
        return {str(state): int(str(n)) for state, n in found}

    def settled(self) -> bool:
        """Nothing is pending any more."""
        return rows(self.path, "SELECT 1 FROM outbox WHERE state = 'pending' LIMIT 1") == []

    def state_of(self, name: str) -> tuple[object, ...]:
        found = rows(self.path, "SELECT breaker, probes, held_until FROM connectors WHERE name = ?", (name,))
        return found[0] if found else ("closed", 0, None)


class Crashed(Exception):  # noqa: N818 - it is what happened
    """Stands for the end of the process in tests that kill a dispatcher between two of its steps."""
