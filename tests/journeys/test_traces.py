"""One trace from a webhook in over its event to the delivery out, at a real OTLP receiver, also after a kill."""

import asyncio
import gzip
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub
from tests.support import eventually

pytestmark = pytest.mark.journey

SECRET = "the-secret-of-github"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{CALLER}-01"
SETTINGS = """
[delivery]
backoff_first_s = 0.1
backoff_max_s = 0.2
breaker_probe_first_s = 0.1
breaker_probe_max_s = 0.2

[tracing]
enabled = {enabled}
endpoint = "{collector}/v1/traces"
service_name = "the-hub"

[logging]
format = "json"
level = "debug"

[connectors.hook]
type = "webhook"
url = "{sink}/hook"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
events = ["*"]

[[webhooks.incoming]]
service = "github"
path = "/api/v1/webhooks/github"
secret = "the-secret-of-github"
"""


class Collector:
    """Takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {item.key: item.value.string_value for item in resource.resource.attributes}[
                "service.name"
            ]
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                self.spans.append(
                    {
                        "service": service,
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "id": span.span_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "failed": span.status.code == 2,
                        "attributes": {
                            item.key: item.value.string_value or item.value.int_value
                            for item in span.attributes
                        },
                    }
                )
        return web.Response(body=b"", content_type="application/x-protobuf")

    def named(self, start: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"].startswith(start) and span["trace"] == TRACE]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as started:
        yield started


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as double:
        yield double


def hub_for(folder: Path, sink: Receiver, collector: Collector, *, enabled: bool = True) -> Hub:
    text = SETTINGS.format(sink=sink.url, collector=collector.url, enabled=str(enabled).lower())
    return Hub(folder, text)


async def ping(hub: Hub) -> str:
    """Send a genuine webhook within a trace of the caller's; return the id of the request."""
    body = json.dumps({"zen": "Keep it logically awesome.", "hook_id": 1}).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": "d-1",
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        "X-Request-ID": "the-webhook",
        "traceparent": GIVEN,
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{hub.url}/api/v1/webhooks/github", data=body, headers=headers) as answer,
    ):
        assert answer.status == 202, await answer.text()
        return answer.headers["X-Request-ID"]


async def test_one_trace_from_the_webhook_in_to_the_delivery_out(
    tmp_path: Path, sink: Receiver, collector: Collector
) -> None:
    async with hub_for(tmp_path, sink, collector) as hub:
        await ping(hub)
        await eventually(lambda: sink.accepted)
        await eventually(lambda: collector.named("deliver"), within_s=15)
        await eventually(lambda: collector.named("POST"), within_s=15)
        (request,), (event, *_), (delivery, *_) = map(collector.named, ("POST", "event", "deliver"))
        assert (request["name"], request["parent"]) == ("POST /api/v1/webhooks/{service}", CALLER)
        assert request["attributes"]["ralf_hub.request_id"] == "the-webhook"
        assert request["attributes"]["http.response.status_code"] == 202
        assert (event["name"], event["parent"]) == ("event webhook_received", request["id"])
        assert (delivery["name"], delivery["parent"]) == ("deliver webhook_received to hook", event["id"])
        assert delivery["attributes"]["ralf_hub.outcome"] == "delivered"
        assert {span["service"] for span in collector.spans} == {"the-hub"}
        assert sink.accepted[0].headers["traceparent"] == f"00-{TRACE}-{delivery['id']}-01"
        assert await hub.stop() == 0


async def test_the_delivery_goes_on_with_its_trace_after_a_kill(
    tmp_path: Path, sink: Receiver, collector: Collector
) -> None:
    await sink.refuse()
    async with hub_for(tmp_path, sink, collector) as hub:
        await ping(hub)
        await eventually(lambda: hub.value("SELECT count(*) FROM attempts") > 0)
        hub.kill()
        await sink.listen()
        await hub.start()
        await eventually(lambda: sink.accepted, within_s=15)
        _, trace, span, _ = sink.accepted[0].headers["traceparent"].split("-")
        assert trace == TRACE
        await eventually(
            lambda: [one for one in collector.named("deliver") if one["id"] == span], within_s=15
        )
        (delivery,) = [one for one in collector.named("deliver") if one["id"] == span]
        known = hub.value("SELECT traceparent FROM events WHERE type = 'webhook_received'")
        assert known == f"00-{TRACE}-{delivery['parent']}-01"


async def test_a_change_without_a_caller_begins_a_trace_of_its_own(
    tmp_path: Path, sink: Receiver, collector: Collector
) -> None:
    async with hub_for(tmp_path, sink, collector) as hub:
        status, _ = await hub.call("POST", "/api/v1/tasks", {"title": "x"}, traceparent="no trace at all")
        assert status == 201
        assert hub.command("emit", "task_completed", "--task", "T-9").returncode == 0  # beside the hub
        await eventually(lambda: len(sink.accepted) == 2)
        traces = {received.headers["traceparent"].split("-")[1] for received in sink.accepted}
        assert len(traces) == 2
        await eventually(lambda: traces <= {span["trace"] for span in collector.spans}, within_s=15)


async def test_without_tracing_nothing_of_it_is_loaded_sent_or_stored(
    tmp_path: Path, sink: Receiver, collector: Collector
) -> None:
    async with hub_for(tmp_path, sink, collector, enabled=False) as hub:
        await ping(hub)
        await eventually(lambda: sink.accepted)
        assert "traceparent" not in sink.accepted[0].headers
        assert hub.rows("SELECT DISTINCT traceparent FROM events") == [(None,)]
        assert await hub.stop() == 0
    assert collector.spans == []
    looked = (
        "import sys, ralf_hub.cli.serving; sys.exit(any('opentelemetry' in name for name in sys.modules))"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", looked], check=False)
    assert done.returncode == 0


async def test_a_collector_that_is_away_holds_nobody_up(
    tmp_path: Path, sink: Receiver, collector: Collector
) -> None:
    collector.url = "http://127.0.0.1:9"
    async with hub_for(tmp_path, sink, collector) as hub:
        await ping(hub)
        await eventually(lambda: sink.accepted)
        assert await hub.stop() == 0


async def test_lines_of_the_log_name_what_was_worked_on(
    tmp_path: Path, sink: Receiver, collector: Collector
) -> None:
    """A real run: every line is JSON, those of a request and of a delivery carry their ids, none a secret."""
    await sink.refuse()
    async with hub_for(tmp_path, sink, collector) as hub:
        await ping(hub)
        await eventually(lambda: hub.value("SELECT count(*) FROM attempts") > 0)
        await hub.call("GET", "/api/v1/deliveries/1", X_Request_ID="looked-at-it")
        assert await hub.stop() == 0
        text = hub.output.read_text(encoding="utf-8")
        key = hub.key
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    others = [line for line in text.splitlines() if not line.startswith("{")]
    assert all("ralf-hub is" in line for line in others), others
    tried = [line for line in lines if line["message"].startswith("tried hook")]
    assert tried
    assert {(line["delivery_id"], line["trace_id"]) for line in tried} == {(1, TRACE)}
    assert not [line for line in tried if "request_id" in line]
    for secret in (SECRET, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        assert secret not in text
    assert (
        text.count(key) == text.count(f"#key={key}") + 1
    )  # the greeting of the first start, twice in one line
