"""The ground under `signatures.py`: what is judged, the verdict, and comparing in constant time."""

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Reason = Literal[
    "ok",
    "no_secret",
    "missing_header",
    "malformed_header",
    "unsupported_scheme",
    "timestamp_out_of_tolerance",
    "mismatch",
]
Encoding = Literal["hex", "base64"]
Algorithm = Literal["sha1", "sha256", "sha512"]

TOLERANCE_S: Final = 300
SIGNATURES_MAX: Final = 16
"""Signatures read from one header: more are no rotation but work for us."""
DIAGNOSED_BYTES_MAX: Final = 1 << 20
"""Larger bodies are refused without looking for the usual mistakes: hashing them again and again is costly."""
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret starts with, not one


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as it came in: the body untouched, header names in any case, `now_s` in Unix seconds."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    now_s: int = 0

    def header(self, name: str) -> str:
        """Return the header *name* without white space around it; empty when it was not sent."""
        value = self.headers.get(name)
        if value is None:
            lower = name.lower()
            value = next((found for key, found in self.headers.items() if key.lower() == lower), "")
        return value.strip()


@dataclass(frozen=True, slots=True)
class Keys:
    """What a sender may have signed with. Several secrets are a rotation: any of them will do.

    `callback_url` is the address exactly as it was registered at Trello; Discord's secrets are public keys in hex.
    """

    secrets: tuple[str, ...] = field(default=(), repr=False)
    tolerance_s: int = TOLERANCE_S
    callback_url: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is genuine; if not, why: a word of a closed set, and words for the operator."""

    ok: bool
    reason: Reason
    hint: str = ""


Verifier: TypeAlias = Callable[[Signed, Keys], Verdict]

GENUINE: Final = Verdict(ok=True, reason="ok")


def refuse(reason: Reason, hint: str = "") -> Verdict:
    """Return the verdict that a request is not genuine."""
    return Verdict(ok=False, reason=reason, hint=hint)


# --- judging --------------------------------------------------------------------------------------


def judge(
    sent: Sequence[bytes],
    keys: Keys,
    content: bytes,
    *,
    algorithm: Algorithm = "sha256",
    skew_s: int = 0,
    key_bytes: Callable[[str], bytes] | None = None,
) -> Verdict:
    """Compare what was sent with the HMAC of *content* under every secret.

    *skew_s* is our clock minus the sender's timestamp; *key_bytes* reads a secret, as UTF-8 where left out.
    """
    to_key = key_bytes or utf8
    secrets = [secret for secret in keys.secrets if secret.strip() and to_key(secret)]
    if not secrets:
        return refuse("no_secret", "no usable secret is configured, so nothing can be accepted")
    if matches(sent, map(to_key, secrets), content, algorithm):
        return timely(skew_s, keys.tolerance_s)
    if len(content) <= DIAGNOSED_BYTES_MAX:
        for secret in secrets:
            for guess, hint in _usual_mistakes(secret, to_key):
                if guess and matches(sent, [guess], content, algorithm):
                    return refuse("mismatch", hint)
    late = f"the timestamp is also {abs(skew_s)} s off" if abs(skew_s) > keys.tolerance_s else ""
    return refuse("mismatch", late)


def matches(sent: Iterable[bytes], keys: Iterable[bytes], content: bytes, algorithm: Algorithm) -> bool:
    """Whether any signature is right for any key; looks at all of them, whichever fits."""
    expected = [hmac.digest(key, content, algorithm) for key in keys]
    found = False
    for signature in sent:
        for value in expected:
            found |= hmac.compare_digest(value, signature)
    return found


def _usual_mistakes(secret: str, to_key: Callable[[str], bytes]) -> Iterable[tuple[bytes, str]]:
    """Yield the keys that people sign with by mistake, each with what to tell them."""
    if secret.strip() != secret:
        yield (
            to_key(secret.strip()),
            "the configured secret has white space at an end, often a trailing newline: remove it",
        )
    for ending in ("\n", "\r\n", " "):
        yield (
            utf8(secret + ending),
            "the sender's secret ends with white space, often a trailing newline: remove it there",
        )
    if secret.startswith(SECRET_PREFIX):
        plain = "the sender uses the secret as plain text instead of decoding the base64 after whsec_"
        yield utf8(secret), plain
        yield utf8(secret.removeprefix(SECRET_PREFIX)), plain
    else:
        yield unbase64(secret), "the sender decodes the secret as base64: configure it with whsec_ in front"


def judge_public(
    parts: Iterable[str],
    public: Iterable[bytes],
    content: bytes,
    prefix: str = "v1a,",
    encoding: Encoding = "base64",
) -> Verdict:
    """Judge Ed25519 signatures against public keys."""
    usable = [key for key in public if len(key) == 32]  # noqa: PLR2004 - RFC 8032: 256 bits
    if not usable:
        return refuse("no_secret", "no usable public key is configured: it has 32 bytes (64 hex digits)")
    for part in parts:
        signature = _DECODERS[encoding](part.removeprefix(prefix)) if part.startswith(prefix) else b""
        for key in usable:
            if ed25519_ok(key, content, signature):
                return GENUINE
    return refuse("mismatch")


def ed25519_ok(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether *signature* is right (RFC 8032)."""
    # Imported here: it costs 10 MB, and only Discord and v1a need it.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def timely(skew_s: int, tolerance_s: int) -> Verdict:
    """Judge the age of a request whose signature is right."""
    if abs(skew_s) <= tolerance_s:
        return GENUINE
    when = f"{skew_s} s old" if skew_s > 0 else f"{-skew_s} s in the future"
    hint = f"the signature is right but {when}: check both clocks, unless it is an old request repeated"
    return refuse("timestamp_out_of_tolerance", hint)


