"""The queue: what RALF takes next, and taking it."""

from pydantic import Field

from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.endpoint import Answer, Body, Call, Endpoint, Query, Whole
from ralf_hub.handlers.shared import Limit, Name, TaskId, listed, task_answer
from ralf_hub.intake import queue
from ralf_hub.model import task_json
from ralf_hub.store import tasks

LEASE_S_MAX = 86_400


class QueueQuery(Query):
    """How much of the queue to show."""

    limit: Limit = Field(default=200, description="Tasks shown at most, of each list.")


class Claim(Body):
    """Who takes a task, and for how long it is theirs without a heartbeat."""

    agent: Name = Field(description="Who takes it.")
    lease_s: Whole = Field(
        default=300, ge=1, le=LEASE_S_MAX, description="Seconds until it goes back to the queue."
    )


class Heartbeat(Body):
    """A sign of life for a leased task."""

    task_id: TaskId = Field(description="The leased task.")
    agent: Name = Field(description="Who holds the lease.")
    lease_s: Whole = Field(default=300, ge=1, le=LEASE_S_MAX, description="Seconds from now.")


class Release(Body):
    """A leased task given back."""

    task_id: TaskId = Field(description="The leased task.")
    agent: Name = Field(description="Who holds the lease.")


async def show_queue(call: Call) -> Answer:
    """Answer with the queue in the order RALF will take it."""
    limit: int = call.query.limit
    ready, blocked, (depth, by_priority, oldest) = await call.hub.db.read(
        lambda conn: (tasks.claimable(conn, limit), tasks.waiting(conn, limit), tasks.queue_numbers(conn))
    )
    age = None if oldest is None else round((call.hub.clock.now() - parse_iso(oldest)) / MS_PER_S, 3)
    return Answer.json(
        {
            "depth": depth,
            "tasks": listed(ready, task_json),
            "blocked": listed(blocked, task_json),
            "by_priority": by_priority,
            "oldest_pending_age_s": age,
        }
    )


async def claim_task(call: Call) -> Answer:
    """Give the caller the next task; 204 where there is none."""
    body: Claim = call.body
    return await call.accept(
        lambda ledger: queue.claim(ledger, body.agent, body.lease_s, source=call.source),
        lambda task: Answer(204) if task is None else task_answer(task),
    )


async def prolong(call: Call) -> Answer:
    """Prolong a lease."""
    body: Heartbeat = call.body
    return await call.accept(
        lambda ledger: queue.heartbeat(ledger, body.task_id, body.agent, body.lease_s), task_answer
    )


async def release(call: Call) -> Answer:
    """Give a task back."""
    body: Release = call.body
    return await call.accept(
        lambda ledger: queue.release(ledger, body.task_id, body.agent, source=call.source), task_answer
    )


_QUEUE = "/api/v1/queue"
_LEASE_ERRORS = ("not_found", "lease_lost", "validation_failed")

ENDPOINTS = (
    Endpoint(
        "GET",
        _QUEUE,
        "showQueue",
        "Show the queue",
        show_queue,
        "queue:read",
        "queue",
        query=QueueQuery,
        answer="Queue",
    ),
    Endpoint(
        "POST",
        _QUEUE + "/claim",
        "claimTask",
        "Take the next task",
        claim_task,
        "tasks:write",
        "queue",
        body=Claim,
        answer="Task",
        errors=("validation_failed",),
    ),
    Endpoint(
        "POST",
        _QUEUE + "/heartbeat",
        "prolongLease",
        "Prolong a lease",
        prolong,
        "tasks:write",
        "queue",
        body=Heartbeat,
        answer="Task",
        errors=_LEASE_ERRORS,
    ),
    Endpoint(
        "POST",
        _QUEUE + "/release",
        "releaseTask",
        "Give a task back",
        release,
        "tasks:write",
        "queue",
        body=Release,
        answer="Task",
        errors=_LEASE_ERRORS,
    ),
)
