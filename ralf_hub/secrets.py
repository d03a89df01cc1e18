"""What must never be shown: one redactor that every text which leaves the hub's memory goes through."""

import base64
import hashlib
import hmac
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MASK = "***"
SECRET_LENGTH_MIN = 6
"""Shorter secrets are refused by the settings: masking them would mangle ordinary words."""
BASE64_LENGTH_MIN = 8
_URL_SAFE = str.maketrans("+/", "-_")
KEY_LINE_LENGTH_MIN = 32
"""Of a secret of many lines, such as a private key, each line as long as this is one by itself."""

_KEY_TEXT = re.compile(r"\brh_[A-Za-z0-9_-]{16,}")
_QUERY_SECRET = re.compile(r"(?i)([?&](?:key|token|api_key|access_token|secret|ticket)=)[^&\s\"']+")
_HEADER_SECRET = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def _forms(secret: str) -> Iterator[str]:
    """Yield *secret* as it is and as URLs, JSON, HTML and Python's own messages write it."""
    yield secret
    yield quote(secret, safe="", errors="replace")
    yield quote(secret, errors="replace")
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield html.escape(secret)
    yield repr(secret)[1:-1]
    yield from (line for line in secret.splitlines() if len(line) >= KEY_LINE_LENGTH_MIN)
    for shift in range(3):
        core = _base64_core(secret.encode("utf-8", "surrogatepass"), shift)
        if len(core) >= BASE64_LENGTH_MIN:
            yield core
            yield core.translate(_URL_SAFE)


def _base64_core(secret: bytes, shift: int) -> str:
    """Return what base64 has for sure of *secret* where it begins *shift* bytes into a group of three.

    So it stands in `Authorization: Basic` and in what mail servers are told, between characters that depend on more.
    """
    whole = base64.b64encode(b"\0" * shift + secret).decode("ascii")
    return whole[(8 * shift + 5) // 6 : 8 * (shift + len(secret)) // 6]


class Redactor:
    """Replaces every known secret, and whatever looks like one, with `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._forms: tuple[str, ...] = ()
        self._known: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Know *secrets* from now on, beside those already known: what was begun with a replaced one may still fail.

        Longer ones are masked first, so that no tail is left.
        """
        self._secrets.update(secret for secret in secrets if len(secret) >= SECRET_LENGTH_MIN)
        forms = {form for secret in self._secrets for form in _forms(secret)}
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        self._known = re.compile("|".join(map(re.escape, self._forms))) if forms else None

    def __call__(self, text: str) -> str:
        """Return *text* without secrets."""
        # To look for each by itself is much quicker than the pattern, and nearly always there is none.
        if self._known is not None and any(form in text for form in self._forms):
            text = self._known.sub(MASK, text)
        text = _KEY_TEXT.sub("rh_" + MASK, text)
        text = _QUERY_SECRET.sub(r"\1" + MASK, text)
        return _HEADER_SECRET.sub(r"\1 " + MASK, text)

    def __repr__(self) -> str:
        return "Redactor()"


def sha256_hex(secret: str) -> str:
    """Return the hash under which an API key is stored. Keys carry 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare two texts in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
