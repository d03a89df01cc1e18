"""Notices laid out for Jira, within its limits.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/
Jira counts a description or comment in characters of a rendering that is not ours, 32,767 at the most: texts stay far
below. Documents are built node by node, so nothing in a text acts.
"""

import hashlib
from typing import Final

from ralf_hub.connectors import adf
from ralf_hub.connectors.base import Fact
from ralf_hub.connectors.objects import description, subject
from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Json
from ralf_hub.texts import clean, cut, one_line

SUMMARY_LENGTH_MAX: Final = 255
TEXT_LENGTH_MAX: Final = 8000
PROPERTY: Final = "ralf"


def label(event_id: str) -> str:
    """Return the label by which the issue made for one event is found again."""
    return f"ralf-t-{hashlib.sha256(event_id.encode()).hexdigest()[:16]}"


def summary(fact: Fact) -> str:
    """Return the issue's title: one line, never empty."""
    return cut(one_line(subject(fact)), SUMMARY_LENGTH_MAX) or "A task without a title"


def issue_text(fact: Fact, worded: Worded, marker: str) -> Json:
    """Return the issue's description: the template's text or the task's own, then the small print."""
    said = clean(worded.text if worded.text is not None else description(fact)).strip()
    blocks = adf.paragraphs(cut(said, TEXT_LENGTH_MAX))
    return adf.document(*blocks, _facts(worded), _small_print(worded, marker))


def comment_text(worded: Worded, marker: str) -> Json:
    """Return a comment: the notice, or the template's text, then the small print."""
    if worded.text is not None and worded.text.strip():
        blocks = adf.paragraphs(cut(clean(worded.text).strip(), TEXT_LENGTH_MAX))
        return adf.document(*blocks, _small_print(worded, marker))
    notice = worded.notice
    title = adf.paragraph(adf.strong(notice.title))
    return adf.document(title, *adf.paragraphs(notice.text), _facts(worded), _small_print(worded, marker))


def _facts(worded: Worded) -> Json:
    told = " \u00b7 ".join(f"{name}: {value}" for name, value in worded.notice.fields)
    return adf.paragraph(adf.text(told)) if told else None


def _small_print(worded: Worded, marker: str) -> Json:
    """Return the last paragraph: what failed, the way to the task, and the mark a lost comment is found by."""
    nodes = []
    if worded.template_error is not None:
        nodes.append(
            adf.text(f"The template failed ({worded.template_error}); this is the default wording. ")
        )
    if worded.notice.url is not None:
        nodes += [adf.link("Open in ralf-hub", worded.notice.url), adf.text(" \u00b7 ")]
    return adf.paragraph(*nodes, adf.text(marker))
