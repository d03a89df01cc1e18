"""One record's text to its fields: as YAML has it, or, where it is not YAML, as a reader would."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from ralf_hub.workspace.loading import UnreadableError, load_yaml, parts
from ralf_hub.workspace.scalars import pair

CACHE_FIELDS_MAX: Final = 8192
DAMAGED_LINES_MAX: Final = 2000
FLOW_CHARACTERS_MAX: Final = 256 * 1024

_RESOLVER = yaml.SafeLoader("")
_WORDS = frozenset({"y", "n", "yes", "no", "true", "false", "on", "off", "null"})
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_SIMPLE_FIELD = re.compile(rb"([A-Za-z_][A-Za-z0-9_]*): ([^\n]*)\n")
_JSON = json.JSONDecoder()
_LIST_BEGIN = re.compile(r"\s*(?:\{\s*)?(?:\"?events\"?\s*:\s*)?\[")
_GAP = re.compile(r"[\s,]*")
_STRING_TAG = "tag:yaml.org,2002:str"
_KEY_LINE = re.compile(
    r"(?P<lead>[ ]*(?:-[ \t]+)?)(?P<quote>[\"']?)(?P<key>[A-Za-z_][\w-]*)(?P=quote):(?:[ \t]+|$)"
)
_STRAY = re.compile(r"^[ \t]+-[ \t]+[\"']?timestamp[\"']?:[ \t]+\S", re.MULTILINE)

Fields = dict[str, object]
_Field = tuple[str, object, bytes]


@dataclass(frozen=True, slots=True)
class Piece:
    """One record read: its fields, the line it began at and the lines that were not YAML (from 0)."""

    fields: Fields
    line: int = 0
    damage: tuple[tuple[int, str], ...] = ()


# --- the fast way ---------------------------------------------------------------------------------


class SimpleReader:
    """Reads the records that `chunks.simple_record` lets through; fields seen before cost a lookup."""

    def __init__(self) -> None:
        self._fields: dict[tuple[bytes, bytes], _Field | None] = {}

    def fields(self, data: bytes) -> tuple[Fields, list[bytes]] | None:
        """Return the fields of *data* and their canonical forms, or None if it is not so simple."""
        fields: Fields = {}
        pairs = []
        known = self._fields
        for text in _SIMPLE_FIELD.findall(data):
            if text in known:
                field = known[text]
            else:
                field = _simple_field(*text)
                if len(known) >= CACHE_FIELDS_MAX:
                    known.clear()
                known[text] = field
            if field is None:
                return None
            fields[field[0]] = field[1]
            pairs.append(field[2])
        return (fields, pairs) if len(pairs) == len(fields) else None


def _simple_field(key: bytes, text: bytes) -> _Field | None:
    name, value_text = key.decode("ascii"), text.decode("ascii").strip()
    if not value_text or name.lower() in _WORDS:
        return None
    value: object = value_text[1:-1] if value_text[0] in "'\"" else plain_scalar(value_text)
    return name, value, pair(name, value)


def plain_scalar(text: str) -> object:
    """Return what YAML makes of the unquoted *text*: a number, a time, a truth value, or itself."""
    if text[0].isalpha():
        return load_yaml(text) if text.lower() in _WORDS else text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == _STRING_TAG:  # type: ignore[no-untyped-call]
        return text
    try:
        return load_yaml(text)
    except UnreadableError:
        return text


# --- YAML -----------------------------------------------------------------------------------------


def record_pieces(text: str) -> Iterator[Piece]:
    """Yield the record in *text*, the text of one list item with its dash.

    More than one comes out where another record was appended inside it. Raises UnreadableError when
    there is no mapping in it at all.
    """
    try:
        fields = mapping(load_yaml(text))
    except UnreadableError as error:
        stray, whole = _STRAY.search(text), error
    else:
        yield Piece(fields)
        return
    if stray is not None and stray.start() > 0 and not text[: stray.start()].rstrip().endswith(":"):
        try:
            head = mapping(load_yaml(text[: stray.start()]))
        except UnreadableError:  # not a record of its own: the line may be part of a quoted text
            pass
        else:
            line = text.count("\n", 0, stray.start())
            yield Piece(head)
            for piece in record_pieces(text[stray.start() :]):
                yield Piece(
                    piece.fields, piece.line + line, tuple((n + line, why) for n, why in piece.damage)
                )
            return
    yield _by_line(text, whole)


def mapping(loaded: object) -> Fields:
    """Return *loaded*, or the one item in it, as named fields; UnreadableError when it is no mapping."""
    item = loaded[0] if isinstance(loaded, list) and len(loaded) == 1 else loaded
    if not isinstance(item, dict):
        raise UnreadableError("not a mapping of fields")
    return {str(key): value for key, value in item.items()}


def flow_records(text: str) -> Iterator[tuple[int, Fields | None]]:
    """Yield (line from 0, fields) for each record of a list written in one piece, as JSON is.

    Fields is None for an item that is no mapping. Raises UnreadableError.
    """
    begin = _LIST_BEGIN.match(text)
    items = list(_json_items(text, begin.end())) if begin else []
    if not items:
        items = list(_flow_items(text))
    for line, item in items:
        yield line, {str(k): v for k, v in item.items()} if isinstance(item, dict) else None


def _json_items(text: str, at: int) -> Iterator[tuple[int, object]]:
    """Yield (line, item) of the JSON list that begins before *at*; nothing if it is not wholly JSON."""
    items: list[tuple[int, object]] = []
    line, counted = 0, 0
    while not text.startswith("]", at := _GAP.match(text, at).end()):  # type: ignore[union-attr]  # it matches nothing too
        line, counted = line + text.count("\n", counted, at), at
        try:
            item, at = _JSON.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        items.append((line, item))
    yield from items


def _flow_items(text: str) -> Iterator[tuple[int, object]]:
    if len(text) > FLOW_CHARACTERS_MAX:  # one call into the parser, which nothing can interrupt
        raise UnreadableError(f"a list that is not JSON and longer than {FLOW_CHARACTERS_MAX} characters")
    loaded = load_yaml(text)
    if isinstance(loaded, dict):
        loaded = next(
            (v for k, v in loaded.items() if str(k).endswith("events") and isinstance(v, list)), [loaded]
        )
    if not isinstance(loaded, list):
        raise UnreadableError("not a list of records")
    yield from zip(_item_lines(text, len(loaded)), loaded, strict=True)


def _item_lines(text: str, count: int) -> list[int]:
    """Return the line of each of the *count* items, from the parser's own marks."""
    starts, depth = [], 0
    list_depth: int | None = None
    for event in parts(text):
        if list_depth is not None and depth == list_depth and not isinstance(event, yaml.CollectionEndEvent):
            starts.append(event.start_mark.line if event.start_mark else 0)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if list_depth is None and isinstance(event, yaml.SequenceStartEvent):
                list_depth = depth
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            if list_depth is not None and depth < list_depth:
                break
    return starts if len(starts) == count else [0] * count


