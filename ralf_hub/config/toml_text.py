"""A tree as TOML text, with comments: the part of TOML that settings need."""

import json
import re
from collections.abc import Callable
from typing import Final

from ralf_hub.config.expand import Loc
from ralf_hub.model import Json

_BARE: Final = re.compile(r"^[A-Za-z0-9_-]+$")
_LINE_MAX: Final = 100


def to_toml(tree: dict[str, Json], comment: Callable[[Loc], str] = lambda _: "") -> str:
    """Return *tree* as TOML; `comment(loc)` is what to say above a key, table or list of tables.

    Keys without a value are left out.
    """
    lines: list[str] = []
    _table(tree, (), comment, lines)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n")) + "\n"


def _table(table: dict[str, Json], loc: Loc, comment: Callable[[Loc], str], lines: list[str]) -> None:
    present = {key: value for key, value in table.items() if value is not None}
    inner = {key: value for key, value in present.items() if _is_section(value)}
    for key, value in present.items():
        if key not in inner:
            _say(comment((*loc, key)), lines)
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in inner.items():
        place = (*loc, key)
        name = ".".join(_key(str(part)) for part in place if isinstance(part, str))
        _say(comment(place), lines, before=1)
        if isinstance(value, dict):
            if not value or not all(_is_section(item) for item in value.values()):
                lines.append(f"[{name}]")
            _table(value, place, comment, lines)
            continue
        for index, item in enumerate(value):
            if index:
                lines.append("")
            lines.append(f"[[{name}]]")
            _table(item, (*place, index), comment, lines)


def _is_section(value: Json) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
    )


def _say(comment: str, lines: list[str], before: int = 0) -> None:
    lines.extend([""] * before)
    lines.extend(f"# {line}".rstrip() for line in comment.splitlines())


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Json) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        items = [_value(item) for item in value if item is not None]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= _LINE_MAX else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    if isinstance(value, dict):
        pairs = (f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    return str(value)
