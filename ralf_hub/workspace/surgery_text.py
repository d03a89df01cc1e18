"""What every change inside one of RALF's files needs: lines with their ends, and values as YAML may say them.

Files are changed by cutting text, never by writing anew what a parser understood: comments, quotes, indents, line
ends and whatever is not YAML stay as they are, byte for byte.
"""

import json
import re
from typing import Final

from ralf_hub.workspace.loading import UnreadableError, load_yaml

TITLE_CHARACTERS_MAX: Final = 300
"""What the readers keep of a title."""

_SPECIAL = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')([ \t]*(?:[ \t]#.*)?)$""")
_PLAIN_QUOTED = re.compile(r"""'[^']*'|"[^"\\]*\"""")
_BARE = re.compile(r"(.*?)((?:[ \t]+#.*|[ \t]*))$")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


class SurgeryError(Exception):
    """A file in which the change cannot be made safely; it was left as it is. The message says why."""


def decode(data: bytes) -> str:
    """Return *data* as text that `encode` turns back into the same bytes, whatever they are."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes of *text*."""
    return text.encode("utf-8", "surrogateescape")


def lines_with_ends(text: str) -> list[str]:
    r"""Return the lines of *text* with their `\n` or `\r\n`; joined they are *text* again."""
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def bare(line: str) -> str:
    """Return *line* without its end."""
    return line.rstrip("\r\n")


def end_of(line: str) -> str:
    """Return the end of *line*: nothing where it is the last of a file without a final newline."""
    return line[len(bare(line)) :]


def newline_of(text: str) -> str:
    """Return how the lines of *text* end."""
    first, newline, _ = text.partition("\n")
    return "\r\n" if newline and first.endswith("\r") else "\n"


def one_line(text: str) -> str:
    """Return *text* on one line, as a title or a value in a file that scripts read line by line must be."""
    return " ".join(_UNWRITABLE.sub(" ", text).split())


def writable(text: str) -> str:
    """Return *text* without what no text file should hold: control characters and lone surrogates."""
    return _UNWRITABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def split_value(raw: str) -> tuple[str, str]:
    """Return the value in *raw*, what stands after a field's colon, and the blanks and comment after it."""
    if raw.lstrip().startswith("#"):
        return "", raw
    found = _QUOTED.match(raw) or _BARE.match(raw)
    return (found[1], found[2]) if found else (raw, "")


def plain_value(raw: str) -> str:
    """Return the text that the value *raw* means, without its quotes."""
    value, _ = split_value(raw.strip())
    if value[:1] not in {'"', "'"}:
        return value
    if _PLAIN_QUOTED.fullmatch(value):
        return value[1:-1]
    try:
        return str(load_yaml(value))
    except UnreadableError:
        return value.strip("\"'")


def is_plain(text: str) -> bool:
    """Return whether *text* may stand in a YAML file as it is and still mean itself."""
    try:
        return bool(text) and load_yaml(f"k: {text}") == {"k": text}
    except UnreadableError:
        return False


def scalar(text: str, like: str = "") -> str:
    """Return *text* as a YAML value in the quotes of *like*, another value; in double ones where it needs some."""
    mark = like.lstrip()[:1]
    if mark == "'" and not _SPECIAL.search(text):
        return "'" + text.replace("'", "''") + "'"
    if mark != '"' and is_plain(text):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def like_case(text: str, like: str) -> str:
    """Return *text* in capitals where *like* is: RALF writes `HIGH` in one file and `high` in another."""
    letters = [character for character in like if character.isalpha()]
    if letters and all(character.isupper() for character in letters):
        return text.upper()
    return text.capitalize() if letters and letters[0].isupper() else text
