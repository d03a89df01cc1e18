"""What a connector would send, shown and not sent."""

from pydantic import Field

from ralf_hub.config import secret_values
from ralf_hub.delivery import rehearsal
from ralf_hub.endpoint import Answer, Body, Call, Endpoint
from ralf_hub.errors import ConflictError, NotFoundError
from ralf_hub.handlers.events import EventType


class DryRun(Body):
    """A sample event."""

    event: EventType = Field(default="task_completed", description="Its type.")


async def dry_run(call: Call) -> Answer:
    """Answer with the requests a connector would make of a sample event, secrets masked; nothing is sent."""
    body: DryRun = call.body
    hub, name = call.hub, call.params["name"]
    channel = hub.dispatcher.channels.get(name)
    if channel is None:
        raise NotFoundError(f"There is no enabled connector {name[:100]}.")
    secrets = frozenset(secret_values(hub.settings))
    try:
        planned = rehearsal.deliveries(channel.connector, rehearsal.sample(body.event, hub.clock))
        shown = rehearsal.requests(channel.connector, planned, hub.clock, hub.redact, secrets)
    except rehearsal.NothingToSendError as error:
        raise ConflictError(f"{error}.") from None
    return Answer.json({"requests": shown})


ENDPOINTS = (
    Endpoint(
        "POST",
        "/api/v1/connectors/{name}/dry-run",
        "dryRunConnector",
        "Show what a connector would send",
        dry_run,
        "connectors:write",
        "connectors",
        body=DryRun,
        answer="DryRunRequests",
        errors=("not_found", "conflict"),
    ),
)
