"""The settings of webhooks, in and out."""

import re
from typing import Final, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from ralf_hub.config.types import NAME, BaseUrl, EventPattern, Int, Name, Secrets, SecretUrl, Section, Url
from ralf_hub.webhooks.rules import Rule

WEBHOOKS_PATH: Final = "/api/v1/webhooks/"


class HmacSettings(Section):
    """How a sender signs that follows no known way: an HMAC of the body in one header."""

    header: str = Field(
        default="X-Hub-Signature-256",
        pattern=r"^[A-Za-z0-9-]{1,100}$",
        description="The header it stands in.",
    )
    prefix: str = Field(default="sha256=", max_length=50, description="What stands before it there.")
    algorithm: Literal["sha256", "sha512"] = Field(default="sha256", description="The hash.")
    encoding: Literal["hex", "base64"] = Field(default="hex", description="How it is written.")
    id_header: str = Field(
        default="",
        max_length=100,
        description="The header that names the delivery; left out, the body itself tells a repeat.",
    )


class CatchUpSettings(Section):
    """GitHub: whom to ask for the deliveries that failed while the hub was away; GitHub never repeats them itself."""

    repo: str = Field(default="", description="The repository, `owner/name`.")
    org: str = Field(default="", description="The organisation, where the webhook is one of it.")
    hook_id: Int = Field(ge=1, description="The webhook's number: the last part of its page's address.")
    token: SecretStr = Field(
        description="A token that may read and redeliver the webhook (`admin:repo_hook`)."
    )
    base_url: BaseUrl = Field(default="https://api.github.com", description="GitHub's REST API.")

    @field_validator("repo", "org")
    @classmethod
    def _named(cls, value: str, info: ValidationInfo) -> str:
        shape = r"[\w.-]+/[\w.-]+" if info.field_name == "repo" else r"[\w.-]+"
        if value and re.fullmatch(shape, value) is None:
            raise ValueError("must be owner/name" if info.field_name == "repo" else "must be a name")
        return value

    @model_validator(mode="after")
    def _one_owner(self) -> "CatchUpSettings":
        if bool(self.repo) == bool(self.org):
            raise ValueError('needs either repo = "owner/name" or org = "name"')
        return self


_ED25519_KEY: Final = re.compile(r"^[0-9a-fA-F]{64}$")


class IncomingWebhook(Section):
    """A service that may call the hub. Without anything to verify its calls with, it is answered 404."""

    service: Name = Field(
        description="Who calls: github, gitlab, jira, slack, trello, pagerduty, discord, ..."
    )
    path: str = Field(default="", description=f"Where it calls; left out: `{WEBHOOKS_PATH}SERVICE`.")
    enabled: bool = Field(default=True, description="Whether calls are taken.")
    secret: Secrets = Field(
        default=(), description="The shared secret, or several while one is being rotated."
    )
    token: SecretStr | None = Field(default=None, description="GitLab: the token it sends along.")
    signing_key: SecretStr | None = Field(
        default=None, description="GitLab: the signing token (`whsec_...`)."
    )
    public_key: str | None = Field(default=None, description="Discord: the application's public key, in hex.")
    callback_url: Url | None = Field(
        default=None, description="Trello: the URL the webhook was registered with, to the letter."
    )
    tolerance_s: Int = Field(
        default=300, ge=1, le=86_400, description="How old a signed call may be, seconds."
    )
    max_concurrent: Int | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="Tasks made by these calls that may be open at once; further ones wait as blocked.",
    )
    own_identity: tuple[str, ...] = Field(
        default=(),
        description="What the hub itself is called over there (login or account id): what it did is not acted on.",
    )
    users: tuple[str, ...] = Field(
        default=(), description="Slack, Discord: ids of those who may change things; left out: everyone."
    )
    hmac: HmacSettings | None = Field(
        default=None, description="How the sender signs, where it follows no known way."
    )
    catch_up: CatchUpSettings | None = Field(
        default=None, description="GitHub: ask for deliveries that failed while the hub was away."
    )
    actions: tuple[Rule, ...] = Field(
        default=(),
        max_length=200,
        description="What a call does besides its event, in place of the defaults for the event types they name.",
    )

    @property
    def configured(self) -> bool:
        """Whether there is something to verify calls with."""
        return bool(self.secret or self.token or self.signing_key or self.public_key)

    @property
    def route(self) -> str:
        """The last part of the path, by which the hub finds this entry."""
        return self.path.removeprefix(WEBHOOKS_PATH)

    @property
    def keys(self) -> tuple[str, ...]:
        """Everything its calls may be signed with."""
        given = [*self.secret, *(key for key in (self.token, self.signing_key) if key is not None)]
        texts = tuple(key.get_secret_value() for key in given)
        return (*texts, self.public_key) if self.public_key else texts

    @field_validator("path")
    @classmethod
    def _below_webhooks(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return WEBHOOKS_PATH + str(info.data.get("service", ""))
        if re.fullmatch(re.escape(WEBHOOKS_PATH) + NAME, value) is None:
            raise ValueError(f"must be {WEBHOOKS_PATH} and one name")
        return value

    @field_validator("public_key")
    @classmethod
    def _public_key_hex(cls, value: str | None) -> str | None:
        if value is not None and _ED25519_KEY.fullmatch(value) is None:
            raise ValueError("must be 64 hexadecimal digits")
        return value

    @field_validator("callback_url")
    @classmethod
    def _trello_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("service") == "trello" and info.data.get("secret"):
            raise ValueError("is needed for trello, which signs it along with the body")
        return value

    @model_validator(mode="after")
    def _fits_service(self) -> "IncomingWebhook":
        known = {"discord", "github", "gitlab", "jira", "pagerduty", "slack", "trello"}
        if self.hmac is not None and self.service in known:
            raise ValueError(f"hmac is for senders of no known kind; how {self.service} signs is known")
        if self.catch_up is not None and self.service != "github":
            raise ValueError("catch_up is for github only")
        return self


class OutgoingWebhook(Section):
    """A URL that events are sent to: short for a `[connectors.NAME]` section of the fitting type."""

    event: EventPattern | None = Field(default=None, description="An event type or pattern.")
    events: tuple[EventPattern, ...] = Field(default=(), description="Several of them.")
    url: SecretUrl = Field(description="Where to; a Slack or Discord webhook URL gets that service's format.")
    type: Literal["webhook", "slack", "discord"] | None = Field(
        default=None, description="The format where the URL does not tell it."
    )
    secret: Secrets = Field(default=(), description="Signs the calls (Standard Webhooks); one or several.")
    secrets: Secrets = Field(default=(), description="The same as `secret`.")
    enabled: bool = Field(default=True, description="Whether events are sent there.")
    name: Name | None = Field(
        default=None, description="Its name in lists; left out: `outgoing-` and a hash."
    )

    @property
    def patterns(self) -> tuple[str, ...]:
        """The event types and patterns asked for."""
        return (*((self.event,) if self.event else ()), *self.events)

    @model_validator(mode="after")
    def _some_event(self) -> "OutgoingWebhook":
        if not self.patterns:
            raise ValueError('needs event = "task_completed" or events = ["task_*"]')
        return self


class WebhookSettings(Section):
    """Webhooks in and out."""

    incoming: tuple[IncomingWebhook, ...] = Field(default=(), description="Services that may call the hub.")
    outgoing: tuple[OutgoingWebhook, ...] = Field(default=(), description="URLs the hub calls.")
