"""Every change out to live readers: each message is encoded once, however many read it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import orjson

from ralf_hub.clock import Clock
from ralf_hub.feed import Feed, Read
from ralf_hub.keyring import Principal
from ralf_hub.model import Event, Json, event_json
from ralf_hub.stream.client import NO_LONGER_ALLOWED, Client

log = logging.getLogger(__name__)

TOPICS: Final = ("events", "deliveries", "metrics")
BEAT_S: Final = 1.0
"""How often the numbers are told, and looked who may not read any more."""
REPLAY_CHUNK: Final = 200
CLIENTS_MAX: Final = 5_000

Bounds = Callable[[], Awaitable[tuple[int, int]]]
"""Returns the lowest `seq` still kept and the highest ever given."""


def event_message(event: Event) -> bytes:
    """Return one event as the stream sends it."""
    return orjson.dumps({"topic": "events", "seq": event.seq, "event": event_json(event)})


class Broadcaster:
    """Keeps the live readers of one hub. *may_stay* says, at a time, whether somebody let in would be let in still."""

    def __init__(
        self,
        feed: Feed,
        read: Read,
        bounds: Bounds,
        metrics: Callable[[], Awaitable[Json]],
        clock: Clock,
        may_stay: Callable[[Principal, str], bool],
    ) -> None:
        self._feed = feed
        self._read = read
        self._bounds = bounds
        self._metrics = metrics
        self._clock = clock
        self._may_stay = may_stay
        self.clients: set[Client] = set()
        feed.listeners.append(self._tell_events)

    def _tell_events(self, fresh: list[Event]) -> None:
        readers = [client for client in self.clients if client.live and "events" in client.topics]
        if not readers:
            return
        for event in fresh:
            messages = {encode: encode(event) for encode in {client.encode for client in readers}}
            for client in readers:
                # A replay may have read it from the table before it was told here.
                if event.seq > client.position:
                    client.position = event.seq
                    client.push(messages[client.encode])

    def tell_delivery(self, delivery: dict[str, Json]) -> None:
        """Tell that a delivery changed."""
        readers = [client for client in self.clients if "deliveries" in client.topics]
        if readers:
            message = orjson.dumps({"topic": "deliveries", "delivery": delivery})
            for client in readers:
                client.push(message)

    @property
    def wants_deliveries(self) -> bool:
        """Return whether anyone reads deliveries."""
        return any("deliveries" in client.topics for client in self.clients)

    async def run(self) -> None:
        """Each second, let go of whom no key admits any more and tell the numbers to those who read them."""
        while True:
            await asyncio.sleep(BEAT_S)
            self._end_the_unwelcome()
            try:
                await self._tell_metrics()
            except Exception:
                log.exception("metrics for live readers could not be read")

    def _end_the_unwelcome(self) -> None:
        now = self._clock.iso()
        for client in [client for client in self.clients if not self._may_stay(client.principal, now)]:
            client.drop(NO_LONGER_ALLOWED)

    async def _tell_metrics(self) -> None:
        if any("metrics" in client.topics for client in self.clients):
            message = orjson.dumps({"topic": "metrics", "metrics": await self._metrics()})
            for client in [client for client in self.clients if "metrics" in client.topics]:
                client.push(message)

    async def replay(self, client: Client, since: int) -> AsyncIterator[tuple[int, int]]:
        """Send *client* the stored events after *since*, then go live: no gap between, none twice.

        Yields (from, to) first where retention has passed over events the reader has not seen.
        """
        first, last = await self._bounds()
        client.position = since
        if since + 1 < first:
            client.position = first - 1
            yield since + 1, min(first - 1, last)
        while True:
            found = await self._read(client.position, REPLAY_CHUNK)
            for event in found:
                await client.send_now(client.encode(event))
                client.position = event.seq
            # Compared and switched in one step: whatever is told from here on reaches the live reader.
            if client.position >= self._feed.last_seq:
                client.live = True
                return
