"""What a connector is: pure planning and judging, with the network handed in.

A connector speaks to one kind of service. For every event it `plan`s actions (each becomes one
row of the outbox, its payload fixed at that moment), later `send`s them and gives a verdict on
each attempt. It knows neither the database nor the settings file. `docs/connectors.md` walks
through writing one.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SecretStr, field_validator

from ralf_hub.clock import Clock
from ralf_hub.connectors.outlets import Outlets
from ralf_hub.model import Delivery, Event, Feature, Json, Link, Task

# --- settings -------------------------------------------------------------------------------------


class EventFilter(BaseModel):
    """Narrows the events a connector gets; every list given must match, an empty list matches all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: tuple[Literal["critical", "high", "medium", "low"], ...] = Field(
        default=(), description="Only events of tasks with one of these priorities."
    )
    feature: tuple[str, ...] = Field(default=(), description="Only events of these features (ids).")
    source: tuple[str, ...] = Field(default=(), description="Only events from these sources.")


class ConnectorSettings(BaseModel):
    """The settings every connector shares. Each connector adds its own in its own file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = Field(default=True, description="Whether events are routed to this connector.")
    type: str = Field(default="", description="Which connector this is; the section's name where left out.")
    events: tuple[str, ...] | None = Field(
        default=None,
        description="Event types or patterns (`task_*`, `*`, `!agent_*`); left out: the connector's defaults.",
    )
    filter: EventFilter = Field(default_factory=EventFilter, description="Narrows the events further.")
    template: Mapping[str, str] | str | None = Field(
        default=None,
        description="A jinja2 template for the text, one for all events or a table by event type, `*` for the rest.",
    )
    rate_per_minute: PositiveInt | None = Field(default=None, description="At most so many calls a minute.")
    concurrency: PositiveInt | None = Field(
        default=None, description="At most so many calls at once; left out: `[delivery] concurrency`."
    )

    @field_validator("template")
    @classmethod
    def _template_compiles(cls, value: Mapping[str, str] | str | None) -> Mapping[str, str] | str | None:
        if value is not None:
            # Imported here: jinja2 costs memory that a hub without templates need not pay.
            from ralf_hub.connectors.templates import check  # noqa: PLC0415

            check(value)
        return value

    def secret_values(self) -> list[str]:
        """Return every secret in these settings, for the redactor."""
        flat: list[object] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            match value:
                case Mapping():
                    flat.extend(value.values())
                case list() | tuple():
                    flat.extend(value)
                case _:
                    flat.append(value)
        return [item.get_secret_value() for item in flat if isinstance(item, SecretStr)]


# --- outcomes of an attempt -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivered:
    """The service has it. `link` is what it made or where it was found."""

    status_code: int | None = None
    response: str = ""
    link: Link | None = None
    name: ClassVar[str] = "delivered"


@dataclass(frozen=True, slots=True)
class Retry:
    """Not delivered, worth another try.

    `retry_after_s` is the earliest the service wants to see us again; `counts` is False where the try
    says nothing about this delivery (rate limits, a look-up that is not possible yet); `holds_connector`
    makes every delivery of the connector wait as long, because the service limits the whole destination.
    """

    reason: str
    status_code: int | None = None
    response: str = ""
    retry_after_s: float | None = None
    counts: bool = True
    holds_connector: bool = False
    name: ClassVar[str] = "retry"


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Sent, but the answer is unknown: it may have happened. Retried; creates are looked up first."""

    reason: str
    status_code: int | None = None
    response: str = ""
    retry_after_s: float | None = None
    name: ClassVar[str] = "ambiguous"


@dataclass(frozen=True, slots=True)
class Rejected:
    """The service will never take this one: dead at once."""

    reason: str
    status_code: int | None = None
    response: str = ""
    link: Link | None = None
    name: ClassVar[str] = "rejected"


@dataclass(frozen=True, slots=True)
class CredentialsBroken:
    """Key, token or URL no longer works: opens the breaker, burns no attempt of any delivery."""

    reason: str
    status_code: int | None = None
    response: str = ""
    name: ClassVar[str] = "credentials_broken"


@dataclass(frozen=True, slots=True)
class Gone:
    """The receiver said 410: it never wants to hear from us again. Disables the connector."""

    reason: str
    status_code: int | None = 410
    response: str = ""
    name: ClassVar[str] = "gone"


Outcome: TypeAlias = Delivered | Retry | Ambiguous | Rejected | CredentialsBroken | Gone

