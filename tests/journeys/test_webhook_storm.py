"""A storm of webhooks against the real process: each acts once, quickly, also when the hub is killed in the middle."""

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.journeys.hub import Hub
from tests.support import eventually
from tests.webhooks.signing import SECRET, SIGN

SEED = int(os.environ.get("RALF_HUB_SEED", "20260203"))
DELIVERIES, REPEATED, WITHIN_S = 1_000, 0.3, 5.0
P99_MAX_S = 1.0

SETTINGS = f"""
[[webhooks.incoming]]
service = "github"
secret = "{SECRET}"
"""


@dataclass(frozen=True)
class Sent:
    """One delivery as GitHub would send it, again and again the same."""

    guid: str
    body: bytes


@dataclass
class Told:
    """What the hub answered."""

    answers: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    lost: int = 0


def deliveries(count: int) -> list[Sent]:
    made = []
    for number in range(1, count + 1):
        issue = {"number": number, "title": f"Issue {number}", "body": "x" * 2_000, "state": "open"}
        payload = {
            "action": "opened",
            "issue": issue,
            "repository": {"full_name": "acme/mill"},
            "sender": {"login": "kai"},
        }
        made.append(Sent(f"guid-{number}", json.dumps(payload).encode()))
    return made


async def post(session: aiohttp.ClientSession, hub: Hub, sent: Sent, told: Told) -> None:
    begun = time.perf_counter()
    headers = SIGN.github(sent.body, "issues", sent.guid)
    try:
        url = f"{hub.url}/api/v1/webhooks/github"
        async with session.post(url, data=sent.body, headers=headers) as reply:
            answer = (reply.status, json.loads(await reply.read()))
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        told.lost += 1
        return
    told.seconds.append(time.perf_counter() - begun)
    told.answers.setdefault(sent.guid, []).append(answer)


async def storm(hub: Hub, order: list[Sent], within_s: float, told: Told) -> None:
    """Send *order* evenly over so many seconds, none waiting for the one before."""
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        start, tasks = time.perf_counter(), []
        for number, sent in enumerate(order):
            # The pace is the test: so many a second, whatever the answers do.
            await asyncio.sleep(max(0.0, start + number * within_s / len(order) - time.perf_counter()))
            tasks.append(asyncio.create_task(post(session, hub, sent, told)))
        await asyncio.gather(*tasks)


def mixed(chance: random.Random) -> tuple[list[Sent], list[Sent]]:
    """Return what is unique, and all of it with the repeats anywhere after the first."""
    unique = deliveries(int(DELIVERIES * (1 - REPEATED)))
    order = list(unique)
    for sent in chance.choices(unique, k=DELIVERIES - len(unique)):
        order.insert(chance.randint(order.index(sent) + 1, len(order)), sent)
    return unique, order


def assert_acted_once(hub: Hub, unique: list[Sent], told: Told) -> None:
    """Every unique delivery has one receipt, one event, one task, and every answer named those."""
    assert hub.value("SELECT count(*) FROM webhook_receipts") == len(unique)
    assert hub.value("SELECT count(*) FROM events WHERE type = 'webhook_received'") == len(unique)
    assert hub.value("SELECT count(*) FROM tasks") == len(unique)
    assert hub.value("SELECT count(DISTINCT task_id) FROM webhook_receipts") == len(unique)
    known = {
        row[0]: row[1:] for row in hub.rows("SELECT dedup_key, id, event_id, task_id FROM webhook_receipts")
    }
    for sent in unique:
        for status, answer in told.answers[sent.guid]:
            assert status in {200, 202}
            assert (answer["id"], answer["event_id"], answer["task_id"]) == known[sent.guid]


@pytest.mark.journey
async def test_a_thousand_deliveries_in_five_seconds_each_act_once(tmp_path: Path) -> None:
    unique, order = mixed(random.Random(SEED))
    told = Told()
    async with Hub(tmp_path, SETTINGS) as hub:
        await storm(hub, order, WITHIN_S, told)
        assert told.lost == 0
        assert_acted_once(hub, unique, told)
        statuses = Counter(status for answers in told.answers.values() for status, _ in answers)
        assert statuses == {202: len(unique), 200: DELIVERIES - len(unique)}
        told.seconds.sort()
        p50, p99 = (told.seconds[int(len(told.seconds) * part)] for part in (0.5, 0.99))
        print(
            f"{len(order)} deliveries: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, max {told.seconds[-1] * 1000:.1f} ms"
        )
        assert p99 < P99_MAX_S


@pytest.mark.journey
async def test_killed_in_the_middle_and_delivered_again_each_acts_once(tmp_path: Path) -> None:
    chance = random.Random(SEED + 1)
    unique, order = mixed(chance)
    told = Told()
    async with Hub(tmp_path, SETTINGS) as hub:
        storming = asyncio.create_task(storm(hub, order, WITHIN_S / 5, told))
        await eventually(lambda: len(told.seconds) > DELIVERIES * 0.4, within_s=30)
        hub.kill()
        storming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await storming
        before = hub.value("SELECT count(*) FROM webhook_receipts")
        answered = len(told.answers)
        assert answered <= before < len(unique), "the kill came too late to show anything"
        await hub.start()
        again = Told(answers=told.answers)
        await storm(hub, unique, WITHIN_S / 2, again)
        assert again.lost == 0
        assert_acted_once(hub, unique, again)
        assert hub.command("verify").returncode == 0
        print(f"answered before the kill {answered}, on disk {before}, of {len(unique)}")
