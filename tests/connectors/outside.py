"""Connectors that keep an object per task, tried on real parts: database, intake, dispatcher, and a service's double."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from ralf_hub.connectors.base import Connector, ConnectorEnv
from ralf_hub.connectors.registry import connector_class
from ralf_hub.errors import StorageError
from ralf_hub.model import Event, Feature, Link, Task
from ralf_hub.store import links
from tests.connectors.helpers import HUB, TASK
from tests.delivery.house import House
from tests.support import SettableClock, connect, eventually, rows

STEP_S = 61.0
"""Longer than any wait a connector asks for in these tests."""
WITHIN_S = 30.0
"""How long one attempt may take on a busy machine."""
STEPS_MAX = 300
"""More attempts than any of these lives takes: what goes on after them would go on for ever."""


class Outside:
    """A house with one connector in it, whose clock moves on when nothing is left to do now."""

    def __init__(self, house: House, clock: SettableClock, name: str) -> None:
        self.house = house
        self.clock = clock
        self.name = name
        self.unrecorded = asyncio.Event()
        """Set when a verdict could not be committed."""

    async def tell(
        self, kind: str, data: dict[str, Any] | None = None, task: Task | None = TASK, **more: Any
    ) -> Event:
        return await self.house.intake.accept(
            lambda ledger: ledger.record(kind, source="test", task=task, data=data, **more)
        )

    async def feature(self, kind: str, feature: Feature) -> Event:
        return await self.tell(kind, task=None, feature=feature)

    async def settle(self) -> dict[str, tuple[str, str | None]]:
        """Let everything be delivered or die, moving the clock when all wait; return state and error by action."""
        for _ in range(STEPS_MAX):
            if self.house.settled():
                return self.deliveries()
            await self.next_attempt()
        raise AssertionError(f"not settled: {self.rows()}")

    async def next_attempt(self) -> None:
        """Wait for one more attempt, moving the clock where all wait; the last one may have just been made."""
        tried = self.attempts
        if not self._may_go_now():
            self.clock.advance(STEP_S)
            self.house.dispatcher.wake()
        await eventually(lambda: self.attempts > tried or self.house.settled(), within_s=WITHIN_S)

    async def replay(self) -> None:
        """Make what is dead due again, as an operator would, and let it settle."""
        with closing(connect(self.house.path)) as conn:
            conn.execute(
                "UPDATE outbox SET state = 'pending', next_attempt_at = created_at WHERE state = 'dead'"
            )
        await self.house.dispatcher.refresh()
        await self.settle()

    def _may_go_now(self) -> bool:
        """Return whether something is due, first in its lane, and nothing holds the connector."""
        now = self.clock.iso()
        due = (
            "SELECT 1 FROM outbox AS o WHERE state = 'pending' AND next_attempt_at <= ? AND NOT EXISTS "
            "(SELECT 1 FROM outbox WHERE state = 'pending' AND lane = o.lane AND id < o.id) LIMIT 1"
        )
        held = "SELECT 1 FROM connectors WHERE name = ? AND (breaker <> 'closed' OR held_until > ?)"
        return rows(self.house.path, due, (now,)) != [] and not rows(self.house.path, held, (self.name, now))

    def rows(self) -> list[tuple[str, str, str | None]]:
        """Return action, state and last error of every delivery."""
        found = rows(self.house.path, "SELECT action, state, last_error FROM outbox ORDER BY id")
        return [(str(action), str(state), error) for action, state, error in found]  # type: ignore[misc]

    def deliveries(self) -> dict[str, tuple[str, str | None]]:
        """Return state and last error of the latest delivery of each action."""
        return {action: (state, error) for action, state, error in self.rows()}

    def states(self) -> list[tuple[str, str]]:
        return [(action, state) for action, state, _ in self.rows()]

    @property
    def attempts(self) -> int:
        ((count,),) = rows(self.house.path, "SELECT count(*) FROM attempts")
        return int(str(count))

    def outcomes(self) -> list[str]:
        return [
            str(outcome) for (outcome,) in rows(self.house.path, "SELECT outcome FROM attempts ORDER BY id")
        ]

    async def link(self, kind: str = "task", entity: str = TASK.id) -> Link | None:
        return await self.house.db.read(lambda conn: links.get(conn, self.name, kind, entity))

    def loses_its_disk(self) -> None:
        """From now on no verdict is committed; what was sent stays unknown to the table."""

        async def refuse(*_: object, **__: object) -> Any:
            self.unrecorded.set()
            raise StorageError("the disk takes nothing")

        self.house.dispatcher._bookkeeper._accept = refuse
        self.house.dispatcher._bookkeeper.hurried = True

    async def crashes(self) -> None:
        """End the dispatcher as kill -9 would: nothing more is recorded."""
        self.loses_its_disk()
        running = self.house._running
        assert running is not None
        running.cancel()
        await asyncio.wait({running})
        self.house._running = None


@asynccontextmanager
async def outside(
    path: Path,
    clock: SettableClock,
    kind: str,
    *others: Connector,
    env: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Outside]:
    """Start a hub's inner rooms on the database at *path*, with one connector of *kind*; *env* is more of its world."""
    async with House(path, clock.clock) as house:
        made = connector_class(kind)
        given = ConnectorEnv(**{"clock": clock.clock, "hub_url": HUB, **(env or {})})
        house.intake.hub_url = given.hub_url
        house.connectors[kind] = made(kind, made.settings_model(**settings), given)
        house.connectors |= {other.name: other for other in others}
        await house.start()
        yield Outside(house, clock, kind)
