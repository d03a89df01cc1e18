"""What a connector would send for a sample event, without sending anything."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from ralf_hub.clock import Clock
from ralf_hub.connectors.base import Connector, Fact, HttpRequest, HttpResponse, SendContext
from ralf_hub.model import STATUS_EVENT, Delivery, Event, Feature, Json, Task

SAMPLE_TASK: Final = "SAMPLE-TASK"
SAMPLE_FEATURE: Final = "SAMPLE-FEATURE"


class NothingToSendError(Exception):
    """A connector makes nothing of an event; the message says so."""


def sample(event_type: str, clock: Clock) -> Fact:
    """Return a made-up event of *event_type* that nobody can take for a real one."""
    now = clock.iso()
    status = next((status for status, kind in STATUS_EVENT.items() if kind == event_type), "in_progress")
    about_task = not event_type.startswith(("feature_", "system_", "connector_", "queue_"))
    task = Task(
        SAMPLE_TASK,
        "Sample task: nothing happened, someone tries the connector",
        status=status,
        description="A sample: nothing happened.",
        created_at=now,
        updated_at=now,
        source="cli",
    )
    feature = Feature(SAMPLE_FEATURE, "Sample feature: nothing happened", created_at=now, updated_at=now)
    about_feature = event_type.startswith("feature_")
    data: dict[str, Json] = {"sample": True}
    if about_feature:
        data |= {"feature_id": feature.id, "title": feature.title}
    elif not about_task:
        data |= {"code": "sample", "message": "A sample: nothing happened.", "severity": "info"}
    else:
        data |= {"title": task.title, **({"error": "A sample error."} if status == "failed" else {})}
    event = Event(
        id=clock.id("evt"),
        type=event_type,
        occurred_at=now,
        recorded_at=now,
        source="cli",
        task_id=task.id if about_task else None,
        data=data,
    )
    return Fact(event, task if about_task else None, feature if about_feature else None)


def deliveries(connector: Connector, fact: Fact) -> list[Delivery]:
    """Return the deliveries *connector* makes of *fact*, as the outbox would hold them. NothingToSendError."""
    actions = connector.plan(fact)
    if not actions:
        raise NothingToSendError(
            f"{connector.name} makes nothing of {fact.event.type}: there is nothing to send"
        )
    event = fact.event
    return [
        Delivery(
            id=0,
            event_id=event.id,
            event_type=event.type,
            connector=connector.name,
            action=action.name,
            payload=action.payload,
            task_id=event.task_id,
            lane=action.lane or event.task_id,
            created_at=event.recorded_at,
        )
        for action in actions
    ]


def requests(
    connector: Connector,
    planned: Sequence[Delivery],
    clock: Clock,
    redact: Callable[[str], str],
    secrets: frozenset[str],
) -> list[dict[str, Json]]:
    """Return the requests of *planned* as they may be shown; of a delivery without one, its payload."""
    return [_request(connector, delivery, clock, redact, secrets) for delivery in planned]


def _request(
    connector: Connector,
    delivery: Delivery,
    clock: Clock,
    redact: Callable[[str], str],
    secrets: frozenset[str],
) -> dict[str, Json]:
    request = connector.prepare(delivery, SendContext(_nowhere, clock))
    if request is None:
        return {"action": delivery.action, "payload": delivery.payload}
    return {
        "action": delivery.action,
        "method": request.method,
        "url": shown_url(request.url, redact, secrets),
        "headers": {name: redact(value) for name, value in request.headers.items()},
        "body": _body(request, redact),
    }


async def _nowhere(request: HttpRequest) -> HttpResponse:
    raise NothingToSendError(f"a dry run sends nothing, and {request.method} was asked for")


def shown_url(url: str, redact: Callable[[str], str], secrets: frozenset[str]) -> str:
    """Return *url* as it may be shown: of one that is a secret itself only where it leads."""
    if url not in secrets:
        return redact(url)
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}/***"


def _body(request: HttpRequest, redact: Callable[[str], str]) -> Any:
    text = redact(request.body.decode("utf-8", "replace"))
    with suppress(ValueError):
        return json.loads(text)
    return text
