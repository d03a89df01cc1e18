"""`/metrics` and `/api/v1/usage`: the numbers agree with what was done."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, OTHER, Api
from tests.support import eventually


async def scraped(api: Api) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample of `/metrics`, read by prometheus_client's own parser."""
    reply = await api.call("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(reply.body.decode()))
    assert len({family.name for family in families}) == len(families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_prometheus_reads_what_was_done(start: Start) -> None:
    api = await start(connectors={"console": {}})
    for _ in range(3):
        await api.task()
    await eventually(
        lambda: api.hub.meters.deliveries.get("console") and api.hub.meters.deliveries["console"].count == 3
    )
    found = await scraped(api)
    assert found["ralf_hub_tasks", (("status", "pending"),)] == 3
    assert found["ralf_hub_queue_depth", ()] == 3
    assert found["ralf_hub_events_total", ()] == 3
    assert found["ralf_hub_deliveries", (("connector", "console"), ("state", "delivered"))] == 3
    assert found["ralf_hub_connector_breaker", (("connector", "console"),)] == 0
    assert found["ralf_hub_http_requests_total", (("status", "201"),)] == 3
    assert found["ralf_hub_delivery_duration_seconds_count", (("connector", "console"),)] == 3
    buckets = [
        (float(dict(labels)["le"]), n)
        for (name, labels), n in found.items()
        if name == "ralf_hub_http_request_duration_seconds_bucket"
    ]
    assert [n for _, n in sorted(buckets)] == sorted(n for _, n in buckets)
    assert max(buckets)[0] == math.inf
    assert found["ralf_hub_table_rows", (("table", "events"),)] == 3


async def test_usage_counts_each_key_endpoint_and_day_and_lasts(start: Start) -> None:
    api = await start()
    for _ in range(3):
        await api.get("/tasks")
    await api.get("/tasks/nobody")
    await api.get("/tasks", key=None)
    today = api.hub.clock.iso()[:10]
    before = (await api.get("/usage?by=endpoint")).json
    assert {row["endpoint"]: row["requests"] for row in before["usage"]} == {
        "GET /api/v1/tasks": 4,
        "GET /api/v1/tasks/{id}": 1,
    }
    api = await start()
    after = (await api.get(f"/usage?by=endpoint&from={today}&to={today}")).json
    assert after["total"]["requests"] == before["total"]["requests"] + 1
    assert after["total"]["errors_4xx"] == 2
    by_key = (await api.get("/usage?by=key")).json["usage"]
    assert {row["key"] for row in by_key} == {"settings:everything", "anonymous"}
    days = (await api.get("/usage")).json["usage"]
    assert [row["day"] for row in days] == [today]
    assert EVERYTHING not in str(by_key)
    assert OTHER not in str(by_key)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("from=2026-02-01x", "from"),
        ("from=2026-02-01T", "from"),
        ("by=colour", "by"),
        ("from=2026-02-02&to=2026-02-01", "from"),
        ("since=2026-02-02", "since"),
    ],
)
async def test_bad_days_and_groups_are_400(api: Api, query: str, field: str) -> None:
    reply = await api.get(f"/usage?{query}")
    assert reply.status == 400
    assert reply.fields == [field]


@pytest.mark.parametrize("day", ["2026-02-01", "2026-02-01T23:59:59.999Z", "2026-02-01T12:00%2B02:00"])
async def test_of_a_time_the_day_counts(api: Api, day: str) -> None:
    assert (await api.get(f"/usage?from={day}&to=2027-01-01")).json["from"] == "2026-02-01"
