"""Discord: a channel's webhook, or a bot that answers under the first message of each task.

https://docs.discord.com/developers/resources/webhook and .../message. A webhook cannot look at its channel, so a repeat
after an unknown answer may show twice, with the event's id under it. The bot sends a nonce, by which Discord makes no
second message for some minutes, and for any later time looks through the channel before it posts again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson
from pydantic import Field, SecretStr, field_validator

from ralf_hub.clock import parse_iso
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
    HttpResponse,
    Identity,
    Outcome,
    Rejected,
    SendContext,
)
from ralf_hub.connectors.discord_answers import (
    MISSING_ACCESS,
    MISSING_PERMISSION,
    REPLY_REFUSED,
    UNKNOWN_CHANNEL,
    code_of,
    judge,
)
from ralf_hub.connectors.discord_channels import channels_seen
from ralf_hub.connectors.discord_layout import buttons, escape, footer, message
from ralf_hub.connectors.fields import BaseUrl, ChatSettings, OptionalSecretUrl, OptionalToken
from ralf_hub.connectors.identities import named
from ralf_hub.connectors.objects import listed
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Wording
from ralf_hub.model import Delivery, Json, Link
from ralf_hub.secrets import sha256_hex

API_VERSION: Final = "v10"
NONCE_LENGTH: Final = 25
PAGE_SIZE: Final = 100
PAGE_BYTES_MAX: Final = 4 << 20
LOOK_UP_PAGES_MAX: Final = 5
LOOK_UP_SLACK_MS: Final = 300_000
"""How far the clocks of Discord and of this machine may differ when an earlier message is looked for."""
EPOCH_MS: Final = 1_420_070_400_000
"""Discord's ids begin with the milliseconds since 2015."""
USERNAME_LENGTH_MAX: Final = 80

_SNOWFLAKE = re.compile(r"[0-9]{1,20}")
_WEBHOOK_PATH = re.compile(
    r"(?P<api>/api)/(?:v[0-9]+/)?webhooks/(?P<id>[0-9]{1,20})/(?P<token>[\w-]{1,200})/?"
)


