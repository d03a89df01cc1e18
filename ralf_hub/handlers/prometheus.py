"""`/metrics`: the same numbers for Prometheus, with its naming conventions (https://prometheus.io/docs/practices/naming/)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from ralf_hub import __version__
from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.handlers.health import metrics_document
from ralf_hub.meters import Latencies
from ralf_hub.model import Json
from ralf_hub.services import Services
from ralf_hub.store import metrics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BREAKER: Final = {"closed": 0, "open": 1, "disabled": 2}


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot(Collector):
    """The numbers of one scrape, as metric families."""

    hub: Services
    numbers: Json
    tables: Mapping[str, int]

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield InfoMetricFamily("ralf_hub", "What runs.", value={"version": __version__})
        yield from self._tasks()
        yield from self._deliveries()
        yield from self._doors()
        yield from self._process()

    def _tasks(self) -> Iterator[Metric]:
        tasks, queue = self.numbers["tasks"], self.numbers["queue"]
        family = GaugeMetricFamily("ralf_hub_tasks", "Tasks by status.", labels=["status"])
        for status, n in tasks["by_status"].items():
            family.add_metric([status], n)
        yield family
        yield GaugeMetricFamily("ralf_hub_queue_depth", "Pending tasks.", value=queue["depth"])
        age = queue["oldest_pending_age_s"] or 0
        yield GaugeMetricFamily(
            "ralf_hub_queue_oldest_age_seconds", "Age of the oldest pending task.", value=age
        )
        last = self.hub.feed.last_seq
        yield CounterMetricFamily("ralf_hub_events", "Events ever recorded.", value=last)

    def _deliveries(self) -> Iterator[Metric]:
        found = self.numbers["deliveries"]
        states = GaugeMetricFamily(
            "ralf_hub_deliveries", "Deliveries by state.", labels=["connector", "state"]
        )
        ages = GaugeMetricFamily(
            "ralf_hub_deliveries_oldest_age_seconds",
            "Age of the oldest pending delivery.",
            labels=["connector"],
        )
        breakers = GaugeMetricFamily(
            "ralf_hub_connector_breaker", "0 closed, 1 open, 2 disabled.", labels=["connector"]
        )
        paused = GaugeMetricFamily("ralf_hub_connector_paused", "1 while paused.", labels=["connector"])
        spans = HistogramMetricFamily(
            "ralf_hub_delivery_duration_seconds", "How long successful attempts took.", labels=["connector"]
        )
        for name, numbers in found.items():
            for state in ("pending", "delivered", "dead", "cancelled"):
                states.add_metric([name, state], numbers[state])
            ages.add_metric([name], numbers["oldest_pending_age_s"] or 0)
            channel = self.hub.dispatcher.channels.get(name)
            if channel is not None:
                breakers.add_metric([name], _BREAKER[channel.state.breaker])
                paused.add_metric([name], int(channel.state.paused))
            series = self.hub.meters.deliveries.get(name)
            if series is not None:
                spans.add_metric([name], series.buckets(), series.sum_s)
        yield from (states, ages, breakers, paused, spans)

    def _doors(self) -> Iterator[Metric]:
        api = CounterMetricFamily("ralf_hub_http_requests", "API requests by status.", labels=["status"])
        for status, n in self.numbers["api"]["by_status"].items():
            api.add_metric([status], n)
        yield api
        yield _histogram(
            "ralf_hub_http_request_duration_seconds", "How long answers took.", self.hub.meters.api
        )
        webhooks = CounterMetricFamily(
            "ralf_hub_webhooks", "Webhooks received, by outcome.", labels=["outcome"]
        )
        received = self.numbers["webhooks"]
        webhooks.add_metric(["accepted"], received["accepted"])
        webhooks.add_metric(["duplicate"], received["duplicate"])
        for reason, n in received["rejected"].items():
            webhooks.add_metric([f"rejected_{reason}"], n)
        yield webhooks
        readers = len(self.hub.stream.clients)
        yield GaugeMetricFamily("ralf_hub_stream_clients", "Live readers.", value=readers)

    def _process(self) -> Iterator[Metric]:
        process = self.numbers["process"]
        yield GaugeMetricFamily("ralf_hub_uptime_seconds", "Time since the start.", value=process["uptime_s"])
        yield GaugeMetricFamily("ralf_hub_resident_memory_bytes", "Memory held.", value=process["rss_bytes"])
        yield GaugeMetricFamily("ralf_hub_database_bytes", "Size of the database.", value=process["db_bytes"])
        sizes = GaugeMetricFamily(
            "ralf_hub_table_bytes", "Size of a table with its indexes.", labels=["table"]
        )
        for table, n in process["table_bytes"].items():
            sizes.add_metric([table], n)
        if process["table_bytes"]:
            yield sizes
        if process["disk_free_bytes"] is not None:
            yield GaugeMetricFamily(
                "ralf_hub_disk_free_bytes", "Room left for the database.", value=process["disk_free_bytes"]
            )
        tables = GaugeMetricFamily("ralf_hub_table_rows", "Highest row number of a table.", labels=["table"])
        for table, n in self.tables.items():
            tables.add_metric([table], n)
        yield tables


def _histogram(name: str, text: str, series: Latencies) -> Metric:
    return HistogramMetricFamily(name, text, buckets=series.buckets(), sum_value=series.sum_s)


async def scrape(call: Call) -> Answer:
    """Answer with the numbers in Prometheus' text format."""
    hub = call.hub
    numbers: Any = await metrics_document(hub)
    tables = await hub.db.read(metrics.table_sizes)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(hub, numbers, tables))
    return Answer(200, generate_latest(registry), content_type=CONTENT_TYPE)


ENDPOINTS = (
    Endpoint("GET", "/metrics", "scrape", "Numbers for Prometheus", scrape, "metrics:read", "metrics"),
)
