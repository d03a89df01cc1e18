"""Keys are known by their hash; what ends, ends."""

from dataclasses import replace

import pytest

from ralf_hub.keyring import (
    HINT_LENGTH,
    KEY_LENGTH_MAX,
    KEY_PREFIX,
    TOKEN_PREFIX,
    TOKEN_VALID_S,
    Keyring,
    Principal,
    is_client,
    new_access_token,
    new_key,
)
from ralf_hub.model import SCOPES
from ralf_hub.secrets import sha256_hex
from tests.support import SettableClock

NOW = "2026-02-02T02:40:00.000Z"


def test_a_new_key_is_long_random_and_kept_as_a_hash(clock: SettableClock) -> None:
    made = [new_key(clock.clock, "ci", ["tasks:read"]) for _ in range(50)]
    assert len({key for key, _ in made}) == 50
    for key, stored in made:
        assert key.startswith(KEY_PREFIX)
        assert len(key) >= 40
        assert stored.key_sha256 == sha256_hex(key)
        assert (stored.hint, len(stored.hint)) == (key[:HINT_LENGTH], HINT_LENGTH)
        assert key not in repr(stored)
        assert stored.key_sha256 not in repr(stored)


def test_finding_whose_key_it_is(clock: SettableClock) -> None:
    ring = Keyring()
    assert ring.is_empty
    key, stored = new_key(clock.clock, "ci", ["tasks:read", "queue:read"])
    ring.load_stored([stored])
    ring.load_settings([("ops", sha256_hex("rh_from_settings"), ("*",))])
    assert not ring.is_empty
    assert ring.find(key, NOW) == Principal(stored.id, "ci", frozenset({"tasks:read", "queue:read"}))
    assert ring.find("rh_from_settings", NOW) == Principal("settings:ops", "ops", frozenset({"*"}))
    assert ring.find(key + "x", NOW) is None


@pytest.mark.parametrize("key", ["", " ", "x" * (KEY_LENGTH_MAX + 1), "\udcff", "a\0b", "a\nb"])
def test_keys_that_are_none(key: str) -> None:
    ring = Keyring()
    ring.load_settings(
        [("x", sha256_hex("x" * (KEY_LENGTH_MAX + 1)), ("*",)), ("y", sha256_hex("a\0b"), ("*",))]
    )
    assert ring.find(key, NOW) is None


def test_ended_keys(clock: SettableClock) -> None:
    key, stored = new_key(clock.clock, "ci", ["*"], expires_at=clock.iso(10))
    ring = Keyring()
    ring.load_stored([stored])
    assert ring.find(key, clock.iso(9.999)) is not None
    assert ring.find(key, clock.iso(10)) is None
    ring.load_stored([replace(stored, expires_at=None, revoked_at=NOW)])
    assert ring.find(key, NOW) is None
    assert ring.is_empty
    ring.load_stored([replace(stored, expires_at=None)])
    assert ring.find(key, NOW) is not None


@pytest.mark.parametrize("scope", SCOPES)
def test_scopes(scope: str) -> None:
    assert Principal("1", "x", frozenset({scope})).may(scope)
    assert Principal("1", "x", frozenset({"*"})).may(scope)
    assert Principal("1", "x", frozenset({"admin"})).may(scope) == (scope == "admin")
    assert not Principal("1", "x", frozenset(SCOPES) - {scope}).may(scope)
    assert not Principal("1", "x", frozenset()).may(scope)


def test_the_last_use_is_handed_over_once_and_taken_back(clock: SettableClock) -> None:
    ring = Keyring()
    key, stored = new_key(clock.clock, "ci", ["*"])
    ring.load_stored([stored])
    ring.find(key, clock.iso(1))
    taken = ring.take_used()
    assert taken == {stored.id: clock.iso(1)}
    assert ring.take_used() == {}
    ring.find(key, clock.iso(2))
    ring.give_back({**taken, "other": clock.iso(1)})
    assert ring.take_used() == {stored.id: clock.iso(2), "other": clock.iso(1)}


def test_the_secret_of_a_client_proves_who_it_is_and_is_no_key(clock: SettableClock) -> None:
    secret, client = new_key(clock.clock, "ci", ["*"], kind="oauth", expires_at=clock.iso(10))
    key, stored = new_key(clock.clock, "ci", ["*"])
    ring = Keyring()
    ring.load_stored([client])
    assert not ring.is_empty
    assert ring.find(secret, NOW) is None
    assert is_client(client, secret, NOW)
    assert is_client(stored, key, NOW)
    assert not is_client(client, secret, clock.iso(10))
    assert not is_client(replace(client, revoked_at=NOW), secret, NOW)
    for wrong in ("", key, secret + "x", "x" * (KEY_LENGTH_MAX + 1), "\udcff"):
        assert not is_client(client, wrong, NOW)


def test_an_access_token_is_kept_as_a_hash_and_never_outlives_its_client(clock: SettableClock) -> None:
    _, client = new_key(clock.clock, "ci", ["*"], kind="oauth")
    token, stored = new_access_token(clock.clock, client, ["tasks:read"])
    assert token.startswith(TOKEN_PREFIX)
    assert stored.token_sha256 == sha256_hex(token)
    assert stored.token_sha256 not in repr(stored)
    assert (stored.client_id, stored.scopes) == (client.id, ("tasks:read",))
    assert stored.expires_at == clock.iso(TOKEN_VALID_S)
    ending = replace(client, expires_at=clock.iso(60))
    assert new_access_token(clock.clock, ending, ["*"])[1].expires_at == clock.iso(60)
