"""The loop that claims due deliveries, sends them, judges the outcome and records it.

The table is the truth: what is claimed is only held in memory (`Channel.held`) and stays `pending` until its verdict
is committed. Nothing is awaited from the network inside a transaction. One slow or broken connector never holds up
another: each has its own channel.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Final

from aiolimiter import AsyncLimiter

from ralf_hub import context
from ralf_hub.clock import MS_PER_S, Clock, parse_iso
from ralf_hub.connectors.base import Connector, Delivered, Http
from ralf_hub.delivery import breaker
from ralf_hub.delivery.bookkeeper import Accept, Bookkeeper, DispatchPolicy
from ralf_hub.delivery.channel import Channel, Claimed, Finished, Standing
from ralf_hub.delivery.claiming import Ask, look
from ralf_hub.delivery.sending import noting, send
from ralf_hub.errors import NotFoundError, StorageError
from ralf_hub.model import Delivery
from ralf_hub.store import connectors as connector_states
from ralf_hub.store import outbox
from ralf_hub.store.connectors import ConnectorState
from ralf_hub.store.database import Database

__all__ = ["DispatchPolicy", "Dispatcher"]

log = logging.getLogger(__name__)

LOOK_AT_LEAST_EVERY_S: Final = 5.0
"""A lost wake-up costs at most this long."""
TRY_AGAIN_AFTER_S: Final = 1.0
"""When the database cannot be read or written."""


Trace = Callable[[Delivery], AbstractContextManager[Callable[[str, int | None], None]]]
"""Opens the span of one try; what it yields takes the outcome and the HTTP status."""


def _untraced(_: Delivery) -> AbstractContextManager[Callable[[str, int | None], None]]:
    return nullcontext(lambda _outcome, _status: None)


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
        recorded: Callable[[Finished], None] = lambda _: None,
    ) -> None:
        self._db = db
        self._http = http
        self._clock = clock
        self._wake = asyncio.Event()
        self._bookkeeper = Bookkeeper(
            accept,
            clock=clock,
            random=random,
            redact=redact,
            recorded=recorded,
            policy=policy,
            wake=self._wake.set,
        )
        self.policy = policy
        self.trace: Trace = _untraced
        self.channels: dict[str, Channel] = {}
        self._all: dict[str, Channel] = {}
        self._look_at_all_at = 0.0
        self._tries: set[asyncio.Task[None]] = set()
        self._turns: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._grace_s = 0.0
        self._ended = asyncio.Event()
        self._ended.set()

    # --- settings and wake-ups ------------------------------------------------------------------

    async def configure(self, connectors: Mapping[str, Connector], policy: DispatchPolicy) -> None:
        """Take new connectors. What is on its way ends under the old ones; a changed connector starts closed.

        One that left the settings keeps its channel: should it come back, what it still has out is not sent twice.
        """
        for name, connector in connectors.items():
            old = self._all.get(name)
            if old is not None and old.connector.settings != connector.settings:
                try:
                    await self._db.write(partial(_start_over, name=name, now=self._clock.iso()))
                except StorageError as error:
                    log.warning("the breaker of %s stays as it is: %s", name, error)
        if not self._all:
            await self._probe_soon()
        known = await self._db.run_alone(connector_states.everyone)
        now = self._clock.iso()
        for channel in self._all.values():
            channel.put_back()
        for name, connector in connectors.items():
            standing = Standing(known.get(name, ConnectorState(name)))
            channel = self._all.setdefault(name, Channel(connector, policy.concurrency, standing))
            channel.serve(connector, policy.concurrency)
            channel.stand(standing, now)
        self.policy = self._bookkeeper.policy = policy
        self.channels = self._bookkeeper.channels = {name: self._all[name] for name in connectors}
        self._wake.set()

    async def _probe_soon(self) -> None:
        """At the start try what did not work before: it may be why the hub was started anew."""
        now = self._clock.iso()
        try:
            await self._db.write(lambda conn: connector_states.probe_at(conn, now))
        except StorageError as error:
            log.warning("open breakers keep their time of the next probe: %s", error)

    def wake(self, names: Iterable[str] | None = None) -> None:
        """Look at these connectors' deliveries soon; at all of them where none is named. A hint, never needed."""
        for name in self.channels if names is None else names:
            channel = self.channels.get(name)
            if channel is not None:
                channel.woken = True
        self._wake.set()

    async def refresh(self) -> None:
        """Someone else wrote to the database: let go of what has not begun, read states anew, look at everything."""
        # On the writing thread, because verdicts come from there: what is read last is then what was written last.
        known = await self._db.run_alone(connector_states.everyone)
        now = self._clock.iso()
        for name, channel in self.channels.items():
            channel.put_back()
            channel.stand(Standing(known.get(name, ConnectorState(name)), channel.standing.failed_ids), now)
        self._wake.set()

    def hold(self, name: str) -> None:
        """Let nothing more of one connector begin: it is about to be paused. `refresh` makes it final or undoes it."""
        channel = self.channels.get(name)
        if channel is not None:
            paused = replace(channel.state, paused=True)
            channel.stand(Standing(paused, channel.standing.failed_ids), self._clock.iso())

    async def reset(self, name: str) -> None:
        """Close the breaker of one connector, unpause it and let it go on; someone decided so."""
        if name not in self.channels:
            raise NotFoundError(f"There is no enabled connector {name}.")
        await self._db.write(lambda conn: _start_over(conn, name, self._clock.iso(), unpause=True))
        channel = self.channels[name]
        channel.standing = Standing(channel.state)
        await self.refresh()

    # --- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver until cancelled or stopped."""
        self._ended.clear()
        recording = asyncio.create_task(self._bookkeeper.run(), name="verdicts recorded")
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await self._claim()
                except Exception:
                    # Nothing was sent by a failed claim; the table still has it all. Say so and look again.
                    log.exception("deliveries could not be claimed")
                    await asyncio.sleep(TRY_AGAIN_AFTER_S)
                for channel in self.channels.values():
                    self._start(channel)
                await self._wait()
        finally:
            await self._finish(recording)
            self._ended.set()

    async def stop(self, grace_s: float = 10.0) -> None:
        """Claim nothing more; return when what is on its way, given *grace_s* seconds to end, has been recorded."""
        self._grace_s = grace_s
        self._stopping = self._bookkeeper.hurried = True
        for channel in self.channels.values():
            channel.put_back()
        self._wake.set()
        await self._ended.wait()

    async def _finish(self, recording: asyncio.Task[None]) -> None:
        self._stopping = True
        for turn in self._turns:
            turn.cancel()
        if self._tries:
            await asyncio.wait(set(self._tries), timeout=self._grace_s)
        for task in self._tries:
            task.cancel()
        if self._tries or self._turns:
            await asyncio.wait({*self._tries, *self._turns})
        self._bookkeeper.close()
        await recording

    async def _wait(self) -> None:
        now = self._clock.iso()
        if any(channel.wants(now) for channel in self.channels.values()):
            return  # something fell due while the last look was under way
        seconds = self._look_at_all_at - self._clock.monotonic()
        if seconds <= 0:
            self._look_at_all_at = self._clock.monotonic() + LOOK_AT_LEAST_EVERY_S
            self.wake()
            return
        moments = [moment for channel in self.channels.values() if (moment := channel.wakes_at(now))]
        later = min((moment for moment in moments if moment > now), default=None)
        if later is not None:
            seconds = min(seconds, self._seconds_until(later))
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _seconds_until(self, moment: str) -> float:
        try:
            return max(0.001, (parse_iso(moment) - self._clock.now()) / MS_PER_S)
        except ValueError:  # written by hand
            return LOOK_AT_LEAST_EVERY_S

    async def _claim(self) -> None:
        """Take what is due into hand. For connectors that make things outside, that is noted on disk first."""
        now = self._clock.iso()
        asked = [(channel, n) for channel in self.channels.values() if (n := channel.wants(now))]
        if not asked:
            return
        asks = [
            Ask(
                connector=channel.name,
                limit=limit,
                held=frozenset(channel.held),
                probing=breaker.is_probe(channel.state),
                uses_links=channel.connector.uses_links,
            )
            for channel, limit in asked
        ]
        for channel, _ in asked:
            channel.woken = False
        try:
            found = self._db.peek(lambda conn: look(conn, asks, now))
            pairs = zip(asks, found, strict=True)
            intents = [number for ask, each in pairs if ask.uses_links for number in each.unmarked()]
            if intents:
                await self._db.write(lambda conn: outbox.mark_intent(conn, intents, now=now))
        except BaseException:
            for channel, _ in asked:
                channel.woken = True
            raise
        for (channel, limit), ask, each in zip(asked, asks, found, strict=True):
            channel.look_again_at = each.next_at
            if breaker.is_probe(channel.state) != ask.probing or not breaker.may_send(channel.state, now):
                channel.woken = (
                    True  # its breaker moved meanwhile: what was found was found for another state
                )
                continue
            channel.woken = channel.woken or len(each.claimed) == limit
            channel.ready.extend(each.claimed)
            channel.held.update(item.delivery.id for item in each.claimed)

    def _start(self, channel: Channel) -> None:
        """Begin as many tries as may be."""
        while (claimed := self._next(channel)) is not None:
            task = asyncio.create_task(self._try_on(channel, claimed))
            self._tries.add(task)
            task.add_done_callback(self._tries.discard)

    def _next(self, channel: Channel) -> Claimed | None:
        """Take what may begin now; None: nothing may."""
        if self._stopping or not channel.may_start(self._clock.iso()) or not self._has_turn(channel):
            return None
        channel.sending += 1
        return channel.ready.popleft()

    def _has_turn(self, channel: Channel) -> bool:
        """Use up a turn where the connector has a rate; ask for the next one where none is left."""
        if channel.limiter is None:
            return True
        if channel.turns:
            channel.turns -= 1
            return True
        if not channel.awaits_turn:
            channel.awaits_turn = True
            task = asyncio.create_task(self._take_turn(channel, channel.limiter))
            self._turns.add(task)
            task.add_done_callback(self._turns.discard)
        return False

    async def _take_turn(self, channel: Channel, rate: AsyncLimiter) -> None:
        """Wait for the rate limit. What is ready stays ready until then, so that it can still be put back."""
        try:
            await rate.acquire()
            channel.turns += 1
        finally:
            channel.awaits_turn = False
        self._start(channel)

    async def _try_on(self, channel: Channel, claimed: Claimed | None) -> None:
        """Try *claimed* and then, as long as there is one, the next: a task for each costs more than it looks."""
        while claimed is not None:
            await self._try(channel, claimed)
            claimed = self._next(channel)

    async def _try(self, channel: Channel, claimed: Claimed) -> None:
        try:
            started_at, begun = self._clock.iso(), self._clock.monotonic()
            context.delivery_id.set(claimed.delivery.id)
            with self.trace(claimed.delivery) as ended:
                outcome = await send(
                    channel.connector,
                    claimed,
                    http=noting(self._http, channel, self._clock),
                    clock=self._clock,
                    timeout_s=self.policy.timeout_s,
                )
                ended(outcome.name, outcome.status_code)
                level = logging.DEBUG if isinstance(outcome, Delivered) else logging.INFO
                log.log(level, "tried %s: %s", channel.name, outcome.name)
            duration_ms = round((self._clock.monotonic() - begun) * MS_PER_S)
        except asyncio.CancelledError:
            channel.held.discard(claimed.delivery.id)
            raise
        finally:
            channel.sending -= 1
        self._bookkeeper.add(channel, Finished(claimed, outcome, started_at, duration_ms))


def _start_over(conn: sqlite3.Connection, name: str, now: str, *, unpause: bool = False) -> None:
    """Forget the failures of one connector."""
    connector_states.save(conn, breaker.reset(connector_states.get(conn, name)), now=now)
    if unpause:
        connector_states.set_paused(conn, name, paused=False, by=None, now=now)
