"""The head of a Markdown file as RALF writes it: YAML front matter, a heading, bold keys, sections."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ralf_hub.workspace.loading import UnreadableError, load_yaml
from ralf_hub.workspace.values import mapping

SECTION_CHARACTERS_MAX: Final = 8000
HEADING_CHARACTERS_MAX: Final = 500

_HEADING = re.compile(r"#[ \t]+(.*)")
_SECTION = re.compile(r"#{2,6}[ \t]+(.*)")
_BOLD = re.compile(r"(?:[-*][ \t]+)?\*\*([A-Za-z][\w /()-]{0,40}?):?\*\*:?[ \t]*(.*)")
_BULLET = re.compile(r"[ \t]*[-*][ \t]+(.*)")
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")
_PLAIN_KEY = re.compile(r"([A-Za-z_][\w-]*):[ \t]*(.*)")


@dataclass(frozen=True, slots=True)
class Field:
    """One key of the head: its text, its line, and the bullets that follow it."""

    text: object
    line: int
    bullets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before and in the sections of one file. Keys are lower case with `_`."""

    heading: str
    fields: Mapping[str, Field]
    sections: Mapping[str, str]
    damage: tuple[tuple[int, str], ...] = ()

    def text(self, *keys: str) -> object:
        """Return the first of *keys* that the head has, or None."""
        return next((self.fields[key].text for key in keys if key in self.fields), None)

    def values(self, *keys: str) -> list[object]:
        """Return the texts and bullets of all *keys*."""
        found: list[object] = []
        for key in keys:
            if key in self.fields:
                found += [self.fields[key].text, *self.fields[key].bullets]
        return found


def lines_of(text: str) -> list[str]:
    """Return the lines of *text*, counted as editors count them."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")


def key_name(text: str) -> str:
    """Return *text* as the name of a field: `Estimated Effort` is `estimated_effort`."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def read_head(text: str) -> Head:
    """Return the head of *text*. Never fails: what cannot be read is in `damage` with its line (from 1)."""
    lines = lines_of(text)
    fields, start, damage = _front_matter(lines)
    heading = ""
    section: str | None = None
    sections: dict[str, list[str]] = {}
    fenced = False
    for number in range(start, len(lines)):
        line = lines[number]
        if _FENCE.match(line):
            fenced = not fenced
        found = None if fenced else _HEADING.match(line)
        if found and not heading:
            heading = found[1].strip()[:HEADING_CHARACTERS_MAX]
            continue
        found = None if fenced else _SECTION.match(line)
        if found:
            section = key_name(found[1])
            sections.setdefault(section, [])
            continue
        if section is None and not fenced:
            _bold_key(lines, number, fields)
        sections.setdefault(section or "", []).append(line)
    return Head(heading, fields, {name: _joined(body) for name, body in sections.items()}, damage)


def _bold_key(lines: list[str], number: int, fields: dict[str, Field]) -> None:
    found = _BOLD.match(lines[number])
    if found is None:
        return
    name = key_name(found[1])
    if name and name not in fields:
        bullets = []
        for line in lines[number + 1 :]:
            bullet = _BULLET.match(line)
            if bullet is None or _BOLD.match(line):
                break
            bullets.append(bullet[1])
        fields[name] = Field(found[2].strip(), number + 1, tuple(bullets))


def _front_matter(lines: list[str]) -> tuple[dict[str, Field], int, tuple[tuple[int, str], ...]]:
    """Return the fields of the front matter, the line after it, and what could not be read."""
    if not lines or lines[0].rstrip() != "---":
        return {}, 0, ()
    end = next((n for n in range(1, len(lines)) if lines[n].rstrip() == "---"), 0)
    if not end:
        return {}, 0, ((1, "front matter without an end; read as text"),)
    body = lines[1:end]
    at = {key_name(m[1]): n + 2 for n, line in enumerate(body) if (m := _PLAIN_KEY.match(line))}
    try:
        loaded = mapping(load_yaml("\n".join(body)))
        fields = {key_name(k): Field(v, at.get(key_name(k), 1)) for k, v in loaded.items()}
    except UnreadableError as error:
        fields = {
            key_name(m[1]): Field(m[2].strip().strip("\"'"), n + 2)
            for n, line in enumerate(body)
            if (m := _PLAIN_KEY.match(line))
        }
        return fields, end + 1, ((error.line + 2, f"front matter is not YAML ({error}); read line by line"),)
    return fields, end + 1, ()


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).strip().removesuffix("---").strip()[:SECTION_CHARACTERS_MAX]
