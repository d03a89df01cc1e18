"""Cutting events.ldjson into objects: a log of one object a line, with pretty-printed ones in between."""

import json
from collections.abc import Generator, Iterator
from typing import Final

from ralf_hub.model import Json
from ralf_hub.workspace.chunks import GARBAGE, JSON, TOO_LONG, Chunk, Lines, Place, Readable
from ralf_hub.workspace.loading import UnreadableError

TRIES_MAX: Final = 100
"""How often the end of one object is looked for: each look decodes all of it."""

_DECODER = json.JSONDecoder()


def decode(text: str) -> Json:
    """Return the JSON value *text*; UnreadableError when it is none.

    The standard library's reader: it keeps integers of any length, which faster ones make floats of.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {getattr(error, 'msg', 'nested too deeply')}") from None


class JsonScanner:
    """Yields the objects of one file from *start* on, each a chunk. Use once.

    Several writers append at once, so a whole object may stand between the lines of another: a line
    that is an object by itself is taken out, and the open object goes on after it. A new open object
    in the first column means that the one before was never finished.
    """

    def __init__(self, stream: Readable, start: Place, record_bytes_max: int) -> None:
        self._lines = Lines(stream, record_bytes_max + 1)
        self._max = record_bytes_max
        self._place = start
        self._held: list[bytes] = []
        self._held_place = start
        self._size = 0
        self._depth = 0
        self._tries = 0
        self._ended = True

    def __iter__(self) -> Iterator[Chunk]:
        while True:
            line, length = self._lines.line()
            if not length:
                break
            self._ended = line.endswith(b"\n")
            if length > self._max:
                yield Chunk(TOO_LONG, b"", self._place)
            else:
                yield from self._take(line)
            offset, number, indent, section = self._place
            self._place = Place(offset + length, number + 1, indent, section)
        yield from self._give_up(ended=self._ended)

    def _take(self, line: bytes) -> Iterator[Chunk]:
        text = line.strip()
        if self._held and line[:1] not in {b"{", b"["}:
            self._hold(text)
            if self._depth <= 0 or line.startswith(b"}"):
                yield from self._close()
            return
        text = text.removeprefix(b"[").removesuffix(b"]").strip().rstrip(b",")
        if text.startswith(b"{"):
            rest = yield from self._whole(text, self._place)
            if rest.startswith(b"{"):
                yield from self._give_up()
                self._hold(rest)
            elif rest:
                yield Chunk(GARBAGE, rest, self._place, self._ended)
        elif text:
            yield Chunk(GARBAGE, line, self._place, self._ended)

    def _whole(self, text: bytes, place: Place) -> Generator[Chunk, None, bytes]:
        """Yield the objects that *text* begins with; return what is left of it."""
        rest = text.decode(errors="replace")
        if _is_json(rest):
            yield Chunk(JSON, text, place, self._ended, self._resume())
            return b""
        while rest.startswith("{"):
            try:
                _, end = _DECODER.raw_decode(rest)
            except (ValueError, RecursionError):
                break
            yield Chunk(JSON, rest[:end].encode(errors="replace"), place, self._ended, self._resume())
            rest = rest[end:].lstrip(" ,\t\n")
        return rest.encode(errors="replace")

    def _resume(self) -> Place | None:
        return self._held_place if self._held else None

    def _hold(self, text: bytes) -> None:
        if not self._held:
            self._held_place, self._size, self._depth, self._tries = self._place, 0, 0, 0
        self._size += len(text) + 1
        self._depth += text.count(b"{") - text.count(b"}")
        if self._size <= self._max:
            self._held.append(text)

    def _close(self) -> Iterator[Chunk]:
        """Yield the open object if it is whole now; the line that ends it may begin another."""
        text = b"\n".join(self._held)
        rest = yield from self._whole(text, self._held_place)
        self._tries += 1
        if rest == text and self._depth > 0 and self._tries < TRIES_MAX:
            return
        self._held = []
        if rest.startswith(b"{") and rest != text:
            self._hold(rest)
        elif rest.strip(b"]"):
            yield Chunk(GARBAGE, rest, self._held_place)

    def _give_up(self, *, ended: bool = True) -> Iterator[Chunk]:
        if self._held:
            kind = GARBAGE if self._size <= self._max else TOO_LONG
            yield Chunk(kind, b"\n".join(self._held), self._held_place, ended)
            self._held = []


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
