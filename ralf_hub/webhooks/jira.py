"""Jira Cloud: https://developer.atlassian.com/cloud/jira/platform/webhooks/."""

from typing import Final

from ralf_hub.model import Json
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.received import (
    Received,
    Thing,
    dedup,
    facts_of,
    find,
    is_marked,
    join_type,
    read_json,
    text_at,
    words,
)

_FACTS: Final = {
    "title": "issue.fields.summary",
    "key": "issue.key",
    "by": "user.displayName|comment.author.displayName",
    "project": "issue.fields.project.key",
    "state": "issue.fields.status.name",
    "comment": "comment.body",
}


def read(request: Signed) -> Received:
    """Return what Jira says. The type of an update that changed the status ends with `.status`."""
    payload = read_json(request)
    event = text_at(payload, "webhookEvent").removeprefix("jira:") or "event"
    moved = "status" in find(payload, "changelog.items.field")
    marks = find(payload, "issue.fields.labels") if event == "issue_created" else []
    if event.startswith("comment_"):
        marks = [text_at(payload, "comment.body")]
    thing = _thing(payload)
    facts = facts_of(payload, _FACTS)
    if thing is not None and thing.url:
        facts["url"] = thing.url
    return Received(
        dedup_key=dedup(request.header("X-Atlassian-Webhook-Identifier"), request),
        event_type=join_type(event, "status" if moved else ""),
        payload=payload,
        facts=facts,
        thing=thing,
        actors=words(
            text_at(payload, "user.accountId"),
            text_at(payload, "user.emailAddress"),
            text_at(payload, "comment.author.accountId") if event.startswith("comment_") else "",
        ),
        states=words(text_at(payload, "issue.fields.status.name")) if moved else (),
        marked=is_marked(marks),
    )


def _thing(payload: dict[str, Json]) -> Thing | None:
    number, key = text_at(payload, "issue.id"), text_at(payload, "issue.key")
    if not number:
        return None
    site, found, _ = text_at(payload, "issue.self").partition("/rest/api/")
    return Thing(
        external_id=number,
        local_id=number,
        key=key,
        url=f"{site}/browse/{key}" if found and key and site.startswith("https://") else None,
        title=text_at(payload, "issue.fields.summary"),
        homes=words(text_at(payload, "issue.fields.project.key"), key.rpartition("-")[0]),
    )
