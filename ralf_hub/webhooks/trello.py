"""Trello: https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/."""

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
    read_json,
    text_at,
    words,
)

_FACTS: Final = {
    "title": "action.data.card.name",
    "by": "action.memberCreator.username|action.memberCreator.fullName",
    "board": "action.data.board.name|model.name",
    "state": "action.data.listAfter.name|action.data.list.name",
    "comment": "action.data.text",
}


def read(request: Signed) -> Received:
    """Return what Trello says. The type of an update that moved the card ends with `.list`.

    A delivery has no name: the action has one, and each webhook of the board brings it once.
    """
    payload = read_json(request)
    moved = text_at(payload, "action.data.listAfter.id")
    action, hook = text_at(payload, "action.id"), text_at(payload, "webhook.id")
    kind = text_at(payload, "action.type") or "event"
    made = text_at(payload, "action.data.card.desc") if kind == "createCard" else ""
    thing = _thing(payload)
    facts = facts_of(payload, _FACTS)
    if thing is not None and thing.url:
        facts["url"] = thing.url
    return Received(
        dedup_key=dedup(f"{action} {hook}".strip() if action else "", request),
        event_type=join_type(kind, "list" if moved else ""),
        payload=payload,
        facts=facts,
        thing=thing,
        actors=words(
            text_at(payload, "action.idMemberCreator"), text_at(payload, "action.memberCreator.username")
        ),
        states=words(moved, text_at(payload, "action.data.listAfter.name")),
        marked=is_marked([text_at(payload, "action.data.text"), made]),
    )


def _thing(payload: dict[str, Json]) -> Thing | None:
    card = text_at(payload, "action.data.card.id")
    if not card:
        return None
    short = text_at(payload, "action.data.card.shortLink")
    return Thing(
        external_id=card,
        local_id=card,
        key=short,
        url=f"https://trello.com/c/{short}" if short.isalnum() else None,
        title=text_at(payload, "action.data.card.name"),
        homes=words(
            text_at(payload, "action.data.board.id"), text_at(payload, "action.data.board.shortLink")
        ),
    )
