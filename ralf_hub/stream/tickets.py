"""One-time tickets: a browser cannot send a header with a WebSocket, and a key does not belong in a URL."""

import secrets
from typing import Final

from ralf_hub.keyring import Principal

VALID_S: Final = 30.0
TICKETS_MAX: Final = 10_000


class Tickets:
    """Tickets of one hub, in memory: a restart ends them, which costs a browser one request."""

    def __init__(self) -> None:
        self._issued: dict[str, tuple[Principal, float]] = {}

    def issue(self, principal: Principal, now: float) -> str:
        """Return a new ticket for *principal*, good once and for half a minute."""
        self._issued = {ticket: row for ticket, row in self._issued.items() if row[1] > now}
        while len(self._issued) >= TICKETS_MAX:
            self._issued.pop(next(iter(self._issued)))
        ticket = secrets.token_urlsafe(32)
        self._issued[ticket] = (principal, now + VALID_S)
        return ticket

    def take(self, ticket: str, now: float) -> Principal | None:
        """Return whose ticket this is and end it; None where it is nobody's, used or too old."""
        principal, until = self._issued.pop(ticket, (None, 0.0))
        return principal if until > now else None
