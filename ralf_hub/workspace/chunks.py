"""Cutting events.yaml into records without parsing it, because one bad line must not cost the rest.

The file is a YAML list that shell scripts, editors and agents append to, so as a whole it is often
not YAML. This scanner looks only at what begins a line: a dash at the list's indent begins a
record, a key in the first column begins a section (`events:`, `metadata:`), and everything else
belongs to what it follows. It streams: memory is one buffer and one record.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from ralf_hub.workspace.quotes import OpenQuote

READ_BYTES: Final = 1024 * 1024
FLOW_FACTOR: Final = 8  # a list written in one piece, as JSON is, may be this much longer than a record

SIMPLE, RECORD, FLOW, JSON = "simple", "record", "flow", "json"
GARBAGE, TOO_LONG = "garbage", "too long"
TOP, EVENTS, OTHER = "top", "events", "other"


class Readable(Protocol):
    """Anything that gives its bytes piece by piece; no bytes at the end."""

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes."""


class Place(NamedTuple):
    """A point between two records where reading can go on later: what the scanner knows there."""

    offset: int = 0
    line: int = 1
    indent: int = -1
    section: str = TOP


START: Final = Place()


class Chunk(NamedTuple):
    """One piece of the file. `place` is where it begins; `ended` is False without a final newline.

    `resume` is where reading must begin again to see this piece and all after it, if not at `place`.
    """

    kind: str
    data: bytes
    place: Place
    ended: bool = True
    resume: Place | None = None


_BOM = b"\xef\xbb\xbf"
_VALUE = (
    rb"(?:'[\x20-\x26\x28-\x7e]*'"
    rb'|"[\x20\x21\x23-\x5b\x5d-\x7e]*"'
    rb"|(?:[A-Za-z0-9_/.(]|-(?=[0-9]))"
    rb"(?:[\x20-\x22\x24-\x39\x3b-\x7e]|:(?=[\x21-\x7e])|(?<=[\x21-\x7e])#)*)"
)
_FIELD = rb"[A-Za-z_][A-Za-z0-9_]*: " + _VALUE + rb"\n"
_KEYS = rb"(?:timestamp|id|event_type|event|type)"

_STRONG = re.compile(rb"-[ \t]+[\"']?" + _KEYS + rb"[\"']?:(?:\s|$)")
_STRONG_TIME = re.compile(rb"-[ \t]+[\"']?timestamp[\"']?:\s+[\"']?\d")
_TOP_KEY = re.compile(rb"([\"']?)([A-Za-z_][\w .-]*)\1\s*:(?:\s+(.*))?$", re.DOTALL)
_DOCUMENT = re.compile(rb"(?:---|\.\.\.)(?:\s|$)")


def simple_record(indent: int) -> re.Pattern[bytes]:
    """Return the pattern of a flat record that needs no YAML parser, at *indent*, up to the next dash.

    It admits one line per field, printable ASCII, and values that YAML takes as they stand, so that
    `values.simple_fields` can read it exactly as YAML would and many times faster.
    """
    margin = b" " * indent
    return re.compile(
        margin + rb"- (?=" + _KEYS + rb":)" + _FIELD
        + rb"(?:" + margin + rb"  " + _FIELD + rb")*"
        + rb"(?:[ ]*\n)*(?=" + margin + rb"- )",
    )  # fmt: skip


@dataclass(slots=True)
class Lines:
    """The file's bytes from `offset` on, a buffer at a time."""

    stream: Readable
    line_max: int
    data: bytes = b""
    at: int = 0
    ended: bool = False

    def fill(self) -> bool:
        """Read on; False at the end of the file."""
        more = self.stream.read(READ_BYTES)
        self.data = self.data[self.at :] + more
        self.at = 0
        self.ended = not more
        return bool(more)

    def line(self) -> tuple[bytes, int]:
        """Return the next line and its length in the file; an overlong one is cut to `line_max`."""
        while True:
            end = self.data.find(b"\n", self.at)
            if end >= 0:
                line = self.data[self.at : end + 1]
                self.at = end + 1
                return line[: self.line_max], len(line)
            if len(self.data) - self.at > self.line_max:
                return self._overlong()
            if not self.fill():
                line = self.data[self.at :]
                self.at = len(self.data)
                return line, len(line)

    def _overlong(self) -> tuple[bytes, int]:
        start, length = self.data[self.at : self.at + self.line_max], 0
        while (end := self.data.find(b"\n", self.at)) < 0:
            length += len(self.data) - self.at
            self.at = len(self.data)
            if not self.fill():
                return start, length
        length += end + 1 - self.at
        self.at = end + 1
        return start, length


