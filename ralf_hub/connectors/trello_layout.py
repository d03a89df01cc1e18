"""Notices laid out for Trello's Markdown, everything from outside escaped.

https://support.atlassian.com/trello/docs/how-to-format-your-text-in-trello/. Backslashes stop the Markdown; `@name`
notifies people whatever stands before it, so a zero-width space goes behind the sign. Addresses are shown as code:
what somebody wrote into a task becomes no link.
"""

import re
from typing import Final

from ralf_hub.connectors.base import Fact
from ralf_hub.connectors.objects import description, subject
from ralf_hub.connectors.wording import Worded
from ralf_hub.texts import clean, cut, fit, one_line

NAME_LENGTH_MAX: Final = 512
"""Trello takes 16,384, its boards show far less."""
TEXT_LENGTH_MAX: Final = 12_000
"""Below Trello's 16,384 for descriptions and comments, so that the small print has room."""
FACTS_LENGTH_MAX: Final = 2_000

_ZERO_WIDTH_SPACE: Final = "\u200b"
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|\bwww\.)[^\s`<>]+")
_ACTS = re.compile(r"[\\`*_\[\](){}<>#|~!$]")
_STARTS_BLOCK = re.compile(r"(?m)^(\s*)([-+=])")
_STARTS_LIST = re.compile(r"(?m)^(\s*\d{1,9})([.)])")
_NAME = re.compile(r"@(?=\S)")


def escape(text: str) -> str:
    """Return *text* so that Trello shows it as it is."""
    text = clean(text)
    done, end = [], 0
    for url in _URL.finditer(text):
        done += [_words(text[end : url.start()]), f"`{url[0]}`"]
        end = url.end()
    whole = "".join((*done, _words(text[end:])))
    return _STARTS_LIST.sub(r"\1\\\2", _STARTS_BLOCK.sub(r"\1\\\2", whole))


def card_name(fact: Fact) -> str:
    """Return the card's name: one line, never empty. Names are no Markdown and notify nobody."""
    return cut(one_line(subject(fact)), NAME_LENGTH_MAX) or "A task without a title"


def card_text(fact: Fact, worded: Worded, marker: str) -> str:
    """Return the card's description: the template's text or the task's own, then the small print."""
    said = _own(worded) or fit(description(fact).strip(), TEXT_LENGTH_MAX, escape)
    return _joined(said, _facts(worded), _small_print(worded), marker)


def comment_text(worded: Worded, marker: str) -> str:
    """Return a comment: the notice, or the template's text, then the small print."""
    said = _own(worded)
    if said:
        return _joined(said, _small_print(worded), marker)
    notice = worded.notice
    title = f"**{escape(notice.title)}**"
    return _joined(
        title, fit(notice.text, TEXT_LENGTH_MAX, escape), _facts(worded), _small_print(worded), marker
    )


def _own(worded: Worded) -> str:
    """Return the template's text, whose values are escaped already."""
    return "" if worded.text is None else cut(worded.text.strip(), TEXT_LENGTH_MAX)


def _facts(worded: Worded) -> str:
    told = " \u00b7 ".join(f"{name}: {value}" for name, value in worded.notice.fields)
    return fit(told, FACTS_LENGTH_MAX, escape)


def _small_print(worded: Worded) -> str:
    notes = []
    if worded.template_error is not None:
        notes.append(escape(f"The template failed ({worded.template_error}); this is the default wording."))
    if worded.notice.url is not None:
        target = re.sub(r"[\s()<>\\]", "", worded.notice.url)
        notes.append(f"[Open in ralf-hub]({target})")
    return "\n".join(notes)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _words(text: str) -> str:
    return _NAME.sub(f"@{_ZERO_WIDTH_SPACE}", _ACTS.sub(r"\\\g<0>", text))
