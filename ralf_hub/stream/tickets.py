"""One-time tickets: a browser cannot send a header with a WebSocket, and a key does not belong in a URL."""

import secrets
from collections import OrderedDict
from typing import Final

from ralf_hub.keyring import Principal

VALID_S: Final = 30.0
TICKETS_MAX: Final = 10_000


class Tickets:
    """Tickets of one hub, in memory: a restart ends them, which costs a browser one request."""

    def __init__(self) -> None:
        self._issued: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def issue(self, principal: Principal, now: float) -> str:
        """Return a new ticket for *principal*, good once and for half a minute."""
        while self._issued and (len(self._issued) >= TICKETS_MAX or self._oldest_ends() <= now):
            self._issued.popitem(last=False)
        ticket = secrets.token_urlsafe(32)
        self._issued[ticket] = (principal, now + VALID_S)
        return ticket

    def _oldest_ends(self) -> float:
        return next(iter(self._issued.values()))[1]

    def take(self, ticket: str, now: float) -> Principal | None:
        """Return whose ticket this is and end it; None where it is nobody's, used or too old."""
        principal, until = self._issued.pop(ticket, (None, 0.0))
        return principal if until > now else None
