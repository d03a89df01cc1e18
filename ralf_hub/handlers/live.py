"""What both forms of the live stream share: who may open one."""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import Field

from ralf_hub.admission import admit, lacks
from ralf_hub.endpoint import Call, Query
from ralf_hub.errors import FieldError, HubError
from ralf_hub.keyring import Principal
from ralf_hub.services import Services
from ralf_hub.store import events
from ralf_hub.stream.broadcast import CLIENTS_MAX

SEQ_MAX: Final = 2**53
CLOSE_WITHIN_S: Final = 2.0
"""How long a reader that is let go of has to take the reason."""
STREAM_ERRORS: Final = (
    "bad_request",
    "invalid_parameter",
    "missing_key",
    "invalid_key",
    "invalid_token",
    "missing_scope",
    "origin_refused",
    "rate_limited",
    "identity_unavailable",
)
"""What opening a stream may be refused with."""


class StreamQuery(Query):
    """How to open a stream."""

    ticket: str | None = Field(
        default=None, max_length=200, description="A one-time ticket in place of a key."
    )
    since: int | None = Field(
        default=None, ge=0, le=SEQ_MAX, description="First the stored events after this `seq`."
    )


async def enter(call: Call, query: StreamQuery) -> Principal:
    """Return who reads: by key, by ticket; a browser only from our own pages or an origin the settings allow."""
    hub, request = call.hub, call.request
    origin = request.headers.get("Origin")
    if origin is not None and not _is_welcome(hub, request, origin):
        raise HubError(f"The origin {origin[:200]} is not allowed here.", code="origin_refused")
    if len(hub.stream.clients) >= CLIENTS_MAX:
        raise HubError("Too many live readers.", code="rate_limited", headers={"Retry-After": "5"})
    if query.ticket is not None:
        principal = hub.tickets.take(query.ticket, hub.clock.monotonic())
        if principal is None:
            raise HubError("This ticket was used, has ended or never was.", code="invalid_key")
        return principal
    return (await admit(hub, "events:read", request))[0]


async def check_since(hub: Services, since: int | None) -> None:
    """Refuse a `seq` that no event has had yet. HubError `invalid_parameter`.

    What was told live may be a moment behind what is stored, so the table has the last word.
    """
    if since is None or since <= hub.feed.last_seq:
        return
    last = (await hub.db.read(events.bounds))[1]
    if since > last:
        message = f"The last event is {last}; this lies in the future."
        raise HubError(code="invalid_parameter", errors=[FieldError("since", message)])


def _is_welcome(hub: Services, request: web.Request, origin: str) -> bool:
    allowed = hub.settings.api.cors
    own = urlsplit(origin)
    return own.netloc == request.host or (
        allowed.enabled and origin in [str(known) for known in allowed.origins]
    )


def need(principal: Principal, scope: str) -> None:
    """Refuse a principal without *scope*. HubError `missing_scope`."""
    if not principal.may(scope):
        raise lacks(scope)
