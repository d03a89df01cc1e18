"""Settings that change while the hub runs: keys, limits and connectors count at once, deliveries go on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ralf_hub.app import apply
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, OTHER, Api, settings, webhook
from tests.doubles.receiver import Receiver
from tests.support import eventually


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as double:
        yield double


async def changed(api: Api, db_path: Path, /, **sections: Any) -> None:
    await apply(api.hub, settings(db_path, **sections))


async def fingerprint(api: Api) -> str:
    return str((await api.call("GET", "/health")).json["settings"])


async def test_keys_count_at_once(api: Api, db_path: Path) -> None:
    before = await fingerprint(api)
    await changed(
        api, db_path, api={"api_keys": [{"name": "new", "key": "rh_new_0123456789abcdef", "scopes": ["*"]}]}
    )
    for key in (EVERYTHING, OTHER):
        assert (await api.get("/tasks", key=key)).code == "invalid_key"
    assert (await api.post("/tasks", {"title": "x"}, key="rh_new_0123456789abcdef")).json[
        "source"
    ] == "api:new"
    assert await fingerprint(api) != before
    await changed(api, db_path)
    assert (await api.get("/tasks")).status == 200
    assert await fingerprint(api) == before


async def test_limits_count_at_once(start: Start, db_path: Path) -> None:
    api = await start(api={"rate_limit": {"requests_per_minute": 2}})
    statuses = [(await api.get("/tasks")).status for _ in range(3)]
    await changed(api, db_path, api={"rate_limit": {"requests_per_minute": 600_000}})
    assert [*statuses, *[(await api.get("/tasks", key=OTHER)).status for _ in range(50)]] == [
        200,
        200,
        429,
    ] + [200] * 50
    await changed(api, db_path, api={"rate_limit": {"enabled": False}})
    reply = await api.get("/tasks")
    assert (reply.status, "RateLimit" in reply.headers) == (200, False)


async def test_deliveries_of_a_connector_that_left_wait_for_its_return(
    start: Start, db_path: Path, sink: Receiver
) -> None:
    sections = {"connectors": {"sink": webhook(sink.url)}}
    api = await start(**sections)
    await api.post("/connectors/sink/pause")
    await api.task()
    await changed(api, db_path)
    assert (await api.get("/connectors")).json["connectors"] == []
    assert (await api.post("/connectors/sink/resume")).status == 404
    waiting = (await api.get("/deliveries?state=pending")).json["deliveries"]
    assert len(waiting) == 2
    detail = (await api.get(f"/deliveries/{waiting[0]['id']}")).json
    assert "no connector sink in the settings" in detail["explain"]
    await api.task("Nobody is told of this one")
    await changed(api, db_path, **sections)
    await api.post("/connectors/sink/resume")
    await eventually(lambda: len(sink.accepted) == 3)


async def test_a_connector_that_came_is_told_of_what_happens_from_now_on(
    api: Api, db_path: Path, sink: Receiver
) -> None:
    await api.task("Before")
    await changed(api, db_path, connectors={"sink": webhook(sink.url)})
    await api.task("After")
    await eventually(lambda: sink.accepted)
    assert [received.json["data"]["task"]["title"] for received in sink.accepted] == ["After"]
