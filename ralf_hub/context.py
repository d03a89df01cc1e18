"""What is being worked on: told by every line of the log, and handed on in traces."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Protocol

from ralf_hub.model import Delivery, Event

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is answered."""
delivery_id: ContextVar[int | None] = ContextVar("delivery_id", default=None)
"""The id of the delivery that is tried."""
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The span that is open, as the header `traceparent` names it; None where traces are off."""


class EventTrace(Protocol):
    """The events of one change."""

    def begin(self, event: Event) -> str:
        """Return the `traceparent` of *event*, under which its deliveries go on."""

    def committed(self) -> None:
        """They are on disk: their spans are true."""


class Tracing(Protocol):
    """Traces of one hub: from a request over the events it makes to what is sent for them."""

    def request(
        self, name: str, given: str | None, number: str
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Open the span of a request; *given* is the caller's `traceparent`. Yields what takes the status."""

    def events(self) -> EventTrace:
        """Return what notes the events of one change, under the span that is open."""

    def delivery(
        self, delivery: Delivery, parent: str | None
    ) -> AbstractContextManager[Callable[[str, int | None], None]]:
        """Open the span of one try, under that of its event. Yields what takes the outcome and HTTP status."""

    def close(self) -> None:
        """Send what is left."""
