"""Looking for what is due, for all connectors in one hop to the reading thread. Reads only."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ralf_hub.delivery.channel import Claimed
from ralf_hub.model import Delivery, Link
from ralf_hub.store import links, outbox


@dataclass(frozen=True, slots=True)
class Ask:
    """What one connector may be given: up to *limit* deliveries, none of *held*."""

    connector: str
    limit: int
    held: frozenset[int]
    probing: bool
    uses_links: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What there is for it now, and when something will be that is not due yet."""

    claimed: list[Claimed]
    next_at: str | None

    def unmarked(self) -> list[int]:
        """Return the ids of those that were never tried."""
        return [item.delivery.id for item in self.claimed if item.delivery.first_attempt_at is None]


def look(conn: sqlite3.Connection, asks: Sequence[Ask], now: str) -> list[Found]:
    """Return for each of *asks* what is due."""
    return [_look_for(conn, ask, now) for ask in asks]


def _look_for(conn: sqlite3.Connection, ask: Ask, now: str) -> Found:
    due = outbox.due(conn, ask.connector, now=now, limit=ask.limit, held=ask.held)
    claimed = [Claimed(row, _link(conn, row) if ask.uses_links else None, ask.probing) for row in due]
    return Found(claimed, outbox.next_later(conn, ask.connector, now=now))


def _link(conn: sqlite3.Connection, delivery: Delivery) -> Link | None:
    entity = delivery.entity
    return None if entity is None else links.get(conn, delivery.connector, *entity)
