from collections.abc import Iterator
from sqlite3 import Connection
from typing import Any

import pytest

from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.delivery.routing import Router
from ralf_hub.intake.ledger import Ledger
from tests.delivery.house import Poster, PosterSettings
from tests.support import SettableClock


class Desk:
    """A connection, a clock and routes; `ledger` is what one transaction would be given."""

    def __init__(self, conn: Connection, clock: SettableClock) -> None:
        self.conn = conn
        self.clock = clock
        self.router = Router({})

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.conn, self.clock.clock, self.router, "http://hub")

    def route(self, *connectors: Poster) -> None:
        self.router = Router({connector.name: connector for connector in connectors})

    def events(self) -> list[tuple[str, str | None]]:
        return self.conn.execute("SELECT type, task_id FROM events ORDER BY seq").fetchall()

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events()]

    def outbox(self, columns: str = "event_type, connector, action, state") -> list[tuple[Any, ...]]:
        return self.conn.execute(f"SELECT {columns} FROM outbox ORDER BY id").fetchall()


@pytest.fixture
def desk(conn: Connection, clock: SettableClock) -> Iterator[Desk]:
    yield Desk(conn, clock)
    assert not conn.in_transaction


def poster(name: str = "a", kind: type[Poster] = Poster, **settings: Any) -> Poster:
    return kind(name, PosterSettings(**settings), ConnectorEnv())
