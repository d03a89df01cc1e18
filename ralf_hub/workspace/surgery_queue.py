"""Changing queue.yaml by cutting text: entries are added in the shape of their neighbours, fields get other values.

RALF's scripts read the file with `awk`, line by line: `  - task_id: ID`, then `    status: pending`. So an entry is
indented, quoted and ordered as the entries around it are.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ralf_hub.workspace.surgery_text import (
    SurgeryError,
    bare,
    end_of,
    lines_with_ends,
    newline_of,
    plain_value,
    scalar,
    split_value,
)

LISTS: Final = ("tasks", "queue")
"""The sections that new entries may go to."""
IDS: Final = ("task_id", "id")

_TOP_KEY = re.compile(r"([A-Za-z_][\w-]*):(?:[ \t]+(.*))?$")
_DOCUMENT = re.compile(r"(?:---|\.\.\.)(?:\s|$)")
_DASH = re.compile(r"([ ]*)-(?:([ \t]+)(.*))?$")
_FIELD = re.compile(r"(?P<mark>[\"']?)(?P<key>[A-Za-z_][\w-]*)(?P=mark)[ ]*:(?P<gap>[ \t]+|$)(?P<raw>.*)$")
_NOTHING = frozenset({"", "[]", "null", "~", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Span:
    """One field of an item: its lines, and the text of its value on the first of them."""

    start: int
    end: int
    raw: str


@dataclass(frozen=True, slots=True)
class Item:
    """One entry: its lines, the column of its dash and that of its keys, and its fields."""

    section: str
    start: int
    end: int
    indent: int
    column: int
    fields: Mapping[str, Span]

    @property
    def id(self) -> str:
        """The task it is about; empty where it names none."""
        found = next((self.fields[key] for key in IDS if key in self.fields), None)
        return "" if found is None else plain_value(found.raw)

    def text(self, key: str) -> str:
        """Return what a field says on its first line, without quotes; empty where there is none."""
        found = self.fields.get(key)
        return "" if found is None else plain_value(found.raw)


@dataclass(frozen=True, slots=True)
class Section:
    """One top-level key: its line and the text after its colon."""

    name: str
    line: int
    raw: str


class QueueText:
    """The text of a queue.yaml, cut into sections and entries by indentation alone, valid YAML or not."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = newline_of(text)
        self.lines = lines_with_ends(text)
        self.sections: dict[str, Section] = {}
        self.items: list[Item] = []
        self._cut()

    def _cut(self) -> None:
        section, indent, start = "", -1, -1
        for number, line in enumerate(self.lines):
            shown = bare(line).removeprefix("\ufeff") if number == 0 else bare(line)
            key, dash = _TOP_KEY.match(shown), _DASH.match(shown)
            begins = dash is not None and (indent < 0 or len(dash[1]) <= indent)
            if (key or begins or _DOCUMENT.match(shown)) and start >= 0:
                self.items.append(self._item(section, start, number))
                start = -1
            if key:
                section, indent = key[1], -1
                self.sections.setdefault(section, Section(section, number, split_value(key[2] or "")[0]))
            elif begins and dash is not None:
                indent, start = len(dash[1]), number
            elif _DOCUMENT.match(shown):
                section, indent = "", -1
        if start >= 0:
            self.items.append(self._item(section, start, len(self.lines)))

    def _item(self, section: str, start: int, end: int) -> Item:
        dash = _DASH.match(bare(self.lines[start]).removeprefix("\ufeff"))
        indent = len(dash[1]) if dash else 0
        while end > start + 1 and _is_between(bare(self.lines[end - 1]), indent):
            end -= 1
        first = bool(dash and dash[3])
        column = indent + 1 + len(dash[2]) if dash and first else self._column(start + 1, end, indent)
        return Item(section, start, end, indent, column, dict(self._fields(start, end, column, first=first)))

    def _column(self, start: int, end: int, indent: int) -> int:
        found = (line for line in self.lines[start:end] if line.strip() and not line.lstrip().startswith("#"))
        line = next(found, None)
        return indent + 2 if line is None else len(line) - len(line.lstrip(" "))

    def _fields(self, start: int, end: int, column: int, *, first: bool) -> Iterator[tuple[str, Span]]:
        keys: list[tuple[int, str, str]] = []
        for number in range(start, end):
            line = bare(self.lines[number])
            is_key_line = first if number == start else line[:column].strip() == "" and len(line) > column
            found = _FIELD.match(line[column:]) if is_key_line and line[column : column + 1] != " " else None
            if found:
                keys.append((number, found["key"], found["raw"]))
        known: set[str] = set()
        ends = [*(number for number, _, _ in keys[1:]), end] if keys else []
        for (number, key, raw), following in zip(keys, ends, strict=True):
            last = following
            while last > number + 1 and _is_between(bare(self.lines[last - 1]), column):
                last -= 1
            if key not in known:
                known.add(key)
                yield key, Span(number, last, raw)

    # --- looking ----------------------------------------------------------------------------------

    def find(self, task_id: str) -> Item | None:
        """Return the first entry of the task, or None."""
        return next((item for item in self.items if item.id == task_id), None)

    def of(self, section: str) -> list[Item]:
        """Return the entries of one section that name a task."""
        return [item for item in self.items if item.section == section and item.id]

    def target(self) -> str | None:
        """Return the section new entries go to; empty for a list without a key, None where there is no place."""
        for name in LISTS:
            if name in self.sections and (self.of(name) or self._is_empty(name)):
                return name
        return "" if self.of("") else None

    def _is_empty(self, name: str) -> bool:
        return self.sections[name].raw in _NOTHING and not any(i.section == name for i in self.items)

    @property
    def is_blank(self) -> bool:
        """Whether nothing but comments stands in it."""
        shown = (bare(line).removeprefix("\ufeff").strip() for line in self.lines)
        return all(not line or line.startswith("#") or line == "---" for line in shown)

    # --- cutting ----------------------------------------------------------------------------------

    def insert(self, at: int, entry: Sequence[str]) -> str:
        """Return the text with *entry*, lines without ends, put before line *at*."""
        before, after = "".join(self.lines[:at]), "".join(self.lines[at:])
        if before and not before.endswith("\n"):
            return before + self.newline + self.newline.join(entry)
        return before + "".join(line + self.newline for line in entry) + after

    def opened(self, name: str) -> "QueueText":
        """Return the text with the empty list of section *name* made ready for entries: `tasks: []` is `tasks:`."""
        section = self.sections[name]
        if not section.raw:
            return self
        line = self.lines[section.line]
        head, _, tail = line.partition(":")
        _, rest = split_value(bare(tail).lstrip())
        self.lines[section.line] = f"{head}:{rest if rest.strip() else ''}{end_of(line)}"
        return QueueText("".join(self.lines))

    def after_head(self, name: str) -> int:
        """Return the line at which the first entry of the empty section *name* belongs."""
        return self.sections[name].line + 1

    def changed(self, item: Item, changes: Sequence[tuple[str, str]]) -> str:
        """Return the text with fields of *item* set: those it has in their place, others below its status."""
        if not item.fields:
            raise SurgeryError(f"the entry of {item.id} is written in braces")
        lines = list(self.lines)
        added: list[tuple[str, str]] = []
        edits: list[tuple[Span, str, str]] = []
        for key, value in changes:
            if key in item.fields:
                edits.append((item.fields[key], key, value))
            else:
                added.append((key, value))
        anchor = item.fields.get("status") or max(item.fields.values(), key=lambda span: span.end)
        new_lines = [f"{' ' * item.column}{key}: {value}" for key, value in added]
        cuts = [(span.start, span.end, [self._with_value(span, value)]) for span, _, value in edits]
        if new_lines:
            cuts.append((anchor.end, anchor.end, new_lines))
        for start, end, put in sorted(cuts, key=lambda cut: (cut[0], cut[1]), reverse=True):
            last = end_of(lines[end - 1]) if end else self.newline
            if start == end and not last:  # after a last line without an end
                lines[end - 1] += self.newline
                lines[start:end] = [*(line + self.newline for line in put[:-1]), put[-1]]
            elif start == end:
                lines[start:end] = [line + self.newline for line in put]
            else:
                lines[start:end] = [put[0] + last]
        return "".join(lines)

    def _with_value(self, span: Span, value: str) -> str:
        """Return the first line of a field with another value: what stands before it and its comment stay."""
        line = bare(self.lines[span.start])
        head = line[: len(line) - len(span.raw)]
        head = head if head.endswith((" ", "\t")) else f"{head} "
        old, rest = split_value(span.raw)
        is_single = span.end == span.start + 1 and old[:1] not in {"|", ">"}
        return head + value + (rest if is_single else "")


def _is_between(line: str, indent: int) -> bool:
    """Return whether *line* is blank, or a comment that belongs to nothing deeper than *indent*."""
    stripped = line.lstrip(" ")
    return not stripped.strip() or (stripped.startswith("#") and len(line) - len(stripped) <= indent)


def field_value(text: str, like: Span | None) -> str:
    """Return *text* quoted as the field *like*, which has another value."""
    return scalar(text, "" if like is None else like.raw)
