"""One connector's side of the dispatcher: what is in hand, what may go out, when to look again. No I/O."""

from collections import deque
from dataclasses import dataclass, field

from aiolimiter import AsyncLimiter

from ralf_hub.connectors.base import Connector, Outcome
from ralf_hub.delivery import breaker
from ralf_hub.model import Delivery, Link
from ralf_hub.store.connectors import ConnectorState

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in the dispatcher's hands, with what its connector may want to know."""

    delivery: Delivery
    link: Link | None = None
    probing: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A claimed delivery after its try."""

    claimed: Claimed
    outcome: Outcome
    started_at: str
    duration_ms: int


def limiter(rate_per_minute: int | None) -> AsyncLimiter | None:
    """Return a limiter that spreads *rate_per_minute* evenly, at most one second's worth at once."""
    if rate_per_minute is None:
        return None
    burst = max(1.0, rate_per_minute / SECONDS_PER_MINUTE)
    return AsyncLimiter(burst, burst * SECONDS_PER_MINUTE / rate_per_minute)


@dataclass(slots=True)
class Channel:
    """The running state of one connector. `ready` are claimed and waiting for a free hand, `sending` are out."""

    connector: Connector
    concurrency: int
    state: ConnectorState
    limiter: AsyncLimiter | None = None
    ready: deque[Claimed] = field(default_factory=deque)
    held: set[int] = field(default_factory=set)
    sending: int = 0
    woken: bool = True
    look_again_at: str | None = None
    failed_ids: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The connector's name."""
        return self.connector.name

    def wants(self, now: str) -> int:
        """Return how many deliveries to claim now; 0 where there is no reason to look or nothing may go out."""
        if not breaker.may_send(self.state, now):
            return 0
        if breaker.is_probe(self.state):
            due = self.state.probe_at is None or self.state.probe_at <= now
            return 1 if due and not self.held else 0
        if not (self.woken or (self.look_again_at is not None and self.look_again_at <= now)):
            return 0
        return max(0, 2 * self.concurrency - len(self.held))

    def may_start(self) -> bool:
        """Return whether another try may begin."""
        return bool(self.ready) and self.sending < self.concurrency

    def wakes_at(self, now: str) -> str | None:
        """Return when to look again without being woken; None: only when something happens."""
        if not breaker.may_send(self.state, now):
            return breaker.wakes_at(self.state)
        if breaker.is_probe(self.state):
            moments = [moment for moment in (self.state.probe_at, self.look_again_at) if moment is not None]
            return max(moments, default=None)
        return self.look_again_at

    def put_back(self) -> None:
        """Let go of what has not begun: it is still pending and due in the table."""
        for claimed in self.ready:
            self.held.discard(claimed.delivery.id)
        self.ready.clear()
        self.woken = True
