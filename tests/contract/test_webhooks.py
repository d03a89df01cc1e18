"""Contract 3 and 5.6, webhooks in: genuine ones act once, the others are told why not and kept as rejected."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.box import TIME, Box, Ground, Reply

pytestmark = pytest.mark.journey

SECRET = "an-incoming-secret-0123456789"
SETTINGS = f"""
[[webhooks.incoming]]
service = "github"
path = "/api/v1/webhooks/github"
secret = "{SECRET}"
[[webhooks.incoming]]
service = "slack"
secret = "{SECRET}"
[[webhooks.incoming]]
service = "trello"
secret = "{SECRET}"
callback_url = "https://hub.example.org/api/v1/webhooks/trello"
[[webhooks.incoming]]
service = "jira"
secret = "{SECRET}"
enabled = false
"""
BODY = {
    "action": "opened",
    "issue": {"number": 7, "title": "The lens is dull", "body": "b", "html_url": "https://github.com/o/r/issues/7", "node_id": "I_1",
              "id": 1, "state": "open", "labels": [], "user": {"login": "u"}},
    "repository": {"full_name": "o/r", "html_url": "https://github.com/o/r", "id": 1, "name": "r", "owner": {"login": "o"}},
    "sender": {"login": "u", "id": 1, "type": "User"},
}  # fmt: skip


@pytest.fixture(scope="module")
def door(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    api = f"rate_limit.enabled = false\nwebhook_bytes_max = {2**20 + 1024}"
    made = Box.start(ground, tmp_path_factory.mktemp("door"), SETTINGS, api=api)
    yield made
    made.close()


def knock(
    door: Box, delivery: str, body: Any = BODY, *, secret: str = SECRET, event: str = "issues", **headers: str
) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: Mapping[str, str] = {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest(),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    kept = {name: value for name, value in sent.items() if value}
    return door.post("/webhooks/github", raw=raw, key=None, headers=kept)


def test_a_genuine_one_acts_once_however_often_it_comes(door: Box) -> None:
    first = knock(door, "d-once")
    assert (first.status, first.json["status"]) == (202, "accepted"), first.body
    assert {"id", "status", "event_id", "task_id"} <= set(first.json)
    again = knock(door, "d-once")
    door.hub.kill()
    door.again()
    later = knock(door, "d-once")
    for reply in (again, later):
        assert (reply.status, reply.json["status"]) == (200, "duplicate")
        assert {n: reply.json[n] for n in ("id", "event_id", "task_id")} == {
            n: first.json[n] for n in ("id", "event_id", "task_id")
        }
    assert len([e for e in door.events("&type=webhook_received") if e["id"] == first.json["event_id"]]) == 1
    receipt = next(
        r for r in door.get("/webhooks?service=github").json["webhooks"] if r["id"] == first.json["id"]
    )
    assert receipt["status"] in {"accepted", "ignored"}
    assert TIME.fullmatch(receipt["received_at"])


def test_many_at_once_act_once(door: Box) -> None:
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: knock(door, "d-many"), range(24)))
    assert sorted({reply.status for reply in replies}) == [200, 202]
    assert [reply.status for reply in replies].count(202) == 1
    assert len({reply.json["event_id"] for reply in replies}) == 1


@pytest.mark.parametrize(
    ("name", "status", "how"),
    [
        ("wrong secret", 401, {"secret": "another-secret"}),
        ("no signature", 401, {"X_Hub_Signature_256": ""}),
        ("signature that is none", 401, {"X_Hub_Signature_256": "sha256=zz"}),
        ("another scheme", 401, {"X_Hub_Signature_256": "md5=" + "0" * 32}),
        ("sha1 alone", 401, {"X_Hub_Signature_256": "sha1=" + "0" * 40}),
        ("bytes that are no json", 422, {"body": b"{"}),
        ("a list", 422, {"body": b"[]"}),
        ("another kind of body", 415, {"Content_Type": "text/xml"}),
        ("too large", 413, {"body": b'{"x":"' + b"x" * (2**20 + 1024) + b'"}'}),
    ],
)
def test_what_is_refused_acts_not_and_says_why_to_the_operator(
    door: Box, name: str, status: int, how: dict[str, Any]
) -> None:
    events = len(door.events())
    reply = knock(door, f"d-{name}", **how)
    assert (reply.status, bool(reply.code)) == (status, True), reply.body
    assert len(door.events()) == events
    signature = hmac.new(SECRET.encode(), json.dumps(BODY).encode(), hashlib.sha256).hexdigest()
    rejected = door.get("/webhooks?status=rejected&limit=200")
    assert signature.encode() not in rejected.body + reply.body
    assert SECRET.encode() not in rejected.body + reply.body
    if status == 401:
        assert rejected.json["webhooks"][0]["reason"]


def test_who_is_not_configured_is_not_there(door: Box) -> None:
    for service in ("gitlab", "jira", "nobody", "..", "%00"):
        reply = door.post(f"/webhooks/{service}", {}, key=None)
        assert (reply.status, reply.code) == (404, "not_found"), service


def test_handshakes_are_answered_as_each_service_asks(door: Box) -> None:
    raw = json.dumps({"type": "url_verification", "challenge": "c-123", "token": "t"}).encode()
    now = str(int(time.time()))
    mac = hmac.new(SECRET.encode(), f"v0:{now}:".encode() + raw, hashlib.sha256).hexdigest()
    signed = {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": f"v0={mac}"}
    reply = door.post("/webhooks/slack", raw=raw, key=None, headers=signed)
    assert reply.status == 200
    assert b"c-123" in reply.body
    stale = str(int(time.time()) - 3600)
    mac = hmac.new(SECRET.encode(), f"v0:{stale}:".encode() + raw, hashlib.sha256).hexdigest()
    late = {"X-Slack-Request-Timestamp": stale, "X-Slack-Signature": f"v0={mac}"}
    assert door.post("/webhooks/slack", raw=raw, key=None, headers=late).status == 401
    assert door.call("HEAD", "/api/v1/webhooks/trello", key=None).status == 200
    ping = knock(door, "d-ping", {"zen": "z", "hook_id": 1, "repository": BODY["repository"]}, event="ping")
    assert ping.status in {200, 202}


def test_the_counts_tell_what_came(door: Box) -> None:
    before = door.get("/metrics").json["webhooks"]
    knock(door, "d-counted")
    knock(door, "d-counted")
    knock(door, "d-other", secret="wrong-secret")
    after = door.get("/metrics").json["webhooks"]
    assert after["accepted"] == before["accepted"] + 1
    assert after["duplicate"] == before["duplicate"] + 1
    assert sum(after["rejected"].values()) == sum(before["rejected"].values()) + 1
