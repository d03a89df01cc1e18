"""Which actions an event asks of a Jira project, and their payloads. Pure.

| event | with an issue | without one |
|---|---|---|
| task_created | - | create |
| task_started | transition | create, transition |
| task_completed | comment, transition | create, comment, transition |
| task_failed | comment, label, and a transition where one is set | the same after create |
| task_cancelled | comment, transition | - |
| feature_delivered | on the issues of its tasks: comment, remote link | - |
| any other of a task that is subscribed | comment | - |
"""

from collections.abc import Mapping, Sequence
from typing import Final

from ralf_hub.connectors.base import Action, Fact
from ralf_hub.connectors.jira_layout import PROPERTY, comment_text, issue_text, label, summary
from ralf_hub.connectors.jira_workflow import Target
from ralf_hub.connectors.objects import mark
from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Json
from ralf_hub.texts import cut, one_line

FAILED_LABEL: Final = "ralf-failed"
LINK_TITLE_LENGTH_MAX: Final = 255

_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "task_created": (),
    "task_started": ("transition",),
    "task_blocked": ("comment", "transition"),
    "task_completed": ("comment", "transition"),
    "task_failed": ("comment", "label", "transition"),
    "task_cancelled": ("comment", "transition"),
}
_RECOVERING: Final = frozenset({"task_started", "task_completed"})
MOVING: Final = tuple(kind for kind, steps in _STEPS.items() if "transition" in steps)
"""The events that can move an issue."""
_DECLINED: Final = ("Cancelled", "Canceled", "Won't Do", "Won't Fix", "Declined", "Rejected", "Duplicate")
_TARGETS: Final[Mapping[str, Target]] = {
    "task_started": Target(category="indeterminate", favoured=("In Progress", "Doing")),
    "task_completed": Target(category="done", favoured=("Done", "Resolved", "Closed"), shunned=_DECLINED),
    "task_cancelled": Target(category="done", favoured=(*_DECLINED, "Closed", "Done")),
}


def target(statuses: Mapping[str, str], event_type: str) -> Target | None:
    """Return where *event_type* moves an issue; *statuses* are the settings', and empty names mean no move."""
    name = statuses.get(event_type)
    if name is None:
        return _TARGETS.get(event_type)
    return Target(name=name.strip()) if name.strip() else None


def steps(statuses: Mapping[str, str], fact: Fact) -> list[str] | None:
    """Return the steps on a task's issue; None for what is about no task."""
    if fact.event.task_id is None:
        return None
    kind = fact.event.type
    return [
        step
        for step in _STEPS.get(kind, ("comment",))
        if step != "transition" or target(statuses, kind) is not None
    ]


def step(name: str, fact: Fact, worded: Worded) -> dict[str, Json]:
    """Return the payload of one step. A transition has none: where it leads is the settings' when it is sent."""
    match name:
        case "comment":
            about = [{"key": PROPERTY, "value": {"event_id": fact.event.id}}]
            return {"body": comment_text(worded, mark(fact.event.id)), "properties": about}
        case "label":
            return {"update": {"labels": [{"add": FAILED_LABEL}]}}
    return {}


def cleared(found: Json, event_type: str) -> dict[str, Json] | None:
    """Return the change that takes the label of an earlier failure from the issue *found*; None: there is none to."""
    fields = found.get("fields") if isinstance(found, dict) else None
    labels = fields.get("labels") if isinstance(fields, dict) else None
    if event_type not in _RECOVERING or not isinstance(labels, list) or FAILED_LABEL not in labels:
        return None
    return {"update": {"labels": [{"remove": FAILED_LABEL}]}}


def issue(labels: Sequence[str], fact: Fact, worded: Worded) -> dict[str, Json]:
    """Return the payload of `create`, without project and type: those are the settings' when it is sent."""
    marker = label(fact.event.id)
    fields = {
        "summary": summary(fact),
        "description": issue_text(fact, worded, mark(fact.event.id)),
        "labels": [*labels, marker],
    }
    about = {"task_id": fact.event.task_id, "event_id": fact.event.id}
    return {"fields": fields, "properties": [{"key": PROPERTY, "value": about}], "marker": marker}


def feature_actions(fact: Fact, worded: Worded) -> list[Action]:
    """Return what a delivered feature asks of the issues of its tasks, each in its task's lane."""
    if fact.feature is None or fact.event.type != "feature_delivered":
        return []
    remote = {
        "globalId": f"ralf-feature-{fact.feature.id}",
        "relationship": "delivers",
        "object": {
            "url": worded.notice.url,
            "title": cut(one_line(fact.feature.title), LINK_TITLE_LENGTH_MAX) or fact.feature.id,
            "status": {"resolved": True},
        },
    }
    actions = []
    for task in (link.entity_id for link in fact.task_links if link.state != "broken"):
        actions.append(Action(f"comment:{task}", step("comment", fact, worded), lane=task))
        if worded.notice.url is not None:
            actions.append(Action(f"link:{task}", remote, lane=task))
    return actions
