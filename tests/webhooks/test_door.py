"""Who gets in, who does not, and what an operator is told of those who do not."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from ralf_hub.app import apply
from tests.api.conftest import Start
from tests.api.helpers import ONLY, Api, settings
from tests.support import SettableClock
from tests.webhooks.signing import (
    CALLBACK,
    FORM,
    JSON,
    NOW_S,
    OLD_SECRET,
    SECRET,
    SIGN,
    WHSEC,
    Signer,
    github,
    incoming,
    mac,
    needs_shared,
    packed,
    receipts,
    send,
)

BODY = packed({"type": "hello", "zen": "Keep it logically awesome."})


# --- closed doors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [{"enabled": False}, {"secret": "${UNSET_SECRET}"}, {"secret": []}])
async def test_disabled_or_without_a_secret_it_is_closed(start: Start, entry: dict[str, Any]) -> None:
    door = await start(webhooks={"incoming": [{"service": "github", "secret": SECRET, **entry}]})
    for headers in (SIGN.github(BODY), {"Content-Type": JSON}):
        reply = await send(door, "github", BODY, headers)
        assert (reply.status, reply.code) == (404, "not_found")
    assert await receipts(door) == []


async def test_an_unknown_service_is_closed(door: Api) -> None:
    for name in ("bitbucket", "GITHUB", "github.", "x" * 500):
        assert (await send(door, name, BODY, SIGN.github(BODY))).status == 404


async def test_an_entry_answers_on_its_own_path(start: Start) -> None:
    entries = [
        {"service": "github", "secret": SECRET},
        {"service": "github", "secret": OLD_SECRET, "path": "/api/v1/webhooks/second-github"},
    ]
    door = await start(webhooks={"incoming": entries})
    second = Signer(OLD_SECRET)
    assert (await send(door, "second-github", BODY, second.github(BODY, "ping"))).status == 202
    assert (await send(door, "github", BODY, second.github(BODY, "ping"))).status == 401
    assert (await send(door, "github", BODY, SIGN.github(BODY, "ping"))).status == 202


async def test_no_api_key_is_asked_for_and_none_helps(door: Api) -> None:
    body = packed({"zen": "x"})
    reply = await door.post("/webhooks/github", raw=body)
    assert (reply.status, reply.code) == (401, "invalid_signature")


async def test_other_services_signatures_do_not_fit(door: Api) -> None:
    for service in ("gitlab", "jira", "trello", "pagerduty", "slack", "discord", "ralf", "ci"):
        reply = await send(door, service, BODY, SIGN.github(BODY))
        assert (reply.status, reply.code) == (401, "invalid_signature"), service
        assert reply.headers["Content-Type"] == "application/problem+json"


# --- what is refused, and what is told of it -------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "reason", "hint"),
    [
        ({}, "missing_header", "set the webhook's secret"),
        ({"X-Hub-Signature": f"sha1={mac(BODY, algorithm='sha1')}"}, "missing_header", "SHA-1"),
        ({"X-Hub-Signature-256": f"sha1={mac(BODY, algorithm='sha1')}"}, "unsupported_scheme", "sha256"),
        ({"X-Hub-Signature-256": "sha256=zz"}, "malformed_header", "hex"),
        ({"X-Hub-Signature-256": f"sha256={mac(BODY, 'wrong')}"}, "mismatch", None),
        ({"X-Hub-Signature-256": f"sha256={mac(BODY, SECRET + chr(10))}"}, "mismatch", "trailing newline"),
    ],
)
async def test_a_refusal_is_stored_with_its_reason_and_hint(
    door: Api, headers: dict[str, str], reason: str, hint: str | None
) -> None:
    sent = {"User-Agent": "GitHub-Hookshot/1", "Content-Type": JSON, "X-GitHub-Delivery": "d-1", **headers}
    sent["Authorization"] = "Bearer not-kept"
    reply = await send(door, "github", BODY, sent)
    assert (reply.status, reply.code) == (401, "invalid_signature")
    (receipt,) = await receipts(door, "?service=github&status=rejected")
    assert (receipt["status"], receipt["reason"]) == ("rejected", reason)
    assert receipt["remote"] == "127.0.0.1"
    assert (receipt["hint"] or "").find(hint or "") >= 0
    kept = {"User-Agent": "GitHub-Hookshot/1", "Content-Type": JSON, "X-GitHub-Delivery": "d-1"}
    assert receipt["headers"] == kept
    assert receipt["event_id"] is None
    everything = (await door.get("/webhooks")).body
    for secret in (SECRET, mac(BODY), "not-kept"):
        assert secret.encode() not in everything + reply.body
    numbers = (await door.get("/metrics")).json["webhooks"]
    assert numbers["rejected"] == {reason: 1}
    assert await door.events() == []


async def test_the_body_of_a_refused_one_is_not_kept(door: Api) -> None:
    await send(door, "github", BODY, {"Content-Type": JSON})
    rows = await door.hub.db.read(
        lambda conn: conn.execute("SELECT body, body_bytes FROM webhook_receipts").fetchall()
    )
    assert rows == [(None, len(BODY))]


async def test_an_old_timestamp_is_refused_with_the_skew(door: Api) -> None:
    late = Signer(now_s=NOW_S - 301)
    for service, headers in (
        ("slack", late.slack(BODY)),
        ("ralf", late.standard(BODY)),
        ("discord", late.discord(BODY)),
    ):
        assert (await send(door, service, BODY, headers)).status == 401
        (receipt,) = await receipts(door, f"?service={service}")
        assert receipt["reason"] == "timestamp_out_of_tolerance"
        assert "301 s old" in receipt["hint"]
    early = Signer(now_s=NOW_S + 299)
    assert (await send(door, "ralf", BODY, early.standard(BODY))).status == 202


async def test_rejected_receipts_are_bounded_and_all_are_counted(
    door: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ralf_hub.store.receipts.REJECTED_MAX", 5)
    for _ in range(12):
        await send(door, "github", BODY, {"Content-Type": JSON})
    assert len(await receipts(door)) == 5
    assert (await door.get("/metrics")).json["webhooks"]["rejected"] == {"missing_header": 12}


async def test_an_address_that_keeps_trying_has_to_wait_but_genuine_ones_pass(start: Start) -> None:
    door = await start(api={"rate_limit": {"failed_auth_per_minute": 3}}, webhooks=incoming())
    refused = [await send(door, "github", BODY, {"Content-Type": JSON}) for _ in range(5)]
    assert [reply.status for reply in refused] == [401, 401, 401, 429, 429]
    assert int(refused[-1].headers["Retry-After"]) >= 1
    assert (await send(door, "github", BODY, SIGN.github(BODY, "ping"))).status == 202
    assert len(await receipts(door, "?status=rejected")) == 3
    assert (await door.get("/metrics")).json["webhooks"]["rejected"] == {"missing_header": 5}


async def test_secrets_rotate_with_overlap(start: Start) -> None:
    async def answers(secret: Any, signer: Signer, delivery: str) -> int:
        door = await start(webhooks={"incoming": [{"service": "github", "secret": secret}]})
        return (await send(door, "github", BODY, signer.github(BODY, "ping", delivery))).status

    old, new = Signer(OLD_SECRET), Signer(SECRET)
    assert await answers(OLD_SECRET, old, "1") == 202
    assert await answers([OLD_SECRET, SECRET], old, "2") == 202
    assert await answers([OLD_SECRET, SECRET], new, "3") == 202
    assert await answers(SECRET, new, "4") == 202
    assert await answers(SECRET, old, "5") == 401


async def test_a_changed_secret_is_in_force_without_a_restart(door: Api, db_path: Path) -> None:
    async def change(*entries: dict[str, Any]) -> None:
        await apply(door.hub, settings(db_path, webhooks={"incoming": list(entries)}))

    async def answers(signer: Signer, delivery: str) -> int:
        return (await send(door, "github", BODY, signer.github(BODY, "ping", delivery))).status

    await change({"service": "github", "secret": [SECRET, OLD_SECRET]})
    assert (await answers(Signer(OLD_SECRET), "1"), await answers(SIGN, "2")) == (202, 202)
    await change({"service": "github", "secret": SECRET})
    assert (await answers(Signer(OLD_SECRET), "3"), await answers(SIGN, "4")) == (401, 202)
    await change()
    assert await answers(SIGN, "5") == 404


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"nul",
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"{}{}",
        b"[" * 2000,
        b'{"a":' * 500,
    ],
)
async def test_a_genuine_body_that_cannot_be_read_is_422(door: Api, body: bytes) -> None:
    for service, headers in (
        ("github", SIGN.github(body)),
        ("ralf", SIGN.standard(body)),
        ("ci", SIGN.ci(body)),
    ):
        reply = await send(door, service, body, headers)
        assert (reply.status, reply.code, reply.fields) == (422, "validation_failed", ["body"]), service
    assert {receipt["reason"] for receipt in await receipts(door)} == {"validation_failed"}


async def test_nesting_has_a_limit(door: Api) -> None:
    body = b'{"a":' * 63 + b"1" + b"}" * 63
    assert (await send(door, "github", body, SIGN.github(body))).status == 202
    body = b'{"a":' * 100 + b"1" + b"}" * 100
    assert (await send(door, "github", body, SIGN.github(body))).status == 422


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", ""])
async def test_another_content_type_is_415_once_the_signature_is_right(door: Api, kind: str) -> None:
    for service, headers in (("github", SIGN.github(BODY)), ("ralf", SIGN.standard(BODY))):
        reply = await send(door, service, BODY, {**headers, "Content-Type": kind})
        assert (reply.status, reply.code) == (415, "unsupported_media_type")
        tampered = await send(door, service, BODY + b" ", {**headers, "Content-Type": kind})
        assert tampered.status == 401


@pytest.mark.parametrize("body", [b"payload=%ff", b"payload=", b"other=1", b"payload={", b"a&" * 2000])
async def test_a_form_that_cannot_be_read_is_422(door: Api, body: bytes) -> None:
    headers = {**SIGN.github(body), "Content-Type": FORM}
    assert (await send(door, "github", body, headers)).status == 422


async def test_25_mib_are_taken_and_more_is_413(door: Api) -> None:
    largest = 25 * 1024 * 1024
    frame = b'{"text":""}'
    body = b'{"text":"' + b"x" * (largest - len(frame)) + b'"}'
    assert len(body) == largest
    taken = await send(door, "github", body, SIGN.github(body, "push"))
    assert taken.status == 202
    over = body + b" "
    assert (await send(door, "github", over, SIGN.github(over, "push", "d-2"))).status == 413
    (receipt,) = await receipts(door)
    assert receipt["body_bytes"] == largest
    stored = await door.hub.db.read(lambda conn: conn.execute("SELECT body FROM webhook_receipts").fetchone())
    assert stored == (None,), "a body so large is not kept"


async def test_a_chunked_body_is_cut_off_as_well(start: Start) -> None:
    door = await start(api={"webhook_bytes_max": 2_000}, webhooks=incoming())

    async def chunks() -> Any:
        for _ in range(50):
            yield b"x" * 100
            await asyncio.sleep(0)

    url = door.client.server.make_url("/api/v1/webhooks/github")
    async with door.client.session.post(url, data=chunks(), headers={"Content-Type": JSON}) as reply:
        assert reply.status == 413
        assert orjson.loads(await reply.read())["code"] == "body_too_large"


async def test_a_body_that_breaks_off_is_no_webhook(door: Api) -> None:
    await door.leave(b"POST /api/v1/webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert (await send(door, "github", BODY, SIGN.github(BODY, "ping"))).status == 202
    assert len(await receipts(door)) == 1


async def test_a_body_beyond_what_is_kept_still_counts_as_the_same(door: Api) -> None:
    body = packed({"type": "big", "text": "x" * 100_000})
    first = await send(door, "ci", body, SIGN.ci(body))
    again = await send(door, "ci", body, SIGN.ci(body))
    assert (first.status, again.status) == (202, 200)
    assert again.json == {**first.json, "status": "duplicate"}


# --- the published vectors, through the app ---------------------------------------------------------


@pytest.mark.shared
async def test_the_published_vectors(start: Start, clock: SettableClock) -> None:
    vectors = orjson.loads(needs_shared("specs/signature-vectors/vectors.json").read_bytes())

    async def post(name: str, service: str, secret: str, headers: dict[str, str], at_s: int) -> int:
        clock.ms = at_s * 1000
        door = await start(webhooks={"incoming": [{"service": service, "secret": secret}]})
        return (await send(door, service, vectors[name]["body"].encode(), headers)).status

    slack, standard, pager = vectors["slack"], vectors["standardwebhooks"], vectors["pagerduty"]
    headers = {
        "X-Slack-Request-Timestamp": slack["timestamp"],
        "X-Slack-Signature": slack["signature"],
        "Content-Type": FORM,
    }
    at_s = int(slack["timestamp"])
    assert await post("slack", "slack", slack["signing_secret"], headers, at_s) == 200
    assert await post("slack", "slack", slack["signing_secret"] + "x", headers, at_s) == 401

    headers = {name: standard[name] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    at_s = int(standard["webhook-timestamp"])
    assert (
        await post("standardwebhooks", "ralf", standard["secret"], {**headers, "Content-Type": JSON}, at_s)
        == 202
    )
    near = {
        **headers,
        "webhook-signature": standard["webhook-signature"].replace("OE=", "OA="),
        "Content-Type": JSON,
    }
    assert await post("standardwebhooks", "ralf", standard["secret"], near, at_s) == 401

    signature = next(value for value in pager.values() if str(value).startswith("v1="))
    headers = {"X-PagerDuty-Signature": signature, "Content-Type": JSON}
    assert await post("pagerduty", "pagerduty", pager["secret"], headers, NOW_S) == 202
    assert (
        await post(
            "pagerduty", "pagerduty", pager["secret"], {**headers, "X-PagerDuty-Signature": "v1=00"}, NOW_S
        )
        == 401
    )

    # These two sign text that is no JSON: genuine, and nothing that can be read.
    vector = vectors["github"]
    headers = {
        "X-Hub-Signature-256": vector["x-hub-signature-256"],
        "Content-Type": JSON,
        "X-GitHub-Event": "push",
    }
    assert await post("github", "github", vector["secret"], headers, NOW_S) == 422
    assert await post("github", "github", vector["secret"] + "x", headers, NOW_S) == 401


# --- the list of receipts ---------------------------------------------------------------------------


async def test_receipts_are_listed_newest_first_page_by_page(door: Api, clock: SettableClock) -> None:
    for number in range(5):
        await github(door, {"zen": number}, "ping", f"d-{number}")
        await send(door, "ralf", BODY, SIGN.ci(BODY))
        clock.advance(1)
    everything = await door.listed("/webhooks", "webhooks")
    assert len(everything) == 10
    assert [r["received_at"] for r in everything] == sorted(
        (r["received_at"] for r in everything), reverse=True
    )
    of_github = await door.listed("/webhooks?service=github", "webhooks", limit=2)
    assert [r["delivery"] for r in of_github] == [f"d-{number}" for number in range(4, -1, -1)]
    assert {r["service"] for r in await door.listed("/webhooks?status=rejected", "webhooks")} == {"ralf"}
    assert (await door.get("/webhooks?status=nonsense")).status == 400
    assert (await door.get("/webhooks?colour=red")).status == 400
    assert (await door.get("/webhooks", key=ONLY["events:read"])).status == 200
    assert (await door.get("/webhooks", key=ONLY["tasks:read"])).status == 403


async def test_repeats_are_counted_on_the_receipt(door: Api) -> None:
    for _ in range(3):
        await github(door, {"zen": "x"}, "ping")
    (receipt,) = await receipts(door)
    assert receipt["duplicates"] == 2
    assert (await door.get("/metrics")).json["webhooks"] == {"accepted": 1, "duplicate": 2, "rejected": {}}


async def test_the_same_delivery_many_times_at_once_acts_once(door: Api) -> None:
    payload = {
        "action": "opened",
        "issue": {"number": 1, "title": "Once"},
        "repository": {"full_name": "acme/mill"},
    }
    replies = await asyncio.gather(*(github(door, payload) for _ in range(50)))
    assert sorted(reply.status for reply in replies) == [200] * 49 + [202]
    assert len({(reply.json["id"], reply.json["event_id"], reply.json["task_id"]) for reply in replies}) == 1
    assert (await door.get("/tasks")).json["total"] == 1


# --- looking whether anybody is there ---------------------------------------------------------------


async def test_trello_and_slack_may_look_first(door: Api) -> None:
    assert (await send(door, "trello", b"", {}, "HEAD")).status == 200
    reply = await send(door, "slack?ssl_check=1", b"", {}, "GET")
    assert (reply.status, reply.body) == (200, b"")
    for name in ("github", "nobody"):
        assert (await send(door, name, b"", {}, "HEAD")).status == 404
    assert CALLBACK.endswith("/trello")
    assert WHSEC


async def test_what_the_hub_fails_at_is_stored_as_failed_and_never_a_5xx(
    door: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("somewhere inside")

    monkeypatch.setattr("ralf_hub.intake.webhook_actions.Acting.carry_out", broken)
    reply = await github(door, {"action": "opened", "issue": {"number": 1}})
    assert (reply.status, reply.json["status"]) == (202, "failed")
    (receipt,) = await receipts(door)
    assert (receipt["status"], receipt["reason"]) == ("failed", "could not be acted on: KeyError")
    assert reply.json["event_id"] == receipt["event_id"]
    again = await github(door, {"action": "opened", "issue": {"number": 1}})
    assert (again.status, again.json["status"]) == (200, "duplicate")
