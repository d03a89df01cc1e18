"""The receiver accepts what the real `standardwebhooks` package signs, and nothing else."""

import asyncio
import base64
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


def signed(body: str, message_id: str = "msg_1") -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(message_id, now, body),
    }


async def test_genuine_posts_are_kept_in_order_and_others_refused() -> None:
    async with Receiver([SECRET]) as double, aiohttp.ClientSession(double.url) as client:
        for number in range(3):
            async with client.post(
                "/a", data='{"n":1}', headers=signed('{"n":1}', f"msg_{number}")
            ) as answer:
                assert answer.status == 204
        async with client.post("/a", data='{"n":2}', headers=signed('{"n":1}')) as answer:
            assert answer.status == 401
        async with client.post("/a", data="{}") as answer:
            assert answer.status == 400
        assert double.ids == ["msg_0", "msg_1", "msg_2"]
        assert len(double.seen) == 5


async def test_faults() -> None:
    async with Receiver() as double, aiohttp.ClientSession(double.url) as client:
        headers = signed("{}")
        double.faults += [
            Fault(status=503, body="later", headers={"Retry-After": "1"}),
            Fault(drop="before"),
            Fault(drop="after"),
        ]
        async with client.post("/", data="{}", headers=headers) as answer:
            assert (answer.status, await answer.text(), answer.headers["Retry-After"]) == (503, "later", "1")
        for accepted in (0, 1):
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await client.post("/", data="{}", headers=headers)
            assert len(double.accepted) == accepted
        await double.refuse()
        async with aiohttp.ClientSession() as fresh:
            with pytest.raises(aiohttp.ClientConnectorError):
                await fresh.post(double.url, data="{}", headers=headers)
            await double.listen()
            async with fresh.post(double.url, data="{}", headers=headers) as answer:
                assert answer.status == 204


@pytest.mark.journey
async def test_as_a_process_it_logs_what_it_accepts_and_takes_faults(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.doubles.receiver", "--log", str(log), "--secret", SECRET,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}/_control/faults", json=[{"status": 500, "times": 2}]) as answer:
                assert await answer.json() == {"faults": 1}
            statuses = []
            for _ in range(3):
                async with client.post(f"{url}/x", data='{"n":1}', headers=signed('{"n":1}')) as answer:
                    statuses.append(answer.status)
            assert statuses == [500, 500, 204]
        (line,) = log.read_text().splitlines()
        assert json.loads(line)["body"] == {"n": 1}
    finally:
        process.terminate()
        assert await process.wait() == 0
