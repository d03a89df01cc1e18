"""Discord's interactions through the real app."""

from typing import Any

import pytest

from tests.api.helpers import Api, Reply
from tests.webhooks.signing import SIGN, packed, send

USER = {"user": {"id": "80351110224678912", "username": "kai"}}


async def discord(api: Api, payload: Any) -> Reply:
    body = packed(payload)
    return await send(api, "discord", body, SIGN.discord(body))


def command(name: str, *options: dict[str, Any], interaction: str = "i-1") -> dict[str, Any]:
    chosen = {"type": 1, "name": name, "options": list(options)}
    return {
        "id": interaction,
        "type": 2,
        "token": "secret-token",
        "member": USER,
        "data": {"name": "ralf", "options": [chosen]},
    }


async def test_a_ping_is_answered_and_a_bad_signature_is_401(door: Api) -> None:
    reply = await discord(door, {"id": "1", "type": 1})
    assert (reply.status, reply.json) == (200, {"type": 1})
    body = packed({"id": "1", "type": 1})
    for headers in (
        {**SIGN.discord(body), "X-Signature-Ed25519": "00" * 64},
        {**SIGN.discord(body), "X-Signature-Ed25519": "zz"},
        {**SIGN.discord(body), "X-Signature-Timestamp": "5"},
        {"Content-Type": "application/json"},
    ):
        assert (await send(door, "discord", body, headers)).status == 401


async def test_commands_are_those_of_slack(door: Api) -> None:
    made = await discord(door, command("add", {"type": 3, "name": "title", "value": "Mend *the* @everyone"}))
    assert made.status == 200
    assert made.json["type"] == 4
    data = made.json["data"]
    assert data["flags"] == 64
    assert data["allowed_mentions"] == {"parse": []}
    (task,) = (await door.get("/tasks")).json["tasks"]
    assert task["title"] == "Mend *the* @everyone"
    assert r"Mend \*the\* \@everyone" in data["content"]
    again = await discord(door, command("add", {"type": 3, "name": "title", "value": "Mend *the* @everyone"}))
    assert again.json == made.json
    assert (await door.get("/tasks")).json["total"] == 1
    shown = await discord(
        door, command("task", {"name": "id", "type": 3, "value": task["id"]}, interaction="i-2")
    )
    assert "Status: pending" in shown.json["data"]["content"]
    status = await discord(door, command("status", interaction="i-3"))
    assert "Tasks: 1 pending" in status.json["data"]["content"]


async def test_a_button_is_a_command(door: Api) -> None:
    await door.task(id="T-1")
    payload = {"id": "i-9", "type": 3, "user": USER["user"], "data": {"custom_id": "ralf:ack:T-1"}}
    reply = await discord(door, payload)
    assert r"kai looks after T\-1" in reply.json["data"]["content"]
    (event,) = [e for e in await door.events() if e["type"] == "webhook_received"]
    assert (event["task_id"], event["data"]["by"]) == ("T-1", "kai")


@pytest.mark.parametrize("payload", [{}, {"type": 99}, {"type": "1"}, {"type": 1.5}, {"type": None}])
async def test_other_types_are_422(door: Api, payload: Any) -> None:
    reply = await discord(door, payload)
    assert (reply.status, reply.fields) == (422, ["type"])


async def test_odd_options_are_no_fault(door: Api) -> None:
    for number, options in enumerate(([5], {"a": 1}, [{"value": {}}], [{"options": [None]}], None)):
        payload = {"id": f"o-{number}", "type": 2, "data": {"options": options}}
        reply = await discord(door, payload)
        assert (reply.status, reply.json["type"]) == (200, 4)
