"""One connector's side of the dispatcher: what is in hand, what may go out, when to look again. No I/O."""

from collections import deque
from dataclasses import dataclass, field

from aiolimiter import AsyncLimiter

from ralf_hub.connectors.base import Connector, Identity, Outcome
from ralf_hub.connectors.budget import Budget
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


@dataclass(frozen=True, slots=True)
class Standing:
    """How a connector stands after some verdicts: its durable state, and the deliveries that failed in a row."""

    state: ConnectorState
    failed_ids: frozenset[int] = frozenset()


def limiter(rate_per_minute: int | None) -> AsyncLimiter | None:
    """Return a limiter that spreads *rate_per_minute* evenly, at most one second's worth at once."""
    if rate_per_minute is None:
        return None
    burst = max(1.0, rate_per_minute / SECONDS_PER_MINUTE)
    return AsyncLimiter(burst, burst * SECONDS_PER_MINUTE / rate_per_minute)


@dataclass(slots=True)
class Channel:
    """The running state of one connector.

    `ready` are claimed and wait for a free hand, `sending` are out, `held` are all that must not be claimed again.
    `troubles` counts failed tries whose verdict is not on disk yet: until it is, nobody knows whether to go on.
    `turns` is how many calls the rate limit has granted and nobody has used.
    """

    connector: Connector
    concurrency: int
    standing: Standing
    limiter: AsyncLimiter | None = None
    ready: deque[Claimed] = field(default_factory=deque)
    held: set[int] = field(default_factory=set)
    sending: int = 0
    troubles: int = 0
    turns: int = 0
    awaits_turn: bool = False
    woken: bool = True
    look_again_at: str | None = None
    budget: Budget | None = None
    """What the service's last answer said is left of its rate limit."""
    identity: Identity | None = None
    """Who the service takes the hub for, once it has said so."""

    @property
    def name(self) -> str:
        """The connector's name."""
        return self.connector.name

    @property
    def state(self) -> ConnectorState:
        """What is known of the connector across restarts."""
        return self.standing.state

    def serve(self, connector: Connector, concurrency: int) -> None:
        """Go on with *connector*, which may be the same with other settings; *concurrency* is the hub's default."""
        if connector.settings != self.connector.settings:
            self.budget = self.identity = None
        rate = connector.settings.rate_per_minute
        if self.limiter is None or rate != self.connector.settings.rate_per_minute:
            self.limiter = limiter(rate)
        self.connector = connector
        self.concurrency = connector.settings.concurrency or concurrency

    def wants(self, now: str) -> int:
        """Return how many deliveries to claim now; 0 where there is no reason to look or nothing may go out."""
        if self.troubles or not breaker.may_send(self.state, now):
            return 0
        if not (self.woken or (self.look_again_at is not None and self.look_again_at <= now)):
            return 0
        if breaker.is_probe(self.state):
            due = self.state.probe_at is None or self.state.probe_at <= now
            return 1 if due and not self.held else 0
        return max(0, 2 * self.concurrency - len(self.held))

    def may_start(self, now: str) -> bool:
        """Return whether another try may begin."""
        return (
            bool(self.ready)
            and self.sending < self.concurrency
            and not self.troubles
            and breaker.may_send(self.state, now)
        )

    def wakes_at(self, now: str) -> str | None:
        """Return when to look again without being woken; None: only when something happens."""
        look_again_at = None if self.woken else self.look_again_at
        if not breaker.may_send(self.state, now):
            return _later(breaker.wakes_at(self.state), look_again_at)
        if breaker.is_probe(self.state):
            return _later(self.state.probe_at, look_again_at)
        return look_again_at

    def stand(self, standing: Standing, now: str) -> None:
        """Take a new standing; let go of what must not go out under it."""
        self.standing = standing
        if breaker.is_probe(standing.state) or not breaker.may_send(standing.state, now):
            self.put_back()

    def put_back(self) -> None:
        """Let go of what has not begun: it is still pending and due in the table."""
        for claimed in self.ready:
            self.held.discard(claimed.delivery.id)
        self.ready.clear()
        self.woken = True


def _later(first: str | None, second: str | None) -> str | None:
    """Return the later of two moments, the other where one is None."""
    return max(filter(None, (first, second)), default=None)
