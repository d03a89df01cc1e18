"""Senders of no known kind: Standard Webhooks, and HMAC headers of their own."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.api.conftest import Start
from tests.api.helpers import Api
from tests.webhooks.signing import DISCORD_KEY, JSON, NOW_S, SIGN, WHSEC, incoming, packed, receipts, send


async def ralf(api: Api, payload: Any, message_id: str = "msg_1") -> Any:
    body = packed(payload)
    return await send(api, "ralf", body, SIGN.standard(body, message_id))


async def test_the_standard_library_of_the_other_side_is_understood(door: Api) -> None:
    body = packed({"type": "task.create", "data": {"title": "Clean the filter"}})
    signature = Webhook(WHSEC).sign("msg_x", datetime.fromtimestamp(NOW_S, UTC), body.decode())
    headers = {
        "webhook-id": "msg_x",
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": signature,
        "Content-Type": JSON,
    }
    reply = await send(door, "ralf", body, headers)
    assert reply.status == 202
    assert (await door.get(f"/tasks/{reply.json['task_id']}")).json["title"] == "Clean the filter"


async def test_a_task_is_created_and_changed(door: Api) -> None:
    fields = {"id": "T-1", "title": "Clean it", "priority": "high", "metadata": {"room": "cellar"}}
    created = await ralf(door, {"type": "task.create", "data": fields})
    task = (await door.get("/tasks/T-1")).json
    assert created.json["task_id"] == "T-1"
    assert (task["priority"], task["source"]) == ("high", "webhook:ralf")
    assert task["metadata"] == {"room": "cellar", "service": "ralf"}
    changed = await ralf(door, {"type": "task.update", "data": {"id": "T-1", "status": "completed"}}, "msg_2")
    assert (changed.status, changed.json["task_id"]) == (202, "T-1")
    assert (await door.get("/tasks/T-1")).json["status"] == "completed"


@pytest.mark.parametrize(
    ("payload", "status", "fields"),
    [
        ({"type": "task.create"}, 422, ["data"]),
        ({"type": "task.create", "data": []}, 422, ["data"]),
        ({"type": "task.create", "data": {}}, 422, ["data.title"]),
        (
            {"type": "task.create", "data": {"title": 5, "colour": "red"}},
            422,
            ["data.title", "data.colour"],
        ),
        ({"type": "task.create", "data": {"title": "a", "depends_on": ["T-none"]}}, 422, ["depends_on[0]"]),
        ({"type": "task.update", "data": {"status": "completed"}}, 422, ["data.id"]),
        ({"type": "task.update", "data": {"id": "T-none", "status": "completed"}}, 404, []),
        ({"type": "task.update", "data": {"id": "../..", "status": "completed"}}, 422, ["data.id"]),
        ({"type": "white space", "data": {}}, 422, ["event"]),
    ],
)
async def test_what_a_body_asks_for_is_checked(
    door: Api, payload: Any, status: int, fields: list[str]
) -> None:
    reply = await ralf(door, payload)
    assert (reply.status, reply.fields) == (status, fields)
    assert (await door.get("/tasks")).json["total"] == 0
    assert await door.events() == []
    (receipt,) = await receipts(door)
    assert receipt["status"] == "rejected"
    corrected = await ralf(door, {"type": "task.create", "data": {"title": "Now right"}})
    assert corrected.status == 202, "what was refused may come again, corrected, under the same id"


async def test_any_other_type_is_an_event(door: Api) -> None:
    payload = {"type": "build.finished", "data": {"title": "Build 7", "url": "https://ci.example.org/7"}}
    reply = await ralf(door, payload)
    assert (reply.status, reply.json["task_id"]) == (202, None)
    (event,) = await door.events()
    assert (event["type"], event["source"]) == ("webhook_received", "webhook:ralf")
    assert event["data"]["event"] == "build.finished"
    assert event["data"]["url"] == "https://ci.example.org/7"


async def test_a_public_key_will_do_as_well(start: Start) -> None:

    public = base64.b64encode(DISCORD_KEY.public_key().public_bytes_raw()).decode()
    door = await start(webhooks=incoming(ralf={"secret": f"whpk_{public}"}))
    body = packed({"type": "ping.pong"})
    signature = base64.b64encode(DISCORD_KEY.sign(f"msg_1.{NOW_S}.".encode() + body)).decode()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": f"v1a,{signature}",
        "Content-Type": JSON,
    }
    assert (await send(door, "ralf", body, headers)).status == 202


async def test_a_header_of_the_sender_s_own(start: Start) -> None:
    rules = [
        {
            "when": "deploy.failed",
            "do": "create_task",
            "title": "Deploy of {{ app }} failed",
            "key": "deploy/{{ app }}",
        }
    ]
    door = await start(webhooks=incoming(ci={"actions": rules}))
    body = packed({"event": "deploy", "action": "failed", "app": "mill"})
    first = await send(door, "ci", body, SIGN.ci(body))
    again = await send(door, "ci", body, SIGN.ci(body))
    assert (first.status, again.status) == (202, 200)
    assert again.json["id"] == first.json["id"]
    assert (await door.get(f"/tasks/{first.json['task_id']}")).json["title"] == "Deploy of mill failed"
    wrong = await send(door, "ci", body, {**SIGN.ci(body), "X-CI-Signature": "00"})
    assert wrong.status == 401
    missing = await send(door, "ci", body, {"Content-Type": JSON})
    assert missing.status == 401


async def test_a_header_may_name_the_delivery(start: Start) -> None:
    scheme = {"header": "X-CI-Signature", "prefix": "", "id_header": "X-CI-Delivery"}
    door = await start(webhooks=incoming(ci={"hmac": scheme}))
    body = packed({"event": "tick"})
    ids = [
        (await send(door, "ci", body, {**SIGN.ci(body), "X-CI-Delivery": name})).json["id"]
        for name in ("1", "2", "1")
    ]
    assert ids[0] == ids[2] != ids[1]