# --- reading headers ------------------------------------------------------------------------------

_SECONDS = re.compile(r"[0-9]{1,12}")
_MILLISECONDS = re.compile(r"[0-9]{13}")
_SCHEME = re.compile(r"[a-z0-9]{1,8}(?=[=,])")


def read_moment(name: str, value: str) -> int | Verdict:
    """Return the Unix seconds in a header, or what is wrong with it."""
    if not value:
        return refuse("missing_header", f"{name} was not sent")
    if not _SECONDS.fullmatch(value):
        milliseconds = _MILLISECONDS.fullmatch(value) is not None
        return refuse(
            "malformed_header",
            f"{name} is {'in milliseconds' if milliseconds else 'no number'}, seconds are needed",
        )
    return int(value)


def read_signatures(
    name: str, parts: Iterable[str], prefix: str, encoding: Encoding
) -> list[bytes] | Verdict:
    """Return the signatures of the scheme *prefix* that can be read, or why there are none."""
    given = [part for part in parts if part][:SIGNATURES_MAX]
    if not given:
        return refuse("missing_header", f"{name} was not sent")
    ours = [part.removeprefix(prefix) for part in given if part.startswith(prefix)]
    if not ours:
        other = _SCHEME.match(given[0])
        wanted = prefix.rstrip("=,")
        return refuse(
            "unsupported_scheme",
            f"{other[0]} was sent, {wanted} is needed" if other else f"{name} lacks {prefix}",
        )
    readable = [signature for signature in map(_DECODERS[encoding], ours) if signature]
    return readable or refuse("malformed_header", f"{name} is not {encoding}")


def utf8(text: str) -> bytes:
    """Return *text* as UTF-8; what cannot be encoded becomes `?`."""
    return text.encode("utf-8", "replace")


def unhex(text: str) -> bytes:
    """Return *text* decoded, empty when it is not hex."""
    try:
        return binascii.unhexlify(text)
    except ValueError:
        return b""


def unbase64(text: str) -> bytes:
    """Return *text* decoded, padded or not, empty when it is not base64."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except ValueError:
        return b""


_DECODERS: Final[Mapping[Encoding, Callable[[str], bytes]]] = {"hex": unhex, "base64": unbase64}
