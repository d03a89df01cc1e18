"""One try: the connector is let at the network, and whatever comes of it is an outcome."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from ralf_hub import context
from ralf_hub.clock import Clock
from ralf_hub.connectors.base import (
    Ambiguous,
    Connector,
    Delivered,
    Http,
    HttpRequest,
    HttpResponse,
    NotSentError,
    Outcome,
    Rejected,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.connectors.budget import budget
from ralf_hub.delivery.channel import Channel, Claimed, Finished

log = logging.getLogger(__name__)

UNWORDED: Final = "notify"
"""The action of a delivery that its connector could not plan, which is dead from the start, with an empty payload."""
SEND_GRACE_S: Final = 5.0
"""On top of the network's timeout, for connectors that make several calls."""


async def send(
    connector: Connector, claimed: Claimed, *, http: Http, clock: Clock, timeout_s: float
) -> Outcome:
    """Try a delivery once. Never raises, but for being cancelled."""
    delivery = claimed.delivery
    if not delivery.payload and delivery.action == UNWORDED:
        return Rejected("there is nothing to send: the event could not be worded when it was recorded")
    context = SendContext(
        http=http,
        clock=clock,
        link=claimed.link,
        may_have_been_sent=delivery.first_attempt_at is not None,
    )
    try:
        async with asyncio.timeout(timeout_s + SEND_GRACE_S):
            return await connector.send(delivery, context)
    except NotSentError as error:
        return Retry(str(error))
    except UnknownAnswerError as error:
        return Ambiguous(str(error))
    except TimeoutError:
        return Ambiguous("no verdict in time")
    except Exception as error:
        log.exception("connector %s failed on delivery %s", connector.name, delivery.id)
        return Retry(f"the connector failed: {type(error).__name__}: {error}")


def noting(http: Http, channel: Channel, clock: Clock) -> Http:
    """Return *http*, by which *channel* learns what its service says is left of the rate limit.

    Plain webhooks are told of the trace that is open, if one is.
    """

    async def call(request: HttpRequest) -> HttpResponse:
        parent = context.traceparent.get()
        if parent is not None and channel.connector.service == "webhook":
            request = replace(request, headers={**request.headers, "traceparent": parent})
        response = await http(request)
        channel.budget = budget(response.headers, clock.now()) or channel.budget
        return response

    return call


def without_detail(item: Finished, error: Exception) -> Finished:
    """Return *item* with nothing in it that could not be written down: *error* came when it was tried."""
    plain = f"its outcome could not be recorded ({type(error).__name__})"
    match item.outcome:
        case Delivered(status_code=status):
            return replace(item, outcome=Delivered(status))
        case Rejected():
            return replace(item, outcome=Rejected(plain))
        case _:
            return replace(item, outcome=Retry(plain))
