"""Is this body genuine: one verifier per scheme, and the signing of what the hub sends.

Verifiers are pure and total: any bytes and headers give a `Verdict`, never an exception. They read the raw
body, compare in constant time, and where nothing matches try the usual mistakes to give the operator a hint.
A hint never holds a secret, a signature or what was expected; it is for operators, not for the sender.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from ralf_hub.verdicts import (
    DIAGNOSED_BYTES_MAX,
    SECRET_PREFIX,
    SIGNATURES_MAX,
    Encoding,
    Keys,
    Signed,
    Verdict,
    Verifier,
    judge,
    judge_public,
    matches,
    read_moment,
    read_signatures,
    refuse,
    timely,
    unbase64,
    unhex,
    utf8,
)

PUBLIC_KEY_PREFIX: Final = "whpk_"

# --- the schemes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """An HMAC of the body in one header: GitHub's and Jira's way, and that of most CI systems."""

    header: str = "X-Hub-Signature-256"
    prefix: str = "sha256="
    algorithm: Literal["sha256", "sha512"] = "sha256"
    encoding: Encoding = "hex"

    def verify(self, request: Signed, keys: Keys) -> Verdict:
        """Judge *request* by this scheme."""
        header = request.header(self.header)
        if not header:
            return refuse(
                "missing_header", f"{self.header} was not sent: set the webhook's secret at the sender"
            )
        sent = read_signatures(self.header, [header], self.prefix, self.encoding)
        if isinstance(sent, Verdict):
            return sent
        return judge(sent, keys, request.body, algorithm=self.algorithm)


def verify_github(request: Signed, keys: Keys) -> Verdict:
    """Judge a request of GitHub, SHA-256 only (https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries)."""
    if request.header("X-Hub-Signature") and not request.header("X-Hub-Signature-256"):
        return refuse("missing_header", "only the SHA-1 signature was sent, X-Hub-Signature-256 is needed")
    return HmacScheme().verify(request, keys)


def verify_slack(request: Signed, keys: Keys) -> Verdict:
    """Judge a request of Slack, `v0` (https://docs.slack.dev/authentication/verifying-requests-from-slack)."""
    timestamp = request.header("X-Slack-Request-Timestamp")
    moment = read_moment("X-Slack-Request-Timestamp", timestamp)
    if isinstance(moment, Verdict):
        return moment
    sent = read_signatures("X-Slack-Signature", [request.header("X-Slack-Signature")], "v0=", "hex")
    if isinstance(sent, Verdict):
        return sent
    content = b"v0:%b:%b" % (timestamp.encode(), request.body)
    return judge(sent, keys, content, skew_s=request.now_s - moment)


def verify_pagerduty(request: Signed, keys: Keys) -> Verdict:
    """Judge a request of PagerDuty v3, a list of `v1=` (https://developer.pagerduty.com/docs/verifying-webhook-signatures)."""
    parts = request.header("X-PagerDuty-Signature").split(",", SIGNATURES_MAX)
    sent = read_signatures("X-PagerDuty-Signature", [part.strip() for part in parts], "v1=", "hex")
    if isinstance(sent, Verdict):
        return sent
    return judge(sent, keys, request.body)


def verify_trello(request: Signed, keys: Keys) -> Verdict:
    """Judge a request of Trello, SHA-1 over body and callback URL (https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/)."""
    sent = read_signatures("X-Trello-Webhook", [request.header("X-Trello-Webhook")], "", "base64")
    if isinstance(sent, Verdict):
        return sent

    url = keys.callback_url
    if not url:
        return refuse("no_secret", "callback_url is not set: Trello signs it along with the body")
    verdict = judge(sent, keys, request.body + utf8(url), algorithm="sha1")
    if verdict.reason == "mismatch" and not verdict.hint and len(request.body) <= DIAGNOSED_BYTES_MAX:
        swapped = "http" + url[5:] if url.startswith("https") else "https" + url[4:]
        for other in (url.rstrip("/"), f"{url.rstrip('/')}/", swapped):
            if matches(sent, map(utf8, keys.secrets), request.body + utf8(other), "sha1"):
                return refuse(
                    "mismatch", f"the webhook was registered with the callback URL {other}: set exactly that"
                )
    return verdict


def verify_standard(request: Signed, keys: Keys) -> Verdict:
    """Judge by Standard Webhooks: `v1` with secrets, `v1a` with `whpk_` public keys (https://www.standardwebhooks.com)."""
    read = _standard_content(request)
    if isinstance(read, Verdict):
        return read
    content, skew_s = read
    parts = request.header("webhook-signature").split(" ", SIGNATURES_MAX)
    public = [key for key in keys.secrets if key.startswith(PUBLIC_KEY_PREFIX)]
    if public and any(part.startswith("v1a,") for part in parts):
        verdict = judge_public(
            parts, [unbase64(key.removeprefix(PUBLIC_KEY_PREFIX)) for key in public], content
        )
        if verdict.ok:
            return timely(skew_s, keys.tolerance_s)
        if len(public) == len(keys.secrets):
            return verdict
    sent = read_signatures("webhook-signature", parts, "v1,", "base64")
    if isinstance(sent, Verdict):
        return sent
    private = Keys(tuple(key for key in keys.secrets if key not in public), keys.tolerance_s)
    return judge(sent, private, content, skew_s=skew_s, key_bytes=_standard_key)


def _standard_content(request: Signed) -> tuple[bytes, int] | Verdict:
    """Return the bytes that are signed and how far off the timestamp is, in seconds."""
    message_id, timestamp = request.header("webhook-id"), request.header("webhook-timestamp")
    if not message_id:
        return refuse("missing_header", "webhook-id was not sent")
    if not message_id.isascii():
        return refuse("malformed_header", "webhook-id is not plain ASCII")
    moment = read_moment("webhook-timestamp", timestamp)
    if isinstance(moment, Verdict):
        return moment
    return b"%b.%b.%b" % (message_id.encode(), timestamp.encode(), request.body), request.now_s - moment


def verify_gitlab(request: Signed, keys: Keys) -> Verdict:
    """Judge a request of GitLab: by a signing token (`whsec_...`) by Standard Webhooks, or the older plain token.

    A signed request must pass by its signature: it never falls back to the token, which anyone who saw one
    request could repeat (https://docs.gitlab.com/user/project/integrations/webhooks/).
    """
    signing = tuple(key for key in keys.secrets if key.startswith(SECRET_PREFIX))
    if request.header("webhook-signature"):
        if keys.secrets and not signing:
            return refuse("no_secret", "GitLab signs this webhook: configure its signing token (whsec_...)")
        return verify_standard(request, Keys(signing, keys.tolerance_s))
    token = request.header("X-Gitlab-Token")
    if not token:
        return refuse("missing_header", "neither webhook-signature nor X-Gitlab-Token was sent")
    tokens = Keys(tuple(key for key in keys.secrets if not key.startswith(SECRET_PREFIX)))
    if signing and not tokens.secrets:
        return refuse("missing_header", "only X-Gitlab-Token was sent: set the signing token at GitLab")
    # The token is its own proof; both sides are hashed, so that the comparison takes equally long for all lengths.
    return judge([hmac.digest(utf8(token), b"", "sha256")], tokens, b"")


def verify_discord(request: Signed, keys: Keys) -> Verdict:
    """Judge an interaction of Discord, Ed25519 (https://docs.discord.com/developers/interactions/receiving-and-responding)."""
    timestamp = request.header("X-Signature-Timestamp")
    moment = read_moment("X-Signature-Timestamp", timestamp)
    if isinstance(moment, Verdict):
        return moment
    signature = request.header("X-Signature-Ed25519")
    sent = read_signatures("X-Signature-Ed25519", [signature], "", "hex")
    if isinstance(sent, Verdict):
        return sent
    public = [unhex(key.strip()) for key in keys.secrets if key]
    verdict = judge_public([signature], public, timestamp.encode() + request.body, prefix="", encoding="hex")
    return timely(request.now_s - moment, keys.tolerance_s) if verdict.ok else verdict


VERIFIERS: Final[Mapping[str, Verifier]] = {
    "discord": verify_discord,
    "github": verify_github,
    "gitlab": verify_gitlab,
    "jira": HmacScheme("X-Hub-Signature").verify,
    "pagerduty": verify_pagerduty,
    "slack": verify_slack,
    "standard": verify_standard,
    "trello": verify_trello,
}
"""By service; a generic HMAC is `HmacScheme(...).verify`."""

# --- signing --------------------------------------------------------------------------------------


def sign_standard(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the `v1,...` signature of Standard Webhooks. ValueError when *secret* is no usable one."""
    key = _standard_key(secret)
    if not key:
        raise ValueError(f"after {SECRET_PREFIX} must come base64")
    mac = hmac.digest(key, b"%b.%d.%b" % (message_id.encode(), timestamp_s, body), "sha256")
    return "v1," + base64.b64encode(mac).decode()


def standard_headers(
    secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """Return the Standard Webhooks headers, with one signature per secret; without secrets none."""
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s)}
    if secrets:
        signatures = [sign_standard(secret, message_id, timestamp_s, body) for secret in secrets]
        headers["webhook-signature"] = " ".join(signatures)
    return headers


@lru_cache(maxsize=256)
def _standard_key(secret: str) -> bytes:
    """Return the bytes of a secret: the base64 after `whsec_`, any other text as UTF-8. Empty when it cannot be read."""
    if secret.startswith(SECRET_PREFIX):
        return unbase64(secret.removeprefix(SECRET_PREFIX))
    return utf8(secret)
