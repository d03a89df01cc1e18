"""`ralf-hub keys`."""

import pytest

from ralf_hub.clock import parse_iso
from ralf_hub.secrets import sha256_hex
from tests.cli.helpers import Place


def made(place: Place, *more: str) -> dict[str, object]:
    return place.json("keys", "create", "--name", "ops", "--scopes", "tasks:read,tasks:write", *more)  # type: ignore[no-any-return]


def test_a_key_is_made_and_only_its_hash_is_stored(place: Place) -> None:
    key = made(place)
    assert list(key) == ["id", "name", "key", "scopes"]
    assert key["name"] == "ops"
    assert key["scopes"] == ["tasks:read", "tasks:write"]
    assert str(key["key"]).startswith("rh_")
    assert place.rows("SELECT id, name, key_sha256, hint, scopes FROM api_keys") == [
        (key["id"], "ops", sha256_hex(str(key["key"])), str(key["key"])[:8], '["tasks:read","tasks:write"]')
    ]
    assert str(key["key"]).encode() not in place.db.read_bytes()


def test_for_people_the_key_stands_alone_on_standard_output(place: Place) -> None:
    done = place.ok("keys", "create", "--name", "ops", "--scopes", " tasks:read , * ,tasks:read")
    assert done.out.startswith("rh_")
    assert len(done.out.splitlines()) == 1
    assert f"there was no database at {place.db}; it is made now" in done.err
    assert "(ops) may tasks:read *" in done.err
    assert done.out.strip() not in place.ok("keys", "list").out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "n", "--scopes", "tasks:raed"], "there is no scope tasks:raed; did you mean tasks:read?"),
        (["--name", "n", "--scopes", "everything"], "there is no scope everything; there are tasks:read,"),
        (["--name", "n", "--scopes", " , "], "name at least one of"),
        (["--name", "", "--scopes", "*"], "a name is printable text"),
        (["--name", "a\x1b[31m", "--scopes", "*"], "a name is printable text"),
        (["--name", "n" * 201, "--scopes", "*"], "a name is printable text"),
        (["--name", "n", "--scopes", "*", "--expires", "soon"], "write a time as 2026-02-01T16:00:00Z"),
        (["--name", "n"], "Missing option '--scopes'"),
        (["--scopes", "*"], "Missing option '--name'"),
    ],
)
def test_a_key_nobody_could_mean_is_wrong_usage(place: Place, options: list[str], said: str) -> None:
    done = place.invoke("keys", "create", *options)
    assert done.code == 2
    assert said in done.error
    assert not place.db.exists()


def test_a_key_can_have_an_end(place: Place) -> None:
    key = made(place, "--expires", "2d")
    [(created, expires)] = place.rows("SELECT created_at, expires_at FROM api_keys WHERE id = ?", key["id"])
    assert abs(parse_iso(expires) - parse_iso(created) - 2 * 86_400_000) < 10_000
    assert f"until {expires}" in place.ok("keys", "list").out


def test_the_list_shows_every_key_and_no_hash(place: Place) -> None:
    first, second = made(place), made(place)
    place.ok("keys", "revoke", second["id"])
    listed = place.json("keys", "list")
    assert listed["total"] == 2
    assert [key["id"] for key in listed["keys"]] == [first["id"], second["id"]]
    assert [key["revoked_at"] is None for key in listed["keys"]] == [True, False]
    assert "key_sha256" not in listed["keys"][0]
    text = place.ok("keys", "list").out.splitlines()
    assert text[0].split() == ["ID", "NAME", "KIND", "KEY", "SCOPES", "CREATED", "LAST", "USED", "STATE"]
    assert text[1].endswith("valid")
    assert " revoked 20" in text[2]


def test_revoking_twice_changes_nothing(place: Place) -> None:
    key = made(place)
    revoked = place.json("keys", "revoke", key["id"])
    assert revoked["revoked_at"] is not None
    assert place.json("keys", "revoke", key["id"]) == revoked
    assert "was revoked already" in place.ok("keys", "revoke", key["id"]).out


@pytest.mark.parametrize("command", ["revoke", "rotate"])
def test_a_key_that_is_not_there(place: Place, command: str) -> None:
    made(place)
    done = place.invoke("keys", command, "key_nope")
    assert done.code == 1
    assert done.err == "ralf-hub: there is no key key_nope; `ralf-hub keys list` shows which there are\n"


def test_rotation_ends_the_old_key_and_keeps_name_scopes_and_lifetime(place: Place) -> None:
    old = made(place, "--expires", "30d")
    new = place.json("keys", "rotate", old["id"])
    assert new["key"] != old["key"]
    assert (new["name"], new["scopes"], new["replaces"]) == (old["name"], old["scopes"], old["id"])
    [(created, expires)] = place.rows("SELECT created_at, expires_at FROM api_keys WHERE id = ?", new["id"])
    assert abs(parse_iso(expires) - parse_iso(created) - 30 * 86_400_000) < 10_000
    assert place.value("SELECT revoked_at IS NOT NULL FROM api_keys WHERE id = ?", old["id"])
    done = place.invoke("keys", "rotate", old["id"])
    assert done.code == 1
    assert "has ended" in done.err


def test_rotation_with_an_overlap_lets_the_old_key_live_so_long(place: Place) -> None:
    old = made(place)
    place.ok("keys", "rotate", old["id"], "--overlap", "60")
    [(revoked, expires)] = place.rows("SELECT revoked_at, expires_at FROM api_keys WHERE id = ?", old["id"])
    [created] = place.rows("SELECT created_at FROM api_keys WHERE id <> ?", old["id"])[0]
    assert revoked is None
    assert abs(parse_iso(expires) - parse_iso(created) - 60_000) < 5_000


def test_an_overlap_never_prolongs_a_key(place: Place) -> None:
    old = made(place, "--expires", "30s")
    place.ok("keys", "rotate", old["id"], "--overlap", "86400")
    [(created, expires)] = place.rows("SELECT created_at, expires_at FROM api_keys WHERE id = ?", old["id"])
    assert parse_iso(expires) - parse_iso(created) < 40_000


@pytest.mark.parametrize("overlap", ["-1", "x", "99999999999"])
def test_an_overlap_that_is_none(place: Place, overlap: str) -> None:
    old = made(place)
    assert place.invoke("keys", "rotate", old["id"], f"--overlap={overlap}").code == 2
    assert place.json("keys", "list")["total"] == 1


def test_an_oauth_client_has_an_id_and_a_secret(place: Place) -> None:
    client = made(place, "--oauth")
    assert list(client) == ["id", "name", "key", "scopes", "client_id", "client_secret"]
    assert (client["client_id"], client["client_secret"]) == (client["id"], client["key"])
    assert place.rows("SELECT id, kind, key_sha256 FROM api_keys") == [
        (client["id"], "oauth", sha256_hex(str(client["key"])))
    ]
    assert place.ok("keys", "list").out.splitlines()[1].split()[2] == "oauth"
    new = place.json("keys", "rotate", client["id"])
    assert (new["client_id"], new["replaces"]) == (new["id"], client["id"])
    assert place.rows("SELECT kind FROM api_keys WHERE revoked_at IS NULL") == [("oauth",)]
    done = place.ok("keys", "create", "--name", "n", "--scopes", "*", "--oauth")
    assert done.out.startswith("rh_")
    assert len(done.out.splitlines()) == 1
    assert "client_id key_" in done.err
    assert "its secret, above, is good for /oauth/token only" in done.err
