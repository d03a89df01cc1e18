"""The loop that claims due deliveries, sends them, judges the outcome and records it.

The table is the truth: what is claimed is only held in memory (`Channel.held`) and stays `pending` until its verdict
is committed. Nothing is awaited from the network inside a transaction. One slow or broken connector never holds up
another: each has its own channel.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from ralf_hub.clock import MS_PER_S, Clock, parse_iso
from ralf_hub.connectors.base import (
    Ambiguous,
    Connector,
    Delivered,
    Http,
    NotSentError,
    Outcome,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.breaker import BreakerPolicy, reset
from ralf_hub.delivery.channel import Channel, Claimed, Finished, limiter
from ralf_hub.delivery.recording import Recorder, record
from ralf_hub.errors import StorageError
from ralf_hub.model import Delivery, Link
from ralf_hub.store import connectors as connector_states
from ralf_hub.store import links, outbox
from ralf_hub.store.connectors import ConnectorState
from ralf_hub.store.database import Database

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_AT_LEAST_EVERY_S: Final = 5.0
"""A lost wake-up costs at most this long."""
RECORD_AGAIN_AFTER_S: Final = 1.0
SEND_GRACE_S: Final = 5.0
"""On top of the network's timeout, for connectors that make several calls."""


class Accept(Protocol):
    """Runs a change in one transaction with its events (`Intake.accept`)."""

    def __call__(self, change: Callable[[Recorder], T]) -> Awaitable[T]:
        """Return the change's result once it is on disk."""


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """The settings of `[delivery]`."""

    concurrency: int
    timeout_s: float
    backoff: Backoff
    breaker: BreakerPolicy


