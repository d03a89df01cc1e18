"""Slack: an incoming webhook, or a bot that keeps one thread per task.

The calls are made by hand through the hub's own transport, see docs/adr/0002-slack-without-the-sdk.md.
The webhook tells nothing about what it posted, so a repeat after an unknown answer may show twice, with the
event's id under it. The bot remembers channel and timestamp of a task's first message, posts what follows under
it, and looks for a message that may have been posted before it posts it again.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final
from urllib.parse import urlencode, urlsplit

import orjson
from pydantic import Field

from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.connectors.base import (
    Action,
    Check,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Http,
    HttpRequest,
    Identity,
    NotSentError,
    Outcome,
    Rejected,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.connectors.fields import BaseUrl, ChatSettings, OptionalSecretUrl, OptionalToken
from ralf_hub.connectors.identities import named
from ralf_hub.connectors.objects import nearest
from ralf_hub.connectors.slack_answers import (
    CHANNEL_GONE,
    LOOK_UP_IMPOSSIBLE,
    THREAD_GONE,
    api_answer,
    error_of,
    judge_api,
    judge_webhook,
    next_cursor,
    posted_at,
)
from ralf_hub.connectors.slack_layout import answered, buttons, escape, message
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Wording
from ralf_hub.model import Delivery, Event, Json, Link
from ralf_hub.texts import one_line

METADATA_TYPE: Final = "ralf_event"
LOOK_UP_PAGES_MAX: Final = 5
PAGE_BYTES_MAX: Final = 8 << 20
"""A page of messages as long as they may be, or of a thousand channels."""
LOOK_UP_SLACK_S: Final = 300
"""How far the clocks of Slack and of this machine may differ when an earlier post is looked for."""

_CLIENT_MSG_NAMESPACE: Final = uuid.UUID("6c1e8f7e-53a0-5b0e-9d0c-1c1f3c3f9a51")
_CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{6,}")
_WEBHOOK_PATH = re.compile(r"/services/[^/]+/[^/]+/[^/]+/?")


class SlackSettings(ChatSettings):
    """A Slack incoming webhook or bot; the bot is used where both are set."""

    webhook_url: OptionalSecretUrl = Field(
        default=None, description="An incoming webhook's URL, `https://hooks.slack.com/services/...`."
    )
    bot_token: OptionalToken = Field(
        default=None, description="A bot token, `xoxb-...`, with the scope chat:write."
    )
    channel: str = Field(
        default="", description="Where the bot posts: a channel's id (`C...`), or its name with `#`."
    )
    thread: bool = Field(default=True, description="Whether the bot keeps a task's notices in one thread.")
    base_url: BaseUrl = Field(default="https://slack.com/api", description="Slack's Web API.")


class SlackConnector(Connector):
    """Posts notices to one channel."""

    service: ClassVar[str] = "slack"
    settings_model: ClassVar[type[ConnectorSettings]] = SlackSettings
    tells_people: ClassVar[bool] = True

    def __init__(self, name: str, settings: SlackSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self._webhook_url, self._token = settings.sent_to, settings.sent_with
        self._channel = settings.channel.strip()
        self._channel_id = self._channel if _CHANNEL_ID.fullmatch(self._channel) else None
        self.uses_links = self._token is not None
        self._wording = Wording(settings.template, escape)

    def destinations(self) -> frozenset[str]:
        """Return the webhook's and the bot's place: an instance that has both speaks to one channel by either."""
        places = []
        if self._webhook_url is not None:
            places.append(place(self.service, self._webhook_url))
        if self._token is not None:
            places.append(place(self.service, self._token, self._channel))
        return frozenset(places)

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return one post. A task's first by a bot makes the message that later ones answer under."""
        shown = fact.event.data.get("message")
        if self._token and isinstance(shown, dict) and _tells_of_button(fact.event):
            return [Action("update", answered(shown, str(fact.event.data.get("text", ""))))]
        worded = self._wording(fact)
        payload = message(worded)
        task_id = fact.event.task_id
        if self._token and self.service in self.env.consoles and fact.event.type == "task_failed" and task_id:
            payload["blocks"].append(buttons(self.name, task_id))
        if worded.template_error is not None:
            payload["template_error"] = worded.template_error
        # A failure is also shown in the channel itself: nobody watches the threads of tasks that went well.
        payload["reply_broadcast"] = worded.notice.severity == "error"
        starts = self._keeps_threads and fact.event.task_id is not None and fact.link is None
        return [Action("post", payload, marker=fact.event.id if starts else None)]

    @property
    def _keeps_threads(self) -> bool:
        return self._token is not None and bool(self.settings.thread)

    # --- sending ----------------------------------------------------------------------------------

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest:
        """Return the post, or the change of one that has been answered by a button."""
        if delivery.action == "update":
            return self._call("chat.update", delivery.payload)
        body = {key: delivery.payload[key] for key in ("text", "blocks", "unfurl_links", "unfurl_media")}
        if self._token is None:
            headers = {"content-type": "application/json; charset=utf-8"}
            return HttpRequest("POST", str(self._webhook_url), headers, orjson.dumps(body))
        root = self._thread(context)
        body["channel"] = root.external_key if root is not None else self._channel
        if root is not None:
            body["thread_ts"] = root.external_id
            body["reply_broadcast"] = bool(delivery.payload.get("reply_broadcast"))
        # Slack has no documented idempotency key. Its own clients' one is sent as well as our mark to look for.
        name = f"{self.env.instance}/{delivery.id}/{delivery.event_id}"
        body["client_msg_id"] = str(uuid.uuid5(_CLIENT_MSG_NAMESPACE, name))
        body["metadata"] = {"event_type": METADATA_TYPE, "event_payload": {"event_id": delivery.event_id}}
        return self._call("chat.postMessage", body)

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Post once. The bot first looks whether an earlier try got through after all."""
        if self._token is None:
            return judge_webhook(await context.http(self.prepare(delivery, context)), self.env.clock.now())
        if delivery.action == "update":  # to say the same again changes nothing
            return judge_api(await context.http(self.prepare(delivery, context)), self.env.clock.now())
        if context.may_have_been_sent:
            found = await self._find(delivery, context)
            if found is not None:
                return found
        response = await context.http(self.prepare(delivery, context))
        if self._thread(context) is not None and error_of(response) in THREAD_GONE | CHANNEL_GONE:
            context = replace(context, link=None)
            response = await context.http(self.prepare(delivery, context))
        outcome = judge_api(response, self.env.clock.now())
        if isinstance(outcome, Delivered):
            answer = api_answer(response) or {}
            return replace(
                outcome, link=self._link(delivery, context, answer.get("channel"), answer.get("ts"))
            )
        if isinstance(outcome, Rejected) and "channel_not_found" in outcome.reason:
            return await self._named(outcome, context.http)
        return outcome

    def _thread(self, context: SendContext) -> Link | None:
        """Return the message to answer under, if there is one and it stands in the channel that is set now."""
        link = context.link
        if not self._keeps_threads or link is None or not link.external_id or not link.external_key:
            return None
        return link if self._channel_id in {None, link.external_key} else None

    def _link(self, delivery: Delivery, context: SendContext, channel: Json, ts: Json) -> Link | None:
        """Return the link to a task's first message; None for answers under it, which change nothing."""
        if not (isinstance(channel, str) and isinstance(ts, str)):
            return None
        if self._thread(context) is not None:
            return None
        self._channel_id = self._channel_id or channel
        if not self._keeps_threads or delivery.task_id is None:
            return None
        return Link(
            self.name, ts, channel, state="linked", marker=delivery.event_id, entity_id=delivery.task_id
        )

    # --- looking for an earlier post --------------------------------------------------------------

    async def _find(self, delivery: Delivery, context: SendContext) -> Outcome | None:
        """Look for the message of *delivery*.

        Returns Delivered when it is there, None when it is not or cannot be looked for, and what stands in the
        way (limits, credentials, Slack itself) when looking should be tried again before anything is posted.
        """
        root = self._thread(context)
        channel = root.external_key if root is not None else await self._channel_to_search(context.http)
        if not isinstance(channel, str):
            return channel
        since_ms = parse_iso(delivery.first_attempt_at or delivery.created_at)
        query = {
            "channel": channel,
            "oldest": str(since_ms // MS_PER_S - LOOK_UP_SLACK_S),
            "include_all_metadata": "true",
            "limit": "200",
        }
        method = "conversations.history"
        if root is not None:
            method, query["ts"] = "conversations.replies", str(root.external_id)
        for _ in range(LOOK_UP_PAGES_MAX):
            answer = await self._read(context.http, method, query)
            if not isinstance(answer, dict):
                return answer
            ts = posted_at(answer, delivery.event_id)
            if ts is not None:
                link = self._link(delivery, context, channel, ts)
                return Delivered(response="found: an earlier try had posted it", link=link)
            if not (cursor := next_cursor(answer)):
                return None
            query["cursor"] = cursor
        return None

    async def _channel_to_search(self, http: Http) -> str | Outcome | None:
        """Return the channel's id, which reading needs, asking for it where only the name is known."""
        if self._channel_id is None:
            channels = await self._channels(http)
            if not isinstance(channels, dict):
                return channels
            self._channel_id = channels.get(self._channel.removeprefix("#"))
        return self._channel_id

    async def _channels(self, http: Http) -> dict[str, str] | Outcome | None:
        """Return the ids of the channels the bot can see, by name; else what stands in the way, as `_read` does."""
        query = {"types": "public_channel,private_channel", "exclude_archived": "true", "limit": "1000"}
        found: dict[str, str] = {}
        for _ in range(LOOK_UP_PAGES_MAX):
            answer = await self._read(http, "conversations.list", query)
            if not isinstance(answer, dict):
                return answer
            channels = answer.get("channels")
            for channel in channels if isinstance(channels, list) else []:
                if isinstance(channel, dict):
                    found[one_line(str(channel.get("name")))] = str(channel.get("id"))
            if not (cursor := next_cursor(answer)):
                break
            query["cursor"] = cursor
        return found

    async def _named(self, outcome: Rejected, http: Http) -> Rejected:
        """Return that there is no such channel with the names of those the bot can see, where it may ask for them."""
        told = f"{outcome.reason} (channel: {self._channel[:80]})"
        try:
            channels = await self._channels(http)
        except (NotSentError, UnknownAnswerError):
            channels = None
        if isinstance(channels, dict):
            told += f"; the bot sees {nearest(self._channel, sorted(channels))}"
        return replace(outcome, reason=told)

    async def _read(
        self, http: Http, method: str, query: Mapping[str, str]
    ) -> dict[str, Json] | Outcome | None:
        """Call a reading method. None where it will never answer: what cannot be looked for is posted."""
        response = await http(self._call(method, query=query))
        outcome = judge_api(response, self.env.clock.now())
        if isinstance(outcome, Delivered):
            return api_answer(response)
        if isinstance(outcome, Rejected) or error_of(response) in LOOK_UP_IMPOSSIBLE:
            return None
        return outcome

    def _call(
        self, method: str, body: Mapping[str, Json] | None = None, query: Mapping[str, str] | None = None
    ) -> HttpRequest:
        """Return the request for a Web API method; reading methods take a query, the others JSON."""
        url = f"{self.settings.base_url}/{method}"
        headers = {"authorization": f"Bearer {self._token}"}
        if query is not None:
            url = f"{url}?{urlencode(query)}"
            return HttpRequest("GET", url, headers, response_bytes_max=PAGE_BYTES_MAX)
        headers["content-type"] = "application/json; charset=utf-8"
        return HttpRequest("POST", url, headers, orjson.dumps(body or {}), response_bytes_max=PAGE_BYTES_MAX)

    # --- who it is --------------------------------------------------------------------------------

    def ask_identity(self) -> HttpRequest | None:
        """Return the question whose token it is."""
        return None if self._token is None else self._call("auth.test")

    def read_identity(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return the bot's user and itself: messages carry either."""
        return named(answer, "user_id", "bot_id", is_bot=True) if answer.get("ok") is True else None

    # --- checking ---------------------------------------------------------------------------------

    async def validate(self, http: Http) -> Check:
        """Ask `auth.test` whose token it is. A webhook can only be asked by posting, so its URL's shape is checked."""
        if self._token is None:
            ok = bool(_WEBHOOK_PATH.fullmatch(urlsplit(str(self._webhook_url)).path))
            shape = (
                "looks like an incoming webhook"
                if ok
                else "is not an incoming webhook's: /services/T.../B.../..."
            )
            return Check(ok, f"the URL {shape}; nothing was posted")
        response = await http(self._call("auth.test"))
        outcome = judge_api(response, self.env.clock.now())
        if not isinstance(outcome, Delivered):
            return Check(ok=False, message=outcome.reason)
        answer = api_answer(response) or {}
        who = f"{answer.get('user')} in {answer.get('team')}"[:200]
        scopes = response.headers.get("x-oauth-scopes")
        granted = {scope.strip() for scope in scopes.split(",")} if scopes else None
        if granted is not None and "chat:write" not in granted:
            return Check(ok=False, message=f"the token of {who} lacks the scope chat:write")
        reads = granted is None or bool(granted & {"channels:history", "groups:history"})
        note = "" if reads else "; without channels:history a repeat after a lost answer may show twice"
        return Check(ok=True, message=f"the token works: {who}{note}")


def _tells_of_button(event: Event) -> bool:
    """Whether an event tells what came of a button; only verified webhooks may have messages of the bot rewritten."""
    return event.type == "notification" and event.source.startswith("webhook:")
