"""GitHub's deliveries that failed while the hub was away: what to ask, and what of the answers to ask for again.

GitHub never repeats a failed delivery by itself, but keeps it for three days and repeats it when asked
(https://docs.github.com/webhooks/testing-and-troubleshooting-webhooks/automatically-redelivering-failed-deliveries-for-a-repository-webhook).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from ralf_hub.connectors.base import HttpRequest, HttpResponse
from ralf_hub.model import Json

PAGE_SIZE: Final = 100
PAGE_BYTES_MAX: Final = 4 << 20
PAGES_MAX: Final = 20
ASKED_MAX: Final = 200
"""Deliveries asked for in one round; the next round goes on."""

_NEXT: Final = re.compile(r'<[^>]*[?&]cursor=([^&>]+)[^>]*>\s*;\s*rel="next"')
_OK: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook at GitHub: its place in the API (`repos/owner/name` or `orgs/name`), its number, a token."""

    place: str
    hook_id: int
    token: str = field(repr=False)
    base_url: str = "https://api.github.com"

    def list(self, cursor: str = "") -> HttpRequest:
        """Return the request for a page of its deliveries, the newest first."""
        more = f"&cursor={cursor}" if cursor else ""
        return self._request("GET", f"deliveries?per_page={PAGE_SIZE}{more}")

    def redeliver(self, delivery_id: int) -> HttpRequest:
        """Return the request that has one delivery sent again."""
        return self._request("POST", f"deliveries/{delivery_id}/attempts")

    def _request(self, method: str, path: str) -> HttpRequest:
        headers = {
            "accept": "application/vnd.github+json",
            "authorization": f"Bearer {self.token}",
            "x-github-api-version": "2022-11-28",
        }
        url = f"{self.base_url}/{quote(self.place)}/hooks/{self.hook_id}/{path}"
        return HttpRequest(method, url, headers, response_bytes_max=PAGE_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Logged:
    """One delivery as GitHub logged it. A delivery and its repeats share the `guid`."""

    id: int
    guid: str
    delivered_at: str
    ok: bool


def read_page(response: HttpResponse) -> list[Logged] | None:
    """Return the deliveries of a page; None where the answer is no such page."""
    items = response.json()
    if response.status not in _OK or not isinstance(items, list):
        return None
    return [logged for item in items if (logged := _logged(item)) is not None]


def next_cursor(headers: Mapping[str, str]) -> str:
    """Return where the next page begins, as it goes into an address; empty on the last."""
    found = _NEXT.search(headers.get("link", ""))
    return found[1] if found else ""


def failed(log: Iterable[Logged]) -> list[Logged]:
    """Return the newest try of each delivery that has never succeeded, in the order of their first try."""
    newest: dict[str, Logged] = {}
    done: set[str] = set()
    for logged in sorted(log, key=lambda item: (item.delivered_at, item.id)):
        newest[logged.guid] = logged
        if logged.ok:
            done.add(logged.guid)
    return [logged for guid, logged in newest.items() if guid not in done]


def _logged(item: Json) -> Logged | None:
    match item:
        case {"id": int(number), "guid": str(guid), "delivered_at": str(moment)}:
            return Logged(number, guid, moment, item.get("status_code") in _OK)
    return None
