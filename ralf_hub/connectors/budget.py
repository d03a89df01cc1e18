"""What a service's answer says is left of its rate limit: read from its headers, shown to people, never acted upon.

That a limit is reached is told by the answer itself (429); connectors judge that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ralf_hub.clock import MS_PER_S, iso, parse_iso

_FAMILIES: Final = ("x-ratelimit-", "ratelimit-")
"""GitHub, Discord, Jira; GitLab, and the first drafts of the IETF."""
_ITEM: Final = re.compile(r";\s*([rt])=([0-9]{1,12})")
"""The later drafts: `"default";r=50;t=30`, https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/."""
_NUMBER: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?")
_EPOCH_S_MIN: Final = 1_000_000_000
"""A larger number of seconds is a moment, a smaller one a wait."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many calls are left, of how many, and from when on there are all of them again."""

    remaining: int
    limit: int | None = None
    resets_at: str | None = None


def budget(headers: Mapping[str, str], now_ms: int) -> Budget | None:
    """Return what *headers*, with lower-case names, say is left; None where they say nothing."""
    if not any("ratelimit" in name for name in headers):  # as with nearly all
        return None
    for family in _FAMILIES:
        remaining = _whole(headers.get(f"{family}remaining", ""))
        if remaining is not None:
            wait = headers.get(f"{family}reset-after") or headers.get(f"{family}reset", "")
            return Budget(remaining, _whole(headers.get(f"{family}limit", "")), _moment(wait, now_ms))
    item = dict(_ITEM.findall(headers.get("ratelimit", "")))
    if "r" not in item:
        return None
    return Budget(int(item["r"]), None, _moment(item.get("t", ""), now_ms))


def _whole(text: str) -> int | None:
    # GitLab and the drafts may say more behind a comma or semicolon: `100, 100;w=60`.
    number = re.split("[,;]", text)[0].strip()
    return int(number) if number.isascii() and number.isdigit() and len(number) <= 12 else None  # noqa: PLR2004 - digits


def _moment(text: str, now_ms: int) -> str | None:
    """Read a wait or a Unix time in seconds, or an ISO time (Jira); None for anything else."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
        ms = round(seconds * MS_PER_S) + (0 if seconds >= _EPOCH_S_MIN else now_ms)
    else:
        try:
            ms = parse_iso(text)
        except ValueError:
            return None
    try:
        return iso(ms)
    except (ValueError, OverflowError):
        return None
