"""Enough of Slack: incoming webhooks and the Web API methods a bot needs, strict where Slack is.

    python -m tests.doubles.slack --port 0 --log FILE

`tests/doubles/test_slack.py` holds it to the real `slack_sdk`, and what it is sent is held to the models and arguments
of that package: Slack publishes no description of its API any more. What it refuses, and with which words, follows
https://docs.slack.dev/reference/methods/chat.postMessage and https://docs.slack.dev/reference/block-kit/blocks.
"""

import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.doubles.server import Double, Log, Seen, arguments, serve
from tests.doubles.slack_contract import violation

TOKEN = "xoxb-test-0123456789"
CHANNEL, CHANNEL_NAME = "C0123456789", "ralf-updates"
WEBHOOK_PATH = "/services/T00000000/B00000000/abcdefghijklmnop"
SCOPES = ("chat:write", "channels:history", "channels:read")
TEXT_LENGTH_MAX, BLOCKS_MAX, HEADER_LENGTH_MAX, SECTION_LENGTH_MAX, ELEMENTS_MAX = 40_000, 50, 150, 3000, 10
ACTIONS_MAX = 25
POST_ARGUMENTS = frozenset({
    "channel", "text", "blocks", "thread_ts", "reply_broadcast", "unfurl_links", "unfurl_media", "metadata",
    "client_msg_id", "mrkdwn",
})  # fmt: skip
_BARE_MARKUP = re.compile(r"<(?![#@!]|https?://|mailto:)|&(?!amp;|lt;|gt;)")


class SlackError(Exception):
    """What Slack answers `ok: false` with."""


@dataclass(slots=True)
class Message:
    """One message in a channel."""

    ts: str
    channel: str
    text: str
    blocks: list[Any]
    via: str
    thread_ts: str | None = None
    broadcast: bool = False
    metadata: Any = None
    client_msg_id: str | None = None

    @property
    def event_id(self) -> str | None:
        return (self.metadata or {}).get("event_payload", {}).get("event_id")

    def shown(self, *, with_metadata: bool) -> dict[str, Any]:
        answer: dict[str, Any] = {"type": "message", "ts": self.ts, "text": self.text, "blocks": self.blocks}
        if self.thread_ts is not None:
            answer["thread_ts"] = self.thread_ts
        if with_metadata and self.metadata is not None:
            answer["metadata"] = self.metadata
        return answer


@dataclass(slots=True)
class Workspace:
    """What Slack keeps."""

    scopes: set[str] = field(default_factory=lambda: set(SCOPES))
    channels: dict[str, str] = field(default_factory=lambda: {CHANNEL: CHANNEL_NAME})
    archived: set[str] = field(default_factory=set)
    revoked: bool = False
    messages: list[Message] = field(default_factory=list)
    page_size: int = 100


