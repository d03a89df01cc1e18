"""`${NAME}` and `${NAME:-default}` in any string of the tree become the environment's values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ralf_hub.model import Json

Loc: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys and list positions from the root, as they stand in the file."""

_DOLLAR_BRACE: Final = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_INSIDE: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-(?!.*\$\{).*)?", re.DOTALL)

NO_VARIABLE: Final = (
    "has a ${ that begins no variable; write ${NAME}, ${NAME:-default}, or $${ for the text itself"
)

TEXT_MAX: Final = 65_536
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""How Python shows bytes of the environment that are no UTF-8."""

_LEFT_OUT: Final = object()


@dataclass(slots=True)
class Expansion:
    """A tree with its variables replaced, and what was noticed on the way.

    A value that names an unset or empty variable is left out of its table or list, as if never written.
    """

    tree: Json = field(default=None, repr=False)
    unset: dict[Loc, tuple[str, ...]] = field(default_factory=dict)
    """Where values were left out, and for want of which variables."""
    malformed: dict[Loc, str] = field(default_factory=dict)
    """Where a variable cannot be used, and why."""
    replaced: set[Loc] = field(default_factory=set)
    """Where variables were replaced: what stands there is not in the file itself."""
    overridden: set[Loc] = field(default_factory=set)
    """Where a value from the command line won."""
    revealed: set[str] = field(default_factory=set, repr=False)
    """The variables' values: none may appear in a message."""
    positions: dict[Loc, list[int]] = field(default_factory=dict)
    """For lists that lost items: the position in the file of each that is left."""


def expand(tree: Json, env: Mapping[str, str]) -> Expansion:
    """Return *tree* with every variable replaced from *env*. `$${` stands for `${` itself."""
    found = Expansion()
    found.tree = _value(tree, (), env, found)
    return found


def _value(value: Json, loc: Loc, env: Mapping[str, str], found: Expansion) -> Json:
    if isinstance(value, dict):
        pairs = ((key, _value(item, (*loc, key), env, found)) for key, item in value.items())
        return {key: item for key, item in pairs if item is not _LEFT_OUT}
    if isinstance(value, list):
        items = [_value(item, (*loc, index), env, found) for index, item in enumerate(value)]
        kept = [index for index, item in enumerate(items) if item is not _LEFT_OUT]
        if len(kept) < len(items):
            found.positions[loc] = kept
        return [items[index] for index in kept]
    if isinstance(value, str) and "${" in value:
        return _text(value, loc, env, found)
    return value


def _text(text: str, loc: Loc, env: Mapping[str, str], found: Expansion) -> Json:
    replacer = _Replacer(env, len(text))
    replaced = _DOLLAR_BRACE.sub(replacer, text)
    found.revealed |= replacer.revealed
    if replacer.malformed:
        found.malformed[loc] = replacer.malformed
        return _LEFT_OUT
    if replacer.unset:
        found.unset[loc] = tuple(dict.fromkeys(replacer.unset))
        return _LEFT_OUT
    found.replaced.add(loc)
    return replaced or _LEFT_OUT


class _Replacer:
    """Gives the values for the variables of one text, and notes why it cannot."""

    def __init__(self, env: Mapping[str, str], length: int) -> None:
        self.malformed = ""
        self.unset: list[str] = []
        self.revealed: set[str] = set()
        self._env = env
        self._length = length

    def __call__(self, match: re.Match[str]) -> str:
        if match["inside"] is None:
            return "${"
        variable = _INSIDE.fullmatch(match["inside"])
        if variable is None or not match["end"]:
            self.malformed = NO_VARIABLE
            return ""
        return self._value(variable["name"], variable["default"])

    def _value(self, name: str, default: str | None) -> str:
        value = self._env.get(name, "")
        self._length += len(value)
        if self._length > TEXT_MAX:
            self.malformed = f"becomes longer than {TEXT_MAX:,} characters"
        elif _SURROGATE.search(value):
            self.malformed = f"names {name}, which is not UTF-8 text"
        elif value:
            self.revealed.add(value)
            return value
        elif default is None:
            self.unset.append(name)
        else:
            return default.removeprefix(":-")
        return ""
