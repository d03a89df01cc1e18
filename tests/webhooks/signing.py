"""Signing as the services do it, and a hub with webhooks to send to."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.api.helpers import Api, Reply
from tests.support import START_MS

SHARED: Final = Path(os.environ.get("RALF_HUB_SHARED") or Path(__file__).parents[3] / "shared")
NOW_S: Final = START_MS // 1000
SECRET: Final = "an-incoming-secret-0123456789"
OLD_SECRET: Final = "the-secret-before-0123456789"
WHSEC: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GITLAB_TOKEN: Final = "gitlab-token-0123456789"
CALLBACK: Final = "https://hub.example.org/api/v1/webhooks/trello"
DISCORD_KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"

INCOMING: Final[dict[str, dict[str, Any]]] = {
    "github": {"secret": SECRET},
    "gitlab": {"token": GITLAB_TOKEN, "signing_key": WHSEC},
    "jira": {"secret": SECRET},
    "trello": {"secret": SECRET, "callback_url": CALLBACK},
    "slack": {"secret": SECRET},
    "discord": {"public_key": DISCORD_KEY.public_key().public_bytes_raw().hex()},
    "pagerduty": {"secret": SECRET},
    "ralf": {"secret": WHSEC},
    "ci": {"secret": SECRET, "hmac": {"header": "X-CI-Signature", "prefix": ""}},
}


def incoming(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `webhooks` with an entry for every service; *changes* by service."""
    entries = [
        {"service": name, **entry, **changes.get(name, {})}
        for name, entry in {**INCOMING, **{n: {} for n in changes if n not in INCOMING}}.items()
    ]
    return {"incoming": entries}


def needs_shared(path: str) -> Path:
    """Return a path below ../shared, or skip saying so."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{found} is absent")
    return found


def mac(body: bytes, secret: str = SECRET, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), body, getattr(hashlib, algorithm)).hexdigest()


@dataclass(frozen=True)
class Signer:
    """Makes the headers of one service for a body."""

    secret: str = SECRET
    now_s: int = NOW_S
    more: dict[str, str] = field(default_factory=dict)

    def github(self, body: bytes, event: str = "issues", delivery: str = "d-1") -> dict[str, str]:
        return {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": f"sha256={mac(body, self.secret)}",
            "Content-Type": JSON,
        }

    @staticmethod
    def gitlab(key: str = "g-1") -> dict[str, str]:
        return {"X-Gitlab-Token": GITLAB_TOKEN, "Idempotency-Key": key, "Content-Type": JSON}

    def jira(self, body: bytes, key: str = "j-1") -> dict[str, str]:
        return {
            "X-Hub-Signature": f"sha256={mac(body, self.secret)}",
            "X-Atlassian-Webhook-Identifier": key,
            "Content-Type": JSON,
        }

    def trello(self, body: bytes) -> dict[str, str]:
        signature = hmac.new(self.secret.encode(), body + CALLBACK.encode(), hashlib.sha1).digest()
        return {"X-Trello-Webhook": base64.b64encode(signature).decode(), "Content-Type": JSON}

    def pagerduty(self, body: bytes) -> dict[str, str]:
        return {"X-PagerDuty-Signature": f"v1={mac(body, self.secret)}", "Content-Type": JSON}

    def slack(self, body: bytes, content_type: str = FORM) -> dict[str, str]:
        signed = f"v0:{self.now_s}:".encode() + body
        return {
            "X-Slack-Request-Timestamp": str(self.now_s),
            "X-Slack-Signature": f"v0={mac(signed, self.secret)}",
            "Content-Type": content_type,
        }

    def discord(self, body: bytes) -> dict[str, str]:
        signature = DISCORD_KEY.sign(str(self.now_s).encode() + body).hex()
        return {
            "X-Signature-Timestamp": str(self.now_s),
            "X-Signature-Ed25519": signature,
            "Content-Type": JSON,
        }

    def standard(self, body: bytes, message_id: str = "msg_1", secret: str = WHSEC) -> dict[str, str]:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signature = hmac.new(key, f"{message_id}.{self.now_s}.".encode() + body, hashlib.sha256).digest()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(self.now_s),
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
            "Content-Type": JSON,
        }

    def ci(self, body: bytes) -> dict[str, str]:
        return {"X-CI-Signature": mac(body, self.secret), "Content-Type": JSON}


SIGN: Final = Signer()


def packed(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


async def send(
    api: Api, service: str, body: bytes, headers: Mapping[str, str], method: str = "POST"
) -> Reply:
    """Send one webhook, without any API key."""
    return await api.call(
        method, f"/api/v1/webhooks/{service}", raw=body, headers=headers, key=None, content_type=None
    )


async def github(
    api: Api, payload: Any, event: str = "issues", delivery: str = "d-1", service: str = "github"
) -> Reply:
    body = packed(payload)
    return await send(api, service, body, SIGN.github(body, event, delivery))


async def receipts(api: Api, query: str = "") -> list[dict[str, Any]]:
    return list((await api.get(f"/webhooks{query}")).json["webhooks"])
