"""Which projects a token sees, for errors that say what to write instead."""

from dataclasses import replace
from difflib import get_close_matches
from typing import Final

from ralf_hub.clock import MS_PER_S, Clock
from ralf_hub.connectors.base import Http, HttpRequest, HttpResponse, NotSentError, UnknownAnswerError
from ralf_hub.connectors.issue_api import IssueApi
from ralf_hub.texts import one_line

ANSWER_BYTES_MAX: Final = 4 << 20
"""Services answer with the whole issue they made, however long its text is."""
NAMES_SHOWN_MAX: Final = 10
NAME_LENGTH_MAX: Final = 200
NAMES_KEPT_S: Final = 300

_ALIKE: Final = 0.3


async def ask(http: Http, request: HttpRequest, bytes_max: int = ANSWER_BYTES_MAX) -> HttpResponse:
    """Send a request whose answer is read, not only judged."""
    return await http(replace(request, response_bytes_max=bytes_max))


class Projects:
    """The names of the projects of one service, asked for at most once in a while."""

    def __init__(self, api: IssueApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._known: tuple[int, list[str]] | None = None

    async def unknown(self, http: Http) -> str:
        """Say that there is no such project and, where they can be read, which there are, the most alike first."""
        wanted = self._api.project
        error = f"there is no {self._api.project_word} {wanted}, or the token cannot see it"
        names = await self._names(http)
        if not names:
            return error
        near = get_close_matches(wanted, names, n=NAMES_SHOWN_MAX, cutoff=_ALIKE)
        shown = [*near, *(name for name in names if name not in near)][:NAMES_SHOWN_MAX]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        return f"{error}; it sees {', '.join(shown)}{more}"

    async def _names(self, http: Http) -> list[str]:
        now = self._clock.now()
        if self._known is not None and now - self._known[0] < NAMES_KEPT_S * MS_PER_S:
            return self._known[1]
        try:
            answer = (await ask(http, self._api.projects_request())).json()
        except (NotSentError, UnknownAnswerError):
            return []
        listed = answer if isinstance(answer, list) else []
        found = [self._api.project_name(item) for item in listed if isinstance(item, dict)]
        names = sorted({one_line(name)[:NAME_LENGTH_MAX] for name in found if isinstance(name, str)})
        self._known = (now, names)
        return names
