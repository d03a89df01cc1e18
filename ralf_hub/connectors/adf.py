"""Atlassian Document Format, in which Jira takes texts.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/
Nodes are built here and texts only stand in them, so nothing in a text can become a mention, a link or a macro.
"""

from ralf_hub.model import Json
from ralf_hub.texts import clean


def document(*blocks: Json) -> Json:
    """Return a document of *blocks*; None is left out."""
    return {"type": "doc", "version": 1, "content": [block for block in blocks if block is not None]}


def text(words: str, *marks: Json) -> Json:
    """Return a text node; *words* are one line and not empty."""
    node: dict[str, Json] = {"type": "text", "text": words}
    if marks:
        node["marks"] = list(marks)
    return node


def strong(words: str) -> Json:
    """Return words in bold."""
    return text(words, {"type": "strong"})


def link(words: str, url: str) -> Json:
    """Return words that lead to *url*, which is the hub's own and never a text from outside."""
    return text(words, {"type": "link", "attrs": {"href": url}})


def paragraph(*nodes: Json) -> Json:
    """Return one paragraph."""
    return {"type": "paragraph", "content": list(nodes)}


def paragraphs(words: str) -> list[Json]:
    """Return *words* as paragraphs: an empty line parts them, a line end is a break within one."""
    made = []
    for block in clean(words).split("\n\n"):
        nodes: list[Json] = []
        for line in block.split("\n"):
            if not line.strip():
                continue
            if nodes:
                nodes.append({"type": "hardBreak"})
            nodes.append(text(line.rstrip()))
        if nodes:
            made.append(paragraph(*nodes))
    return made
