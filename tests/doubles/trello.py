"""Enough of Trello's REST API: a board with lists, cards and comments, strict where Trello is.

    python -m tests.doubles.trello --port 0 --log FILE

Requests are held to the published description. It knows parameters in the address only, no header form of key and
token, and ids but no short links; requests that use what Trello takes as well are put into that form for the check.
https://developer.atlassian.com/cloud/trello/rest/
"""

import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from tests.doubles.contract import Contract
from tests.doubles.server import Double, Log, Seen, arguments, serve

KEY, TOKEN = "0123456789abcdef0123456789abcdef", "ATTA0123456789abcdef"
BOARD, SHORT_LINK = "5abbe4b7ddc1b351ef961400", "Xy12AbCd"
TEXT_LENGTH_MAX, ADDRESS_LENGTH_MAX, PAGE_MAX = 16_384, 8_000, 1000
_HEADER = re.compile(r'OAuth oauth_consumer_key="(\w+)", oauth_token="(\w+)"')

_ME = {"name": "fields", "in": "query", "schema": {"type": "string"}}
CONTRACT = Contract(
    "trello/trimmed.json",
    "https://api.trello.com",
    {
        "/members/me": {
            "get": {
                "parameters": [_ME, {**_ME, "name": "boards"}, {**_ME, "name": "board_fields"}],
                "security": [{"APIKey": [], "APIToken": []}],
                "responses": {"200": {"description": "the member"}},
            }
        }
    },
)


