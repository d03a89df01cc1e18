"""Connectors: shown without secrets, tried, paused, resumed, used for a word."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ralf_hub.connectors.base import NotSentError
from ralf_hub.handlers import connectors as handler
from tests.api.conftest import Start
from tests.api.helpers import CANARY, ONLY, Api, webhook
from tests.doubles import slack
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.support import eventually, rows


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as double:
        yield double


@pytest.fixture
async def chat() -> AsyncIterator[slack.Slack]:
    async with slack.Slack() as double:
        yield double


@pytest.fixture
async def hub(start: Start, sink: Receiver, chat: slack.Slack) -> Api:
    """A hub with a webhook and a Slack connector, and one that is off."""
    return await start(
        connectors={
            "sink": webhook(
                f"{sink.url}/{CANARY}", secret=f"{CANARY}-2", rate_per_minute=60_000, concurrency=4
            ),
            "slack": {
                "bot_token": slack.TOKEN,
                "channel": "#ralf-updates",
                "base_url": chat.api_url,
                "events": ["task_failed", "!agent_*"],
            },
            "off": webhook("https://example.org", enabled=False),
        }
    )


async def test_the_list(hub: Api) -> None:
    page = (await hub.get("/connectors")).json
    assert (page["total"], page["next_cursor"]) == (2, None)
    sink, chat = page["connectors"]
    assert (sink["name"], sink["type"], sink["events"]) == ("sink", "webhook", ["*"])
    assert (sink["breaker"], sink["paused"], sink["concurrency"], sink["rate_per_minute"]) == (
        "closed",
        False,
        4,
        60_000,
    )
    assert (sink["pending"], sink["delivered"], sink["dead"], sink["success_rate"]) == (0, 0, 0, None)
    assert (chat["name"], chat["type"], chat["events"]) == ("slack", "slack", ["task_failed", "!agent_*"])
    assert [item["name"] for item in await hub.listed("/connectors", "connectors", limit=1)] == [
        "sink",
        "slack",
    ]


async def test_no_secret_in_any_answer(hub: Api, sink: Receiver, chat: slack.Slack) -> None:
    chat.workspace.revoked = True
    await hub.task()
    await eventually(lambda: sink.accepted)
    for reply in (
        await hub.get("/connectors"),
        await hub.post("/connectors/sink/test"),
        await hub.post("/connectors/slack/test"),
        await hub.post("/connectors/sink/pause"),
        await hub.post("/connectors/sink/resume"),
        await hub.post("/connectors/sink/notify", {"text": "x"}),
        await hub.get("/deliveries"),
        await hub.get("/metrics"),
        await hub.get("/events"),
        await hub.call("GET", "/health"),
    ):
        assert reply.status < 300
        assert CANARY.encode() not in reply.body
        assert slack.TOKEN.encode() not in reply.body
        assert sink.url.encode() not in reply.body


async def test_the_test_asks_the_service(hub: Api, chat: slack.Slack) -> None:
    assert (await hub.post("/connectors/slack/test")).json["ok"] is True
    chat.workspace.revoked = True
    refused = (await hub.post("/connectors/slack/test")).json
    assert (refused["ok"], "token_revoked" in refused["message"]) == (False, True)
    await chat.refuse()
    down = (await hub.post("/connectors/slack/test")).json
    assert (down["ok"], bool(down["message"])) == (False, True)
    assert chat.messages == []


async def test_a_test_that_takes_too_long_or_goes_wrong_says_so(
    hub: Api, chat: slack.Slack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "TEST_TIMEOUT_S", 0.05)
    chat.faults.append(Fault(delay_s=0.3))
    late = (await hub.post("/connectors/slack/test")).json
    assert (late["ok"], "no answer within" in late["message"]) == (False, True)

    async def unreachable(_: object) -> None:
        raise NotSentError(f"{CANARY}-2 is in the way")

    monkeypatch.setattr(hub.hub.dispatcher.channels["sink"].connector, "validate", unreachable)
    wrong = (await hub.post("/connectors/sink/test")).json
    assert wrong == {"ok": False, "message": "*** is in the way"}


async def test_a_paused_connector_holds_its_deliveries_and_no_others(hub: Api, sink: Receiver) -> None:
    reply = await hub.post("/connectors/sink/pause")
    assert (reply.status, reply.json) == (200, {"name": "sink", "paused": True})
    await hub.task()
    await hub.post("/connectors/slack/notify", {"text": "Still here"})
    shown = (await hub.get("/connectors")).json["connectors"][0]
    assert (shown["paused"], shown["paused_by"], shown["pending"]) == (True, "everything", 2)
    delivery = (await hub.get("/deliveries?connector=sink&limit=1")).json["deliveries"][0]
    assert "was paused by everything" in (await hub.get(f"/deliveries/{delivery['id']}")).json["explain"]
    await hub.post("/connectors/sink/pause")  # again is no news
    assert (await hub.post("/connectors/sink/resume")).json == {"name": "sink", "paused": False}
    await eventually(lambda: len(sink.accepted) == 3)
    assert (await hub.get("/connectors")).json["connectors"][0]["paused"] is False
    kinds = [event["type"] for event in await hub.events()]
    assert (kinds.count("connector_paused"), kinds.count("connector_resumed")) == (1, 1)
    await hub.post("/connectors/sink/resume")
    assert [event["type"] for event in await hub.events()] == kinds


async def test_a_pause_during_deliveries_stays(hub: Api, sink: Receiver) -> None:
    """Verdicts that are recorded while it is paused must not undo the pause."""
    for number in range(5):
        await asyncio.gather(*(hub.task() for _ in range(20)), hub.post("/connectors/sink/pause"))
        assert (await hub.get("/connectors")).json["connectors"][0]["paused"] is True, number
        await eventually(lambda: hub.hub.dispatcher.channels["sink"].sending == 0)
        before = len(sink.accepted)
        await asyncio.gather(*(hub.task() for _ in range(5)))
        assert len(sink.accepted) == before
        await hub.post("/connectors/sink/resume")
        wanted = (number + 1) * 25 + 2 * number + 2
        await eventually(lambda wanted=wanted: len(sink.accepted) == wanted)


async def test_a_pause_lives_through_a_restart(start: Start, sink: Receiver) -> None:
    connectors = {"sink": webhook(sink.url)}
    api = await start(connectors=connectors)
    await api.post("/connectors/sink/pause")
    api = await start(connectors=connectors)
    await api.task()
    assert (await api.get("/connectors")).json["connectors"][0]["paused"] is True
    assert sink.accepted == []
    await api.post("/connectors/sink/resume")
    await eventually(lambda: len(sink.accepted) == 3)


async def test_resume_closes_the_breaker(hub: Api, sink: Receiver) -> None:
    sink.faults.append(Fault(status=410))
    await hub.task()

    async def disabled() -> bool:
        return bool((await hub.get("/connectors")).json["connectors"][0]["breaker"] == "disabled")

    await eventually(disabled)
    await hub.post("/connectors/sink/resume")
    assert (await hub.get("/connectors")).json["connectors"][0]["breaker"] == "closed"
    await hub.task(id="T-after")
    await eventually(lambda: any(received.json["data"]["task_id"] == "T-after" for received in sink.accepted))


async def test_a_word_through_one_connector(hub: Api, sink: Receiver, chat: slack.Slack) -> None:
    reply = await hub.post("/connectors/slack/notify", {"text": "Deploy at noon", "title": "Heads up"})
    assert (reply.status, reply.json["connector"]) == (202, "slack")
    await eventually(lambda: len(chat.messages) == 1)
    assert "Deploy at noon" in str(chat.messages[0].blocks) + chat.messages[0].text
    assert sink.accepted == []
    (event,) = await hub.events()
    assert (event["id"], event["seq"], event["data"]["text"]) == (
        reply.json["event_id"],
        reply.json["seq"],
        "Deploy at noon",
    )


async def test_words_that_cannot_be(hub: Api) -> None:
    for body, fields in (
        ({}, ["text"]),
        ({"text": ""}, ["text"]),
        ({"text": 5, "title": " ", "channel": "#x"}, ["channel", "text", "title"]),
    ):
        reply = await hub.post("/connectors/sink/notify", body)
        assert (reply.status, sorted(reply.fields)) == (422, fields)


@pytest.mark.parametrize("name", ["none", "off", "..", "%00", "a%2Fb", "Sink"])
async def test_connectors_that_are_not_there(hub: Api, name: str) -> None:
    for end in ("test", "pause", "resume", "notify"):
        reply = await hub.post(f"/connectors/{name}/{end}", {"text": "x"} if end == "notify" else {})
        assert (reply.status, reply.code) == (404, "not_found")


async def test_a_start_probes_what_did_not_work_before(start: Start, sink: Receiver) -> None:
    """Whoever mends a token restarts the hub and must not wait for the next probe of the old one."""
    delivery = {"breaker_probe_first_s": 600, "breaker_probe_max_s": 600}
    sink.faults.append(Fault(times=1, status=401))
    api = await start(connectors={"sink": webhook(sink.url)}, delivery=delivery)
    await api.task()
    await eventually(lambda: api.hub.dispatcher.channels["sink"].state.breaker == "open")
    api = await start(connectors={"sink": webhook(sink.url)}, delivery=delivery)
    await eventually(lambda: api.hub.dispatcher.channels["sink"].state.breaker == "closed")
    assert sink.accepted[0].json["type"] == "task_created"


async def test_a_dry_run_shows_what_would_be_sent_and_sends_nothing(start: Start) -> None:
    async with Receiver() as sink:
        api = await start(
            connectors={
                "sink": webhook(f"{sink.url}/{CANARY}", secret=CANARY),
                "only": webhook(sink.url, events=["task_*"]),
                "console": {},
            }
        )
        reply = await api.post("/connectors/sink/dry-run", {"event": "task_failed"})
        assert reply.status == 200
        (request,) = reply.json["requests"]
        assert (request["method"], request["body"]["type"]) == ("POST", "task_failed")
        assert request["url"].startswith("http://127.0.0.1")
        assert "webhook-signature" in request["headers"]
        assert CANARY.encode() not in reply.body
        assert (await api.post("/connectors/sink/dry-run")).json["requests"][0]["body"][
            "type"
        ] == "task_completed"
        assert "payload" in (await api.post("/connectors/console/dry-run")).json["requests"][0]
        assert (await api.post("/connectors/none/dry-run")).status == 404
        assert (await api.post("/connectors/sink/dry-run", {"event": "a b"})).fields == ["event"]
        assert (await api.post("/connectors/sink/dry-run", {"task": "T-1"})).fields == ["task"]
        assert (await api.post("/connectors/sink/dry-run", key=ONLY["connectors:read"])).status == 403
        assert not sink.accepted
        assert not rows(api.hub.db.path, "SELECT 1 FROM outbox")
