"""Who may call: API keys by their hash, from the database and the settings."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final, Literal

from ralf_hub.clock import MS_PER_S, Clock, iso
from ralf_hub.model import ALL_SCOPES
from ralf_hub.secrets import sha256_hex
from ralf_hub.store.access_tokens import AccessToken
from ralf_hub.store.keys import ApiKey

KEY_PREFIX: Final = "rh_"
TOKEN_PREFIX: Final = "rh_at_"  # noqa: S105 - how access tokens begin, not one of them
TOKEN_VALID_S: Final = 3_600
HINT_LENGTH: Final = 8
KEY_LENGTH_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from, and what they may do."""

    id: str
    name: str
    scopes: frozenset[str]
    proof: str = field(default="", repr=False, compare=False)
    """SHA-256 of the key or access token of the hub's own they came with; empty for those of a provider."""
    expires_at: str | None = field(default=None, compare=False)
    """When a token ends; of a key the keyring knows it."""

    def may(self, scope: str) -> bool:
        """Return whether the principal has *scope*; `*` includes all, `admin` is for keys alone."""
        return scope in self.scopes or ALL_SCOPES in self.scopes


ANONYMOUS: Final = Principal("anonymous", "anonymous", frozenset({ALL_SCOPES}))
"""Everyone, where `auth_type = "none"`."""


def new_key(
    clock: Clock,
    name: str,
    scopes: Sequence[str],
    *,
    expires_at: str | None = None,
    kind: Literal["api", "oauth"] = "api",
) -> tuple[str, ApiKey]:
    """Return a fresh key, to be shown once, and what is stored of it. Of kind `oauth` it is a client's secret."""
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    stored = ApiKey(
        id=clock.id("key"),
        name=name,
        hint=key[:HINT_LENGTH],
        scopes=tuple(scopes),
        kind=kind,
        created_at=clock.iso(),
        last_used_at=None,
        expires_at=expires_at,
        revoked_at=None,
        key_sha256=sha256_hex(key),
    )
    return key, stored


def new_access_token(clock: Clock, client: ApiKey, scopes: Sequence[str]) -> tuple[str, AccessToken]:
    """Return a fresh access token of *client*, to be shown once, and what is stored of it. It never outlives the client."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    ends = iso(clock.now() + TOKEN_VALID_S * MS_PER_S)
    stored = AccessToken(
        token_sha256=sha256_hex(token),
        client_id=client.id,
        client_name=client.name,
        scopes=tuple(scopes),
        created_at=clock.iso(),
        expires_at=min(ends, client.expires_at or ends),
    )
    return token, stored


class Keyring:
    """The keys in force. Looked up by hash, so the time a look-up takes says nothing about the key."""

    def __init__(self) -> None:
        self._stored: dict[str, ApiKey] = {}
        self._principals: dict[str, Principal] = {}
        self._clients: dict[str, ApiKey] = {}
        self._from_settings: dict[str, Principal] = {}
        self.used: dict[str, str] = {}

    def load_stored(self, keys: Iterable[ApiKey]) -> None:
        """Take the keys of the database; revoked ones are left out, and clients' secrets, which open nothing by themselves."""
        valid = [key for key in keys if key.revoked_at is None]
        self._stored = {key.key_sha256: key for key in valid if key.kind == "api"}
        self._principals = {
            digest: Principal(key.id, key.name, frozenset(key.scopes), digest)
            for digest, key in self._stored.items()
        }
        self._clients = {key.id: key for key in valid}

    def load_settings(self, keys: Iterable[tuple[str, str, Sequence[str]]]) -> None:
        """Take the keys of the settings: name, SHA-256, scopes."""
        self._from_settings = {
            digest: Principal(f"settings:{name}", name, frozenset(scopes), digest)
            for name, digest, scopes in keys
        }

    @property
    def is_empty(self) -> bool:
        """Return whether nobody could get in."""
        return not self._stored and not self._from_settings and not self._clients

    def find(self, key: str, now: str) -> Principal | None:
        """Return whose key this is, or None where it is nobody's, revoked or expired."""
        digest = _digest(key)
        principal = self._from_settings.get(digest)
        if principal is not None:
            return principal
        stored = self._stored.get(digest)
        if stored is None or _has_ended(stored, now):
            return None
        self.used[stored.id] = now
        return self._principals[digest]

    def is_in_force(self, principal: Principal, now: str) -> bool:
        """Return whether what *principal* came in with would still open the door, to the same rooms."""
        if principal.expires_at is not None and principal.expires_at <= now:
            return False
        named = self._from_settings.get(principal.proof)
        if named is not None:
            return named.scopes == principal.scopes
        stored = self._stored.get(principal.proof) or self._clients.get(principal.id)
        return stored is not None and not _has_ended(stored, now)

    def take_used(self) -> dict[str, str]:
        """Return when which key was last used, and forget it: it is about to be written down."""
        taken, self.used = self.used, {}
        return taken

    def give_back(self, used: dict[str, str]) -> None:
        """Take back what could not be written down; later uses win."""
        self.used = {**used, **self.used}


def _digest(key: str) -> str:
    """Return what a key is looked up by; nothing, which no key has, for text that is none."""
    if len(key) > KEY_LENGTH_MAX or not key.isprintable():  # bytes that are no text cannot be hashed as text
        return ""
    return sha256_hex(key)


def _has_ended(key: ApiKey, now: str) -> bool:
    return key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)


def is_client(stored: ApiKey, secret: str, now: str) -> bool:
    """Return whether *secret* is that of *stored*, an OAuth client or a key, and in force."""
    return compare_digest(_digest(secret), stored.key_sha256) and not _has_ended(stored, now)
