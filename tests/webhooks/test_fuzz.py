"""Whatever is sent, the answer is an answer: seeded noise in headers and bodies, signed and not."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from ralf_hub.config.senders import senders
from ralf_hub.errors import HubError
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.senders import Sender
from tests.api.conftest import Start
from tests.api.helpers import settings
from tests.webhooks.signing import FORM, JSON, NOW_S, SIGN, incoming, send

SEED: Final = int(os.environ.get("RALF_HUB_SEED", "20260202"))
UNITS: Final = 10_000
CALLS: Final = 1_000

HEADERS: Final = (
    "X-Hub-Signature-256", "X-Hub-Signature", "X-Gitlab-Token", "X-Trello-Webhook", "X-PagerDuty-Signature",
    "X-Slack-Signature", "X-Slack-Request-Timestamp", "X-Signature-Ed25519", "X-Signature-Timestamp", "webhook-id",
    "webhook-timestamp", "webhook-signature", "X-CI-Signature", "X-GitHub-Event", "X-GitHub-Delivery",
    "Idempotency-Key", "X-Atlassian-Webhook-Identifier", "Content-Type",
)  # fmt: skip
SIGNERS: Final[dict[str, Callable[[bytes], dict[str, str]]]] = {
    "github": SIGN.github,
    "gitlab": lambda _: SIGN.gitlab(),
    "jira": SIGN.jira,
    "trello": SIGN.trello,
    "pagerduty": SIGN.pagerduty,
    "slack": lambda body: SIGN.slack(body, random.Random(len(body)).choice([JSON, FORM])),
    "discord": SIGN.discord,
    "ralf": SIGN.standard,
    "ci": SIGN.ci,
}
KEYS: Final = (
    "type", "event", "action", "data", "issue", "pull_request", "workflow_run", "repository", "sender", "number",
    "title", "body", "full_name", "login", "id", "object_kind", "object_attributes", "project", "iid", "webhookEvent",
    "changelog", "items", "field", "fields", "status", "statusCategory", "key", "self", "card", "listAfter", "name",
    "event_type", "incident", "incident_key", "member", "user", "username", "options", "value", "custom_id", "labels",
    "payload", "actions", "action_id", "action_ts", "challenge", "text", "html_url", "merged", "head", "ref",
)  # fmt: skip
WORDS: Final = (
    "opened", "closed", "task.create", "task.update", "issue", "jira:issue_created", "updateCard", "url_verification",
    "event_callback", "block_actions", "ralf_retry", "TASK-1", "ralf:evt_1", "add x", "retry TASK-1", "\0", "\u202e",
    "\U0001f600", "a" * 5_000, "", " ", "..", "{{ 7*7 }}", "'; --", "sha256=", "v1,", "v0=", "\n", "é",
)  # fmt: skip


def value(chance: random.Random, depth: int = 0) -> Any:
    """Return some JSON that looks a little like a webhook."""
    kind = chance.randrange(10)
    if depth < 5 and kind < 4:
        return {chance.choice(KEYS): value(chance, depth + 1) for _ in range(chance.randrange(6))}
    if depth < 5 and kind == 4:
        return [value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return chance.choice(
        [
            *WORDS,
            None,
            True,
            False,
            chance.randrange(-5, 5),
            2**70,
            1e308,
            chance.random(),
            chance.randrange(4),
        ]
    )


def body(chance: random.Random) -> bytes:
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(60))
        case 1:
            return f"payload={chance.choice(['', '{', '[]', '%7B%7D'])}&text={chance.choice(WORDS)}".encode()
        case 2:
            raw = orjson.dumps({"type": chance.choice(WORDS), "data": str(value(chance))})
            return raw[: chance.randrange(len(raw) + 1)]
        case _:
            made = {chance.choice(KEYS): value(chance) for _ in range(8)}
            return json.dumps(made).encode()


def header(chance: random.Random, *, on_the_wire: bool) -> str:
    text = chance.choice(
        [
            "sha256=" + chance.randbytes(32).hex(), "sha256=zz", "sha1=" + "0" * 40, "v0=" + "0" * 64, "v1,AAAA",
            "v1=" + "0" * 64, str(NOW_S), str(NOW_S - 301), "9" * 400, "-1", "1e5", "", " ", "," * 200, "=", "v1a,AA==",
            "whsec_", "é", "\udce9", "\ufffd", "0x10", "\u0661\u0662", "a" * 2_000, JSON, FORM, "application/x+json",
            *WORDS,
        ]
    )  # fmt: skip
    if on_the_wire:
        return "".join(char for char in text if "\x20" <= char < "\x7f" or "\xa0" <= char <= "\xff")
    return text


def request(chance: random.Random, service: str, *, on_the_wire: bool) -> tuple[bytes, dict[str, str]]:
    """Return a body and headers: half of them signed, then perhaps spoilt."""
    raw = body(chance)
    headers = SIGNERS[service](raw) if chance.random() < 0.5 else {"Content-Type": JSON}
    for _ in range(chance.choice([0, 0, 1, 3])):
        headers[chance.choice(HEADERS)] = header(chance, on_the_wire=on_the_wire)
    return raw, headers


def judged(sender: Sender, raw: bytes, headers: dict[str, str]) -> str:
    """Return what the layer below HTTP makes of a request; any exception but a refusal is a fault."""
    signed = Signed(raw, headers, NOW_S)
    verdict = sender.verify(signed)
    if not verdict.ok:
        return "refused"
    try:
        received, _ = sender.understand(signed)
    except HubError as error:
        if error.code not in {"validation_failed", "unsupported_media_type"}:
            raise
        return "unreadable"
    assert received.dedup_key
    assert received.event_type
    assert len(received.dedup_key) <= 300
    orjson.dumps(dict(received.facts))
    return "read"


def test_ten_thousand_odd_requests_never_fail_inside(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    known = senders(settings(tmp_path / "hub.db", webhooks=incoming()).settings)
    seen: Counter[tuple[str, str]] = Counter()
    for _ in range(UNITS):
        service = chance.choice(list(known))
        raw, headers = request(chance, service, on_the_wire=False)
        seen[service, judged(known[service], raw, headers)] += 1
    for service in known:
        for outcome in ("refused", "unreadable", "read"):
            assert seen[service, outcome] > 0, f"nothing of {service} was {outcome}: this shows too little"


async def test_a_thousand_odd_calls_never_are_a_5xx(start: Start) -> None:
    door = await start(webhooks=incoming())
    chance = random.Random(SEED + 1)
    seen: Counter[int] = Counter()
    for _ in range(CALLS):
        service = chance.choice(list(SIGNERS))
        raw, headers = request(chance, service, on_the_wire=True)
        reply = await send(door, service, raw, headers)
        assert reply.status < 500, (service, headers, raw, reply.body)
        seen[reply.status] += 1
    assert set(seen) <= {200, 202, 400, 401, 404, 409, 415, 422}
    assert min(seen[status] for status in (200, 202, 401, 415, 422)) > 0
    numbers = (await door.get("/metrics")).json["webhooks"]
    failed = await door.listed("/webhooks?status=failed", "webhooks", limit=200)
    assert failed == [], "what was accepted was acted on"
    assert numbers["accepted"] > 0
    assert sum(numbers["rejected"].values()) > 0


# A plain token of GitLab's signs nothing; its signing token is verified as that of `ralf` is.
@pytest.mark.parametrize("service", sorted(set(SIGNERS) - {"gitlab"}))
async def test_one_byte_more_or_less_is_a_401(start: Start, service: str) -> None:
    door = await start(webhooks=incoming())
    raw = orjson.dumps({"type": "hello", "text": "x" * 50})
    headers = SIGNERS[service](raw)
    for changed in (raw + b" ", raw[:-1], raw.replace(b"x", b"y", 1), b""):
        assert (await send(door, service, changed, headers)).status == 401
