"""GitLab: https://docs.gitlab.com/user/project/integrations/webhook_events/."""

from typing import Final

from ralf_hub.model import Json
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.received import (
    Received,
    Thing,
    dedup,
    facts_of,
    is_marked,
    join_type,
    mentions_in,
    read_json,
    text_at,
    words,
)

_FACTS: Final = {
    "title": "issue.title|merge_request.title|object_attributes.title|commit.title",
    "url": "object_attributes.url|issue.url|merge_request.url|project.web_url",
    "by": "user.username|user_username",
    "repository": "project.path_with_namespace",
    "branch": "object_attributes.source_branch|object_attributes.ref|ref",
    "conclusion": "object_attributes.detailed_status|build_status",
    "comment": "object_attributes.note",
}
_STATUS_KINDS: Final = frozenset({"pipeline", "build", "job"})
"""Events whose type goes on with a status instead of an action."""


def read(request: Signed) -> Received:
    """Return what GitLab says. A delivery is named by `webhook-id` where it is signed, else by `Idempotency-Key`."""
    payload = read_json(request)
    kind = text_at(payload, "object_kind") or text_at(payload, "event_name") or "event"
    action = "object_attributes.status|build_status" if kind in _STATUS_KINDS else "object_attributes.action"
    event_type = join_type(
        kind, next((text for path in action.split("|") if (text := text_at(payload, path))), "")
    )
    delivery = request.header("webhook-id") or request.header("Idempotency-Key")
    notes = [text_at(payload, "object_attributes.note")]
    if event_type == "issue.open":
        notes.append(text_at(payload, "object_attributes.description"))
    state = text_at(payload, "object_attributes.state")
    return Received(
        dedup_key=dedup(delivery, request),
        event_type=event_type,
        payload=payload,
        facts=facts_of(payload, _FACTS),
        thing=_thing(payload, kind),
        actors=words(
            text_at(payload, "user.username"), text_at(payload, "user_username"), text_at(payload, "user.id")
        ),
        states=words(state) if event_type in {"issue.close", "issue.reopen", "merge_request.merge"} else (),
        mentions=mentions_in(
            text_at(payload, "object_attributes.source_branch"),
            text_at(payload, "object_attributes.title"),
            text_at(payload, "object_attributes.description"),
        )
        if kind == "merge_request"
        else (),
        marked=is_marked(notes),
    )


def _thing(payload: dict[str, Json], kind: str) -> Thing | None:
    """Return the issue or merge request; they are numbered apart."""
    project = text_at(payload, "project.path_with_namespace")
    places = {"issue": "object_attributes", "work_item": "object_attributes", "note": "issue"}
    merges = {"merge_request": "object_attributes", "note": "merge_request"}
    for where, mark in ((places.get(kind), "#"), (merges.get(kind), "!")):
        number = text_at(payload, f"{where}.iid") if where else ""
        if number and project:
            name = f"{project}{mark}{number}"
            return Thing(
                external_id=name,
                local_id=number if mark == "#" else "",
                key=name,
                url=text_at(payload, f"{where}.url") or None,
                title=text_at(payload, f"{where}.title"),
                homes=words(project, text_at(payload, "project.id")),
            )
    return None
