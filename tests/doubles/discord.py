"""Enough of Discord: one channel with its webhook and a bot, strict where Discord is.

    python -m tests.doubles.discord --port 0 --log FILE

Requests are held to the published description; the two questions it leaves out as it was cut for us are written by
hand. The sum over an embed is Discord's own rule, which a description cannot say.
https://docs.discord.com/developers/resources/message
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.doubles.contract import Contract
from tests.doubles.server import Double, Log, Seen, arguments, serve

TOKEN, BOT_ID = "MTE.test.0123456789abcdef", "1100000000000000001"
GUILD = "1400000000000000001"
CHANNEL, WEBHOOK_ID, WEBHOOK_TOKEN = "1200000000000000001", "1300000000000000001", "whtoken_0123456789-abcdef"
EMBED_LENGTH_MAX, CONTENT_LENGTH_MAX = 6000, 2000
NONCE_LIVES_MS = 180_000
EPOCH_MS = 1_420_070_400_000

_BY_BOT = {"security": [{"BotToken": []}], "responses": {"200": {"description": "it"}}}
_ID = {
    "name": "channel_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9]+$"},
}
_LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 200}}
CONTRACT = Contract(
    "discord/trimmed.json",
    "https://discord.com",
    {
        "/users/@me": {"get": _BY_BOT},
        "/users/@me/guilds": {"get": {**_BY_BOT, "parameters": [_LIMIT]}},
        "/guilds/{guild_id}/channels": {"get": {**_BY_BOT, "parameters": [{**_ID, "name": "guild_id"}]}},
        "/channels/{channel_id}": {"get": {**_BY_BOT, "parameters": [_ID]}},
    },
)


class DiscordError(Exception):
    """What Discord answers with a status, a code and words."""

    def __init__(self, status: int, code: int, words: str, errors: Any = None) -> None:
        super().__init__(words)
        self.answer = {"message": words, "code": code} | ({"errors": errors} if errors else {})
        self.status = status


@dataclass(slots=True)
class Message:
    """One message in the channel."""

    id: str
    at_ms: int
    given: dict[str, Any]
    webhook_id: str | None = None
    nonce: str | None = None

    @property
    def embed(self) -> dict[str, Any]:
        (found,) = self.given["embeds"]
        return dict(found)

    @property
    def answers(self) -> str | None:
        return (self.given.get("message_reference") or {}).get("message_id")

    def shown(self) -> dict[str, Any]:
        answer = {"id": self.id, "channel_id": CHANNEL, "content": "", "embeds": self.given["embeds"]}
        return answer | ({"webhook_id": self.webhook_id} if self.webhook_id else {"author": {"id": BOT_ID}})


@dataclass(slots=True)
class Place:
    """What may be done in the channel."""

    has_webhook: bool = True
    readable: bool = True
    writable: bool = True
    answerable: bool = True
    keeps_nonces: bool = True
    messages: list[Message] = field(default_factory=list)


class Discord(Double):
    """Discord with one channel."""

    def __init__(self, log: Log | None = None, now: Callable[[], int] | None = None) -> None:
        super().__init__()
        self.now = now or (lambda: time.time_ns() // 1_000_000)
        self.place = Place()
        self._log = log or Log(None)
        self._count = 0

    @property
    def messages(self) -> list[Message]:
        return self.place.messages

    @property
    def webhook_url(self) -> str:
        return f"{self.url}/api/webhooks/{WEBHOOK_ID}/{WEBHOOK_TOKEN}"

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/v10"

    def violation(self, seen: Seen) -> str | None:
        return CONTRACT.violation(seen)

    def routes(self) -> list[web.RouteDef]:
        hook, channel = "/api/v10/webhooks/{id}/{token}", "/api/v10/channels/{id}"
        return [
            web.get(hook, self._answering(self._show_webhook)),
            web.post(hook, self._answering(self._execute)),
            web.get("/api/v10/users/@me", self._answering(self._me)),
            web.get("/api/v10/users/@me/guilds", self._answering(self._guilds)),
            web.get("/api/v10/guilds/{id}/channels", self._answering(self._guild_channels)),
            web.get(channel, self._answering(self._show_channel)),
            web.get(f"{channel}/messages", self._answering(self._list)),
            web.post(f"{channel}/messages", self._answering(self._create)),
        ]

    def _answering(self, work: Callable[[web.Request, Any], Any]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            try:
                body = await request.read()
                answer = work(request, json.loads(body) if body else None)
            except DiscordError as error:
                return web.json_response(error.answer, status=error.status)
            return web.Response(status=204) if answer is None else web.json_response(answer)

        return handle

    # --- webhook ----------------------------------------------------------------------------------

    def _hook(self, request: web.Request) -> None:
        if request.match_info["id"] != WEBHOOK_ID or not self.place.has_webhook:
            raise DiscordError(404, 10015, "Unknown Webhook")
        if request.match_info["token"] != WEBHOOK_TOKEN:
            raise DiscordError(401, 50027, "Invalid Webhook Token")

    def _show_webhook(self, request: web.Request, _: Any) -> Any:
        self._hook(request)
        return {"id": WEBHOOK_ID, "name": "RALF", "channel_id": CHANNEL, "type": 1}

    def _execute(self, request: web.Request, given: Any) -> Any:
        self._hook(request)
        name = given.get("username", "")
        if "discord" in name.lower() or "clyde" in name.lower():
            raise DiscordError(400, 50035, "Invalid Form Body")
        message = self._keep(given, WEBHOOK_ID)
        return message.shown() if request.query.get("wait") == "true" else None

    # --- bot --------------------------------------------------------------------------------------

    def _bot(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bot {TOKEN}":
            raise DiscordError(401, 0, "401: Unauthorized")

    def _channel(self, request: web.Request) -> None:
        self._bot(request)
        if request.match_info["id"] != CHANNEL:
            raise DiscordError(404, 10003, "Unknown Channel")

    def _me(self, request: web.Request, _: Any) -> Any:
        self._bot(request)
        return {"id": BOT_ID, "username": "ralf", "bot": True}

    def _guilds(self, request: web.Request, _: Any) -> Any:
        self._bot(request)
        return [{"id": GUILD, "name": "Harbour"}]

    def _guild_channels(self, request: web.Request, _: Any) -> Any:
        self._bot(request)
        if request.match_info["id"] != GUILD:
            raise DiscordError(404, 10004, "Unknown Guild")
        return [{"id": CHANNEL, "name": "ralf-updates", "type": 0}, {"id": "77", "name": "Talk", "type": 2}]

    def _show_channel(self, request: web.Request, _: Any) -> Any:
        self._channel(request)
        return {"id": CHANNEL, "name": "ralf-updates"}

    def _list(self, request: web.Request, _: Any) -> Any:
        self._channel(request)
        if not self.place.readable:
            raise DiscordError(403, 50001, "Missing Access")
        after, limit = int(request.query.get("after", 0)), int(request.query.get("limit", 50))
        return [found.shown() for found in self.messages if int(found.id) > after][:limit][::-1]

    def _create(self, request: web.Request, given: Any) -> Any:
        self._channel(request)
        if not self.place.writable:
            raise DiscordError(403, 50013, "Missing Permissions")
        root = given.get("message_reference")
        if root is not None and not self.place.answerable:
            raise DiscordError(400, 160002, "Cannot reply without permission to read message history")
        if root is not None and root["message_id"] not in {found.id for found in self.messages}:
            if root.get("fail_if_not_exists", True):
                raise DiscordError(400, 50035, "Invalid Form Body")
            given = {key: value for key, value in given.items() if key != "message_reference"}
        nonce = given.get("nonce")
        if nonce is not None and given.get("enforce_nonce") and self.place.keeps_nonces:
            for found in self.messages:
                if found.nonce == nonce and self.now() - found.at_ms < NONCE_LIVES_MS:
                    return found.shown()
        return self._keep(given, None, nonce).shown()

    # --- what it keeps ----------------------------------------------------------------------------

    def _keep(self, given: Any, webhook_id: str | None, nonce: str | None = None) -> Message:
        if not given.get("content") and not given.get("embeds"):
            raise DiscordError(400, 50006, "Cannot send an empty message")
        for index, embed in enumerate(given.get("embeds", [])):
            check_embed(index, embed)
        if given.get("allowed_mentions") != {"parse": []}:
            raise DiscordError(400, 50035, "this double takes no message that may mention anybody")
        self._count += 1
        number = ((self.now() - EPOCH_MS) << 22) + self._count
        message = Message(str(number), self.now(), given, webhook_id, nonce)
        self.messages.append(message)
        self._log({"id": message.id, "embeds": given["embeds"], "answers": message.answers})
        return message


def check_embed(index: int, embed: dict[str, Any]) -> None:
    """Hold one embed to the limits the description does not say."""
    fields = embed.get("fields", [])
    texts = [embed.get("title", ""), embed.get("description", ""), embed.get("footer", {}).get("text", "")]
    texts += [text for each in fields for text in (each["name"], each["value"])]
    if any(not text for each in fields for text in (each["name"], each["value"])):
        raise refused(f"embeds.{index}.fields", "This field is required")
    limits = [(texts[0], 256), (texts[1], 4096), (texts[2], 2048)]
    limits += [(each["name"], 256) for each in fields] + [(each["value"], 1024) for each in fields]
    # It counts as JavaScript does: what is beyond the first plane counts twice.
    if any(_units(text) > limit for text, limit in limits) or sum(map(_units, texts)) > EMBED_LENGTH_MAX:
        raise refused(f"embeds.{index}", "Embed size exceeds maximum size of 6000")


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def refused(path: str, words: str) -> DiscordError:
    errors: dict[str, Any] = {"_errors": [{"code": "BASE_TYPE_BAD", "message": words}]}
    for part in reversed(path.split(".")):
        errors = {part: errors}
    return DiscordError(400, 50035, "Invalid Form Body", errors)


if __name__ == "__main__":
    given_arguments = arguments(str(__doc__)).parse_args()
    serve(Discord(Log(given_arguments.log)), given_arguments.port)
