"""The value types settings are made of: each says in plain words what it refuses."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationInfo

from ralf_hub.config.patterns import is_pattern

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
NAME_PATTERN: Final = re.compile(f"^{NAME}$")
LOOPBACK_NAMES: Final = frozenset({"localhost", "ip6-localhost"})

_SLACK_HOST: Final = "hooks.slack.com"
_SLACK_PATH: Final = re.compile(r"^/services/[^/]+/[^/]+/[^/]+/?$")
_DISCORD_HOST: Final = re.compile(r"(^|\.)(discord|discordapp)\.com$")
_DISCORD_PATH: Final = re.compile(r"^/api/(v\d+/)?webhooks/")

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Section(BaseModel):
    """A table of the settings: unknown keys are errors, values never change, secrets are never echoed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        validate_default=True,
        arbitrary_types_allowed=True,
    )


def split_url(text: str) -> SplitResult | None:
    """Return the parts of an absolute http or https URL, or None when *text* is none."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises ValueError when the port is no number
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"[\s\x00-\x1f]", text):
        return None
    return parts


def service_of(url: str) -> Literal["slack", "discord", "webhook"]:
    """Return whose incoming-webhook URL *url* is by host and path; `webhook` where it is no known service's."""
    parts = split_url(url)
    if parts is None:
        return "webhook"
    host = str(parts.hostname)
    if host == _SLACK_HOST or _SLACK_PATH.match(parts.path):
        return "slack"
    if _DISCORD_HOST.search(host) and _DISCORD_PATH.match(parts.path):
        return "discord"
    return "webhook"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach *host*."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _path(value: Path, info: ValidationInfo) -> Path:
    if "\0" in str(value):
        raise ValueError("must not contain NUL")
    base = (info.context or {}).get("base")
    try:
        expanded = value.expanduser()
    except RuntimeError:
        raise ValueError("names a home folder that does not exist") from None
    return Path(base) / expanded if base is not None else expanded


def _url(value: str) -> str:
    parts = split_url(value)
    if parts is None:
        raise ValueError("must be a URL such as https://example.org")
    if parts.username or parts.password:
        raise ValueError("must not carry a user name or password")
    return value


def _secret_url(value: SecretStr) -> SecretStr:
    text = (
        value.get_secret_value().strip()
    )  # a URL read from a file or variable easily brings a line end along
    if split_url(text) is None:
        raise ValueError("must be a URL that starts with https:// or http://")
    return SecretStr(text)


def _origin(value: str) -> str:
    parts = split_url(value)
    if value != "*" and (parts is None or parts.path.strip("/") or parts.query or parts.fragment):
        raise ValueError("must be an origin such as https://example.org:3000, without a path, or *")
    return value.rstrip("/")


def _network(value: Any) -> Any:
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text such as 10.0.0.0/8")  # noqa: TRY004 - pydantic collects ValueErrors
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        wider = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError("must be an address range such as 10.0.0.0/8 or one address") from None
    raise ValueError(f"has bits set beyond its length; the range is {wider}")


def _timezone(value: str) -> str:
    if value == "UTC":  # known without the system's time zone data, which small containers lack
        return value
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone's name such as UTC or Europe/Berlin") from None
    return value


def _pattern(value: str) -> str:
    if not is_pattern(value):
        raise ValueError("must be an event type or a pattern such as task_completed, task_*, * or !agent_*")
    return value


def _name(value: str) -> str:
    if NAME_PATTERN.fullmatch(value) is None:
        raise ValueError("must be letters, digits, dots, dashes and underscores, at most 64")
    return value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


Int = Annotated[int, BeforeValidator(_not_bool)]
Float = Annotated[float, BeforeValidator(_not_bool)]
HubPath = Annotated[Path, AfterValidator(_path)]
"""A path; a relative one starts at the settings file's folder, `~` is the home folder."""
Url = Annotated[str, AfterValidator(_url)]
"""A URL kept to the letter: issuers and callback URLs are compared so."""
BaseUrl = Annotated[Url, AfterValidator(lambda value: value.rstrip("/"))]
"""A URL that paths are put behind."""
SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]
Origin = Annotated[str, AfterValidator(_origin)]
IpNetwork = Annotated[Network, BeforeValidator(_network)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
EventPattern = Annotated[str, AfterValidator(_pattern)]
Name = Annotated[str, AfterValidator(_name)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_as_list)]
"""One secret or a list of them; every one of a list counts, so that secrets can be rotated."""