class Scanner:
    """Yields the chunks of one file from *start* on; see the module. Use once."""

    def __init__(self, stream: Readable, start: Place, record_bytes_max: int) -> None:
        self._buffer = Lines(stream, record_bytes_max * FLOW_FACTOR + 1)
        self._max = record_bytes_max
        self._place = start
        self._held: list[bytes] = []
        self._held_place = start
        self._held_kind = RECORD
        self._held_size = 0
        self._quote = OpenQuote()
        self._opener = False
        self._foreign = False
        self._nested = -1
        self._previous = b""
        self._ended = True

    def __iter__(self) -> Iterator[Chunk]:
        simple = None
        while True:
            if self._place.section == EVENTS and self._place.indent >= 0:
                simple = simple or simple_record(self._place.indent)
                yield from self._simple(simple)
            indent = self._place.indent
            line, length = self._buffer.line()
            if not length:
                break
            yield from self._take(line, length)
            if self._place.indent != indent:
                simple = None
        yield from self._flush(ended=self._ended)

    def _simple(self, pattern: re.Pattern[bytes]) -> Iterator[Chunk]:
        """Yield simple records as long as they follow one another."""
        buffer, place = self._buffer, self._place
        offset, line, indent, section = place
        while (found := pattern.match(buffer.data, buffer.at)) and found.end() - buffer.at <= self._max:
            if self._held:
                yield from self._flush()
            data = found.group()
            yield Chunk(SIMPLE, data, Place(offset, line, indent, section))
            buffer.at = found.end()
            offset += len(data)
            line += data.count(b"\n")
            self._place = Place(offset, line, indent, section)
            if len(buffer.data) - buffer.at < self._max and not buffer.ended:
                buffer.fill()

    def _take(self, line: bytes, length: int) -> Iterator[Chunk]:
        offset, number, _, _ = self._place
        if offset == 0:
            line = line.removeprefix(_BOM)
        self._ended = line.endswith(b"\n")
        stripped = line.strip()
        if not stripped or (stripped.startswith(b"#") and not self._quote.is_open):
            self._hold_more(line)
        else:
            yield from self._content(line, stripped)
            self._previous = stripped
        self._place = self._place._replace(offset=offset + length, line=number + 1)

    def _content(self, line: bytes, stripped: bytes) -> Iterator[Chunk]:
        lead = len(line) - len(line.lstrip(b" "))
        dash = stripped == b"-" or stripped[:2] in {b"- ", b"-\t"}
        if dash and self._starts_record(lead, stripped):
            yield from self._flush()
            self._place = self._place._replace(indent=lead, section=EVENTS)
            self._begin(RECORD, line)
        elif lead == 0 and not dash and self._starts_section(stripped):
            yield from self._flush()
            self._start_section(line, stripped)
        elif self._held:
            self._hold_more(line)
        elif self._place.section == OTHER:
            self._note_nesting(lead, dash=dash)
        elif self._place.section == TOP and stripped[:1] in {b"[", b"{"}:
            self._begin(FLOW, line)
        else:
            yield Chunk(GARBAGE, line, self._place)

    def _starts_record(self, lead: int, stripped: bytes) -> bool:
        place = self._place
        if self._held and self._held_kind == FLOW:
            return lead == 0 and _STRONG_TIME.match(stripped) is not None
        if place.section == OTHER:
            return self._starts_stray_record(lead, stripped)
        if place.indent < 0:
            return True
        if lead > place.indent:
            return False
        strong = _STRONG_TIME if self._quote.raw else _STRONG
        return not self._quote.is_open or strong.match(stripped) is not None

    def _starts_stray_record(self, lead: int, stripped: bytes) -> bool:
        """Return whether a dash after another section is a record that somebody appended there.

        `metadata:` is a footer in some versions of the file, and scripts append after it. A list that
        belongs to the section (`event_types:`, or one nested in it) is not one of records.
        """
        timed = _STRONG_TIME.match(stripped) is not None
        if lead == 0:
            return timed or not self._opener
        return timed and not (0 <= self._nested <= lead or self._previous.endswith(b":"))

    def _note_nesting(self, lead: int, *, dash: bool) -> None:
        if dash and self._previous.endswith(b":"):
            self._nested = lead
        elif lead < self._nested:
            self._nested = -1
        if dash and lead == 0:
            self._foreign = True
        elif lead > 0 and not self._foreign:
            self._opener = False

    def _starts_section(self, stripped: bytes) -> bool:
        if self._quote.is_open and (self._quote.raw or not _DOCUMENT.match(stripped)):
            return False
        return _DOCUMENT.match(stripped) is not None or _TOP_KEY.match(stripped) is not None

    def _start_section(self, line: bytes, stripped: bytes) -> None:
        self._nested, self._foreign = -1, False
        self._place = self._place._replace(section=TOP, indent=-1)
        key = None if _DOCUMENT.match(stripped) else _TOP_KEY.match(stripped)
        if key is None:
            return
        value = (key.group(3) or b"").split(b" #")[0].strip()
        self._opener = not value
        if not key.group(2).lower().endswith(b"events"):
            self._place = self._place._replace(section=OTHER)
        elif value[:1] in {b"[", b"{"} and value not in {b"[]", b"{}"}:
            self._begin(FLOW, line)
        else:
            self._place = self._place._replace(section=EVENTS)

    def _begin(self, kind: str, line: bytes) -> None:
        self._held, self._held_kind, self._held_place = [line], kind, self._place
        self._held_size = len(line)
        self._quote.begin(line)

    def _hold_more(self, line: bytes) -> None:
        if not self._held:
            return
        self._held_size += len(line)
        if self._held_size <= self._limit():
            self._held.append(line)
            self._quote.more(line)
        else:
            self._quote.forget()

    def _limit(self) -> int:
        return self._max * FLOW_FACTOR if self._held_kind == FLOW else self._max

    def _flush(self, *, ended: bool = True) -> Iterator[Chunk]:
        if self._held:
            kind = self._held_kind if self._held_size <= self._limit() else TOO_LONG
            yield Chunk(kind, b"".join(self._held), self._held_place, ended)
            self._held = []
            self._quote.forget()
