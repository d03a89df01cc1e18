"""A receiver of Standard Webhooks that lets the `standardwebhooks` package decide what is genuine.

python -m tests.doubles.receiver --port 0 --secret whsec_... --log FILE
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.doubles.server import Double, Log, arguments, serve

TOLERANCE_S = 300


@dataclass(frozen=True, slots=True)
class Received:
    """One accepted post."""

    id: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver(Double):
    """Accepts posts on any path: 204 when genuine, 401 when not, 400 without the headers every post must have."""

    def __init__(
        self, secrets: Sequence[str] = (), log: Log | None = None, now: Callable[[], int] | None = None
    ) -> None:
        super().__init__()
        self._now = now
        self.accepted: list[Received] = []
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._log = log or Log(None)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/{path:.*}", self._take)]

    @property
    def ids(self) -> list[str]:
        return [received.id for received in self.accepted]

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        if not headers.get("webhook-id") or not headers.get("webhook-timestamp", "").isdigit():
            return web.Response(status=400, text="webhook-id or webhook-timestamp is missing")
        if self._webhooks and not any(self._genuine(each, body, headers) for each in self._webhooks):
            return web.Response(status=401, text="the signature is not valid")
        received = Received(headers["webhook-id"], request.path, headers, body)
        self.accepted.append(received)
        self._log({"id": received.id, "path": received.path, "headers": headers, "body": received.json})
        return web.Response(status=204)

    def _genuine(self, webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
        if self._now is not None:  # `verify` knows only the machine's clock
            at = int(headers["webhook-timestamp"])
            signed = webhook.sign(headers["webhook-id"], datetime.fromtimestamp(at, tz=UTC), body.decode())
            skew_s = abs(self._now() // 1000 - at)
            return skew_s <= TOLERANCE_S and signed in headers.get("webhook-signature", "").split()
        try:
            webhook.verify(body, headers)
        except WebhookVerificationError:
            return False
        return True


if __name__ == "__main__":
    parser = arguments(str(__doc__))
    parser.add_argument("--secret", action="append", default=[], help="may be given several times")
    given = parser.parse_args()
    serve(Receiver(given.secret, Log(given.log)), given.port)
