"""What the patterns of `events` mean, in one place: the settings check them, the routing asks them."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from ralf_hub.model import EVENT_TYPES

_PATTERN: Final = re.compile(r"^!?[A-Za-z0-9_.:*-]{1,128}$")
_NEAR: Final = 0.7


def wants(patterns: Sequence[str], event_type: str) -> bool:
    """Tell whether *patterns* ask for *event_type*; their order does not matter.

    A type is asked for when a pattern matches it and no `!` pattern does. A list of nothing but `!`
    patterns asks for everything else; an empty list asks for nothing.
    """
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    included = [pattern for pattern in patterns if not pattern.startswith("!")]
    if any(fnmatchcase(event_type, pattern) for pattern in excluded):
        return False
    if not included:
        return bool(excluded)
    return any(fnmatchcase(event_type, pattern) for pattern in included)


def is_pattern(text: str) -> bool:
    """Tell whether *text* can be an event type or a pattern of some."""
    return _PATTERN.fullmatch(text) is not None


def nearest(word: str, known: Iterable[str], cutoff: float = _NEAR) -> str | None:
    """Return the known word most like *word*, or None when none is near."""
    lowered = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[found[0]] if found else None


def probably_meant(pattern: str) -> str | None:
    """Return the hub's event type that *pattern* seems to misspell, or None.

    RALF has event types of its own, so an unknown name is no mistake unless it is nearly one of the hub's.
    """
    name = pattern.removeprefix("!")
    if "*" in name or name in EVENT_TYPES:
        return None
    for prefix in ("task_", "feature_"):
        if prefix + name in EVENT_TYPES:
            return prefix + name
    return nearest(name, EVENT_TYPES, cutoff=0.8)