class Dispatcher:
    """Delivers what the outbox holds."""

    def __init__(
        self,
        *,
        db: Database,
        accept: Accept,
        http: Http,
        clock: Clock,
        random: Callable[[], float],
        redact: Callable[[str], str],
        policy: DispatchPolicy,
        meter: Callable[[str, float], None] = lambda _name, _ms: None,
    ) -> None:
        self._meter = meter
        self._db = db
        self._accept = accept
        self._http = http
        self._clock = clock
        self._random = random
        self._redact = redact
        self.policy = policy
        self.channels: dict[str, Channel] = {}
        self._wake = asyncio.Event()
        self._finished: list[Finished] = []
        self._some_finished = asyncio.Event()
        self._tries: set[asyncio.Task[None]] = set()
        self._stopping = False

    # --- settings and wake-ups ------------------------------------------------------------------

    async def configure(self, connectors: Mapping[str, Connector], policy: DispatchPolicy) -> None:
        """Take new connectors. What is on its way ends under the old ones; a changed connector starts closed."""
        known = await self._db.read(connector_states.everyone)
        channels: dict[str, Channel] = {}
        for name, connector in connectors.items():
            old = self.channels.get(name)
            state = known.get(name, ConnectorState(name))
            if old is not None and old.connector.settings != connector.settings and state.breaker != "closed":
                state = reset(state)
            channel = old or Channel(connector, policy.concurrency, state)
            channel.put_back()
            channel.connector, channel.state = connector, state
            channel.concurrency = connector.settings.concurrency or policy.concurrency
            channel.limiter = limiter(connector.settings.rate_per_minute)
            channels[name] = channel
        self.policy = policy
        self.channels = channels
        self._wake.set()

    def wake(self, names: Iterable[str] | None = None) -> None:
        """Look at these connectors' deliveries soon; at all of them where none is named. A hint, never needed."""
        for name in self.channels if names is None else names:
            channel = self.channels.get(name)
            if channel is not None:
                channel.woken = True
        self._wake.set()

    async def refresh(self) -> None:
        """Someone else wrote to the database: let go of what has not begun, read states anew, look at everything."""
        known = await self._db.read(connector_states.everyone)
        for name, channel in self.channels.items():
            channel.put_back()
            if name in known:
                channel.state = known[name]
        self._wake.set()

    async def reset(self, name: str) -> None:
        """Close the breaker of one connector and let it go on; someone decided so."""
        channel = self.channels[name]
        channel.state = reset(channel.state)
        state = channel.state
        now = self._clock.iso()
        await self._db.write(lambda conn: connector_states.save(conn, state, now=now))
        self.wake([name])

    # --- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled or stopped."""
        recording = asyncio.create_task(self._record_finished(), name="deliveries recorded")
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await self._claim()
                except Exception:
                    # Nothing was sent by a failed claim; the table still has it all. Say so and look again.
                    log.exception("deliveries could not be claimed")
                    await asyncio.sleep(RECORD_AGAIN_AFTER_S)
                self._start_ready()
                await self._wait()
        finally:
            await self._finish(recording)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Claim nothing more and give what is on its way *grace_s* seconds to end and be recorded."""
        self._stopping = True
        for channel in self.channels.values():
            channel.put_back()
        if self._tries:
            await asyncio.wait(set(self._tries), timeout=grace_s)
        self._wake.set()

    async def _finish(self, recording: asyncio.Task[None]) -> None:
        for task in self._tries:
            task.cancel()
        if self._tries:
            await asyncio.wait(set(self._tries))
        recording.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await recording
        if self._finished:
            await self._record(self._take_finished())

    async def _wait(self) -> None:
        now = self._clock.iso()
        moments = [moment for channel in self.channels.values() if (moment := channel.wakes_at(now))]
        seconds = LOOK_AT_LEAST_EVERY_S
        later = [moment for moment in moments if moment > now]
        if later:
            seconds = min(seconds, max(0.001, (parse_iso(min(later)) - self._clock.now()) / MS_PER_S))
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            if seconds == LOOK_AT_LEAST_EVERY_S:
                self.wake()

    async def _claim(self) -> None:
        now = self._clock.iso()
        wanted = {name: n for name, channel in self.channels.items() if (n := channel.wants(now))}
        if not wanted:
            return
        asked = [(self.channels[name], n, frozenset(self.channels[name].held)) for name, n in wanted.items()]
        for channel, _, _ in asked:
            channel.woken = False
        found = await self._db.read(lambda conn: _look(conn, asked, now))
        intents: list[int] = []
        for (channel, limit, _), (claimed, later) in zip(asked, found, strict=True):
            channel.look_again_at = later
            channel.woken = channel.woken or len(claimed) == limit
            channel.ready.extend(claimed)
            channel.held.update(item.delivery.id for item in claimed)
            if channel.connector.uses_links:
                intents += [item.delivery.id for item in claimed if item.delivery.first_attempt_at is None]
        if intents:
            await self._db.write(lambda conn: outbox.mark_intent(conn, intents, now=now))

    def _start_ready(self) -> None:
        if self._stopping:
            return
        for channel in self.channels.values():
            self._start(channel)

    def _start(self, channel: Channel) -> None:
        while channel.may_start():
            channel.sending += 1
            task = asyncio.create_task(self._try(channel, channel.ready.popleft()))
            self._tries.add(task)
            task.add_done_callback(self._tries.discard)

    # --- one try --------------------------------------------------------------------------------

    async def _try(self, channel: Channel, claimed: Claimed) -> None:
        try:
            if channel.limiter is not None:
                await channel.limiter.acquire()
            started_at, begun = self._clock.iso(), self._clock.monotonic()
            outcome = await self._send(channel.connector, claimed)
            duration_ms = round((self._clock.monotonic() - begun) * MS_PER_S)
        except asyncio.CancelledError:
            channel.held.discard(claimed.delivery.id)
            raise
        finally:
            channel.sending -= 1
        self._finished.append(Finished(claimed, outcome, started_at, duration_ms))
        self._some_finished.set()
        if not self._stopping:
            self._start(self.channels.get(channel.name, channel))

    async def _send(self, connector: Connector, claimed: Claimed) -> Outcome:
        delivery = claimed.delivery
        context = SendContext(
            http=self._http,
            clock=self._clock,
            link=claimed.link,
            may_have_been_sent=delivery.first_attempt_at is not None,
        )
        try:
            async with asyncio.timeout(self.policy.timeout_s + SEND_GRACE_S):
                return await connector.send(delivery, context)
        except NotSentError as error:
            return Retry(str(error))
        except UnknownAnswerError as error:
            return Ambiguous(str(error))
        except TimeoutError:
            return Ambiguous("no verdict in time")
        except Exception as error:
            log.exception("connector %s failed on delivery %s", connector.name, delivery.id)
            return Retry(f"the connector failed: {type(error).__name__}: {error}")

    # --- verdicts -------------------------------------------------------------------------------

    def _take_finished(self) -> list[Finished]:
        taken, self._finished = self._finished, []
        self._some_finished.clear()
        return taken

    async def _record_finished(self) -> None:
        while True:
            await self._some_finished.wait()
            await self._record(self._take_finished())

    async def _record(self, finished: list[Finished]) -> None:
        """Commit the verdicts; until that works they stay held, so nothing is sent twice while the disk is full."""
        while True:
            try:
                states = await asyncio.shield(self._accept(lambda ledger: self._write_down(ledger, finished)))
                break
            except StorageError as error:
                log.error("verdicts on %d deliveries wait for the disk: %s", len(finished), error)  # noqa: TRY400
            except Exception:
                log.exception("verdicts on %d deliveries cannot be recorded", len(finished))
            if self._stopping:
                return
            await asyncio.sleep(RECORD_AGAIN_AFTER_S)
        for item in finished:
            channel = self.channels.get(item.claimed.delivery.connector)
            if channel is not None:
                channel.held.discard(item.claimed.delivery.id)
                channel.woken = True
            if isinstance(item.outcome, Delivered):
                self._meter(item.claimed.delivery.connector, item.duration_ms)
        for name, state in states.items():
            channel = self.channels[name]
            if state.breaker != "closed" and channel.state.breaker == "closed":
                channel.put_back()
            channel.state = state
        self._wake.set()

    def _write_down(self, ledger: Recorder, finished: list[Finished]) -> dict[str, ConnectorState]:
        return record(
            ledger,
            finished,
            states={name: channel.state for name, channel in self.channels.items()},
            failed_ids={name: channel.failed_ids for name, channel in self.channels.items()},
            policy=self.policy,
            clock=self._clock,
            random=self._random,
            redact=self._redact,
        )


def _look(
    conn: sqlite3.Connection, asked: list[tuple[Channel, int, frozenset[int]]], now: str
) -> list[tuple[list[Claimed], str | None]]:
    """Return for each channel what is due for it and when the next is, in one hop to the reading thread."""
    found: list[tuple[list[Claimed], str | None]] = []
    for channel, limit, held in asked:
        probing = channel.state.breaker == "open"
        rows = outbox.due(conn, channel.name, now=now, limit=limit, held=held)
        find: Any = links if channel.connector.uses_links else None
        claimed = [Claimed(row, _link(conn, find, row), probing) for row in rows]
        found.append((claimed, outbox.next_later(conn, channel.name, now=now)))
    return found


def _link(conn: sqlite3.Connection, find: Any, delivery: Delivery) -> Link | None:
    if find is None:
        return None
    if delivery.task_id is not None:
        return links.get(conn, delivery.connector, "task", delivery.task_id)
    kind, _, name = (delivery.lane or "").partition(":")
    return links.get(conn, delivery.connector, kind, name) if name else None
