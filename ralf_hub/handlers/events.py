"""Events: read in `seq` order, wait for the next, emit one."""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from ralf_hub.endpoint import Answer, Body, Call, Endpoint, Query
from ralf_hub.handlers.shared import METADATA_KEYS_MAX, Limit, Moment, TaskId
from ralf_hub.model import Event, event_json
from ralf_hub.store import events, tasks

WAIT_S_MAX: Final = 60.0
TYPES_MAX: Final = 50
EventType = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.:-]{0,99}$")]


class EventQuery(Query):
    """Which events, and how long to wait for one."""

    after: int = Field(default=0, ge=0, le=2**53, description="Events with a higher `seq`.")
    type: str | None = Field(
        default=None, max_length=2_000, description="Only these types, separated by commas."
    )
    task_id: str | None = Field(default=None, max_length=128, description="Only events of this task.")
    limit: Limit = Field(default=50, description="Events at most.")
    cursor: int | None = Field(default=None, ge=0, le=2**53, description="`next_cursor` of the page before.")
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
    after = query.after if query.cursor is None else query.cursor
    types = tuple(name.strip() for name in (query.type or "").split(",") if name.strip())[:TYPES_MAX]
    found = await _read(call, after, query, types)
    deadline = call.hub.clock.monotonic() + query.wait
    seen = after
    while not found and (left := deadline - call.hub.clock.monotonic()) > 0 and not call.hub.stopping:
        seen = max(seen, call.hub.feed.last_seq)
        await call.hub.feed.wait_beyond(seen, min(left, 5.0))
        found = await _read(call, after, query, types)
    total, last_seq = await call.hub.db.read(
        lambda conn: (events.total(conn, types, query.task_id), events.bounds(conn)[1])
    )
    following = str(found[-1].seq) if len(found) == query.limit else None
    return Answer.json(
        {
            "events": [event_json(event) for event in found],
            "total": total,
            "next_cursor": following,
            "last_seq": last_seq,
        }
    )


async def _read(call: Call, after: int, query: EventQuery, types: tuple[str, ...]) -> list[Event]:
    return await call.hub.db.read(
        lambda conn: events.after(conn, after, limit=query.limit, types=types, task_id=query.task_id)
    )


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
