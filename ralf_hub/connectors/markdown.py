"""Text from outside made harmless in the Markdown of issue trackers: it is read, it never acts.

GitHub and GitLab notify whoever is named with `@`, tie issues together that are named with `#12` or `!12`, hide
HTML comments and load images; GitLab and many bots run lines that start with `/`. Backslashes stop the Markdown
(https://spec.commonmark.org/0.31.2/#backslash-escapes) but not the names, which are looked for in the finished text:
those get a zero-width space after their sign.
"""

import re
from itertools import chain, pairwise
from typing import Final

from ralf_hub.texts import clean, fit, one_line

ZERO_WIDTH_SPACE: Final = "\u200b"
NO_BREAK_SPACE: Final = "\u00a0"

_REFERENCE: Final = re.compile(r'@(?=\S)|#(?=\w)|[!%~$&^](?=[\w"{])|\bGH-(?=\d)', re.IGNORECASE)
"""What starts the name of a person, group, issue, merge request, milestone, label, snippet, epic or alert."""
_URL: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}://|\bwww\.)[^\s`<>]+", re.IGNORECASE)
_STARTS_BLOCK: Final = re.compile(r"[#+=:-]")
_NUMBERED: Final = re.compile(r"([0-9]{1,9})([.)])")
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {char: f"\\{char}" for char in r"\`*_[]~|$"}
)


def escape(text: str) -> str:
    """Return *text* as Markdown that shows it as it is, its lines kept, its URLs as code and not as links."""
    lines = [_line(line) for line in clean(text).expandtabs(4).split("\n")]
    # A backslash at its end keeps a line apart from the next one of its paragraph.
    ends = ("\\\n" if line and after else "\n" for line, after in pairwise(lines))
    return "".join(chain.from_iterable(zip(lines, (*ends, ""), strict=True)))


def title(text: str, limit: int) -> str:
    """Return *text* as an issue's title: one line, at most *limit* characters. Titles are no Markdown but can name."""
    return fit(one_line(text), limit, _nameless)


def link(url: str, text: str) -> str:
    """Return a link to an address of the hub itself."""
    target = re.sub(r"[\s<>\\]", "", url)
    return f"[{escape(one_line(text))}](<{target}>)"


def comment(mark: str) -> str:
    """Return *mark* as an HTML comment: not shown, found again."""
    return f"<!-- {mark} -->"


def _line(text: str) -> str:
    bare = text.strip()
    if not bare:
        return ""
    indent = NO_BREAK_SPACE * (len(text) - len(text.lstrip()))
    if bare.startswith("/"):  # a command to GitLab or to a bot
        return indent + ZERO_WIDTH_SPACE + _inline(bare)
    if _STARTS_BLOCK.match(bare):
        return indent + "\\" + _inline(bare)
    if _NUMBERED.match(bare):
        return indent + _NUMBERED.sub(r"\1\\\2", _inline(bare), count=1)
    return indent + _inline(bare)


def _inline(text: str) -> str:
    # True of most lines, and then there is nothing to find.
    if "://" not in text and "www." not in text.lower():
        return _words(text)
    done, end = [], 0
    for url in _URL.finditer(text):
        done += [_words(text[end : url.start()]), f"`{url[0]}`"]
        end = url.end()
    return "".join((*done, _words(text[end:])))


def _words(text: str) -> str:
    return _nameless(text).translate(_ESCAPES)


def _nameless(text: str) -> str:
    return _REFERENCE.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text)
