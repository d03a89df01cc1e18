"""GitHub: https://docs.github.com/webhooks/webhook-events-and-payloads."""

from typing import Final

from ralf_hub.model import Json
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.received import (
    FORM,
    Received,
    Thing,
    dedup,
    facts_of,
    is_marked,
    join_type,
    media_type,
    mentions_in,
    parse_object,
    read_form,
    read_json,
    text_at,
    unreadable,
    words,
)

_FACTS: Final = {
    "title": "issue.title|pull_request.title|workflow_run.display_title|discussion.title|release.name|head_commit.message",
    "url": "comment.html_url|review.html_url|issue.html_url|pull_request.html_url|workflow_run.html_url|check_run.html_url|compare|repository.html_url",
    "by": "sender.login",
    "repository": "repository.full_name",
    "branch": "workflow_run.head_branch|pull_request.head.ref|ref",
    "workflow": "workflow_run.name|check_run.name",
    "conclusion": "workflow_run.conclusion|check_run.conclusion",
    "comment": "comment.body|review.body",
    "label": "label.name",
}

_MADE: Final = {"issues.opened": "issue.body", "pull_request.opened": "pull_request.body"}
"""Where the text stands of what an event says was made."""


def read(request: Signed) -> Received:
    """Return what GitHub says, sent as JSON or as a form."""
    if media_type(request) == FORM:
        form = read_form(request)
        if "payload" not in form:
            raise unreadable("The form has no field payload.", "payload")
        payload = parse_object(form["payload"])
    else:
        payload = read_json(request)
    event = request.header("X-GitHub-Event") or "event"
    kind = join_type(event, text_at(payload, "action"))
    comments = [text_at(payload, "comment.body"), text_at(payload, "review.body")]
    return Received(
        dedup_key=dedup(request.header("X-GitHub-Delivery"), request),
        event_type=kind,
        payload=payload,
        facts=facts_of(payload, _FACTS),
        thing=_thing(payload),
        actors=words(text_at(payload, "sender.login"), text_at(payload, "sender.id")),
        states=words(text_at(payload, "issue.state") or text_at(payload, "pull_request.state"))
        if kind in {"issues.closed", "issues.reopened", "pull_request.closed"}
        else (),
        mentions=mentions_in(
            text_at(payload, "pull_request.head.ref"),
            text_at(payload, "pull_request.title"),
            text_at(payload, "pull_request.body"),
        ),
        marked=is_marked([*comments, text_at(payload, _MADE.get(kind, "-")), _made_with(kind, payload)]),
    )


def _made_with(kind: str, payload: dict[str, Json]) -> str:
    """Return the text of an issue that was made with the very label or assignee an event tells of; else nothing."""
    at_once = text_at(payload, "issue.created_at") == text_at(payload, "issue.updated_at") != ""
    return text_at(payload, "issue.body") if kind in {"issues.labeled", "issues.assigned"} and at_once else ""


def _thing(payload: dict[str, Json]) -> Thing | None:
    """Return the issue or pull request; both share the numbers of their repository."""
    repository = text_at(payload, "repository.full_name")
    for name in ("issue", "pull_request"):
        number = text_at(payload, f"{name}.number")
        if number and repository:
            return Thing(
                external_id=f"{repository}#{number}",
                key=f"{repository}#{number}",
                url=text_at(payload, f"{name}.html_url") or None,
                title=text_at(payload, f"{name}.title"),
                local_id=number,
                homes=(repository,),
            )
    return None
