"""Deliveries: what left the house, what is stuck and why; replay and cancel."""

from typing import Final, Literal

from pydantic import Field

from ralf_hub.delivery.explain import Circumstances, explain
from ralf_hub.endpoint import Answer, Body, Call, Endpoint
from ralf_hub.errors import ConflictError, NotFoundError
from ralf_hub.handlers.jobs import job_json
from ralf_hub.handlers.shared import Moment, PageQuery, page_answer
from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import Attempt, Delivery, Json
from ralf_hub.store import connectors as connector_states
from ralf_hub.store import jobs, outbox
from ralf_hub.store.jobs import BulkJob

State = Literal["pending", "delivered", "dead", "cancelled"]
ID_DIGITS_MAX: Final = 18
"""As many as surely fit into SQLite's integers."""


class DeliveryQuery(PageQuery):
    """Filters of the delivery list."""

    state: State | None = Field(default=None, description="Only deliveries in this state.")
    connector: str | None = Field(
        default=None, max_length=200, description="Only deliveries of this connector."
    )
    task_id: str | None = Field(default=None, max_length=128, description="Only deliveries about this task.")


class BulkReplay(Body):
    """Which deliveries to replay."""

    state: Literal["dead", "delivered", "cancelled"] = Field(
        default="dead", description="In which state they are."
    )
    connector: str | None = Field(default=None, max_length=200, description="Of which connector.")
    since: Moment | None = Field(default=None, description="Put into the outbox at or after this time.")
    until: Moment | None = Field(default=None, description="Put into the outbox before this time.")
    dry_run: bool = Field(default=False, description="Only count them.")


def delivery_json(delivery: Delivery) -> dict[str, Json]:
    """Return *delivery* as lists show it. One delivery by itself has its attempts in place of their number."""
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "task_id": delivery.task_id,
        "connector": delivery.connector,
        "action": delivery.action,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "attempts_counted": delivery.attempts,
        "next_attempt_at": delivery.due_at,
        "last_error": delivery.last_error,
        "created_at": delivery.created_at,
        "delivered_at": delivery.delivered_at,
    }


def attempt_json(attempt: Attempt) -> dict[str, Json]:
    """Return *attempt* as the API shows it."""
    return {
        "id": attempt.id,
        "started_at": attempt.started_at,
        "duration_ms": attempt.duration_ms,
        "outcome": attempt.outcome,
        "status_code": attempt.status_code,
        "error": attempt.error,
        "response": attempt.response,
    }


