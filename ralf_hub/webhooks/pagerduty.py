"""PagerDuty v3: https://developer.pagerduty.com/docs/webhooks-overview."""

import re
from typing import Final

from ralf_hub.model import Json
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.received import Received, Thing, dedup, facts_of, join_type, read_json, text_at, words

_FACTS: Final = {
    "title": "event.data.title|event.data.summary|event.data.incident.summary",
    "url": "event.data.html_url|event.data.incident.html_url",
    "by": "event.agent.summary",
    "state": "event.data.status",
    "urgency": "event.data.urgency",
    "comment": "event.data.content|event.data.message",
}
_OWN_KEY: Final = re.compile(r"ralf/[^/]{1,100}/task/(.{1,128})")


def read(request: Signed) -> Received:
    """Return what PagerDuty says. The event's id stands in the signed body and is the same in every repeat."""
    payload = read_json(request)
    own = _OWN_KEY.fullmatch(text_at(payload, "event.data.incident_key"))
    return Received(
        dedup_key=dedup(text_at(payload, "event.id"), request),
        event_type=join_type(text_at(payload, "event.event_type") or "event"),
        payload=payload,
        facts=facts_of(payload, _FACTS),
        thing=_thing(payload),
        actors=words(text_at(payload, "event.agent.id")),
        states=words(text_at(payload, "event.data.status"))
        if text_at(payload, "event.resource_type") == "incident" and "status" in _data(payload)
        else (),
        # An incident the hub itself has opened for a task says which.
        mentions=(own[1],) if own else (),
    )


def _data(payload: dict[str, Json]) -> dict[str, Json]:
    event = payload.get("event")
    data = event.get("data") if isinstance(event, dict) else None
    return data if isinstance(data, dict) else {}


def _thing(payload: dict[str, Json]) -> Thing | None:
    data = _data(payload)
    about = data if data.get("type") == "incident" else data.get("incident")
    name = text_at(about, "id")
    if not name:
        return None
    return Thing(
        external_id=name,
        key=name,
        url=text_at(about, "html_url") or None,
        title=text_at(about, "title") or text_at(about, "summary"),
    )
