"""What the tests of the issue trackers share: both services, and a lane that sends an event's actions in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ralf_hub.clock import Clock
from ralf_hub.connectors.base import (
    Delivered,
    Fact,
    Http,
    Outcome,
    Rejected,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.model import Delivery, Event, Link, Task
from tests.connectors.helpers import AT, HUB, NOW_MS, TASK, connector, delivery
from tests.doubles import github, gitlab
from tests.doubles.server import Double, Fault
from tests.doubles.tracker import Tracker

LATER = Clock(now=lambda: NOW_MS + 10_000)
"""Ten seconds after what is sent was first tried: an earlier try is at work no more."""
TRIES_MAX = 6


@dataclass(slots=True)
class Case:
    """One service: its double, how an instance for it is set, what stands for its answers."""

    kind: str
    double: Any
    given: dict[str, Any]
    project: str
    others: tuple[str, ...]

    @property
    def tracker(self) -> Tracker:
        found: Tracker = self.double.tracker
        return found

    def made(self, clock: Clock = LATER, **settings: Any) -> Any:
        return connector(self.kind, clock=clock, **{"base_url": self.double.url, **self.given, **settings})


def cases(now: Callable[[], int] = lambda: NOW_MS + 1_000) -> Iterator[Case]:
    yield Case(
        "github",
        github.GitHub(tracker=Tracker(now)),
        {"token": github.TOKEN, "repository": github.REPOSITORY},
        github.REPOSITORY,
        github.OTHERS,
    )
    yield Case(
        "gitlab",
        gitlab.GitLab(tracker=Tracker(now)),
        {"token": gitlab.TOKEN, "project": gitlab.PROJECT},
        gitlab.PROJECT,
        gitlab.OTHERS,
    )


class Lane:
    """One task's deliveries: planned with the link there is, sent in order, tried again as the dispatcher does."""

    def __init__(self, made: Any, http: Http) -> None:
        self.made = made
        self.http = http
        self.link: Link | None = None
        self.sent = 0

    def about(self, kind: str, data: dict[str, Any] | None = None, task: Task | None = TASK) -> Fact:
        """Return a new event of the task."""
        event_id = f"evt_{self.sent:04}{kind}"
        task_id = None if task is None else task.id
        return Fact(
            Event(event_id, kind, AT, task_id=task_id, data=data or {}), task, link=self.link, hub_url=HUB
        )

    def plan(self, about: Fact) -> list[Delivery]:
        rows = []
        for action in self.made.plan(about):
            self.sent += 1
            rows.append(delivery(action, about, self.sent))
            if action.marker is not None:
                self.link = Link(self.made.name, marker=action.marker, entity_id=about.event.task_id or "")
        return rows

    async def once(self, row: Delivery, *, again: bool = False) -> Outcome:
        if again:
            row = replace(row, first_attempt_at=AT)
        context = SendContext(self.http, self.made.env.clock, self.link, again)
        outcome: Outcome = await self.made.send(row, context)
        if isinstance(outcome, (Delivered, Rejected)) and outcome.link is not None:
            self.link = replace(outcome.link, entity_id=row.task_id or "")
        return outcome

    async def until_settled(self, row: Delivery) -> list[Outcome]:
        """Try *row* until it is delivered or dead, as often as the dispatcher would at least; return the outcomes."""
        outcomes: list[Outcome] = []
        for _ in range(TRIES_MAX):
            try:
                outcomes.append(await self.once(row, again=bool(outcomes)))
            except UnknownAnswerError as error:
                raise AssertionError(f"not judged: {error}") from error
            if isinstance(outcomes[-1], (Delivered, Rejected)):
                return outcomes
        raise AssertionError(f"not settled: {outcomes}")

    async def tell(self, kind: str, data: dict[str, Any] | None = None) -> list[str]:
        """Send all that an event asks for; return the names of its actions."""
        rows = self.plan(self.about(kind, data))
        for row in rows:
            (outcome,) = await self.until_settled(row)
            assert isinstance(outcome, Delivered), outcome
        return [row.action for row in rows]


def fail(double: Double, on: str = "*", times: int = 1, **how: Any) -> None:
    double.faults.append(Fault(on, times, **how))
