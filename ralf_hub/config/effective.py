"""Settings in force: how the hub is reached, their secrets for the redactor, their fingerprint for `/health`."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from ralf_hub.config.models import Settings
from ralf_hub.config.shapes import secrets_in
from ralf_hub.model import Json
from ralf_hub.secrets import SECRET_LENGTH_MIN

_FINGERPRINT_DIGITS: Final = 12
_SECRET_DIGITS: Final = 4
TOKEN_LENGTH_MIN: Final = 16
"""The end of a secret URL that is as long as this is a secret by itself: receivers quote it where they refuse it."""


def hub_url(settings: Settings) -> str:
    """Return how people reach the hub."""
    if settings.api.public_url is not None:
        return str(settings.api.public_url).rstrip("/")
    scheme = "http" if settings.api.tls is None else "https"
    host = f"[{settings.api.host}]" if ":" in settings.api.host else settings.api.host
    return f"{scheme}://{host}:{settings.api.port}"


def secret_values(settings: Settings) -> list[str]:
    """Return every secret in *settings*; of a URL also path and query, as errors of libraries show them."""
    values = {secret for _, secret in secrets_in(settings)}
    for section in settings.connectors.values():
        values.update(section.secret_values())
    return sorted(values | {part for value in values for part in _url_parts(value)})


def _url_parts(value: str) -> list[str]:
    if "://" not in value:
        return []
    parts = urlsplit(value)
    whole = parts.path + ("?" + parts.query if parts.query else "")
    last = parts.path.rpartition("/")[2]  # the token of most services that have it in the URL
    found = [part for part in {whole, parts.path} if len(part.strip("/")) >= SECRET_LENGTH_MIN]
    return [*found, last] if len(last) >= TOKEN_LENGTH_MIN else found


def fingerprint(settings: Settings) -> str:
    """Return twelve hexadecimal digits that change when any setting does.

    Anyone may see it, so each secret goes in as 16 bits of its hash: enough to notice a change (all but
    one in 65,536), too little to find the secret by trying.
    """
    text = json.dumps(_plain(settings), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_FINGERPRINT_DIGITS]


def _plain(value: Any) -> Json:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value().encode("utf-8", "surrogatepass")
        return {"secret": hashlib.sha256(secret).hexdigest()[:_SECRET_DIGITS]}
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
