"""One sink down, one slow, one healthy: the healthy one does not notice."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.journeys.hub import Hub, free_port
from tests.support import eventually

EVENTS = 60
PACE_S = 0.02
SLOW_S = 10.0


def _settings(sinks: dict[str, str]) -> str:
    parts = ["[delivery]\nbackoff_first_s = 0.5\nbackoff_max_s = 5\n"]
    parts += [
        f'[connectors.{name}]\ntype = "webhook"\nurl = "{url}/hook"\nevents = ["task_created"]\n'
        for name, url in sinks.items()
    ]
    return "\n".join(parts)


async def _latencies_ms(hub: Hub, sink: Receiver, prefix: str) -> list[float]:
    """Create tasks at a steady pace; return for each how long its notice took, by the hub's own record."""
    for number in range(EVENTS):
        started = time.monotonic()
        await hub.ok("POST", "/api/v1/tasks", {"id": f"{prefix}-{number}", "title": prefix})
        await asyncio.sleep(max(0.0, PACE_S - (time.monotonic() - started)))  # the pace of the load
    await eventually(lambda: len(_taken_ms(hub, prefix)) == EVENTS)
    assert sum(item.json["data"]["task_id"].startswith(prefix) for item in sink.accepted) == EVENTS
    return sorted(_taken_ms(hub, prefix))


def _taken_ms(hub: Hub, prefix: str) -> list[float]:
    """Return how long each delivery took that is recorded as done."""
    rows = hub.rows(
        "SELECT (julianday(delivered_at) - julianday(created_at)) * 86400000.0 FROM outbox "
        "WHERE connector = 'healthy' AND task_id LIKE ? || '-%' AND delivered_at IS NOT NULL",
        prefix,
    )
    return [row[0] for row in rows]


def _p95(values: list[float]) -> float:
    return values[int(0.95 * len(values))]


@pytest.mark.journey
async def test_a_dead_and_a_slow_sink_leave_the_healthy_one_alone(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "together").mkdir()
    async with Receiver() as healthy, Receiver() as slow:
        async with Hub(tmp_path / "alone", _settings({"healthy": healthy.url})) as hub:
            await _latencies_ms(hub, healthy, "warm")
            alone = await _latencies_ms(hub, healthy, "alone")
        slow.faults.append(Fault(times=1_000_000, delay_s=SLOW_S))
        down = f"http://127.0.0.1:{free_port()}"
        sinks = {"down": down, "slow": slow.url, "healthy": healthy.url}
        async with Hub(tmp_path / "together", _settings(sinks)) as hub:
            await _latencies_ms(hub, healthy, "warmer")
            together = await _latencies_ms(hub, healthy, "together")
            waiting = dict(
                hub.rows("SELECT connector, count(*) FROM outbox WHERE state = 'pending' GROUP BY connector")
            )
            assert waiting.get("down") == 2 * EVENTS, "what is down keeps all of it"
            assert waiting.get("slow", 0) > 0, "what is slow is still at it"
            connectors = {
                item["name"]: item for item in (await hub.ok("GET", "/api/v1/connectors"))["connectors"]
            }
            assert connectors["down"]["breaker"] == "open"
            assert connectors["healthy"]["breaker"] == "closed"
    print(
        f"healthy sink p95: alone {_p95(alone):.1f} ms, beside a dead and a slow one {_p95(together):.1f} ms"
    )
    # Machines are noisy: the claim is that seconds of trouble elsewhere cost this one nothing of that kind.
    assert _p95(together) < max(5 * _p95(alone), 250)
