"""Traces are an extra: asked for without it, the hub says what to install; with it, spans are what was done."""

import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ralf_hub import otel
from ralf_hub.app import running
from ralf_hub.clock import Clock
from ralf_hub.errors import SettingsError
from tests.api.conftest import Start
from tests.api.helpers import Api, settings
from tests.support import eventually


async def test_without_the_extra_the_hub_says_what_to_install(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ralf_hub.otel")
    monkeypatch.delattr("ralf_hub.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(SettingsError, match=r"tracing\.enabled: .* pip install 'ralf-hub\[otel\]'"):
        async with running(settings(db_path, tracing={"enabled": True}), Clock()):
            pass


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    kept = InMemorySpanExporter()

    def here(endpoint: str) -> SpanExporter:
        assert endpoint == "http://127.0.0.1:4318/v1/traces"
        return kept

    monkeypatch.setattr(otel, "OTLPSpanExporter", here)
    return kept


async def test_spans_of_a_request_its_events_and_their_deliveries(
    start: Start, spans: InMemorySpanExporter
) -> None:
    api = await start(connectors={"console": {}}, tracing={"enabled": True})
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert (
        await api.post("/tasks", {"title": "x", "feature_id": "F-1"}, headers={"traceparent": given})
    ).status == 201
    assert (await api.get("/tasks/none", headers={"traceparent": "00-nonsense"})).status == 404
    assert (await api.post("/tasks", {"title": ""}, headers={"traceparent": given})).status == 422
    await eventually(lambda: sum(api.hub.meters.delivered_each_minute.last(api.hub.clock.now())) == 2)
    await api.client.close()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {
        "POST /api/v1/tasks",
        "GET /api/v1/tasks/{id}",
        "event feature_created",
        "event task_created",
        "deliver feature_created to console",
        "deliver task_created to console",
    }
    trace = int("0af7651916cd43dd8448eb211c80319c", 16)
    assert {name for name, span in found.items() if span.context.trace_id != trace} == {
        "GET /api/v1/tasks/{id}"
    }
    for kind in ("feature_created", "task_created"):
        event, delivery = found[f"event {kind}"], found[f"deliver {kind} to console"]
        assert delivery.parent.span_id == event.context.span_id
    assert found["event task_created"].attributes["ralf_hub.task_id"].startswith("TASK-")


async def test_what_is_refused_leaves_no_span_of_an_event(start: Start, spans: InMemorySpanExporter) -> None:
    api: Api = await start(tracing={"enabled": True})
    await api.task(id="T-1")
    assert (await api.post("/tasks", {"title": "again", "id": "T-1"})).status == 409
    await api.client.close()
    assert [span.name for span in spans.get_finished_spans()].count("event task_created") == 1
