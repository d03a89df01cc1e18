"""Any sender of JSON: RALF's own scripts, CI, services that follow https://www.standardwebhooks.com."""

from ralf_hub.model import Json
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.received import (
    Received,
    dedup,
    digest,
    facts_of,
    is_marked,
    join_type,
    mentions_in,
    read_json,
    text_at,
)

_FACTS = {
    "title": "data.title|title|subject|summary",
    "url": "data.url|url|html_url|link",
    "by": "data.by|by|user.name|user",
    "state": "data.status|status|state",
    "message": "data.message|message",
}


def read(request: Signed) -> Received:
    """Return what a Standard Webhooks sender says; `webhook-id` is signed along, so it names the delivery."""
    return _received(request, read_json(request), dedup(request.header("webhook-id"), request))


def read_hmac(request: Signed, id_header: str = "") -> Received:
    """Return what a sender with its own HMAC header says.

    Without a header that names the delivery the body does: such a header is not signed, and whoever saw one
    request could repeat it under another name.
    """
    payload = read_json(request)
    key = dedup(request.header(id_header), request) if id_header else digest(request.body)
    return _received(request, payload, key)


def _received(request: Signed, payload: dict[str, Json], key: str) -> Received:
    kind = text_at(payload, "type") or text_at(payload, "event") or request.header("X-Event-Type")
    return Received(
        dedup_key=key,
        event_type=join_type(kind or "event", "" if text_at(payload, "type") else text_at(payload, "action")),
        payload=payload,
        facts=facts_of(payload, _FACTS),
        mentions=mentions_in(text_at(payload, "task_id"), text_at(payload, "data.task_id")),
        marked=is_marked([text_at(payload, "marker")]),
    )
