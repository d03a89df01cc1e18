"""A service that may call the hub, as the settings describe it: how it signs, how it is read, what it may do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from ralf_hub.connectors.base import Identity
from ralf_hub.verdicts import Signed, Verdict
from ralf_hub.webhooks import discord, github, gitlab, jira, pagerduty, slack, trello
from ralf_hub.webhooks.received import Received, Reply
from ralf_hub.webhooks.rules import Rule, chosen

Read: TypeAlias = Callable[[Signed], Received]

READERS: Final[Mapping[str, Read]] = {
    "discord": discord.read,
    "github": github.read,
    "gitlab": gitlab.read,
    "jira": jira.read,
    "pagerduty": pagerduty.read,
    "slack": slack.read,
    "trello": trello.read,
}
"""By service; any other name is read as a Standard Webhooks sender."""

ANSWERS: Final[Mapping[str, Callable[[str, Received], Reply]]] = {
    "discord": discord.answer,
    "slack": slack.answer,
}
"""How the chats want to be answered. Their bodies carry tokens that speak in somebody's name, and are not kept."""

GREETED: Final = frozenset({"slack", "trello"})
"""Services that first look whether anybody is there: Trello by HEAD, Slack by GET with `ssl_check`."""

GuardReason = Literal["own_identity", "own_marker", "state_known"]


@dataclass(frozen=True, slots=True)
class Sender:
    """One entry of `webhooks.incoming` in force."""

    route: str
    """The last part of its path; names its receipts, and its tasks' source is `webhook:<route>`."""
    service: str
    verify: Callable[[Signed], Verdict] = field(repr=False)
    read: Read = field(repr=False)
    rules: Sequence[Rule] = ()
    defaults: Sequence[Rule] = ()
    own_identity: frozenset[str] = frozenset()
    """What the hub itself is called over there, in lower case."""
    users: frozenset[str] = frozenset()
    """Who may give commands; empty: all who can."""
    max_concurrent: int | None = None
    connectors: tuple[str, ...] = ()
    """The connectors that speak to the same service."""
    homes: Mapping[str, str] = field(default_factory=dict)
    """Which of them keeps the things of a repository, project or board, by its name in lower case."""

    @property
    def source(self) -> str:
        """Who its events and tasks come from."""
        return f"webhook:{self.route}"

    def who_is_also(self, known: Iterable[Identity]) -> "Sender":
        """Return this sender, for which the hub is also the bots among *known*."""
        names = {name.casefold() for one in known if one.is_bot for name in one.names}
        return self if names <= self.own_identity else replace(self, own_identity=self.own_identity | names)

    def understand(self, request: Signed) -> tuple[Received, list[Rule]]:
        """Return what a verified request says and the rules to carry out. HubError where it cannot be read."""
        received = self.read(request)
        return received, chosen(self.rules, self.defaults, received.event_type, received.payload)


def caused_by_hub(sender: Sender, received: Received, last_state: str | None) -> GuardReason | None:
    """Return why a webhook only tells the hub what the hub itself has done; None where it does not.

    *last_state* is the state the link's object was last put into or seen in.
    """
    if any(actor.casefold() in sender.own_identity for actor in received.actors):
        return "own_identity"
    if received.marked:
        return "own_marker"
    if last_state and any(state.casefold() == last_state.casefold() for state in received.states):
        return "state_known"
    return None