# --- the network, handed in -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One outgoing call. Its repr shows neither URL nor headers: both may carry secrets."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    timeout_s: float | None = None
    response_bytes_max: int | None = None
    """How much of the answer is read; None is the transport's own limit, enough for a verdict but not for a list."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer: `body` is cut at the transport's limit, header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, undecodable bytes replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Json:
        """Return the body as JSON, or None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


Http: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]
"""Sends one request. Raises `NotSentError` or `UnknownAnswerError`."""


class NotSentError(Exception):
    """The request never left: no address, no connection, no TLS, or refused by the hub's own network guard."""


class UnknownAnswerError(Exception):
    """The request was sent and the answer is unknown: a timeout or a dropped connection."""


# --- events in, actions out -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fact:
    """All a connector may know of an event when it plans: the event and what it is about."""

    event: Event
    task: Task | None = None
    feature: Feature | None = None
    link: Link | None = None
    task_links: tuple[Link, ...] = ()
    """Where the event is about a feature: what stands outside for its tasks, by this connector."""
    hub_url: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """One duty towards the service; becomes one row of the outbox.

    Rows of one `lane`, a task's id or `feature:` and an id, go in order; left out, it is that of what the event is about. `marker` is set on actions that create
    something outside: it is stored as a link in state `creating` before the first try, so that after a crash
    the object can be looked up by it and is never created twice.
    """

    name: str
    payload: Json
    lane: str | None = None
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class SendContext:
    """What a connector may use while it sends."""

    http: Http
    clock: Clock
    link: Link | None = None
    may_have_been_sent: bool = False
    """True where an earlier try (also one before a crash) may have reached the service."""


@dataclass(frozen=True, slots=True)
class Check:
    """What `validate` found: whether the credentials work and, in words, what was seen."""

    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a service takes the hub for, by the names and ids of its webhooks; `is_bot` where nobody else acts as that."""

    names: tuple[str, ...]
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class ConnectorEnv:
    """What every connector instance is given when it is built."""

    clock: Clock = field(default_factory=Clock)
    hub_url: str = ""
    instance: str = "ralf-hub"
    timeout_s: float = 30.0
    consoles: frozenset[str] = frozenset()
    """Services whose buttons and commands come back to the hub, so that notices may offer some."""
    outlets: Outlets = field(default_factory=Outlets)
    """The ways out that are not HTTP."""
    desk: Any = None
    """Who writes into RALF's files (`connectors/workspace.py`); None outside of a running hub."""


class Connector(ABC):
    """One configured instance of a service. Subclasses live one per file and are listed in `registry.py`."""

    service: ClassVar[str]
    settings_model: ClassVar[type[ConnectorSettings]] = ConnectorSettings
    default_events: ClassVar[tuple[str, ...]] = (
        "task_completed",
        "task_failed",
        "feature_delivered",
        "system_alert",
    )
    tells_people: ClassVar[bool] = False
    """True where people read what it sends; alerts nobody subscribed to go to all of these."""
    uses_links: bool = False
    """True where the instance keeps an object per task; `Fact.link` and `SendContext.link` are filled then."""

    def __init__(self, name: str, settings: Any, env: ConnectorEnv) -> None:
        self.name = name
        self.settings = settings
        self.env = env

    def destinations(self) -> frozenset[str]:
        """Return names of the places this instance writes to; instances that share one are one route."""
        return frozenset({f"{self.service}:{self.name}"})

    @abstractmethod
    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return the actions *fact* asks for. Pure and quick: runs inside the transaction that records the event."""

    @abstractmethod
    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Try *delivery* once. Lets `NotSentError` and `UnknownAnswerError` pass: the dispatcher judges them."""

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest | None:
        """Return the request `send` would make first, for dry runs; None where it makes none."""
        del delivery, context
        return None

    async def validate(self, http: Http) -> Check:
        """Ask the service whether the credentials work, without posting anything people see."""
        del http
        return Check(ok=True, message="nothing to check")

    def ask_identity(self) -> HttpRequest | None:
        """Return the request whose answer says whose credentials these are; None where there is none."""
        return None

    def read_identity(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return who that is, by the JSON of the answer; None where it does not say."""
        del answer
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class HttpConnector(Connector):
    """A connector whose every action is one request: `prepare` it, `judge` the answer."""

    @abstractmethod
    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest:
        """Return the request for *delivery*, signed for this very try."""

    @abstractmethod
    def judge(self, delivery: Delivery, response: HttpResponse) -> Outcome:
        """Return the verdict on *response*."""

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Send the prepared request and judge the answer."""
        return self.judge(delivery, await context.http(self.prepare(delivery, context)))
