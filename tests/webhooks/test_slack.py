"""Slack as a console, through the real app: what is typed, what is pressed, what Slack says by itself."""

from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from slack_sdk.signature import SignatureVerifier

from tests.api.conftest import Start
from tests.api.helpers import Api, Reply, webhook
from tests.doubles.slack import CHANNEL, TOKEN, Slack
from tests.support import eventually
from tests.webhooks.signing import JSON, SECRET, SIGN, Signer, incoming, packed, receipts, send


async def typed(api: Api, text: str, *, user: str = "U1", trigger: str = "") -> Reply:
    """Type `/ralf TEXT`."""
    fields = {
        "command": "/ralf",
        "text": text,
        "user_id": user,
        "user_name": "kai",
        "channel_name": "mill",
        "trigger_id": trigger or f"t-{text}-{user}",
        "response_url": "https://hooks.slack.com/commands/T/1/secret",
        "token": "old-token",
    }
    body = urlencode(fields).encode()
    return await send(api, "slack", body, SIGN.slack(body))


async def said(api: Api, text: str, **more: Any) -> str:
    """Return what `/ralf TEXT` is answered, visible to nobody else."""
    reply = await typed(api, text, **more)
    assert reply.status == 200
    assert reply.json["response_type"] == "ephemeral"
    return str(reply.json["text"])


def test_the_tests_sign_as_slack_does() -> None:
    headers = SIGN.slack(b"text=status")
    signature = SignatureVerifier(SECRET).generate_signature(
        timestamp=headers["X-Slack-Request-Timestamp"], body=b"text=status"
    )
    assert headers["X-Slack-Signature"] == signature


# --- commands -------------------------------------------------------------------------------------


async def test_status_queue_and_task(door: Api) -> None:
    assert await said(door, "queue") == "The queue is empty."
    await door.task("Grind <!channel> & sieve", id="T-1", priority="high")
    await door.task("Sweep", id="T-2")
    assert (
        await said(door, "status")
        == "Tasks: 2 pending\nDeliveries: 0 pending, 0 dead\nConnectors: all in order"
    )
    assert await said(door, "queue", trigger="x") == (
        "1. T-1 (high): Grind &lt;!channel&gt; &amp; sieve\n2. T-2 (medium): Sweep"
    )
    answer = await said(door, "task T-1")
    assert answer.startswith("T-1: Grind &lt;!channel&gt; &amp; sieve\nStatus: pending\nPriority: high")
    assert await said(door, "task T-9") == "There is no task T-9."


async def test_a_task_is_added_once_however_often_slack_says_so(door: Api) -> None:
    answers = [await said(door, "add Oil the <axle>", trigger="one") for _ in range(3)]
    assert len(set(answers)) == 1
    (task,) = (await door.get("/tasks")).json["tasks"]
    assert (task["title"], task["source"], task["metadata"]) == (
        "Oil the <axle>",
        "webhook:slack",
        {"by": "kai"},
    )
    assert answers[0] == f"{task['id']} is in the queue: Oil the &lt;axle&gt;"
    await said(door, "add Oil the <axle>", trigger="two")
    assert (await door.get("/tasks")).json["total"] == 2


async def test_a_failed_task_is_retried(door: Api) -> None:
    await door.task(id="T-1")
    assert await said(door, "retry T-1") == "T-1 is pending: there is nothing to retry."
    await door.patch("/tasks/T-1", {"status": "in_progress"})
    await door.patch("/tasks/T-1", {"status": "failed"})
    assert await said(door, "retry T-1", trigger="again") == "T-1 is back in the queue, by kai."
    assert (await door.get("/tasks/T-1")).json["status"] == "pending"
    received = [event for event in await door.events() if event["type"] == "webhook_received"]
    assert (received[-1]["task_id"], received[-1]["data"]["by"]) == ("T-1", "kai")
    assert received[-1]["data"]["command"] == "retry T-1"
    assert await said(door, "retry T-9") == "There is no task T-9."


async def test_a_connector_is_paused_and_resumed(start: Start) -> None:
    door = await start(webhooks=incoming(), connectors={"sink": webhook("http://127.0.0.1:9/")})
    assert await said(door, "pause sink") == "sink is paused."
    (connector,) = (await door.get("/connectors")).json["connectors"]
    assert (connector["paused"], connector["paused_by"]) == (True, "kai")
    assert door.hub.dispatcher.channels["sink"].state.paused
    assert await said(door, "pause sink", trigger="2") == "sink is paused already."
    assert "sink paused" in await said(door, "status")
    assert await said(door, "resume sink") == "sink is running again."
    assert not door.hub.dispatcher.channels["sink"].state.paused
    assert await said(door, "pause nowhere") == "There is no connector nowhere. There are: sink."
    assert [e["type"] for e in await door.events() if e["type"].startswith("connector_")] == [
        "connector_paused",
        "connector_resumed",
    ]


