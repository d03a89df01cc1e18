"""Every endpoint of the hub. A new one: write its row in the noun's file, list the file here."""

from typing import Final

from ralf_hub.endpoint import Endpoint
from ralf_hub.handlers import (
    connectors,
    deliveries,
    event_stream,
    events,
    features,
    health,
    jobs,
    keys,
    oauth,
    openapi,
    prometheus,
    queue,
    rehearsal,
    stream,
    tasks,
    usage,
    web,
    webhooks,
    workspace,
)

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *health.ENDPOINTS,
    *tasks.ENDPOINTS,
    *queue.ENDPOINTS,
    *features.ENDPOINTS,
    *events.ENDPOINTS,
    *stream.ENDPOINTS,
    *event_stream.ENDPOINTS,
    *deliveries.ENDPOINTS,
    *jobs.ENDPOINTS,
    *connectors.ENDPOINTS,
    *rehearsal.ENDPOINTS,
    *workspace.ENDPOINTS,
    *keys.ENDPOINTS,
    *oauth.ENDPOINTS,
    *usage.ENDPOINTS,
    *prometheus.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *openapi.ENDPOINTS,
    *web.ENDPOINTS,
)
