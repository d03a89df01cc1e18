"""Verdicts go to disk in batches, in a loop of their own: sending never waits for the disk."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from ralf_hub.clock import Clock
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.channel import Channel, Finished, Standing
from ralf_hub.delivery.judge import is_trouble
from ralf_hub.delivery.recording import Recorder, record
from ralf_hub.delivery.sending import without_detail
from ralf_hub.errors import StorageError

log = logging.getLogger(__name__)
T = TypeVar("T")

TRY_AGAIN_AFTER_S: Final = 1.0
"""When the database cannot be written."""


class Accept(Protocol):
    """Runs a change in one transaction with its events (`Intake.accept`)."""

    def __call__(
        self, change: Callable[[Recorder], T], *, after: Callable[[T], None] | None = None
    ) -> Awaitable[T]:
        """Return the change's result once it is on disk; *after* hears of it first, in commit order."""


@dataclass(frozen=True, slots=True)
class DispatchPolicy:
    """The settings of `[delivery]`."""

    concurrency: int
    timeout_s: float
    backoff: Backoff
    breaker: BreakerPolicy


class Bookkeeper:
    """Takes what tries came to and does not let go before it is recorded."""

    def __init__(
        self,
        accept: Accept,
        *,
        clock: Clock,
        random: Callable[[], float],
        redact: Callable[[str], str],
        recorded: Callable[[Finished], None],
        policy: DispatchPolicy,
        wake: Callable[[], None],
    ) -> None:
        self._accept = accept
        self._clock = clock
        self._random = random
        self._redact = redact
        self._recorded = recorded
        self._wake = wake
        self.policy = policy
        self.channels: Mapping[str, Channel] = {}
        self.hurried = False
        """True while the hub stops: what the disk does not take now stays pending and is sent again some day."""
        self._finished: list[tuple[Channel, Finished]] = []
        self._some = asyncio.Event()
        self._closed = False

    def add(self, channel: Channel, item: Finished) -> None:
        """Take one finished try. Until it is recorded its delivery is held, and a troubled channel pauses."""
        channel.troubles += is_trouble(item.outcome)
        self._finished.append((channel, item))
        self._some.set()

    def close(self) -> None:
        """Nothing more will come: `run` ends when all is recorded."""
        self._closed = self.hurried = True
        self._some.set()

    async def run(self) -> None:
        """Record until closed."""
        while self._finished or not self._closed:
            await self._some.wait()
            self._some.clear()
            taken, self._finished = self._finished, []
            if taken:
                await self._record(taken)

    async def _record(self, taken: list[tuple[Channel, Finished]]) -> None:
        """Commit verdicts together; one that cannot be recorded must not keep the others from it."""
        try:
            await self._persist(taken)
        except Exception:
            log.exception("%d verdicts cannot be recorded together", len(taken))
        else:
            return
        for channel, item in taken:
            try:
                await self._persist([(channel, item)])
            except Exception as error:
                log.exception(
                    "the verdict on delivery %d is recorded without detail", item.claimed.delivery.id
                )
                await self._record_plainly(channel, without_detail(item, error))

    async def _record_plainly(self, channel: Channel, item: Finished) -> None:
        try:
            await self._persist([(channel, item)])
        except Exception:
            # Still held: it is not sent again before the next start.
            log.exception("the verdict on delivery %d cannot be recorded", item.claimed.delivery.id)

    async def _persist(self, taken: list[tuple[Channel, Finished]]) -> None:
        """Commit verdicts; until the disk takes them they stay held, so that nothing is sent twice meanwhile."""
        while True:
            try:
                # Shielded: a commit that is under way is not taken back by whoever ends this task.
                await asyncio.shield(asyncio.ensure_future(self._write_down(taken)))
            except StorageError as error:
                log.error("%d verdicts wait for the disk: %s", len(taken), error)  # noqa: TRY400 - no traceback needed
            else:
                return
            if self.hurried:
                return
            await asyncio.sleep(TRY_AGAIN_AFTER_S)

    def _write_down(self, taken: list[tuple[Channel, Finished]]) -> Awaitable[Mapping[str, Standing]]:
        failed_ids = {name: channel.standing.failed_ids for name, channel in self.channels.items()}

        def change(ledger: Recorder) -> Mapping[str, Standing]:
            return record(
                ledger,
                [item for _, item in taken],
                failed_ids=failed_ids,
                policy=self.policy,
                clock=self._clock,
                random=self._random,
                redact=self._redact,
            )

        return self._accept(change, after=lambda standings: self._settle(taken, standings))

    def _settle(self, taken: list[tuple[Channel, Finished]], standings: Mapping[str, Standing]) -> None:
        """Let go of what is on disk now, and take up how its connectors stand."""
        now = self._clock.iso()
        for channel, item in taken:
            channel.held.discard(item.claimed.delivery.id)
            channel.troubles -= is_trouble(item.outcome)
            channel.woken = True
            self._recorded(item)
        for name, standing in standings.items():
            if name in self.channels:
                self.channels[name].stand(standing, now)
        self._wake()
