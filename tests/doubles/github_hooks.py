"""GitHub's log of a webhook's deliveries, which sends one again when asked.

https://docs.github.com/rest/repos/webhooks
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.doubles.server import Double

TOKEN = "ghp_hooks_0123456789abcdef"
HOOK = "/repos/acme/mill/hooks/7"
PAGE_SIZE = 3
"""Smaller than asked for, as GitHub may do, so that there are several pages."""

Redeliver = Callable[[str, bytes], Awaitable[int]]


@dataclass(slots=True)
class Delivery:
    id: int
    guid: str
    body: bytes
    delivered_at: str
    status_code: int
    redelivery: bool = False

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": self.delivered_at,
            "redelivery": self.redelivery,
            "duration": 0.1,
            "status": "OK" if self.status_code == 202 else "failed",
            "status_code": self.status_code,
            "event": "issues",
            "action": "opened",
        }


@dataclass(slots=True)
class HookLog:
    """What was delivered, the oldest first."""

    deliveries: list[Delivery] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def add(self, guid: str, body: bytes, delivered_at: str, status_code: int) -> None:
        self.deliveries.append(Delivery(len(self.deliveries) + 1, guid, body, delivered_at, status_code))


class GitHubHooks(Double):
    """One webhook of one repository."""

    def __init__(self, redeliver: Redeliver, now: Callable[[], str]) -> None:
        super().__init__()
        self.log = HookLog()
        self._redeliver = redeliver
        self._now = now
        self._sending: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(HOOK + "/deliveries", self._list),
            web.post(HOOK + "/deliveries/{id}/attempts", self._attempt),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        newest_first = self.log.deliveries[::-1]
        start = int(request.query.get("cursor", "v1_0").removeprefix("v1_"))
        page = newest_first[start : start + PAGE_SIZE]
        headers = {}
        if start + PAGE_SIZE < len(newest_first):
            headers["Link"] = (
                f'<{self.url}{HOOK}/deliveries?per_page=100&cursor=v1_{start + PAGE_SIZE}>; rel="next"'
            )
        return web.json_response([delivery.shown() for delivery in page], headers=headers)

    async def _attempt(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        number = int(request.match_info["id"])
        found = next((delivery for delivery in self.log.deliveries if delivery.id == number), None)
        if found is None:
            return web.json_response({"message": "Not Found"}, status=404)
        self.log.asked.append(number)
        task = asyncio.create_task(self._send(found))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return web.json_response({}, status=202)

    async def _send(self, delivery: Delivery) -> None:
        status = await self._redeliver(delivery.guid, delivery.body)
        again = Delivery(
            len(self.log.deliveries) + 1, delivery.guid, delivery.body, self._now(), status, redelivery=True
        )
        self.log.deliveries.append(again)

    @staticmethod
    def _refusal(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"message": "Bad credentials"}, status=401)
        return None
