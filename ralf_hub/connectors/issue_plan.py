"""Which actions an event asks of an issue tracker, and their texts. Pure.

| event | with an issue | without one |
|---|---|---|
| task_created | - | create |
| task_started | label | create, label |
| task_completed | comment, label, close | create, comment, close |
| task_failed | comment, label | create, comment, label |
| task_cancelled | comment, label, close | - |
| feature_delivered | comment on its pull or merge requests | the same |
| any other of a task that is subscribed | comment | - |

A task made of a pull request has that for its issue; it is commented and labelled, never closed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ralf_hub.connectors import markdown
from ralf_hub.connectors.base import Action, Fact
from ralf_hub.connectors.objects import description, mark, subject
from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Json, Link
from ralf_hub.notices import Notice
from ralf_hub.texts import clean, cut, fit

STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "task_created": (),
    "task_started": ("label",),
    "task_completed": ("comment", "label", "close"),
    "task_failed": ("comment", "label"),
    "task_cancelled": ("comment", "label", "close"),
}
CLOSED_AS: Final = {"task_completed": "completed", "task_cancelled": "not_planned"}
MERGE_KEYS: Final = ("pull_request", "merge_request", "pr", "mr")
"""Where an event's data or a feature's metadata may name the request it was delivered with."""
FEATURE_COMMENTS_MAX: Final = 20
SMALL_PRINT_LENGTH_MAX: Final = 8_000

SIGNS: Final = {
    "info": "\N{INFORMATION SOURCE}\ufe0f",
    "success": "\N{WHITE HEAVY CHECK MARK}",
    "warning": "\N{WARNING SIGN}\ufe0f",
    "error": "\N{CROSS MARK}",
}


@dataclass(frozen=True, slots=True)
class Tracker:
    """What planning must know of an instance: its settings and its service's limits, in characters."""

    title_length_max: int
    body_length_max: int
    create_issues: bool
    labels: tuple[str, ...]
    in_progress_label: str
    failed_label: str


def steps(tracker: Tracker, fact: Fact) -> tuple[str, ...] | None:
    """Return the steps for *fact* besides the issue itself; None where it asks for nothing."""
    if fact.event.task_id is None or (fact.link is None and not tracker.create_issues):
        return None
    wanted = STEPS.get(fact.event.type, ("comment",))
    return tuple(step for step in wanted if step not in _needless(tracker, fact))


def _needless(tracker: Tracker, fact: Fact) -> set[str]:
    """Return the steps that would change nothing, or what is not the hub's to change."""
    needless = set() if label_changes(tracker, fact) else {"label"}
    if fact.link is not None and is_merge(fact.link):
        needless.add("close")  # a task made of a pull request is done when the work is; the request is not
    return needless


def is_merge(link: Link) -> bool:
    """Return whether *link* stands for a pull or merge request."""
    return link.url is not None and ("/pull/" in link.url or "/merge_requests/" in link.url)


def feature_comments(
    tracker: Tracker, fact: Fact, worded: Worded, merge_number: Callable[[Json], str | None]
) -> list[Action]:
    """Return comments on what a feature was delivered with: the requests named with it, and those of its tasks.

    `merge_number` reads a pull or merge request's number.
    """
    payload = comment(tracker, fact, worded)
    if fact.link is not None:
        return [Action("comment", payload)]
    known = fact.feature.metadata if fact.feature is not None else {}
    named = [
        merge_number(data[key]) for data in (fact.event.data, known) for key in MERGE_KEYS if key in data
    ]
    linked = [link.external_id for link in fact.task_links if is_merge(link) and link.state == "linked"]
    numbers = [number for number in dict.fromkeys((*named, *linked)) if number is not None]
    return [
        Action(f"comment:{number}", {**payload, "merges": number})
        for number in numbers[:FEATURE_COMMENTS_MAX]
    ]


def label_changes(tracker: Tracker, fact: Fact) -> dict[str, Json] | None:
    """Return which labels the event sets and takes away; None where there is nothing to change."""
    working, failed = tracker.in_progress_label, tracker.failed_label
    add, remove = {
        "task_started": ([working], [failed]),
        "task_failed": ([failed], [working]),
    }.get(fact.event.type, ([], [working, failed]))
    # A new issue has none to take away.
    gone = [label for label in remove if label and fact.link is not None]
    new = [label for label in add if label]
    return {"add": new, "remove": gone} if new or gone else None


# --- texts ------------------------------------------------------------------------------------------


def issue(tracker: Tracker, fact: Fact, worded: Worded, marker: str) -> dict[str, Json]:
    """Return title, body and labels of the issue for a task."""
    title = markdown.title(subject(fact), tracker.title_length_max) or f"Task {fact.event.task_id}"
    if fact.event.type == "task_created" and worded.text is not None:
        said = worded.text
    else:
        said = _fitting(tracker, clean(description(fact)).strip(), worded.notice)
    body = _body(said, worded, marker, tracker.body_length_max)
    return {"title": title, "body": body, "labels": list(tracker.labels), "mark": marker}


def comment(tracker: Tracker, fact: Fact, worded: Worded) -> dict[str, Json]:
    """Return a comment that says the event."""
    marker = mark(fact.event.id)
    if worded.text is not None:
        said = worded.text
    else:
        heading = f"**{SIGNS[worded.notice.severity]} {markdown.escape(worded.notice.title)}**"
        said = f"{heading}\n\n{markdown.escape(worded.notice.text)}".strip()
    return {"body": _body(said, worded, marker, tracker.body_length_max), "mark": marker}


def _fitting(tracker: Tracker, text: str, about: Notice) -> str:
    """Return *text* escaped and short enough to leave room for what stands under it; where it is cut, say so."""
    room = tracker.body_length_max - SMALL_PRINT_LENGTH_MAX
    if len(text) <= room and len(whole := markdown.escape(text)) <= room:
        return whole
    rest = (
        markdown.link(about.url, "the whole text is in ralf-hub")
        if about.url
        else "the whole text is in ralf-hub"
    )
    return f"{fit(cut(text, room), room, markdown.escape)}\n\n(Cut here: {rest}.)"


def _body(said: str, worded: Worded, marker: str, length_max: int) -> str:
    """Return the whole body: what is said, the facts, the way to the task, the mark."""
    about = worded.notice
    parts = []
    if worded.template_error is not None:
        failed = f"The template failed ({worded.template_error}); this is the default wording."
        parts.append(markdown.escape(failed))
    facts = " \u00b7 ".join(f"{name}: {value}" for name, value in about.fields)
    small = [markdown.escape(facts)] if facts else []
    if about.url is not None:
        small.append(markdown.link(about.url, "Open in ralf-hub"))
    if small:
        parts.append(" \u00b7 ".join(small))
    end = "\n\n".join((*parts, markdown.comment(marker)))
    # Only an operator's template can be too long here; what it says was made by hand and is cut as it is.
    return f"{cut(said, length_max - len(end) - 2)}\n\n{end}".strip()