class Slack(Double):
    """Slack with one app, one bot token and one incoming webhook."""

    def __init__(self, log: Log | None = None, now: Callable[[], int] | None = None) -> None:
        super().__init__()
        self.now = now or (lambda: time.time_ns() // 1_000_000)
        self.held_to_sdk = True
        self.workspace = Workspace()
        self._log = log or Log(None)
        self._last_ts = 0

    @property
    def messages(self) -> list[Message]:
        return self.workspace.messages

    @property
    def webhook_url(self) -> str:
        return self.url + WEBHOOK_PATH

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    def routes(self) -> list[web.RouteDef]:
        methods: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "chat.update": self._update_message,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "conversations.list": self._list,
        }
        return [
            web.post("/services/{path:.*}", self._webhook),
            *(web.post(f"/api/{name}", self._method(name, method)) for name, method in methods.items()),
            *(web.get(f"/api/{name}", self._method(name, method)) for name, method in methods.items()),
        ]

    def violation(self, seen: Seen) -> str | None:
        return violation(seen) if self.held_to_sdk else None

    # --- incoming webhook -------------------------------------------------------------------------

    async def _webhook(self, request: web.Request) -> web.Response:
        if request.path != WEBHOOK_PATH:
            return web.Response(status=404, text="no_service")
        if CHANNEL in self.workspace.archived:
            return web.Response(status=410, text="channel_is_archived")
        try:
            body = _json_object(await request.read(), request.content_type)
        except SlackError:
            return web.Response(status=400, text="invalid_payload")
        try:
            _check_content(body)
        except SlackError as error:
            return web.Response(status=400, text=str(error))
        self._keep(Message(self._ts(), CHANNEL, body.get("text", ""), body.get("blocks", []), "webhook"))
        return web.Response(text="ok")

    # --- Web API ----------------------------------------------------------------------------------

    def _method(
        self, name: str, method: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                self._authorize(request)
                answer = {"ok": True, **method(await _arguments(request))}
            except SlackError as error:
                answer = {"ok": False, "error": str(error)}
                if str(error) == "missing_scope":
                    answer["needed"] = f"a scope for {name}"
            return web.json_response(
                answer, headers={"x-oauth-scopes": ",".join(sorted(self.workspace.scopes))}
            )

        return handle

    def _authorize(self, request: web.Request) -> None:
        header = request.headers.get("Authorization", "")
        if not header:
            raise SlackError("not_authed")
        if self.workspace.revoked:
            raise SlackError("token_revoked")
        if header != f"Bearer {TOKEN}":
            raise SlackError("invalid_auth")

    def _needs(self, scope: str) -> None:
        if scope not in self.workspace.scopes:
            raise SlackError("missing_scope")

    def _channel_id(self, given: Any, *, by_name: bool) -> str:
        for channel, name in self.workspace.channels.items():
            if given == channel or (by_name and given in {name, f"#{name}"}):
                return channel
        raise SlackError("channel_not_found")

    def _auth_test(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "url": "https://test.slack.com/",
            "team": "Test",
            "user": "ralf",
            "team_id": "T1",
            "user_id": "U1",
            "bot_id": "B1",
        }

    def _post_message(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._needs("chat:write")
        if unknown := set(given) - POST_ARGUMENTS:
            raise SlackError(f"invalid_arguments_{min(unknown)}")
        channel = self._channel_id(given.get("channel"), by_name=True)
        if channel in self.workspace.archived:
            raise SlackError("is_archived")
        _check_content(given)
        _check_metadata(given.get("metadata"))
        client_msg_id = given.get("client_msg_id")
        if client_msg_id is not None and str(uuid.UUID(client_msg_id)) != client_msg_id:
            raise SlackError("invalid_arguments")
        thread_ts = given.get("thread_ts")
        if thread_ts is None and given.get("reply_broadcast"):
            raise SlackError("invalid_arguments")
        if thread_ts is not None and self._find(channel, thread_ts) is None:
            raise SlackError("cannot_reply_to_message")
        message = Message(
            self._ts(), channel, given.get("text", ""), given.get("blocks", []), "bot", thread_ts,
            bool(given.get("reply_broadcast")), given.get("metadata"), client_msg_id,
        )  # fmt: skip
        self._keep(message)
        return {"channel": channel, "ts": message.ts, "message": message.shown(with_metadata=False)}

    def _update_message(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._needs("chat:write")
        if unknown := set(given) - {"channel", "ts", "text", "blocks"}:
            raise SlackError(f"invalid_arguments_{min(unknown)}")
        message = self._find(self._channel_id(given.get("channel"), by_name=False), given.get("ts"))
        if message is None:
            raise SlackError("message_not_found")
        _check_content(given)
        message.text, message.blocks = given.get("text", ""), given.get("blocks", [])
        return {"channel": message.channel, "ts": message.ts, "text": message.text}

    def _history(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._needs("channels:history")
        channel = self._channel_id(given.get("channel"), by_name=False)
        found = [
            message
            for message in reversed(self.messages)
            if message.channel == channel and (message.thread_ts is None or message.broadcast)
        ]
        return self._page(found, given)

    def _replies(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._needs("channels:history")
        channel = self._channel_id(given.get("channel"), by_name=False)
        root = self._find(channel, given.get("ts"))
        if root is None:
            raise SlackError("thread_not_found")
        replies = [message for message in self.messages if message.thread_ts == root.ts]
        return self._page([root, *replies], given)

    def _list(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._needs("channels:read")
        rows = [{"id": channel, "name": name} for channel, name in self.workspace.channels.items()]
        start = int(given.get("cursor") or 0)
        end = start + min(int(given.get("limit", 100)), self.workspace.page_size)
        return {
            "channels": rows[start:end],
            "response_metadata": {"next_cursor": str(end) if end < len(rows) else ""},
        }

    def _page(self, found: list[Message], given: Mapping[str, Any]) -> dict[str, Any]:
        oldest = float(given.get("oldest") or 0)
        if oldest > 4e9:
            raise SlackError("invalid_ts_oldest")
        found = [message for message in found if float(message.ts) >= oldest]
        start = int(given.get("cursor") or 0)
        end = start + min(int(given.get("limit", 100)), self.workspace.page_size)
        more = end < len(found)
        with_metadata = str(given.get("include_all_metadata", "")).lower() in {"1", "true"}
        return {
            "messages": [message.shown(with_metadata=with_metadata) for message in found[start:end]],
            "has_more": more,
            "response_metadata": {"next_cursor": str(end) if more else ""},
        }

    # --- what it keeps ----------------------------------------------------------------------------

    def _find(self, channel: str, ts: Any) -> Message | None:
        return next((m for m in self.messages if m.channel == channel and m.ts == ts), None)

    def _ts(self) -> str:
        self._last_ts = max(self._last_ts + 1, self.now() * 1000)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def _keep(self, message: Message) -> None:
        self.messages.append(message)
        self._log(
            {
                "ts": message.ts,
                "text": message.text,
                "via": message.via,
                "event_id": message.event_id,
                "thread_ts": message.thread_ts,
                "blocks": message.blocks,
            }
        )


def _json_object(body: bytes, content_type: str) -> dict[str, Any]:
    if content_type != "application/json":
        raise SlackError("invalid_form_data")
    try:
        given = json.loads(body)
    except ValueError:
        raise SlackError("invalid_json") from None
    if not isinstance(given, dict):
        raise SlackError("json_not_object")
    return given


async def _arguments(request: web.Request) -> dict[str, Any]:
    if request.method == "GET" or request.content_type != "application/json":
        posted = await request.post() if request.method == "POST" else {}
        return {**request.query, **posted}
    return _json_object(await request.read(), request.content_type)


def _check_content(given: Mapping[str, Any]) -> None:
    text, blocks = given.get("text", ""), given.get("blocks", [])
    if not text and not blocks:
        raise SlackError("no_text")
    if not isinstance(text, str) or len(text) > TEXT_LENGTH_MAX:
        raise SlackError("msg_too_long")
    if _BARE_MARKUP.search(text):
        raise SlackError("invalid_arguments_unescaped_text")
    if not isinstance(blocks, list) or len(blocks) > BLOCKS_MAX:
        raise SlackError("invalid_blocks")
    for block in blocks:
        _check_block(block)


def _check_block(block: Any) -> None:
    match block:
        case {"type": "header", "text": {"type": "plain_text", "text": str(text)}} if (
            0 < len(text) <= HEADER_LENGTH_MAX
        ):
            texts = [text]
        case {"type": "section", "text": {"type": "mrkdwn", "text": str(text)}} if (
            0 < len(text) <= SECTION_LENGTH_MAX
        ):
            texts = [text]
        case {"type": "context", "elements": list(elements)} if 0 < len(elements) <= ELEMENTS_MAX:
            texts = [element.get("text", "") for element in elements]
        case {"type": "actions", "elements": list(elements)} if 0 < len(elements) <= ACTIONS_MAX:
            if not all(_is_button(element) for element in elements):
                raise SlackError("invalid_blocks")
            texts = [element["text"]["text"] for element in elements]
        case _:
            raise SlackError("invalid_blocks")
    if not all(isinstance(text, str) and 0 < len(text) <= SECTION_LENGTH_MAX for text in texts):
        raise SlackError("invalid_blocks")
    if any(_BARE_MARKUP.search(text) for text in texts):
        raise SlackError("invalid_blocks_unescaped_text")


def _is_button(element: Any) -> bool:
    match element:
        case {
            "type": "button",
            "action_id": str(action_id),
            "value": str(value),
            "text": {"type": "plain_text", "text": str(text)},
        }:
            return 0 < len(action_id) <= 255 and 0 < len(value) <= 2000 and 0 < len(text) <= 75
    return False


def _check_metadata(metadata: Any) -> None:
    match metadata:
        case None | {"event_type": str(), "event_payload": dict()}:
            return
        case _:
            raise SlackError("invalid_metadata_format")


if __name__ == "__main__":
    given_arguments = arguments(str(__doc__)).parse_args()
    serve(Slack(Log(given_arguments.log)), given_arguments.port)
