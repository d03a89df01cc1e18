"""Addresses in settings: checked when they load, never shown, compared by hash."""

from urllib.parse import urlsplit

from ralf_hub.secrets import sha256_hex

_SCHEMES = frozenset({"http", "https"})


def check_http_url(url: str) -> str:
    """Return *url* without white space around it. ValueError, which does not repeat it, when no request can go there."""
    url = url.strip()
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ValueError("the URL has white space or control characters in it")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the URL's host or port is not valid") from None
    if parts.scheme.lower() not in _SCHEMES:
        raise ValueError("the URL must start with https:// or http://")
    if not host:
        raise ValueError("the URL names no host")
    if parts.fragment:
        raise ValueError("the URL has a '#' part, which is never sent: leave it out")
    return url


def place(*parts: str) -> str:
    """Return a name for the place *parts* (service, address, ...) describe; secrets in them cannot be read from it."""
    return f"{parts[0]}:{sha256_hex(chr(0).join(parts))[:16]}"
