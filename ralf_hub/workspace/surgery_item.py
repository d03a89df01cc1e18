"""One entry of queue.yaml as text: where its fields stand in it, and what they say."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from ralf_hub.workspace import words
from ralf_hub.workspace.queue import ITEMS_KEPT_MAX
from ralf_hub.workspace.surgery_text import bare, plain_value, scalar, split_value

IDS: Final = ("task_id", "id")

_DASH = re.compile(r"([ ]*)-(?:([ \t]+)(.*))?$")
_FIELD = re.compile(r"(?P<mark>[\"']?)(?P<key>[A-Za-z_][\w-]*)(?P=mark)[ ]*:(?P<gap>[ \t]+|$)(?P<raw>.*)$")


@dataclass(frozen=True, slots=True)
class Span:
    """One field of an entry: its lines, counted from the entry's first, and the text of its value on the first."""

    start: int
    end: int
    raw: str


@dataclass(frozen=True, eq=False)
class Item:
    """One entry: its lines with their ends, the column of its dash and that of its keys, and its fields.

    The same text is the same object, so that what was found in it once need not be looked for again.
    """

    section: str
    lines: tuple[str, ...]
    indent: int
    column: int
    fields: Mapping[str, Span]

    @cached_property
    def id(self) -> str:
        """The task it is about; empty where it names none."""
        found = next((self.fields[key] for key in IDS if key in self.fields), None)
        return "" if found is None else plain_value(found.raw)

    @cached_property
    def status(self) -> str | None:
        """How its task stands, in the hub's words."""
        return words.status(self.text("status"))

    @cached_property
    def priority(self) -> str | None:
        """Its task's priority, in the hub's words."""
        return words.priority(self.text("priority"))

    @cached_property
    def score(self) -> float | None:
        """Its task's score."""
        try:
            return float(self.text("priority_score"))
        except ValueError:
            return None

    def text(self, key: str) -> str:
        """Return what a field says on its first line, without quotes; empty where there is none."""
        found = self.fields.get(key)
        return "" if found is None else plain_value(found.raw)


def dash_indent(line: str) -> int | None:
    """Return how far the dash that begins *line* is indented; None where there is none."""
    dash = _DASH.match(line)
    return None if dash is None else len(dash[1])


@lru_cache(maxsize=ITEMS_KEPT_MAX)
def item_of(section: str, lines: tuple[str, ...]) -> Item:
    """Return the entry in *lines*, which have their ends, of *section*."""
    dash = _DASH.match(bare(lines[0]))
    indent = len(dash[1]) if dash else 0
    first = bool(dash and dash[3])
    column = indent + 1 + len(dash[2]) if dash and first else _column(lines, indent)
    return Item(section, lines, indent, column, dict(_fields(lines, column, first=first)))


def _column(lines: Sequence[str], indent: int) -> int:
    found = (line for line in lines[1:] if line.strip() and not line.lstrip().startswith("#"))
    line = next(found, None)
    return indent + 2 if line is None else len(line) - len(line.lstrip(" "))


def _fields(lines: Sequence[str], column: int, *, first: bool) -> Iterator[tuple[str, Span]]:
    keys: list[tuple[int, str, str]] = []
    for number, ended in enumerate(lines):
        line = bare(ended)
        is_key_line = first if number == 0 else line[:column].strip() == "" and len(line) > column
        found = _FIELD.match(line[column:]) if is_key_line and line[column : column + 1] != " " else None
        if found:
            keys.append((number, found["key"], found["raw"]))
    known: set[str] = set()
    ends = [*(number for number, _, _ in keys[1:]), len(lines)] if keys else []
    for (number, key, raw), following in zip(keys, ends, strict=True):
        last = following
        while last > number + 1 and is_between(bare(lines[last - 1]), column):
            last -= 1
        if key not in known:
            known.add(key)
            yield key, Span(number, last, raw)


def with_value(item: Item, span: Span, value: str) -> str:
    """Return the first line of a field with another value: what stands before it and its comment stay."""
    line = bare(item.lines[span.start])
    head = line[: len(line) - len(span.raw)]
    head = head if head.endswith((" ", "\t")) else f"{head} "
    old, rest = split_value(span.raw)
    is_single = span.end == span.start + 1 and old[:1] not in {"|", ">"}
    return head + value + (rest if is_single else "")


def is_between(line: str, indent: int) -> bool:
    """Return whether *line* is blank, or a comment that belongs to nothing deeper than *indent*."""
    stripped = line.lstrip(" ")
    return not stripped.strip() or (stripped.startswith("#") and len(line) - len(stripped) <= indent)


def field_value(text: str, like: Span | None) -> str:
    """Return *text* quoted as the field *like*, which has another value."""
    return scalar(text, "" if like is None else like.raw)
