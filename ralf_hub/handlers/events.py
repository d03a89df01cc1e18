"""Events: read in `seq` order, wait for the next, emit one."""

import sqlite3
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from ralf_hub.endpoint import Answer, Body, Call, Endpoint, Query
from ralf_hub.errors import FieldError, HubError
from ralf_hub.handlers.shared import METADATA_KEYS_MAX, Limit, Moment, TaskId
from ralf_hub.model import Event, event_json
from ralf_hub.store import events, tasks

WAIT_S_MAX: Final = 60.0
LOOK_AGAIN_S = 5.0
"""How often a waiting call looks whether its client is still there and the hub not stopping."""
CURSOR_DIGITS_MAX: Final = 18
TYPES_MAX: Final = 50
EventType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.:-]{0,99}$")]


class EventQuery(Query):
    """Which events, and how long to wait for one."""

    after: int = Field(default=0, ge=0, le=2**53, description="Events with a higher `seq`.")
    before: int | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="Events with a lower `seq`, the last one first; not waited for.",
    )
    type: str | None = Field(
        default=None, max_length=2_000, description="Only these types, separated by commas."
    )
    task_id: str | None = Field(default=None, max_length=128, description="Only events of this task.")
    limit: Limit = Field(default=50, description="Events at most.")
    cursor: str | None = Field(
        default=None,
        description="`next_cursor` of the page before; it counts instead of `after`, or of `before` where that is given.",
    )
    wait: float = Field(
        default=0, ge=0, le=WAIT_S_MAX, description="Seconds to wait where there is none yet."
    )


class Emit(Body):
    """An event to record and deliver."""

    type: EventType = Field(description="Its type.")
    task_id: TaskId | None = Field(default=None, description="The task it is about.")
    data: dict[str, Any] = Field(
        default={}, max_length=METADATA_KEYS_MAX, description="Anything else, as JSON."
    )
    occurred_at: Moment | None = Field(default=None, description="When it happened; now, where left out.")


async def list_events(call: Call) -> Answer:
    """Answer with events after `after`, waiting for the first where asked to."""
    query: EventQuery = call.query
    hub = call.hub
    types = _types(query.type)

    def look(conn: sqlite3.Connection) -> tuple[int, list[Event]]:
        # The order matters: whoever goes on after `last_seq` must not miss what is committed in between.
        last_seq, start = events.bounds(conn)[1], _start(query)
        which: Any = {"limit": query.limit + 1, "types": types, "task_id": query.task_id}
        if query.before is None:
            return last_seq, events.after(conn, start, **which)
        return last_seq, events.before(conn, start, after=query.after, **which)

    deadline = hub.clock.monotonic() + (query.wait if query.before is None else 0)
    seen = hub.feed.last_seq
    last_seq, found = await hub.db.read(look)
    while not found and (left := deadline - hub.clock.monotonic()) > 0 and not hub.stopping:
        await hub.feed.wait_beyond(seen, min(left, LOOK_AGAIN_S))
        if call.request.transport is None:  # nobody is there any more to hear of it
            break
        seen = hub.feed.last_seq  # before looking, or an event committed meanwhile would be slept through
        last_seq, found = await hub.db.read(look)
    total = await hub.db.read(lambda conn: events.total(conn, types, query.task_id))
    shown = found[: query.limit]
    return Answer.json(
        {
            "events": [event_json(event) for event in shown],
            "total": total,
            "next_cursor": str(shown[-1].seq) if len(found) > query.limit else None,
            "last_seq": last_seq,
        }
    )


def _start(query: EventQuery) -> int:
    """Return the `seq` to go on after, or before. HubError `invalid_cursor`."""
    if query.cursor is None:
        return query.after if query.before is None else query.before
    if not (query.cursor.isascii() and query.cursor.isdigit() and len(query.cursor) <= CURSOR_DIGITS_MAX):
        raise HubError("This cursor was not given out by this list.", code="invalid_cursor")
    return int(query.cursor)


def _types(text: str | None) -> tuple[str, ...]:
    types = tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    if len(types) > TYPES_MAX:
        error = FieldError("type", f"At most {TYPES_MAX} types can be asked for at once.")
        raise HubError(code="invalid_parameter", errors=[error])
    return types


async def emit_event(call: Call) -> Answer:
    """Record an event; its deliveries go out as those of any other."""
    body: Emit = call.body

    def emit(ledger: Any) -> Event:
        task = None if body.task_id is None else tasks.get(ledger.conn, body.task_id)
        event: Event = ledger.record(
            body.type,
            source=call.source,
            task=task,
            task_id=body.task_id,
            data=body.data,
            occurred_at=body.occurred_at,
        )
        return event

    return await call.accept(emit, lambda event: Answer.json(event_json(event), 202))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/events",
        "listEvents",
        "Read events in order",
        list_events,
        "events:read",
        "events",
        query=EventQuery,
        answer="EventList",
    ),
    Endpoint(
        "POST",
        "/api/v1/events",
        "emitEvent",
        "Emit an event",
        emit_event,
        "events:write",
        "events",
        body=Emit,
        answer="Event",
        status=202,
        errors=("validation_failed",),
    ),
)