def delivery_id(call: Call) -> int:
    """Return the id in the path. NotFoundError where it is no number."""
    text = call.params["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX):
        raise NotFoundError(f"There is no delivery {text[:50]}.")
    return int(text)


async def list_deliveries(call: Call) -> Answer:
    """Answer with deliveries, newest first."""
    query: DeliveryQuery = call.query
    page = await call.hub.db.read(lambda conn: outbox.page(conn, **query.model_dump()))
    return page_answer("deliveries", page, delivery_json)


async def get_delivery(call: Call) -> Answer:
    """Answer with one delivery, its attempts, and why it is where it is."""
    wanted = delivery_id(call)
    hub = call.hub

    def look(conn: Json) -> tuple[Delivery, list[Attempt], int | None, connector_states.ConnectorState]:
        delivery = outbox.get(conn, wanted)
        if delivery is None:
            raise NotFoundError(f"There is no delivery {wanted}.")
        state = connector_states.get(conn, delivery.connector)
        return delivery, outbox.attempts_of(conn, wanted), outbox.ahead_in_lane(conn, delivery), state

    delivery, attempts, ahead, state = await hub.db.read(look)
    channel = hub.dispatcher.channels.get(delivery.connector)
    around = Circumstances(
        state=channel.state if channel is not None else state,
        known=channel is not None,
        ahead=ahead,
        now=hub.clock.iso(),
        max_attempts=hub.settings.delivery.max_attempts,
        in_hand=channel is not None and wanted in channel.held,
    )
    return Answer.json(
        {
            **delivery_json(delivery),
            "payload": delivery.payload,
            "attempts": [attempt_json(attempt) for attempt in attempts],
            "explain": explain(delivery, around),
        }
    )


def _one(ledger: Ledger, wanted: int) -> Delivery:
    delivery = outbox.get(ledger.conn, wanted)
    if delivery is None:
        raise NotFoundError(f"There is no delivery {wanted}.")
    return delivery


async def replay_delivery(call: Call) -> Answer:
    """Make one delivery due now."""
    wanted = delivery_id(call)

    def replay(ledger: Ledger) -> Delivery:
        delivery = _one(ledger, wanted)
        if not outbox.replay(ledger.conn, wanted, now=ledger.now):
            outbox.hurry(ledger.conn, wanted, now=ledger.now)
        ledger.connectors.add(delivery.connector)
        return _one(ledger, wanted)

    return await call.accept(replay, lambda delivery: Answer.json(delivery_json(delivery), 202))


async def cancel_delivery(call: Call) -> Answer:
    """Give up one delivery."""
    wanted = delivery_id(call)
    by = call.principal.name

    def cancel(ledger: Ledger) -> Delivery:
        delivery = _one(ledger, wanted)
        if (
            not outbox.cancel(ledger.conn, wanted, reason=f"cancelled by {by}")
            and delivery.state != "cancelled"
        ):
            raise ConflictError(f"A delivery that is {delivery.state} cannot be cancelled.")
        ledger.connectors.add(delivery.connector)
        return _one(ledger, wanted)

    return await call.accept(cancel, lambda delivery: Answer.json(delivery_json(delivery)))


async def replay_many(call: Call) -> Answer:
    """Start a durable job that replays what matches, or only count it."""
    body: BulkReplay = call.body
    parameters = body.model_dump(exclude={"dry_run"})
    if body.dry_run:
        count, _ = await call.hub.db.read(lambda conn: outbox.matching(conn, **parameters))
        return Answer.json({"count": count, "job": None})

    def start(ledger: Ledger) -> BulkJob:
        count, highest = outbox.matching(ledger.conn, **parameters)
        job = BulkJob(
            id=ledger.clock.id("job"),
            kind="replay",
            state="running",
            parameters={**parameters, "up_to_id": highest},
            total=count,
            done=0,
            last_id=0,
            created_by=call.principal.name,
            created_at=ledger.now,
            updated_at=ledger.now,
        )
        jobs.insert(ledger.conn, job)
        return job

    def answer(job: BulkJob) -> Answer:
        return Answer.json(
            {"count": job.total, "job": job_json(job)}, 202, {"Location": f"/api/v1/jobs/{job.id}"}
        )

    return await call.accept(start, answer)


_DELIVERIES = "/api/v1/deliveries"

ENDPOINTS = (
    Endpoint(
        "GET",
        _DELIVERIES,
        "listDeliveries",
        "List deliveries",
        list_deliveries,
        "deliveries:read",
        "deliveries",
        query=DeliveryQuery,
        answer="DeliveryList",
    ),
    Endpoint(
        "POST",
        _DELIVERIES + "/replay",
        "replayDeliveries",
        "Replay many deliveries",
        replay_many,
        "deliveries:write",
        "deliveries",
        body=BulkReplay,
        answer="BulkReplay",
        status=202,
        errors=("validation_failed",),
    ),
    Endpoint(
        "GET",
        _DELIVERIES + "/{id}",
        "getDelivery",
        "Read a delivery",
        get_delivery,
        "deliveries:read",
        "deliveries",
        answer="DeliveryDetail",
        errors=("not_found",),
    ),
    Endpoint(
        "POST",
        _DELIVERIES + "/{id}/replay",
        "replayDelivery",
        "Replay a delivery",
        replay_delivery,
        "deliveries:write",
        "deliveries",
        answer="Delivery",
        status=202,
        errors=("not_found",),
    ),
    Endpoint(
        "POST",
        _DELIVERIES + "/{id}/cancel",
        "cancelDelivery",
        "Cancel a delivery",
        cancel_delivery,
        "deliveries:write",
        "deliveries",
        answer="Delivery",
        errors=("not_found", "conflict"),
    ),
)
