"""Records as RALF's scripts append them to events.yaml: by `cat >>`, a few plain fields, never by rewriting the file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from ralf_hub.workspace.events import Reading, events_in
from ralf_hub.workspace.surgery_text import decode, one_line, scalar

TAIL_BYTES: Final = 64 * 1024
"""How much of a file's end is looked at for its style."""

_RECORD = re.compile(r"^([ ]*)-[ \t]+[\"']?(?:timestamp|id|type|event|event_type)[\"']?:", re.MULTILINE)
_TOP_KEY = re.compile(r"^[A-Za-z_][\w-]*:", re.MULTILINE)
_PLAIN: Final = frozenset({"type", "agent", "result", "source"})


@dataclass(frozen=True, slots=True)
class Line:
    """What is appended for one record, and the fingerprint the readers will give it."""

    text: str
    fingerprint: str
    raw_type: str


def record(fields: Mapping[str, str], tail: bytes = b"", *, as_json: bool = False) -> Line:
    """Return *fields* as a record to append to a file that ends with *tail*, in the style it has there.

    With *as_json* the file is an events.ldjson.
    """
    shown = decode(tail)
    newline = "\r\n" if "\r\n" in shown else "\n"
    lead = newline if shown and not shown.endswith("\n") else ""
    values = {key: one_line(value) for key, value in fields.items() if value}
    if as_json:
        text = orjson.dumps(values).decode()
        return Line(f"{lead}{text}{newline}", _fingerprint(text + "\n", as_json=True), values["type"])
    lines = [f"{key}: {value if key in _PLAIN else scalar(value, chr(34))}" for key, value in values.items()]
    indent = " " * _indent(shown)
    body = [f"{indent}{'- ' if number == 0 else '  '}{line}" for number, line in enumerate(lines)]
    plain = "".join(f"{'- ' if number == 0 else '  '}{line}\n" for number, line in enumerate(lines))
    return Line(lead + "".join(line + newline for line in body), _fingerprint(plain), values["type"])


def _indent(tail: str) -> int:
    """Return how far the list at the end of the file is indented; 0, as the scripts have it, where no list ends it."""
    records = list(_RECORD.finditer(tail))
    if not records:
        return 0
    last = records[-1]
    return 0 if _TOP_KEY.search(tail, last.end()) else len(last[1])


def _fingerprint(text: str, *, as_json: bool = False) -> str:
    records, _ = events_in(text.encode(), Reading("events.ldjson" if as_json else "events.yaml"))
    return records[0].fingerprint
