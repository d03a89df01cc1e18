"""Changing queue.yaml by cutting text: entries are added in the shape of their neighbours, fields get other values.

RALF's scripts read the file with `awk`, line by line: `  - task_id: ID`, then `    status: pending`. So an entry is
indented, quoted and ordered as the entries around it are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Final

from ralf_hub.workspace.surgery_item import Item, dash_indent, is_between, item_of, with_value
from ralf_hub.workspace.surgery_text import (
    SurgeryError,
    bare,
    end_of,
    lines_with_ends,
    newline_of,
    split_value,
)

LISTS: Final = ("tasks", "queue")
"""The sections that new entries may go to."""
BOM: Final = "\ufeff"

_TOP_KEY = re.compile(r"([A-Za-z_][\w-]*):(?:[ \t]+(.*))?$")
_DOCUMENT = re.compile(r"(?:---|\.\.\.)(?:\s|$)")
_NOTHING = frozenset({"", "[]", "null", "~", "Null", "NULL"})


@dataclass(eq=False, slots=True)
class Section:
    """One top-level key: its line with its end, and the text after its colon."""

    name: str
    line: str
    raw: str

    def say(self, value: str) -> None:
        """Put *value* in place of the one on its line; a comment after it stays."""
        head, _, tail = bare(self.line).partition(":")
        rest = split_value(tail.lstrip())[1]
        rest = rest if value or rest.strip() else ""
        self.line = f"{head}:{' ' if value else ''}{value}{rest}{end_of(self.line)}"
        self.raw = value


Block = Item | Section | str
"""What a file is cut into: entries, heads of sections, and every other line by itself."""


class QueueText:
    """The text of a queue.yaml, cut by indentation alone, valid YAML or not. It is changed in place.

    Cut once, changed as often as there are tasks to write: what one change costs does not grow with the file.
    """

    def __init__(self, text: str) -> None:
        self.newline = newline_of(text)
        self.sections: dict[str, Section] = {}
        self._mark = BOM if text.startswith(BOM) else ""
        self._blocks: list[Block] = []
        self._by_id: dict[str, Item] = {}
        self._cut(lines_with_ends(text.removeprefix(BOM)))

    @property
    def text(self) -> str:
        """The file as it is now."""
        pieces = [self._mark]
        for block in self._blocks:
            if isinstance(block, Item):
                pieces += block.lines
            else:
                pieces.append(block if isinstance(block, str) else block.line)
        return "".join(pieces)

    def _cut(self, lines: Sequence[str]) -> None:
        section, indent, start = "", -1, -1
        for number, line in enumerate(lines):
            shown = bare(line)
            key, dash = _TOP_KEY.match(shown), dash_indent(shown)
            begins = dash is not None and (indent < 0 or dash <= indent)
            if (key or begins or _DOCUMENT.match(shown)) and start >= 0:
                self._add(section, indent, lines[start:number])
                start = -1
            if key:
                section, indent = key[1], -1
                head = Section(section, line, split_value(key[2] or "")[0])
                self.sections.setdefault(section, head)
                self._blocks.append(head)
            elif begins and dash is not None:
                indent, start = dash, number
            elif start < 0:
                self._blocks.append(line)
                if _DOCUMENT.match(shown):
                    section, indent = "", -1
        if start >= 0:
            self._add(section, indent, lines[start:])

    def _add(self, section: str, indent: int, lines: Sequence[str]) -> None:
        """Add an entry, and what stands between it and the next one."""
        end = len(lines)
        while end > 1 and is_between(bare(lines[end - 1]), indent):
            end -= 1
        item = item_of(section, tuple(lines[:end]))
        self._by_id.setdefault(item.id, item)
        self._blocks += [item, *lines[end:]]

    # --- looking ----------------------------------------------------------------------------------

    def find(self, task_id: str) -> Item | None:
        """Return the first entry of the task, or None."""
        return self._by_id.get(task_id) if task_id else None

    @property
    def items(self) -> list[Item]:
        """All entries, in file order."""
        return [block for block in self._blocks if isinstance(block, Item)]

    def placed(self, section: str) -> list[tuple[int, Item]]:
        """Return the entries of one section that name a task, each with its position for `insert`."""
        return [
            (position, block)
            for position, block in enumerate(self._blocks)
            if isinstance(block, Item) and block.section == section and block.id
        ]

    def target(self) -> str | None:
        """Return the section new entries go to; empty for a list without a key, None where there is no place."""
        named: dict[str, bool] = {}
        for item in self.items:
            named[item.section] = named.get(item.section, False) or bool(item.id)
        for name in LISTS:
            if name in self.sections and (named[name] if name in named else self._is_empty(name)):
                return name
        return "" if named.get("") else None

    def _is_empty(self, name: str) -> bool:
        """Return whether a section without entries holds nothing else either."""
        section = self.sections[name]
        after = self._blocks[self._blocks.index(section) + 1 :]
        held = takewhile(lambda block: not isinstance(block, Section), after)
        return section.raw in _NOTHING and all(map(_says_nothing, held))

    @property
    def is_blank(self) -> bool:
        """Whether nothing but comments stands in it."""
        return all(map(_says_nothing, self._blocks))

    def is_airy(self, placed: Sequence[tuple[int, Item]]) -> bool:
        """Return whether blank lines, and nothing else, stand between all the entries in *placed*."""
        gaps = [self._blocks[before + 1 : after] for (before, _), (after, _) in pairwise(placed)]
        return bool(gaps) and all(gap and all(map(_is_blank, gap)) for gap in gaps)

    # --- cutting ----------------------------------------------------------------------------------

    def insert(self, position: int | None, section: str, entry: Sequence[str], *, blank: str = "") -> None:
        """Put *entry*, lines without ends, before the block at *position*; None: behind the last entry of *section*.

        *blank* says on which side a blank line goes: `before`, `after`, or nowhere.
        """
        at = self._behind(section) if position is None else position
        at_end = at == len(self._blocks)
        has_end = not at_end or self._end_line()
        lines = [line + self.newline for line in entry]
        if not has_end:  # as the file was without a final newline, it stays
            lines[-1] = entry[-1]
        item = item_of(section, tuple(lines))
        gap = [self.newline] if blank else []
        self._blocks[at:at] = [*(gap if blank == "before" else []), item, *(gap if blank == "after" else [])]
        self._by_id.setdefault(item.id, item)

    def _behind(self, section: str) -> int:
        placed = self.placed(section)
        if placed:
            return placed[-1][0] + 1
        return self._blocks.index(self.sections[section]) + 1

    def _end_line(self) -> bool:
        """See that the file's last line has an end; returns whether it had one."""
        if not self._blocks:
            return True
        last = self._blocks[-1]
        lines = last.lines if isinstance(last, Item) else (last if isinstance(last, str) else last.line,)
        if end_of(lines[-1]):
            return True
        if isinstance(last, Item):
            self._put(len(self._blocks) - 1, last, (*lines[:-1], lines[-1] + self.newline))
        elif isinstance(last, str):
            self._blocks[-1] = last + self.newline
        else:
            last.line += self.newline
        return False

    def open(self, name: str) -> None:
        """Make section *name* ready for entries: `tasks: []` is `tasks:`; at the end of the file where there is none."""
        section = self.sections.get(name)
        if section is None:
            self._end_line()
            section = self.sections[name] = Section(name, f"{name}:{self.newline}", "")
            self._blocks.append(section)
        elif section.raw:
            section.say("")

    def change(self, item: Item, changes: Sequence[tuple[str, str]]) -> None:
        """Set fields of *item*: those it has in their place, others below its status."""
        if not item.fields:
            raise SurgeryError(f"the entry of {item.id} is written in braces")
        lines = list(item.lines)
        added = [f"{' ' * item.column}{key}: {value}" for key, value in changes if key not in item.fields]
        cuts = [
            (item.fields[key].start, item.fields[key].end, [with_value(item, item.fields[key], value)])
            for key, value in changes
            if key in item.fields
        ]
        if added:
            anchor = item.fields.get("status") or max(item.fields.values(), key=lambda span: span.end)
            cuts.append((anchor.end, anchor.end, added))
        for start, end, put in sorted(cuts, key=lambda cut: (cut[0], cut[1]), reverse=True):
            last = end_of(lines[end - 1])
            if start == end and not last:  # after a last line without an end
                lines[end - 1] += self.newline
                lines[start:end] = [*(line + self.newline for line in put[:-1]), put[-1]]
            elif start == end:
                lines[start:end] = [line + self.newline for line in put]
            else:
                lines[start:end] = [put[0] + last]
        self._put(self._blocks.index(item), item, tuple(lines))

    def _put(self, position: int, item: Item, lines: tuple[str, ...]) -> None:
        """Put *lines* in place of those of *item*."""
        changed = item_of(item.section, lines)
        self._blocks[position] = changed
        if self._by_id.get(item.id) is item:
            self._by_id[item.id] = changed


def _is_blank(block: Block) -> bool:
    return isinstance(block, str) and not block.strip()


def _says_nothing(block: Block) -> bool:
    """Return whether *block* is blank, a comment, or the mark between documents."""
    return isinstance(block, str) and (
        _is_blank(block) or block.lstrip().startswith("#") or bare(block) == "---"
    )
