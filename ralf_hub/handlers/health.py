"""Health and numbers."""

from typing import Final

from ralf_hub import __version__
from ralf_hub.clock import MS_PER_S, iso
from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.meters import count_statuses
from ralf_hub.model import Json
from ralf_hub.services import Services
from ralf_hub.store import metrics, outbox

LATE_AFTER_S: Final = 60
"""A delivery that has been due so long, with a free hand and a working connector, is late without cause."""
_HEALTH = "/health"


async def health(call: Call) -> Answer:
    """Answer 200 when all is well, 503 when something needs a person."""
    hub = call.hub
    storage = await hub.write_check.problem(hub.db, hub.clock)
    if hub.damage is not None:  # what exactly, and where, stands in the log
        storage = "The database is damaged; the hub stops."
    late = await _late(hub) if storage is None else []
    dead_loops = [name for name, alive in hub.background.items() if not alive()]
    checks: dict[str, Json] = {
        "database": "ok" if storage is None else storage,
        "deliveries": "ok" if not late else f"late without cause: {', '.join(late)}",
        "background": "ok" if not dead_loops else f"stopped: {', '.join(dead_loops)}",
        "disk": "ok" if hub.room is None or not hub.room.is_little else f"nearly full: {hub.room.words}",
        # The problem itself names files and keys; it stands in the log, not in an answer that is open to all.
        "settings": "ok"
        if hub.settings_problem is None
        else "the changed settings were not taken; ask `ralf-hub check`",
    }
    well = storage is None and not late and not dead_loops and not hub.stopping
    return Answer.json(
        {
            "status": "ok" if well else "failing",
            "version": __version__,
            "settings": hub.loaded.fingerprint,
            "checks": checks,
        },
        200 if well else 503,
    )


async def _late(hub: Services) -> list[str]:
    """Return the connectors that could deliver something long due and do not."""
    idle = [
        name
        for name, channel in hub.dispatcher.channels.items()
        if channel.state.breaker == "closed"
        and not channel.state.paused
        and channel.sending < channel.concurrency
    ]
    limit = iso(hub.clock.now() - LATE_AFTER_S * MS_PER_S)
    due = await hub.db.read(lambda conn: outbox.first_due(conn, idle))
    return [
        name
        for name, moment in due.items()
        if moment < limit and (hub.dispatcher.channels[name].state.held_until or "") < limit
    ]


async def metrics_document(hub: Services) -> Json:
    """Return the numbers of the hub."""
    now_ms = hub.clock.now()
    names = list(hub.dispatcher.channels)
    tasks, queue, deliveries, webhooks = await hub.db.read(
        lambda conn: (
            metrics.task_numbers(conn, now_ms),
            metrics.queue_numbers(conn, now_ms),
            metrics.delivery_numbers(conn, now_ms, names),
            metrics.webhook_numbers(conn),
        )
    )
    for name, numbers in deliveries.items():
        series = hub.meters.deliveries.get(name)
        numbers.update(series.quantiles() if series else {"p50_ms": None, "p95_ms": None, "p99_ms": None})
        channel = hub.dispatcher.channels.get(name)
        numbers["breaker"] = channel.state.breaker if channel is not None else None
        numbers["paused"] = channel is not None and channel.state.paused
    return {
        "tasks": tasks,
        "queue": queue,
        "deliveries": deliveries,
        "delivered_per_minute": hub.meters.delivered_each_minute.last(now_ms),
        "webhooks": webhooks,
        "api": {
            "requests": hub.meters.requests,
            **hub.meters.api.quantiles(),
            "by_status": count_statuses(hub.meters.by_status),
        },
        "process": {
            "uptime_s": round((now_ms - hub.meters.started_ms) / MS_PER_S, 3),
            "rss_bytes": metrics.rss_bytes(),
            "db_bytes": metrics.file_bytes(hub.db.path),
            "table_bytes": dict(hub.table_bytes),
            "disk_free_bytes": hub.room.free_bytes if hub.room else None,
        },
    }


async def show_metrics(call: Call) -> Answer:
    """Answer with the numbers of the hub."""
    return Answer.json(await metrics_document(call.hub))


ENDPOINTS = (
    Endpoint("GET", _HEALTH, "health", "Is all well?", health, None, "health", answer="Health"),
    Endpoint(
        "GET",
        "/api/v1/metrics",
        "showMetrics",
        "Show numbers",
        show_metrics,
        "metrics:read",
        "metrics",
        answer="Metrics",
    ),
)
