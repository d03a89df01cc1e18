"""Text from outside made fit to be shown: clean, bounded, cut only between visible characters."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import orjson

from ralf_hub.model import Json

CLUSTER_LENGTH_MAX: Final = 32
"""How far `cut` steps back to spare a cluster of combining characters; longer ones are not writing."""

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
_LINE_BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"\s+")


def clean(text: str) -> str:
    """Return *text* without anything that acts on a screen instead of being read; lines are kept."""
    if text.isprintable():  # true of most texts, and then there is nothing to find
        return text
    text = _LINE_BREAK.sub("\n", _ANSI.sub("", text))
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub("", text))


def one_line(text: str) -> str:
    """Return *text* cleaned and on one line."""
    if text.isprintable() and "  " not in text:
        return text.strip()
    return _BLANKS.sub(" ", clean(text)).strip()


def _joins(text: str, index: int) -> bool:
    """Whether the character at *index* is seen as one with the character before it."""
    char, before = text[index], text[index - 1]
    if "\u200d" in {char, before} or unicodedata.category(char) in {"Mn", "Mc", "Me"}:
        return True
    if "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f":  # skin tones, flag tags
        return True
    if "\udc00" <= char <= "\udfff":
        return True
    if "\U0001f1e6" <= char <= "\U0001f1ff":  # flags are pairs of regional indicators
        start = index
        while (
            start and index - start < CLUSTER_LENGTH_MAX and "\U0001f1e6" <= text[start - 1] <= "\U0001f1ff"
        ):
            start -= 1
        return (index - start) % 2 == 1
    return False


def cut(text: str, limit: int, mark: str = "…") -> str:
    """Return *text* in at most *limit* code points, ending in *mark* if cut, never inside a visible character."""
    if len(text) <= limit:
        return text
    wanted = max(limit - len(mark), 0)
    end = wanted
    while end > 0 and wanted - end < CLUSTER_LENGTH_MAX and _joins(text, end):
        end -= 1
    if end > 0 and _joins(text, end):
        end = wanted
    return (text[:end].rstrip() + mark)[:limit]


def fit(text: str, limit: int, escape: Callable[[str], str]) -> str:
    """Return *text* escaped and in at most *limit* code points, cut before escaping so that no escape is torn."""
    escaped = escape(text)
    while len(escaped) > limit and text:
        text = cut(text, min(len(text) * limit // len(escaped), len(text) - 1))
        escaped = escape(text)
    return escaped


def duration(seconds: float) -> str:
    """Return *seconds* as people say it, in its two largest units."""
    whole = round(seconds)
    for size, unit, below, lower in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


def plain(value: Json) -> str:
    """Return *value* as a reader would write it; empty where it is a structure or nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    return value if isinstance(value, str) else ""


def told(value: Json) -> str:
    """Return what a result, error or message says: its text, its summary, or the whole as short JSON."""
    if isinstance(value, Mapping):
        for key in ("summary", "message", "text", "error"):
            if isinstance(value.get(key), str):
                return str(value[key])
    if value and isinstance(value, (Mapping, list, tuple)):
        try:
            return orjson.dumps(value, default=str).decode()
        except orjson.JSONEncodeError:
            return ""
    return plain(value)


def first_told(data: Mapping[str, Json], keys: Iterable[str]) -> str:
    """Return what the first of *keys* that says anything in *data* says; empty where none does."""
    return next((text for text in (told(data.get(key)).strip() for key in keys) if text), "")