@pytest.mark.parametrize(
    ("text", "start_of_answer"),
    [
        ("", "status: how things are"),
        ("help", "status: how things are"),
        ("HELP me", "status: how things are"),
        ("dance", "There is no command dance."),
        ("add", "add needs a title."),
        ("add   ", "add needs a title."),
        ("retry", "retry needs the task's id."),
        ("pause", "pause needs the connector's name."),
        ("task '; DROP TABLE tasks", "There is no task ';."),
        ("x" * 5_000, "There is no command xxx"),
    ],
)
async def test_what_cannot_be_done_is_said(door: Api, text: str, start_of_answer: str) -> None:
    assert (await said(door, text)).startswith(start_of_answer)
    assert (await door.get("/tasks")).json["total"] == 0


async def test_only_some_may_change_things(start: Start) -> None:
    door = await start(webhooks=incoming(slack={"users": ["U1"]}))
    assert await said(door, "add Mine", user="U2") == "You may look at everything here, but not change it."
    assert (await said(door, "status", user="U2")).startswith("Tasks: none")
    assert "is in the queue" in await said(door, "add Mine", user="U1")
    assert (await door.get("/tasks")).json["total"] == 1


async def test_what_slack_confides_is_not_kept(door: Api) -> None:
    await typed(door, "status")
    rows = await door.hub.db.read(lambda conn: conn.execute("SELECT * FROM webhook_receipts").fetchall())
    events = (await door.get("/events")).body
    for secret in ("response_url", "/commands/T/1/secret", "old-token"):
        assert secret not in str(rows)
        assert secret.encode() not in events


# --- what Slack says by itself --------------------------------------------------------------------


async def test_handshakes(door: Api) -> None:
    body = packed({"type": "url_verification", "challenge": "3eZbrw1a", "token": "x"})
    reply = await send(door, "slack", body, SIGN.slack(body, JSON))
    assert (reply.status, reply.json) == (200, {"challenge": "3eZbrw1a"})
    unsigned = await send(door, "slack", body, {"Content-Type": JSON})
    assert unsigned.status == 401
    body = b"ssl_check=1&token=x"
    assert (await send(door, "slack", body, SIGN.slack(body))).status == 200
    assert await door.events() == []


async def test_an_event_is_taken_once(start: Start) -> None:
    door = await start(webhooks=incoming(slack={"own_identity": ["B1"]}))

    def happened(event_id: str, **more: Any) -> bytes:
        event = {"type": "app_mention", "user": "U2", "text": "hello", **more}
        return packed({"type": "event_callback", "event_id": event_id, "event": event})

    body = happened("Ev1")
    first = await send(door, "slack", body, SIGN.slack(body, JSON))
    assert first.status == 202
    assert (await send(door, "slack", body, SIGN.slack(body, JSON))).status == 200
    body = happened("Ev2", bot_id="B1")
    own = await send(door, "slack", body, SIGN.slack(body, JSON))
    assert own.json["reason"] == "own_identity"
    (event,) = await door.events()
    assert event["data"]["event"] == "event.app_mention"


@pytest.mark.parametrize("payload", ["", "{", "[]", "5"])
async def test_a_payload_that_cannot_be_read_is_422(door: Api, payload: str) -> None:
    body = urlencode({"payload": payload}).encode()
    assert (await send(door, "slack", body, SIGN.slack(body))).status == 422


# --- buttons --------------------------------------------------------------------------------------


def pressed(message: Any, button: int, *, at: str = "1770000000.1", by: str = "kai") -> bytes:
    """Return what Slack sends when a button of *message*, a message in the double, is pressed."""
    block = next(block for block in message.blocks if block["type"] == "actions")
    element = block["elements"][button]
    payload = {
        "type": "block_actions",
        "user": {"id": "U1", "username": by},
        "channel": {"id": message.channel, "name": "mill"},
        "trigger_id": f"trigger-{at}",
        "response_url": "https://hooks.slack.com/actions/T/1/secret",
        "message": {"ts": message.ts, "text": message.text, "blocks": message.blocks},
        "actions": [
            {
                "action_id": element["action_id"],
                "block_id": block["block_id"],
                "value": element["value"],
                "type": "button",
                "action_ts": at,
            }
        ],
    }
    return urlencode({"payload": orjson.dumps(payload).decode()}).encode()