class DiscordSettings(ChatSettings):
    """A Discord webhook or bot; the bot is used where both are set."""

    webhook_url: OptionalSecretUrl = Field(
        default=None, description="A channel's webhook, `https://discord.com/api/webhooks/...`."
    )
    bot_token: OptionalToken = Field(default=None, description="A bot's token.")
    channel: str = Field(default="", description="The id of the channel the bot posts to, a number.")
    thread: bool = Field(
        default=True, description="Whether the bot posts a task's notices as answers to its first one."
    )
    username: str = Field(default="", description="The name a webhook's messages are shown under.")
    base_url: BaseUrl = Field(
        default="https://discord.com/api/v10", description="Discord's API, for the bot."
    )

    @field_validator("webhook_url")
    @classmethod
    def _webhook_is_of_discord(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _WEBHOOK_PATH.fullmatch(urlsplit(value.get_secret_value()).path):
            raise ValueError("the URL is no Discord webhook's: https://discord.com/api/webhooks/NUMBER/TOKEN")
        return value

    @field_validator("bot_token", mode="before")
    @classmethod
    def _token_without_its_scheme(cls, value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        return text.strip().removeprefix("Bot ") if isinstance(text, str) else value

    @field_validator("channel", mode="before")
    @classmethod
    def _channel_is_an_id(cls, value: Any) -> Any:
        text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else value
        if isinstance(text, str) and text and not _SNOWFLAKE.fullmatch(text):
            raise ValueError(
                "a channel's id is a number: turn on developer mode and copy it from the channel's menu"
            )
        return text

    @field_validator("username")
    @classmethod
    def _username_is_taken(cls, value: str) -> str:
        value = value.strip()
        if len(value) > USERNAME_LENGTH_MAX or re.search("discord|clyde", value, re.IGNORECASE):
            raise ValueError("Discord takes no name above 80 characters or with 'discord' or 'clyde' in it")
        return value


class DiscordConnector(Connector):
    """Posts notices to one channel."""

    service: ClassVar[str] = "discord"
    settings_model: ClassVar[type[ConnectorSettings]] = DiscordSettings
    tells_people: ClassVar[bool] = True

    def __init__(self, name: str, settings: DiscordSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self._webhook_url, self._token = settings.sent_to, settings.sent_with
        self._channel = settings.channel
        self.uses_links = self._token is not None
        self._wording = Wording(settings.template, escape)

    def destinations(self) -> frozenset[str]:
        """Return the webhook's and the bot's place; one webhook's URL can be written in several ways."""
        places = []
        if self._webhook_url is not None:
            parts = urlsplit(self._webhook_url)
            found = _WEBHOOK_PATH.fullmatch(parts.path)
            names = found.group("id", "token") if found else (parts.path,)
            places.append(place(self.service, *names, *parse_qs(parts.query).get("thread_id", [])))
        if self._token is not None:
            places.append(place(self.service, self._token, self._channel))
        return frozenset(places)

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return one post. A task's first by a bot makes the message that later ones answer."""
        worded = self._wording(fact)
        payload = message(worded)
        task_id = fact.event.task_id
        if self._token and self.service in self.env.consoles and fact.event.type == "task_failed" and task_id:
            payload["components"] = buttons(task_id)
        if worded.template_error is not None:
            payload["template_error"] = worded.template_error
        starts = self._keeps_threads and task_id is not None and fact.link is None
        return [Action("post", payload, marker=fact.event.id if starts else None)]

    @property
    def _keeps_threads(self) -> bool:
        return self._token is not None and bool(self.settings.thread)

    # --- sending ----------------------------------------------------------------------------------

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest:
        """Return the post."""
        sent = ("embeds", "allowed_mentions", "components")
        body = {key: delivery.payload[key] for key in sent if delivery.payload.get(key)}
        if self._token is None:
            if self.settings.username:
                body["username"] = self.settings.username
            headers = {"content-type": "application/json"}
            return HttpRequest("POST", self._webhook_address(wait=True), headers, orjson.dumps(body))
        root = self._root(context)
        if root is not None:
            # A message that is gone is no reason to say nothing.
            body["message_reference"] = {"message_id": root.external_id, "fail_if_not_exists": False}
        nonce = sha256_hex(f"{self.env.instance}/{self.name}/{delivery.id}/{delivery.event_id}")
        body |= {"nonce": nonce[:NONCE_LENGTH], "enforce_nonce": True}
        return self._call(f"/channels/{self._channel}/messages", body)

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Post once. The bot first looks whether an earlier try got through after all."""
        now = self.env.clock.now()
        if self._token is None:
            return judge(await context.http(self.prepare(delivery, context)), now)
        if context.may_have_been_sent and (found := await self._find(delivery, context)) is not None:
            return found
        response = await context.http(self.prepare(delivery, context))
        if code_of(response) in REPLY_REFUSED and self._root(context) is not None:
            context = replace(context, link=None)
            response = await context.http(self.prepare(delivery, context))
        outcome = judge(response, now)
        if isinstance(outcome, Delivered):
            return replace(outcome, link=self._link(delivery, context, response.json()))
        if isinstance(outcome, Rejected) and code_of(response) == UNKNOWN_CHANNEL:
            seen = await channels_seen(self._call, context.http)
            there = f"; the bot sees {listed(seen)}" if seen else ""
            return replace(outcome, reason=f"{outcome.reason} (channel: {self._channel}){there}")
        return outcome

    def _root(self, context: SendContext) -> Link | None:
        """Return the message to answer, if there is one and it stands in this channel."""
        link = context.link
        usable = self._keeps_threads and link is not None and link.external_id
        return link if usable and link is not None and link.external_key == self._channel else None

    def _link(self, delivery: Delivery, context: SendContext, posted: Json) -> Link | None:
        """Return the link to a task's first message; None for answers to it, which change nothing."""
        number = posted.get("id") if isinstance(posted, dict) else None
        if not isinstance(number, str) or not self._keeps_threads or delivery.task_id is None:
            return None
        if self._root(context) is not None:
            return None
        return Link(
            self.name,
            number,
            self._channel,
            state="linked",
            marker=delivery.event_id,
            entity_id=delivery.task_id,
        )

    # --- looking for an earlier post --------------------------------------------------------------

    async def _find(self, delivery: Delivery, context: SendContext) -> Outcome | None:
        """Look for the message of *delivery* in the channel.

        Returns Delivered when it is there, None when it is not or cannot be looked for, and what stands in the
        way (limits, the token, Discord itself) when looking should be tried again before anything is posted.
        """
        since_ms = parse_iso(delivery.first_attempt_at or delivery.created_at) - LOOK_UP_SLACK_MS
        after = str(max(since_ms - EPOCH_MS, 0) << 22)
        for _ in range(LOOK_UP_PAGES_MAX):
            query = urlencode({"after": after, "limit": str(PAGE_SIZE)})
            request = self._call(f"/channels/{self._channel}/messages?{query}")
            response = await context.http(replace(request, response_bytes_max=PAGE_BYTES_MAX))
            page = response.json()
            if response.status == 200 and isinstance(page, list):  # noqa: PLR2004 - HTTP's word
                ours = next((item for item in page if _is_of(item, delivery.event_id)), None)
                if ours is not None:
                    link = self._link(delivery, context, ours)
                    return Delivered(
                        response=f"found: an earlier try had posted it ({ours.get('id')})", link=link
                    )
                numbers = [int(number) for item in page if _SNOWFLAKE.fullmatch(number := _id_of(item))]
                if len(page) < PAGE_SIZE or not numbers:
                    return None
                after = str(max(numbers))
                continue
            outcome = judge(response, self.env.clock.now())
            blind = code_of(response) in {MISSING_ACCESS, MISSING_PERMISSION}
            return None if blind or isinstance(outcome, (Delivered, Rejected)) else outcome
        return None

    # --- requests ---------------------------------------------------------------------------------

    def _webhook_address(self, *, wait: bool) -> str:
        """Return where the webhook is, under the version of the API that is spoken here."""
        parts = urlsplit(str(self._webhook_url))
        path = _WEBHOOK_PATH.sub(rf"\g<api>/{API_VERSION}/webhooks/\g<id>/\g<token>", parts.path)
        thread = parse_qs(parts.query).get("thread_id", [])[:1]
        query = [*(("thread_id", number) for number in thread), *([("wait", "true")] if wait else [])]
        return parts._replace(path=path, query=urlencode(query)).geturl()

    def _call(self, path: str, body: Mapping[str, Json] | None = None) -> HttpRequest:
        headers = {"authorization": f"Bot {self._token}"}
        url = f"{self.settings.base_url}{path}"
        if body is None:
            return HttpRequest("GET", url, headers)
        headers["content-type"] = "application/json"
        return HttpRequest("POST", url, headers, orjson.dumps(body))

    # --- who it is --------------------------------------------------------------------------------

    def ask_identity(self) -> HttpRequest | None:
        """Return the question whose token it is."""
        return None if self._token is None else self._call("/users/@me")

    def read_identity(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return the bot's user."""
        return named(answer, "id", is_bot=answer.get("bot") is True)

    # --- checking ---------------------------------------------------------------------------------

    async def validate(self, http: Http) -> Check:
        """Ask for the webhook, or for the bot and its channel. Nothing is posted."""
        if self._token is None:
            request = HttpRequest("GET", self._webhook_address(wait=False).partition("?")[0])
            found = self._read(await http(request))
            if isinstance(found, Check):
                return found
            return Check(ok=True, message=f"the webhook works: {found.get('name')}"[:200])
        me = self._read(await http(self._call("/users/@me")))
        if isinstance(me, Check):
            return me
        channel = self._read(await http(self._call(f"/channels/{self._channel}")))
        if isinstance(channel, Check):
            return channel
        return Check(
            ok=True, message=f"the token works: {me.get('username')} in #{channel.get('name')}"[:200]
        )

    def _read(self, response: HttpResponse) -> dict[str, Json] | Check:
        outcome = judge(response, self.env.clock.now())
        if not isinstance(outcome, Delivered):
            return Check(ok=False, message=outcome.reason)
        found = response.json()
        return found if isinstance(found, dict) else Check(ok=False, message="no Discord answers there")


def _id_of(posted: Json) -> str:
    return str(posted.get("id")) if isinstance(posted, dict) else ""


def _is_of(posted: Json, event_id: str) -> bool:
    """Return whether a message of the channel is the bot's for *event_id*; a webhook may have told of the same."""
    if not isinstance(posted, dict) or posted.get("webhook_id"):
        return False
    embeds = posted.get("embeds")
    for embed in embeds if isinstance(embeds, list) else []:
        small = embed.get("footer") if isinstance(embed, dict) else None
        if isinstance(small, dict) and small.get("text") == footer(event_id):
            return True
    return False
