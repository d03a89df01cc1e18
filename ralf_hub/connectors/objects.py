"""Connectors that keep one object per task at their service: an issue, a card.

An event becomes rows of the outbox in the task's lane: `create`, where nothing stands for the task yet, then one row
per step, so that each is retried and judged alone. The link written along with `create` carries a marker that the
object carries too: after a try with an unknown end the object is looked for before it is made again.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import ClassVar, Final

from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.connectors.base import (
    Action,
    Ambiguous,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.connectors.judging import excerpt
from ralf_hub.connectors.wording import Worded, Wording
from ralf_hub.model import Delivery, Json, Link

CREATE: Final = "create"
CREATING: Final = frozenset({
    "task_created", "task_started", "task_completed", "task_failed", "feature_created", "feature_delivered",
})  # fmt: skip
"""Events that make the object where there is none; the others have nothing to say of one that never was."""
SILENT: Final = frozenset({
    "queue_changed", "system_alert", "webhook_received", "connector_paused", "connector_resumed",
})  # fmt: skip
"""Not about the task itself; a comment on `webhook_received` would answer a comment with its echo."""
SETTLE_S: Final = 5.0
"""How long a service may still work on a request whose answer was lost, before it is asked what came of it."""
NAMES_TOLD_MAX: Final = 30

_ALIKE: Final = 0.3


class ObjectConnector(Connector):
    """Plans `create` and steps, sends them, and keeps the link's state honest. Services fill in the rest."""

    uses_links: bool = True
    thing: ClassVar[str]
    """What stands for a task, in words: `issue`, `card`."""

    def __init__(self, name: str, settings: ConnectorSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self._wording = Wording(settings.template, self.escape)

    @staticmethod
    @abstractmethod
    def escape(text: str) -> str:
        """Return a value made safe for the service's texts."""

    @abstractmethod
    def steps(self, fact: Fact) -> Sequence[str] | None:
        """Return the steps *fact* asks for besides the object itself; None where it asks for nothing at all."""

    @abstractmethod
    def new_object(self, fact: Fact, worded: Worded, marker: str) -> Mapping[str, Json]:
        """Return the payload of `create`."""

    @abstractmethod
    def step(self, name: str, fact: Fact, worded: Worded) -> Mapping[str, Json]:
        """Return the payload of one step."""

    @abstractmethod
    async def create(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Make the object, or adopt the one an earlier try has made; Delivered carries the link."""

    @abstractmethod
    async def update(self, delivery: Delivery, context: SendContext, link: Link) -> Outcome:
        """Do one step on the object of *link*, whose `external_id` is known."""

    # --- planning ---------------------------------------------------------------------------------

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return `create` where nothing stands for the task yet, and the event's steps."""
        if fact.event.type in SILENT or (fact.event.task_id is None and fact.feature is None):
            return []
        if fact.link is None and fact.event.type not in CREATING:
            return []
        if fact.link is not None and fact.link.state == "broken":
            return []  # told once; what someone took away is not for the hub to make again
        steps = self.steps(fact)
        if steps is None:
            return []
        worded = self._wording(fact)
        actions = []
        if fact.link is None:
            marker = self.marker(fact)
            actions.append(Action(CREATE, self.new_object(fact, worded, marker), marker=marker))
        return [*actions, *(Action(name, self.step(name, fact, worded)) for name in steps)]

    def marker(self, fact: Fact) -> str:
        """Return what the object made for *fact* is found by again: the event's, so no other hub has the same."""
        return mark(fact.event.id)

    # --- sending ----------------------------------------------------------------------------------

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Try one action. A lost answer is given time to take effect before the next try looks for it."""
        try:
            return await self._send(delivery, context)
        except UnknownAnswerError as error:
            return Ambiguous(str(error), retry_after_s=SETTLE_S)

    async def _send(self, delivery: Delivery, context: SendContext) -> Outcome:
        link = context.link
        if delivery.action == CREATE:
            if link is not None and link.external_id is not None and link.state != "broken":
                return Delivered(response=f"{name_of(link)} stands for it already")
            return await self.create(delivery, context)
        if link is None or link.external_id is None:
            return Rejected(
                f"there is no {self.thing} to update: the delivery 'create' of {delivery.task_id or delivery.lane} "
                "is dead or was cancelled; replay that one first, then this"
            )
        if link.state == "broken" and delivery.replayed_at is None:
            return Rejected(f"the {self.thing} {name_of(link)} is gone; replay this when it is there again")
        outcome = await self.update(delivery, context, link)
        if isinstance(outcome, Delivered) and outcome.link is None and link.state != "linked":
            return replace(outcome, link=replace(link, state="linked"))
        return outcome

    def lost(self, link: Link, response: HttpResponse, said: str) -> Rejected:
        """Return the verdict where the object is gone or no longer shown to us: the link is broken."""
        reason = f"the {self.thing} {name_of(link)} is gone, or the account may no longer see it: {said}"
        return Rejected(reason, response.status, excerpt(response), replace(link, state="broken"))


def too_early(delivery: Delivery, context: SendContext) -> Retry | None:
    """Return the wait for a try that a crash may have left at work over there a moment ago; None: look now."""
    if not context.may_have_been_sent:
        return None
    first_ms = parse_iso(delivery.first_attempt_at or delivery.created_at)
    wait_s = SETTLE_S - (context.clock.now() - first_ms) / MS_PER_S
    if not 0 < wait_s <= SETTLE_S:
        return None
    return Retry("an earlier try may still be at work", retry_after_s=wait_s, counts=False)


def mark(event_id: str) -> str:
    """Return the text that finds again what was made for one event."""
    return f"ralf:{event_id}"


def name_of(link: Link) -> str:
    """Return what people call the object of *link*."""
    return link.external_key or link.external_id or "it"


def subject(fact: Fact) -> str:
    """Return the title of what *fact* is about, as far as it is known."""
    if fact.task is not None and fact.task.title:
        return fact.task.title
    if fact.event.task_id is None and fact.feature is not None:
        return fact.feature.title
    title = fact.event.data.get("title")
    return title if isinstance(title, str) and title else fact.event.task_id or ""


def description(fact: Fact) -> str:
    """Return the description of what *fact* is about."""
    if fact.event.task_id is None:
        return fact.feature.description if fact.feature is not None else ""
    return fact.task.description if fact.task is not None else ""


def check_moves(places: Mapping[str, str], events: Sequence[str]) -> Mapping[str, str]:
    """Return *places*, a name by event type. ValueError where it names an event that moves nothing."""
    for kind in places:
        if kind not in events:
            near = get_close_matches(kind, events, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"there are {', '.join(events)}"
            raise ValueError(f"{kind!r} is no event that moves anything: {remedy}")
    return places


def listed(names: Sequence[str]) -> str:
    """Return *names* in one line for an error: those that exist, the first of them where there are many."""
    if not names:
        return "none"
    told = ", ".join(repr(name[:60]) for name in names[:NAMES_TOLD_MAX])
    more = len(names) - NAMES_TOLD_MAX
    return f"{told} and {more} more" if more > 0 else told


def nearest(wanted: str, names: Sequence[str]) -> str:
    """Return *names* in one line for an error, those most like *wanted* first."""
    near = get_close_matches(wanted, names, n=NAMES_TOLD_MAX, cutoff=_ALIKE)
    return listed([*near, *(name for name in names if name not in near)])