# --- what is not YAML -----------------------------------------------------------------------------


def _by_line(text: str, whole: UnreadableError) -> Piece:
    """Return the record field by field, so that one bad value costs the others nothing.

    The first of two fields with one name counts: a later one may be a line of a text.
    """
    lines = text.split("\n", DAMAGED_LINES_MAX)
    first = _KEY_LINE.match(lines[0])
    if first is None:
        raise whole
    column = len(first["lead"])
    fields: Fields = {}
    damage = []
    if len(lines) > DAMAGED_LINES_MAX:
        damage.append(
            (DAMAGED_LINES_MAX, f"not YAML and longer than {DAMAGED_LINES_MAX} lines; the rest is left out")
        )
        lines.pop()
    for start, end in _segments(lines, column):
        found = _KEY_LINE.match(lines[start])
        if found is None or len(found["lead"]) != column:
            damage.append((start, "not a field; left out"))
            continue
        segment = [" " * column + lines[start][column:], *lines[start + 1 : end]]
        try:
            read = mapping(load_yaml("\n".join(segment)))
        except UnreadableError as error:
            read = {found["key"]: _as_written(segment, found.end())}
            damage.append((start + error.line, f"{error}; taken as written"))
        fields |= {key: value for key, value in read.items() if key not in fields}
    return Piece(fields, 0, tuple(damage or [(whole.line, f"{whole}; read line by line")]))


def _segments(lines: list[str], column: int) -> Iterator[tuple[int, int]]:
    """Yield (first line, line after the last) of each field, and of each run of lines that are of none."""
    start = 0
    while start < len(lines):
        stray = start > 0 and _is_stray(lines[start], column)
        at = start + 1 if stray else _quoted_until(lines, start, column)
        while (
            at < len(lines)
            and not _is_field(lines[at], column)
            and (stray or not _is_stray(lines[at], column))
        ):
            at += 1
        yield start, at
        start = at


def _is_field(line: str, column: int) -> bool:
    found = _KEY_LINE.match(line)
    return found is not None and len(found["lead"]) == column and "-" not in found["lead"]


def _is_stray(line: str, column: int) -> bool:
    """Return whether *line* stands further left than the record's fields: text that belongs to none."""
    return bool(line.strip()) and len(line) - len(line.lstrip()) < column


def _quoted_until(lines: list[str], start: int, column: int) -> int:
    """Return the line after the one that closes the quote begun at *start*; the next if none does.

    As in `quotes`: a quote at the end of a line closes the text if a field or nothing follows. Where
    that is nowhere the last such quote does. A field ends the search, unless the text is raw.
    """
    found = _KEY_LINE.match(lines[start])
    value = lines[start][found.end() :] if found else ""
    mark = value[:1]
    if mark not in {"'", '"'} or (len(value.rstrip()) > 1 and value.rstrip().endswith(mark)):
        return start + 1
    last, raw = start, False
    for at in range(start + 1, len(lines)):
        raw = raw or _is_stray(lines[at], column)
        if not raw and _is_field(lines[at], column):
            break
        if lines[at].rstrip().endswith(mark):
            last = at
            after = next((line for line in lines[at + 1 :] if line.strip()), None)
            if after is None or _is_field(after, column):
                break
    return last + 1


def _as_written(segment: list[str], value_at: int) -> str:
    """Return a value that is not YAML as a person would read it: without its quotes, lines joined."""
    lines = [segment[0][value_at:].strip(), *(line.strip() for line in segment[1:])]
    mark = lines[0][:1]
    if mark in {'"', "'"}:
        body = "\n".join(lines).rstrip()[1:]
        return body[:-1] if body.endswith(mark) else body
    return " ".join(line for line in lines if line)
