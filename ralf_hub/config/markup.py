"""TOML text to a tree of plain values, and what both languages share: flaws and limits."""

import re
import tomllib
from dataclasses import dataclass
from typing import Final

from ralf_hub.model import Json

DEPTH_MAX: Final = 32
TOO_DEEP: Final = f"is nested more than {DEPTH_MAX} levels deep"

_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_QUOTED: Final = re.compile(r"'[^']{4,}'|\"[^\"]{4,}\"")


@dataclass(frozen=True, slots=True)
class Flaw:
    """What makes a text no settings file, and where: line and column start at 1, 0 is unknown."""

    message: str
    line: int = 0
    column: int = 0


class MarkupError(Exception):
    """A text that is not TOML or YAML as settings need it; carries every `Flaw` found."""

    def __init__(self, *flaws: Flaw) -> None:
        super().__init__(f"{len(flaws)} flaws")
        self.flaws = flaws


def parse_toml(text: str) -> Json:
    """Return TOML *text* as a tree. MarkupError with the place of the first flaw."""
    flaw: Flaw
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        flaw = _toml_flaw(str(error), text)
    except RecursionError:
        flaw = Flaw(TOO_DEEP)
    except ValueError:  # such as a number of more than 4,300 digits
        flaw = Flaw("holds a value that is out of range")
    else:
        if not _deeper(tree, DEPTH_MAX):
            return tree
        flaw = Flaw(TOO_DEEP)
    raise MarkupError(flaw)


def _toml_flaw(message: str, text: str) -> Flaw:
    place = _TOML_PLACE.search(message)
    words = "is not valid TOML: " + without_content(message[: place.start()] if place else message)
    if place is None:
        return Flaw(words)
    if place[1] is None:
        return Flaw(words, text.count("\n") + 1)
    return Flaw(words, int(place[1]), int(place[2]))


def without_content(message: str) -> str:
    """Return a parser's *message* without what it quotes from the file, which may be a secret."""
    return _QUOTED.sub("'...'", message)


def _deeper(tree: Json, levels: int) -> bool:
    """Tell whether *tree* has more than so many levels; dotted keys make deep ones without any recursion."""
    level = [tree]
    for _ in range(levels):
        level = [
            item
            for value in level
            if isinstance(value, (dict, list))
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