@pytest.mark.parametrize("button", [0, 1])
async def test_a_button_acts_once_says_who_and_changes_the_message(start: Start, button: int) -> None:
    async with Slack() as slack:
        bot = {
            "type": "slack",
            "bot_token": TOKEN,
            "channel": CHANNEL,
            "base_url": slack.api_url,
            "events": ["task_failed"],
        }
        door = await start(webhooks=incoming(), connectors={"slack-mill": bot})
        await door.task("Grind", id="T-1")
        await door.patch("/tasks/T-1", {"status": "in_progress"})
        await door.patch("/tasks/T-1", {"status": "failed", "error": "stones worn"})
        await eventually(lambda: len(slack.messages) == 1)
        message = slack.messages[0]
        block = next(block for block in message.blocks if block["type"] == "actions")
        assert [element["text"]["text"] for element in block["elements"]] == ["Retry", "Acknowledge"]
        body = pressed(message, button)
        replies = [await send(door, "slack", body, SIGN.slack(body)) for _ in range(3)]
        assert [(reply.status, reply.body) for reply in replies] == [(200, b"")] * 3
        expected = "T-1 is back in the queue, by kai." if button == 0 else "kai looks after T-1."
        await eventually(lambda: message.blocks[-1].get("elements", [{}])[0].get("text") == expected)
        assert all(block["type"] != "actions" for block in message.blocks)
        assert message.blocks[0]["type"] == "header", "the rest of the message stays"
        status = "pending" if button == 0 else "failed"
        assert (await door.get("/tasks/T-1")).json["status"] == status
        received = [event for event in await door.events() if event["type"] == "webhook_received"]
        assert [(e["task_id"], e["data"]["by"]) for e in received] == [("T-1", "kai")]
        assert len(slack.messages) == 1


async def test_two_people_press_and_the_second_is_told_so(start: Start) -> None:
    async with Slack() as slack:
        bot = {"type": "slack", "bot_token": TOKEN, "channel": CHANNEL, "base_url": slack.api_url}
        door = await start(webhooks=incoming(), connectors={"slack": bot})
        await door.task(id="T-1")
        await door.patch("/tasks/T-1", {"status": "in_progress"})
        await door.patch("/tasks/T-1", {"status": "failed"})
        await eventually(lambda: len(slack.messages) == 1)
        first, second = (
            pressed(slack.messages[0], 0, at=f"177000000{n}.1", by=by) for n, by in enumerate(("kai", "ida"))
        )
        for body in (first, second):
            assert (await send(door, "slack", body, SIGN.slack(body))).status == 200
        await eventually(lambda: "nothing to retry" in str(slack.messages[0].blocks[-1]))
        retried = [event for event in await door.events() if event["data"].get("retried_by")]
        assert [event["data"]["retried_by"] for event in retried] == ["kai"]


async def test_without_a_signing_secret_there_are_no_buttons(start: Start) -> None:
    async with Slack() as slack:
        bot = {"type": "slack", "bot_token": TOKEN, "channel": CHANNEL, "base_url": slack.api_url}
        door = await start(connectors={"slack": bot})
        await door.task(id="T-1")
        await door.patch("/tasks/T-1", {"status": "in_progress"})
        await door.patch("/tasks/T-1", {"status": "failed"})
        await eventually(lambda: len(slack.messages) == 1)
        assert all(block["type"] != "actions" for block in slack.messages[0].blocks)


async def test_nobody_else_can_have_a_message_rewritten(start: Start) -> None:
    async with Slack() as slack:
        bot = {
            "type": "slack",
            "bot_token": TOKEN,
            "channel": CHANNEL,
            "base_url": slack.api_url,
            "events": ["*"],
        }
        door = await start(webhooks=incoming(), connectors={"slack": bot})
        shown = {"connector": "slack", "channel": CHANNEL, "ts": "1.1", "text": "x", "blocks": []}
        await door.post("/events", {"type": "notification", "data": {"text": "hi", "message": shown}})
        await eventually(lambda: len(slack.messages) == 1)
        rows = (await door.get("/deliveries")).json["deliveries"]
        assert [row["action"] for row in rows] == ["post"]


async def test_an_unknown_button_is_an_event(door: Api) -> None:
    payload = {
        "type": "block_actions",
        "user": {"id": "U1"},
        "actions": [{"action_id": "other", "action_ts": "1"}],
    }
    body = urlencode({"payload": orjson.dumps(payload).decode()}).encode()
    assert (await send(door, "slack", body, SIGN.slack(body))).status == 202
    (receipt,) = await receipts(door)
    assert receipt["event_type"] == "block_actions"


async def test_a_wrong_secret_is_refused(door: Api) -> None:
    body = b"text=status"
    assert (await send(door, "slack", body, Signer("another-secret-0123456789").slack(body))).status == 401
