"""Trello: one card per task or feature on one board, commented and moved from list to list.

https://developer.atlassian.com/cloud/trello/rest/. Trello has no idempotency key: a card's description and every
comment end with a marker. What the board shows is up to date, so one look tells whether an earlier try got through.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final, Literal, TypeAlias
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator

from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.connectors.base import (
    Ambiguous,
    Check,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Http,
    HttpRequest,
    HttpResponse,
    Identity,
    Outcome,
    Rejected,
    SendContext,
)
from ralf_hub.connectors.fields import BaseUrl
from ralf_hub.connectors.identities import named
from ralf_hub.connectors.objects import CREATE, SETTLE_S, ObjectConnector, check_moves, mark, too_early
from ralf_hub.connectors.trello_answers import words
from ralf_hub.connectors.trello_board import NAMES_BYTES_MAX, PAGE_BYTES_MAX, Auth, TrelloBoard
from ralf_hub.connectors.trello_layout import card_name, card_text, comment_text, escape
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Delivery, Json, Link

COMMENTS_READ: Final = 20
CLOCK_SLACK_S: Final = 3600
"""How far the clocks of Trello and of this machine may differ when a card is looked for."""

_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "task_created": (),
    "task_started": ("move",),
    "task_blocked": ("comment", "move"),
    "task_completed": ("comment", "move"),
    "task_failed": ("comment", "move"),
    "task_cancelled": ("comment", "move"),
    "feature_created": (),
    "feature_delivered": ("comment", "move"),
}
_MOVING: Final = tuple(kind for kind, steps in _STEPS.items() if "move" in steps)
_DEFAULT_LISTS: Final[Mapping[str, str]] = {
    "task_started": "Doing",
    "task_completed": "Done",
    "feature_delivered": "Done",
}

Entity: TypeAlias = Literal["task", "feature"]


class TrelloSettings(ConnectorSettings):
    """A Trello board and the account that writes there."""

    api_key: SecretStr = Field(description="The API key of a Power-Up of yours.")
    token: SecretStr = Field(description="A token made with that key.")
    board_id: str = Field(description="The board: its id, or the eight characters of its address.")
    default_list: str = Field(default="To Do", description="The list new cards go to.")
    lists: Mapping[str, str] = Field(
        default_factory=dict,
        description="Where an event moves the card: a list by event type, empty for no move. Left out: started to "
        "`Doing`, completed and delivered to `Done`, the others do not move it.",
    )
    cards: tuple[Entity, ...] = Field(default=("task", "feature"), description="What has a card of its own.")
    auth: Auth = Field(
        default="header", description="How key and token are sent; `query` puts them into the address."
    )
    base_url: BaseUrl = Field(default="https://api.trello.com/1", description="Trello's REST API.")

    @field_validator("api_key", "token")
    @classmethod
    def _secret_can_be_sent(cls, value: SecretStr) -> SecretStr:
        secret = value.get_secret_value().strip()
        if not secret.isascii() or not secret.isalnum():
            raise ValueError("is letters and digits only, and not empty")
        return SecretStr(secret)

    @field_validator("board_id")
    @classmethod
    def _board_is_an_id(cls, value: str) -> str:
        if not value.strip().isalnum() or not value.isascii():
            raise ValueError("is the board's id or the eight characters behind /b/ in its address")
        return value.strip()

    @field_validator("lists")
    @classmethod
    def _lists_are_of_events_that_move(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return check_moves(value, _MOVING)

    @field_validator("default_list")
    @classmethod
    def _list_is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("names no list")
        return value.strip()


class TrelloConnector(ObjectConnector):
    """Keeps one card per task and feature on one board."""

    service: ClassVar[str] = "trello"
    thing: ClassVar[str] = "card"
    settings_model: ClassVar[type[ConnectorSettings]] = TrelloSettings
    default_events: ClassVar[tuple[str, ...]] = (
        "task_created",
        "task_started",
        "task_completed",
        "task_failed",
        "task_cancelled",
        "feature_delivered",
    )

    def __init__(self, name: str, settings: TrelloSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self._board = TrelloBoard(
            settings.base_url,
            settings.board_id,
            key=settings.api_key.get_secret_value(),
            token=settings.token.get_secret_value(),
            auth=settings.auth,
            clock=env.clock,
        )

    @staticmethod
    def escape(text: str) -> str:
        """Return *text* as Trello shows it unchanged."""
        return escape(text)

    def destinations(self) -> frozenset[str]:
        """Return the board's place."""
        return frozenset({place(self.service, self.settings.base_url, self.settings.board_id)})

    # --- planning ---------------------------------------------------------------------------------

    def steps(self, fact: Fact) -> Sequence[str] | None:
        """Return what the event asks for; events the table does not know are a comment."""
        entity = "feature" if fact.event.task_id is None else "task"
        if entity not in self.settings.cards:
            return None
        steps = _STEPS.get(fact.event.type, ("comment",))
        return [step for step in steps if step != "move" or self._list_for(fact.event.type)]

    def new_object(self, fact: Fact, worded: Worded, marker: str) -> Mapping[str, Json]:
        """Return the card, without its list: that is the settings' when it is sent."""
        own = worded if fact.event.type.endswith("_created") else replace(worded, text=None)
        return {
            "name": card_name(fact),
            "desc": card_text(fact, own, marker),
            "pos": "bottom",
            "marker": marker,
        }

    def step(self, name: str, fact: Fact, worded: Worded) -> Mapping[str, Json]:
        """Return what one step needs to be sent."""
        return {"text": comment_text(worded, mark(fact.event.id))} if name == "comment" else {}

    def _list_for(self, event_type: str) -> str:
        """Return the list *event_type* moves a card to, by the settings of now; empty for none."""
        chosen = self.settings.lists.get(event_type, _DEFAULT_LISTS.get(event_type, ""))
        return str(chosen).strip()

    # --- requests ---------------------------------------------------------------------------------

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest | None:
        """Return the request that acts; a list whose id is still to be asked for stands there by its name.

        None where there is no card yet to make the request for.
        """
        if delivery.action == CREATE:
            return self._creation(delivery, self._board.told(self.settings.default_list))
        if context.link is None or context.link.external_id is None:
            return None
        if delivery.action == "comment":
            return self._commenting(delivery, context.link)
        return self._moving(context.link, self._board.told(self._list_for(delivery.event_type)))

    def _creation(self, delivery: Delivery, list_id: str) -> HttpRequest:
        own = {key: delivery.payload[key] for key in ("name", "desc", "pos")}
        sent = {"idList": list_id, **own}
        return self._board.call("POST", "/cards", sent, answer_bytes_max=NAMES_BYTES_MAX)

    def _moving(self, link: Link, list_id: str) -> HttpRequest:
        return self._board.call("PUT", _card(link), {"idList": list_id})

    def _commenting(self, delivery: Delivery, link: Link) -> HttpRequest:
        return self._board.call("POST", f"{_card(link)}/actions/comments", {"text": delivery.payload["text"]})

    # --- creating ---------------------------------------------------------------------------------

    async def _in_list(
        self, name: str, http: Http, request: Callable[[str], HttpRequest], *, creates: bool = False
    ) -> tuple[HttpResponse | None, Outcome]:
        """Send what names a list. A list that is gone since it was read is looked for once more."""
        for anew in (False, True):
            list_id = await self._board.list_id(name, http, anew=anew)
            if not isinstance(list_id, str):
                return None, list_id
            response = await http(request(list_id))
            outcome = self._board.judge(response, creates=creates)
            if not (isinstance(outcome, Rejected) and "list" in words(response).casefold()):
                break
        return response, outcome

    async def create(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Make the card, unless an earlier try has."""
        if context.may_have_been_sent:
            earlier = too_early(delivery, context) or await self._find(delivery, context.http)
            if earlier is not None:
                return earlier
        name = self.settings.default_list
        response, outcome = await self._in_list(
            name, context.http, partial(self._creation, delivery), creates=True
        )
        if response is not None and isinstance(outcome, Delivered):
            link = self._link(delivery, response.json(), name)
            if link is None:
                return Ambiguous("the answer names no card", response.status, outcome.response, SETTLE_S)
            return replace(outcome, link=link)
        return outcome

    async def _find(self, delivery: Delivery, http: Http) -> Outcome | None:
        """Look for the card of an earlier try. None: it is not there."""
        made_after_s = parse_iso(delivery.created_at) // MS_PER_S - CLOCK_SLACK_S
        found = await self._board.find(delivery.payload["marker"], http, made_after_s=made_after_s)
        if isinstance(found, dict):
            return Delivered(response="found: an earlier try had made it", link=self._link(delivery, found))
        return found

    def _link(self, delivery: Delivery, card: Json, in_list: str | None = None) -> Link | None:
        """Return the link to *card* as Trello answers it; None where it names none."""
        if not isinstance(card, dict) or not isinstance(card.get("id"), str):
            return None
        short, url = card.get("shortLink"), card.get("shortUrl")
        return Link(
            self.name,
            card["id"],
            short if isinstance(short, str) else None,
            url if isinstance(url, str) else None,
            state="linked",
            last_state=in_list,
            marker=delivery.payload["marker"],
        )

    # --- updating ---------------------------------------------------------------------------------

    async def update(self, delivery: Delivery, context: SendContext, link: Link) -> Outcome:
        """Do one step on the card."""
        if delivery.action == "comment":
            return await self._comment(delivery, context, link)
        name = self._list_for(delivery.event_type)
        if not name:
            return Delivered(response="the settings ask for no move any more")
        response, outcome = await self._in_list(name, context.http, partial(self._moving, link))
        if isinstance(outcome, Delivered):
            return replace(outcome, link=replace(link, state="linked", last_state=name))
        return outcome if response is None else self._about(link, response, outcome)

    def _about(self, link: Link, response: HttpResponse, outcome: Outcome) -> Outcome:
        """Return *outcome*, or that the card is lost where Trello does not find it."""
        if isinstance(outcome, Rejected) and response.status == 404:  # noqa: PLR2004 - HTTP's word
            return self.lost(link, response, outcome.reason)
        return outcome

    async def _comment(self, delivery: Delivery, context: SendContext, link: Link) -> Outcome:
        early = too_early(delivery, context)
        if early is not None:
            return early
        if context.may_have_been_sent:
            query = {"filter": "commentCard", "limit": str(COMMENTS_READ)}
            request = self._board.call(
                "GET", f"{_card(link)}/actions", query, answer_bytes_max=PAGE_BYTES_MAX
            )
            response = await context.http(request)
            outcome = self._board.judge(response)
            if not isinstance(outcome, Delivered):
                return self._about(link, response, outcome)
            if mark(delivery.event_id).encode() in response.body:
                return Delivered(response.status, "found: an earlier try had written it")
        response = await context.http(self._commenting(delivery, link))
        return self._about(link, response, self._board.judge(response, creates=True))

    def ask_identity(self) -> HttpRequest:
        """Return the question whose token it is."""
        return self._board.ask_me()

    def read_identity(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return the member; Trello's tokens are people's."""
        return named(answer, "id", "username", is_bot=False)

    # --- checking ---------------------------------------------------------------------------------

    async def validate(self, http: Http) -> Check:
        """Ask who the token is of, and whether board and lists exist."""
        response = await http(self._board.ask_me())
        outcome = self._board.judge(response)
        if not isinstance(outcome, Delivered):
            return Check(ok=False, message=outcome.reason)
        me = response.json()
        if not isinstance(me, dict):
            return Check(ok=False, message="no Trello answers there: check base_url")
        wanted = {self.settings.default_list, *(self._list_for(kind) for kind in _STEPS)} - {""}
        for name in sorted(wanted):
            found = await self._board.list_id(name, http)
            if not isinstance(found, (str, Delivered)):
                return Check(ok=False, message=found.reason)
        return Check(ok=True, message=f"the token works: {me.get('username')}"[:200])


def _card(link: Link) -> str:
    return f"/cards/{quote(str(link.external_id), safe='')}"
