"""Fields that the settings of several connectors have, checked when they load. No error repeats a secret."""

from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from ralf_hub.connectors.base import ConnectorSettings
from ralf_hub.connectors.urls import check_http_url


def _base_url(value: str) -> str:
    return check_http_url(value).rstrip("/")


def _token(value: SecretStr) -> SecretStr:
    """Return the token without white space around it. ValueError where no header can carry it."""
    token = value.get_secret_value().strip()
    if not token:
        raise ValueError("the token is empty")
    if not token.isascii() or any(char.isspace() or not char.isprintable() for char in token):
        raise ValueError("the token has characters in it that no token has")
    return SecretStr(token)


def _unset_where_empty(value: Any) -> Any:
    """Return None for an empty text: an environment variable that is set to nothing means that there is none."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if isinstance(text, str) and not text.strip() else value


def _http_url(value: SecretStr) -> SecretStr:
    return SecretStr(check_http_url(value.get_secret_value()))


BaseUrl: TypeAlias = Annotated[str, AfterValidator(_base_url)]
"""Where a service's API is, without a slash at its end."""
Token: TypeAlias = Annotated[SecretStr, AfterValidator(_token)]
OptionalToken: TypeAlias = Annotated[Token | None, BeforeValidator(_unset_where_empty)]
OptionalSecretUrl: TypeAlias = Annotated[
    Annotated[SecretStr, AfterValidator(_http_url)] | None, BeforeValidator(_unset_where_empty)
]


class ChatSettings(ConnectorSettings):
    """A chat that takes notices by a webhook or from a bot; the bot is used where both are set."""

    webhook_url: OptionalSecretUrl = Field(default=None, description="The webhook's URL.")
    bot_token: OptionalToken = Field(default=None, description="The bot's token.")
    channel: str = Field(default="", description="Where the bot posts.")

    @model_validator(mode="after")
    def _one_way_is_set(self) -> Self:
        if self.enabled and self.webhook_url is None and self.bot_token is None:
            raise ValueError("set webhook_url, or bot_token and channel")
        if self.enabled and self.bot_token is not None and not self.channel.strip():
            raise ValueError("a bot needs the channel it posts to: set channel to its id")
        return self

    @property
    def sent_to(self) -> str | None:
        """The webhook's URL."""
        return None if self.webhook_url is None else self.webhook_url.get_secret_value()

    @property
    def sent_with(self) -> str | None:
        """The bot's token."""
        return None if self.bot_token is None else self.bot_token.get_secret_value()