class TrelloError(Exception):
    """What Trello answers with a status and plain words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(slots=True)
class Card:
    """One card."""

    id: str
    name: str
    desc: str
    list_id: str
    closed: bool = False
    comments: list[dict[str, Any]] = field(default_factory=list)

    @property
    def short_link(self) -> str:
        return f"c{self.id[-7:]}"


class Trello(Double):
    """Trello with one board."""

    def __init__(self, log: Log | None = None, now: Callable[[], int] | None = None) -> None:
        super().__init__()
        self.now = now or (lambda: time.time_ns() // 1_000_000)
        self._numbers = itertools.count(1)
        self._log = log or Log(None)
        self.lists: dict[str, str] = {self.new_id(): name for name in ("To Do", "Doing", "Done", "Blocked")}
        self.archived: set[str] = set()
        self.cards: dict[str, Card] = {}

    def new_id(self) -> str:
        """Return an id as Trello makes them: it begins with the second."""
        return f"{self.now() // 1000:08x}{next(self._numbers):016x}"

    def list_of(self, card: Card) -> str:
        return self.lists[card.list_id]

    def violation(self, seen: Seen) -> str | None:
        if len(seen.path) + sum(len(k) + len(v) for k, v in seen.query.items()) > ADDRESS_LENGTH_MAX:
            return f"{seen.method} {seen.path}: the address is too long"
        query = {**seen.query, **(json.loads(seen.body) if seen.body else {})}
        header = _HEADER.fullmatch(seen.headers.get("authorization", ""))
        if header is not None:
            query |= {"key": header[1], "token": header[2]}
        path = seen.path.replace(f"/boards/{SHORT_LINK}/", f"/boards/{BOARD}/")
        return CONTRACT.violation(replace(seen, path=path, raw_path=path, query=query, body=b""))

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/1/members/me", self._guarded(self._me)),
            web.get("/1/boards/{id}/lists", self._guarded(self._lists)),
            web.get("/1/boards/{id}/cards", self._guarded(self._board_cards)),
            web.post("/1/cards", self._guarded(self._create)),
            web.put("/1/cards/{id}", self._guarded(self._change)),
            web.post("/1/cards/{id}/actions/comments", self._guarded(self._comment)),
            web.get("/1/cards/{id}/actions", self._guarded(self._actions)),
        ]

    def _guarded(self, answer: Callable[[web.Request, Mapping[str, str]], Any]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            try:
                self._authorize(request)
                body = await request.read()
                given = {**request.query, **(json.loads(body) if body else {})}
                return web.json_response(answer(request, given))
            except TrelloError as error:
                return web.Response(status=error.status, text=str(error))

        return handle

    @staticmethod
    def _authorize(request: web.Request) -> None:
        header = _HEADER.fullmatch(request.headers.get("Authorization", ""))
        key, token = header.groups() if header else (request.query.get("key"), request.query.get("token"))
        if key != KEY:
            raise TrelloError(401, "invalid key")
        if token != TOKEN:
            raise TrelloError(401, "invalid token")

    # --- board ------------------------------------------------------------------------------------

    def _me(self, _request: web.Request, given: Mapping[str, str]) -> Any:
        boards = [{"id": BOARD, "name": "RALF", "shortLink": SHORT_LINK}] if given.get("boards") else []
        return {"id": "5abbe4b7ddc1b351ef9614ff", "username": "ralf", "boards": boards}

    @staticmethod
    def _board(request: web.Request) -> None:
        if request.match_info["id"] not in {BOARD, SHORT_LINK}:
            raise TrelloError(404, "board not found")

    def _lists(self, request: web.Request, _given: Mapping[str, str]) -> Any:
        self._board(request)
        return [{"id": n, "name": name} for n, name in self.lists.items() if n not in self.archived]

    def _board_cards(self, request: web.Request, given: Mapping[str, str]) -> Any:
        """Answer with the newest, as Trello does, in the order of the board."""
        self._board(request)
        limit = int(given.get("limit", PAGE_MAX))
        if not 0 < limit <= PAGE_MAX:
            raise TrelloError(400, "invalid value for limit")
        found = sorted(
            card.id
            for card in self.cards.values()
            if (given.get("filter") == "all" or not card.closed) and card.id < given.get("before", "g")
        )
        fields = given.get("fields", "name,desc").split(",")
        return [{"id": n, **{k: self._shown(self.cards[n])[k] for k in fields}} for n in found[-limit:]]

    def _shown(self, card: Card) -> dict[str, Any]:
        return {
            "id": card.id,
            "name": card.name,
            "desc": card.desc,
            "idList": card.list_id,
            "closed": card.closed,
            "shortLink": card.short_link,
            "shortUrl": f"https://trello.com/c/{card.short_link}",
        }

    # --- cards ------------------------------------------------------------------------------------

    def _list(self, given: Mapping[str, str]) -> str:
        list_id = given.get("idList", "")
        if list_id not in self.lists:
            raise TrelloError(400, "invalid value for idList")
        return list_id

    def _create(self, _request: web.Request, given: Mapping[str, str]) -> Any:
        list_id = self._list(given)
        if not given.get("name") or len(given["name"]) > TEXT_LENGTH_MAX:
            raise TrelloError(400, "invalid value for name")
        if len(given.get("desc", "")) > TEXT_LENGTH_MAX:
            raise TrelloError(400, "invalid value for desc")
        card = Card(self.new_id(), given["name"], given.get("desc", ""), list_id)
        self.cards[card.id] = card
        self._log({"created": card.id, "name": card.name})
        return self._shown(card)

    def _card(self, request: web.Request) -> Card:
        card = self.cards.get(request.match_info["id"])
        if card is None:
            raise TrelloError(404, "The requested resource was not found.")
        return card

    def _change(self, request: web.Request, given: Mapping[str, str]) -> Any:
        card = self._card(request)
        card.list_id = self._list(given)
        self._log({"moved": card.id, "to": self.list_of(card)})
        return self._shown(card)

    def _comment(self, request: web.Request, given: Mapping[str, str]) -> Any:
        card = self._card(request)
        text = given.get("text", "")
        if not text or len(text) > TEXT_LENGTH_MAX:
            raise TrelloError(400, "invalid value for text")
        action = {
            "id": self.new_id(),
            "type": "commentCard",
            "data": {"text": text, "card": {"id": card.id}},
        }
        card.comments.append(action)
        self._log({"commented": card.id, "text": text})
        return action

    def _actions(self, request: web.Request, given: Mapping[str, str]) -> Any:
        card = self._card(request)
        if given.get("filter") != "commentCard":
            raise TrelloError(400, "invalid value for filter")
        return card.comments[::-1][: int(given.get("limit", 50))]


if __name__ == "__main__":
    given_arguments = arguments(str(__doc__)).parse_args()
    serve(Trello(Log(given_arguments.log)), given_arguments.port)
