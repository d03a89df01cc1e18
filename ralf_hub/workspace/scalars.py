"""Single values as RALF writes them: times, JSON-safe data, and one spelling for what means the same."""

import base64
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from typing import Final

from ralf_hub.clock import iso
from ralf_hub.model import Json

DEPTH_MAX: Final = 64
INT_MAX: Final = 2**63 - 1
BITS_AS_DIGITS_MAX: Final = 8192  # Python refuses to print longer integers
EPOCH_S_MAX: Final = 253_402_300_799
EPOCH_MS_MIN: Final = 100_000_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TIME = re.compile(
    r"(\d{4}-\d\d?-\d\d?)"
    r"(?:(?:[Tt]|[ \t]+)(\d\d?:\d\d(?::\d\d)?)(?:[.,](\d+))?[ \t]*([Zz]|[+-]\d\d?(?::?\d\d)?)?)?",
)
_DIGITS = re.compile(r"\d{10}(\d{3})?")
_STARTS_NUMBER = frozenset("-0123456789")
_DECIMAL = re.compile(r"-?\d+\.\d+")


def parse_time(value: object) -> datetime | None:
    """Return *value*, a time in any of RALF's spellings, as a datetime; naive where it names no offset."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone is the caller's to add
    if isinstance(value, str):
        return _parse_text(value.strip())
    return None


@lru_cache(maxsize=1024)
def _parse_text(text: str) -> datetime | None:
    if text[4:5] == "-" and text[7:8] == "-" and text[10:11] in {"T", " "}:
        try:
            return datetime.fromisoformat(text)  # the usual spellings, ten times faster
        except ValueError:
            pass
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    try:
        year, month, date_ = map(int, day.split("-"))
        hour, minute, second = [int(part) for part in [*(clock or "0:0").split(":"), "0"][:3]]
        micros = int((fraction or "0")[:6].ljust(6, "0"))
        moment = datetime(year, month, date_, hour, minute, second, micros)  # noqa: DTZ001 - offset follows
        return moment if offset is None else moment.replace(tzinfo=UTC) - _offset(offset)
    except (ValueError, OverflowError):
        return None


def _offset(text: str) -> timedelta:
    if text in {"Z", "z"}:
        return timedelta(0)
    sign = -1 if text[0] == "-" else 1
    hours, minutes = [*text[1:].split(":"), "0"][:2] if ":" in text else (text[1:3], text[3:] or "0")
    shift = timedelta(hours=int(hours), minutes=int(minutes))
    if shift >= timedelta(days=1):
        raise ValueError(text)
    return sign * shift


def time_iso(value: object, zone: tzinfo) -> str | None:
    """Return *value* as the hub's ISO text in UTC; a naive time is in *zone*. None when it is no time.

    Numbers of 10 or 13 digits are seconds or milliseconds since 1970.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _epoch_iso(value)
    moment = parse_time(value)
    if moment is None:
        if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
            return _epoch_iso(int(value))
        return None
    try:
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return iso((moment - _EPOCH) // _MILLISECOND)
    except (OverflowError, ValueError):
        return None


def _epoch_iso(value: float) -> str | None:
    seconds = value / 1000 if abs(value) >= EPOCH_MS_MIN else value
    if not 0 < seconds <= EPOCH_S_MAX:
        return None
    return iso(round(seconds * 1000))


def clean_text(text: str) -> str:
    """Return *text* without lone surrogates, which neither UTF-8 nor SQLite can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def json_safe(value: object, depth: int = 0) -> Json:
    """Return *value* as JSON can say it: times as ISO text, odd keys and numbers as text."""
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        is_json = abs(value) <= INT_MAX if isinstance(value, int) else isfinite(value)
        return value if is_json else str(value)
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _json_container(value, depth) if depth < DEPTH_MAX else "..."
    return _json_other(value)


def _json_container(value: object, depth: int) -> Json:
    if isinstance(value, Mapping):
        return {clean_text(str(key)): json_safe(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item, depth + 1) for item in value]
    items = value if isinstance(value, (set, frozenset)) else ()
    return sorted((json_safe(item, depth + 1) for item in items), key=str)


def _json_other(value: object) -> Json:
    if isinstance(value, date):
        moment = _in_utc(value) if isinstance(value, datetime) else value
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return clean_text(str(value))


def _in_utc(moment: datetime) -> datetime:
    """Return *moment* in UTC where it names an offset, and where that is a time at all."""
    try:
        return moment if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return moment


def canonical(value: object, depth: int = 0) -> bytes:
    """Return one spelling for every way of writing *value*.

    What a rewrite of the file may change does not count: `47` or `'47'`, `true` or `"true"`, null or
    an empty text, a time as text or as a YAML timestamp, `Z` or `+00:00`. A time without an offset
    counts as UTC whatever the workspace's zone, because older PyYAML drops the `Z` when it
    re-serialises, and because a changed setting must not make old records new.
    """
    if isinstance(value, str):
        return _canonical_text(value)
    if value is None:
        return b""
    if isinstance(value, (bool, int, float)):
        return _canonical_number(value)
    if isinstance(value, date):
        return _canonical_time(value)
    if isinstance(value, (Mapping, list, tuple)):
        return _canonical_container(value, depth) if depth < DEPTH_MAX else b"..."
    return _canonical_text(str(json_safe(value, depth)))


def _canonical_number(value: float) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int) and value.bit_length() >= BITS_AS_DIGITS_MAX:
        return hex(value).encode()
    return repr(value).encode()


def _canonical_container(value: object, depth: int) -> bytes:
    if isinstance(value, Mapping):
        return b"{" + b"".join(sorted(_framed(str(key), item, depth) for key, item in value.items())) + b"}"
    items = value if isinstance(value, (list, tuple)) else ()
    return b"[" + b"".join(_framed("", item, depth) for item in items) + b"]"


def _framed(key: str, value: object, depth: int) -> bytes:
    name = key.encode("utf-8", "replace")
    text = _canonical_text(value) if isinstance(value, str) else canonical(value, depth + 1)
    return b"%d:%s%d:%s" % (len(name), name, len(text), text)


def _canonical_text(text: str) -> bytes:
    if text[:1] in _STARTS_NUMBER:
        moment = _parse_text(text) if len(text) > len("2026-02-01") and text[4] == "-" else None
        if moment is not None:
            return _canonical_time(moment)
        if _DECIMAL.fullmatch(text):
            return repr(float(text)).encode()
    return text.encode("utf-8", "replace")


def _canonical_time(moment: date) -> bytes:
    if isinstance(moment, datetime):
        moment = _in_utc(moment).replace(tzinfo=None)
    return moment.isoformat().encode()


def pair(key: str, value: object) -> bytes:
    """Return the canonical form of one field; a record's fingerprint is made of these."""
    return _framed(key, value, 0)


def digest(pairs: Iterable[bytes]) -> str:
    """Return the fingerprint of a record from its canonical fields, in whatever order they stood."""
    return blake2b(b"".join(sorted(pairs)), digest_size=16).hexdigest()


def fingerprint(record: Mapping[str, object]) -> str:
    """Return a stable name of *record*'s content, the same after any rewrite that keeps the values."""
    return digest(pair(str(key), value) for key, value in record.items())
