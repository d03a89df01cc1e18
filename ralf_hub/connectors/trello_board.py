"""One Trello board: the requests to it, its lists by name, its cards by marker."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urlencode

import orjson

from ralf_hub.clock import MS_PER_S, Clock
from ralf_hub.connectors.base import (
    Delivered,
    Http,
    HttpRequest,
    HttpResponse,
    NotSentError,
    Outcome,
    Rejected,
    Retry,
    UnknownAnswerError,
)
from ralf_hub.connectors.objects import listed
from ralf_hub.connectors.trello_answers import judge, words
from ralf_hub.model import Json

QUERY_LENGTH_MAX: Final = 2_000
"""Longer parameters go in the body: addresses have a limit on every way."""
KEPT_S: Final = 300.0
"""How long names are remembered. Trello allows 100 questions about a member in 900 s."""
LISTS_MAX: Final = 500
NAMES_BYTES_MAX: Final = 1 << 20
PAGE_SIZE: Final = 100
PAGES_MAX: Final = 50
PAGE_BYTES_MAX: Final = 8 << 20
"""A page of cards whose descriptions are all as long as they may be."""

Auth: TypeAlias = Literal["header", "query"]


class TrelloBoard:
    """A board and the account that calls it. Its repr shows neither key nor token."""

    def __init__(
        self, base_url: str, board_id: str, *, key: str, token: str, auth: Auth, clock: Clock
    ) -> None:
        self._base_url = base_url
        self._path = f"/boards/{quote(board_id, safe='')}"
        self._board_id = board_id
        self._credentials = {"key": key, "token": token} if auth == "query" else {}
        self._headers = {"accept": "application/json"}
        if auth == "header":
            pair = f'oauth_consumer_key="{key}", oauth_token="{token}"'
            self._headers["authorization"] = f"OAuth {pair}"
        self._clock = clock
        self._lists: dict[str, tuple[str, str]] = {}
        self._lists_until_ms = 0
        self._boards: list[str] = []
        self._boards_until_ms = 0

    # --- requests ---------------------------------------------------------------------------------

    def call(
        self, method: str, path: str, parameters: Mapping[str, str], *, answer_bytes_max: int | None = None
    ) -> HttpRequest:
        """Return a request. Parameters stand in the address while they are short, else in the body as JSON."""
        headers, body, query = self._headers, b"", {**parameters, **self._credentials}
        if len(urlencode(parameters)) > QUERY_LENGTH_MAX:
            headers = {**headers, "content-type": "application/json"}
            body, query = orjson.dumps(parameters), self._credentials
        url = f"{self._base_url}{path}" + (f"?{urlencode(query)}" if query else "")
        return HttpRequest(method, url, headers, body, response_bytes_max=answer_bytes_max)

    def ask_lists(self) -> HttpRequest:
        """Return the request for the board's open lists."""
        query = {"fields": "name", "filter": "open"}
        return self.call("GET", f"{self._path}/lists", query, answer_bytes_max=NAMES_BYTES_MAX)

    def ask_me(self) -> HttpRequest:
        """Return the request for the member the token is of, with the boards they see."""
        query = {"fields": "username", "boards": "open", "board_fields": "name,shortLink"}
        return self.call("GET", "/members/me", query, answer_bytes_max=NAMES_BYTES_MAX)

    def judge(self, response: HttpResponse, *, creates: bool = False) -> Outcome:
        """Judge an answer at this moment."""
        return judge(response, self._clock.now(), creates=creates)

    # --- names ------------------------------------------------------------------------------------

    def told(self, name: str) -> str:
        """Return the id of the list *name* where it is known, else words for it."""
        known = self._lists.get(name.casefold())
        return f"(id of the list {name!r})" if known is None else known[0]

    async def list_id(self, name: str, http: Http, *, anew: bool = False) -> str | Outcome:
        """Return the id of the list *name*; an outcome where there is none or the board cannot be read."""
        known = self._lists.get(name.casefold()) if self._clock.now() < self._lists_until_ms else None
        if anew or known is None:
            response = await http(self.ask_lists())
            outcome = self.judge(response)
            if isinstance(outcome, Rejected):
                seen = listed(await self.boards(http))
                board = f"the board {self._board_id} cannot be read: {words(response)} ({response.status})"
                return Rejected(
                    f"{board}; the token sees the boards {seen}", response.status, outcome.response
                )
            if not isinstance(outcome, Delivered):
                return outcome
            self._keep_lists(response.json())
            known = self._lists.get(name.casefold())
        if known is None:
            names = [exists for _, exists in self._lists.values()]
            return Rejected(f"the board has no list {name!r}; its lists are {listed(names)}")
        return known[0]

    def _keep_lists(self, answer: Json) -> None:
        """Remember the lists by name; of two with one name the first."""
        self._lists = {}
        for item in answer[:LISTS_MAX] if isinstance(answer, list) else []:
            if (
                isinstance(item, dict)
                and isinstance(item.get("id"), str)
                and isinstance(item.get("name"), str)
            ):
                self._lists.setdefault(item["name"].strip().casefold(), (item["id"], item["name"]))
        self._lists_until_ms = self._clock.now() + round(KEPT_S * MS_PER_S)

    async def boards(self, http: Http) -> list[str]:
        """Return names and ids of the boards the token sees."""
        if self._clock.now() >= self._boards_until_ms:
            try:
                answer = (await http(self.ask_me())).json()
            except (NotSentError, UnknownAnswerError):
                return []  # they are only told along with a refusal that stands without them
            boards = answer.get("boards") if isinstance(answer, dict) else None
            self._boards = [
                f"{board.get('name')} ({board.get('shortLink') or board.get('id')})"
                for board in (boards if isinstance(boards, list) else [])
                if isinstance(board, dict)
            ]
            self._boards_until_ms = self._clock.now() + round(KEPT_S * MS_PER_S)
        return self._boards

    # --- cards ------------------------------------------------------------------------------------

    async def find(self, marker: str, http: Http, *, made_after_s: int) -> dict[str, Json] | Outcome | None:
        """Look for the card whose description carries *marker* among those made since *made_after_s* (Unix time).

        None: it is not there. An outcome: the cards cannot be read now.
        """
        query = {"fields": "desc,shortLink,shortUrl", "filter": "all", "limit": str(PAGE_SIZE)}
        for _ in range(PAGES_MAX):
            request = self.call("GET", f"{self._path}/cards", query, answer_bytes_max=PAGE_BYTES_MAX)
            response = await http(request)
            outcome = self.judge(response)
            if not isinstance(outcome, Delivered):
                return outcome
            cards = response.json()
            if not isinstance(cards, list):
                return Retry("the board's cards cannot be read", response.status, outcome.response)
            ids = []
            for card in cards:
                if isinstance(card, dict) and isinstance(card.get("id"), str):
                    ids.append(card["id"])
                    if marker in str(card.get("desc")):
                        return card
            oldest = min(ids, default="")
            # A page holds the newest cards there are, and an id begins with the second its card was made in.
            if not oldest or oldest == query.get("before") or _made_s(oldest) < made_after_s:
                return None
            query["before"] = oldest
        return Retry(f"the card may be older than the newest {PAGES_MAX * PAGE_SIZE} of the board")


def _made_s(card_id: str) -> int:
    try:
        return int(card_id[:8], 16)
    except ValueError:
        return 0
