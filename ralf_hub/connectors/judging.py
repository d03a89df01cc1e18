"""What an HTTP answer means for a delivery, where a service says nothing more precise.

The classes are those of [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)
and of plain HTTP: 429 and `Retry-After` are obeyed, a gateway's failure leaves open whether the request got through.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from ralf_hub.clock import MS_PER_S
from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Gone,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
)
from ralf_hub.texts import clean

EXCERPT_BYTES_MAX: Final = 2048
RETRY_AFTER_MAX_S: Final = 24 * 3600.0
"""A service that asks for more is asked again after a day."""

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


def retry_after_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Return the seconds that `Retry-After` asks for, 0 to a day; None when it is absent or says nothing.

    Both forms of RFC 9110 section 10.2.3 are read; *headers* have lower-case names.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if _SECONDS.fullmatch(value):
        wait = float(value)
    else:
        try:
            wait = parsedate_to_datetime(value).timestamp() - now_ms / MS_PER_S
        except (ValueError, OverflowError):
            return None
    return min(max(wait, 0.0), RETRY_AFTER_MAX_S)


def until_reset_s(reset: str, now_ms: int) -> float | None:
    """Return the seconds until *reset*, a Unix time in whole seconds: 1 to a day; None when it says nothing."""
    if not (reset.isascii() and reset.isdigit()):
        return None
    return min(max(int(reset[:12]) - now_ms / MS_PER_S, 1.0), RETRY_AFTER_MAX_S)


def excerpt(response: HttpResponse) -> str:
    """Return the start of the answer's body as clean text, in at most `EXCERPT_BYTES_MAX` bytes."""
    return clean(response.body[:EXCERPT_BYTES_MAX].decode("utf-8", "ignore"))[:EXCERPT_BYTES_MAX]


def judge_status(response: HttpResponse, now_ms: int, *, creates: bool = False) -> Outcome:
    """Judge *response* by its status alone.

    *creates* is True where a repeated request makes a second object: then any 5xx leaves open whether it was made.
    """
    status, seen = response.status, excerpt(response)
    wait = retry_after_s(response.headers, now_ms)
    outcome: Outcome = Rejected(f"the service refuses it ({status})", status, seen)
    match status:
        case 401 | 403 | 407:
            outcome = CredentialsBroken(f"the service refuses the credentials ({status})", status, seen)
        case 408 | 425:
            outcome = Retry(f"the service could not take it now ({status})", status, seen, wait)
        case 410:
            outcome = Gone("the receiver is gone for good (410)", status, seen)
        case 429:
            outcome = Retry("too many requests (429)", status, seen, wait, counts=False, holds_connector=True)
        case 502 | 504:
            outcome = Ambiguous(f"a gateway on the way failed ({status})", status, seen, wait)
        case _:
            match status // 100:
                case 2:
                    outcome = Delivered(status, seen)
                case 3:
                    # A failure by Standard Webhooks. Tried again: a sign-in page before a service that is down
                    # looks the same, and the address can be corrected while the delivery waits.
                    outcome = Retry(_redirected(response), status, seen, wait)
                case 5:
                    failed = f"the service failed ({status})"
                    outcome = (Ambiguous if creates else Retry)(failed, status, seen, wait)
    return outcome


def _redirected(response: HttpResponse) -> str:
    """Word a redirect. Only the host it points to is shown: a path or query may carry a secret."""
    try:
        host = urlsplit(response.headers.get("location", "")).hostname
    except ValueError:
        host = None
    target = f" to {clean(host)[:100]}" if host else ""
    return f"redirected{target}: redirects are not followed, set the address it points to ({response.status})"
