"""Keys: how they come, what they may do, how they end."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from ralf_hub.keyring import KEY_LENGTH_MAX
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, ONLY, OTHER, Api, Reply
from tests.support import SettableClock, eventually, rows


async def made(
    api: Api, name: str = "ci", scopes: tuple[str, ...] = ("tasks:read",), **more: str
) -> dict[str, str]:
    reply = await api.post("/keys", {"name": name, "scopes": list(scopes), **more})
    assert reply.status == 201
    return dict(reply.json)


async def asked(api: Api, **headers: str) -> Reply:
    return await api.get(
        "/tasks", key=None, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


# --- how a key comes ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
async def test_bearer_in_any_case(api: Api, scheme: str) -> None:
    assert (await asked(api, Authorization=scheme + EVERYTHING)).status == 200


async def test_the_other_header(api: Api) -> None:
    assert (await asked(api, X_API_Key=EVERYTHING)).status == 200
    assert (await asked(api, x_api_key=f" {EVERYTHING} ")).status == 200


async def test_a_key_in_both_headers_counts_as_the_bearer(api: Api) -> None:
    assert (await asked(api, Authorization=f"Bearer {EVERYTHING}", X_API_Key="rh_wrong")).status == 200
    assert (await asked(api, Authorization="Bearer rh_wrong", X_API_Key=EVERYTHING)).status == 401
    reply = await asked(api, Authorization=f"Bearer {ONLY['events:read']}", X_API_Key=EVERYTHING)
    assert reply.status == 403


async def test_another_scheme_leaves_the_other_header_its_say(api: Api) -> None:
    assert (await asked(api, Authorization="Basic eDp5", X_API_Key=EVERYTHING)).status == 200
    assert (await asked(api, Authorization="Bearer", X_API_Key=EVERYTHING)).status == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eDp5", EVERYTHING, f"Token {EVERYTHING}", f"Bearer: {EVERYTHING}"])  # fmt: skip
async def test_headers_without_a_key(api: Api, header: str) -> None:
    reply = await asked(api, Authorization=header)
    assert (reply.status, reply.code) == (401, "missing_key")


@pytest.mark.parametrize(
    "key",
    ["x", "rh_", EVERYTHING[:-1], EVERYTHING + "0", EVERYTHING.upper(), f"{EVERYTHING} {EVERYTHING}", "é" * 20, "r" * (KEY_LENGTH_MAX + 1), "' OR 1=1 --"],
)  # fmt: skip
async def test_keys_nobody_has(api: Api, key: str) -> None:
    for reply in (await asked(api, Authorization=f"Bearer {key}"), await asked(api, X_API_Key=key)):
        assert (reply.status, reply.code) == (401, "invalid_key")


async def test_a_key_in_the_url_is_only_an_unknown_parameter(api: Api) -> None:
    assert (await api.get(f"/tasks?api_key={EVERYTHING}", key=None)).status == 401


# --- what keys may do -----------------------------------------------------------------------------


async def test_events_say_whose_key_it_was(api: Api) -> None:
    key = (await made(api, "robot", ("tasks:write",)))["key"]
    task = (await api.post("/tasks", {"title": "x"}, key=key)).json
    assert task["source"] == "api:robot"
    assert (await api.events())[-1]["source"] == "api:robot"


async def test_nobody_is_asked_where_access_is_open(start: Start) -> None:
    api = await start(api={"auth_type": "none", "api_keys": []})
    assert (await api.post("/tasks", {"title": "x"}, key=None)).json["source"] == "api:anonymous"
    assert (await api.get("/tasks", key="rh_anything")).status == 200


# --- making, showing, ending ----------------------------------------------------------------------


async def test_a_key_is_shown_once_and_kept_as_a_hash(api: Api, db_path: Path) -> None:
    reply = await api.post("/keys", {"name": "ci", "scopes": ["tasks:read", "tasks:write", "tasks:read"]})
    key = reply.json
    assert key["key"].startswith("rh_")
    assert key["scopes"] == ["tasks:read", "tasks:write"]
    assert reply.headers["Location"] == f"/api/v1/keys/{key['id']}"
    (listed,) = (await api.get("/keys")).json["keys"]
    assert "key" not in listed
    assert listed == {name: value for name, value in key.items() if name != "key"}
    assert (await api.call("GET", reply.headers["Location"])).json == listed
    assert (await api.get("/keys/key_none")).status == 404
    await api.client.close()
    files = [path.read_bytes() for path in db_path.parent.iterdir() if path.name.startswith("hub.db")]
    assert files
    assert not any(key["key"].encode() in content for content in files)


async def test_a_key_counts_from_its_answer_to_its_end(api: Api) -> None:
    key = await made(api)
    assert (await api.get("/tasks", key=key["key"])).status == 200
    assert (await api.post("/tasks", {"title": "x"}, key=key["key"])).status == 403
    ended = await api.delete(f"/keys/{key['id']}")
    assert (ended.status, ended.json["id"]) == (200, key["id"])
    assert ended.json["revoked_at"] is not None
    assert (await api.get("/tasks", key=key["key"])).code == "invalid_key"
    again = await api.delete(f"/keys/{key['id']}")
    assert again.json == ended.json
    assert (await api.delete("/keys/key_none")).status == 404


async def test_a_key_may_end_itself(api: Api) -> None:
    key = await made(api, scopes=("admin",))
    assert (await api.delete(f"/keys/{key['id']}", key=key["key"])).status == 200
    assert (await api.get("/keys", key=key["key"])).status == 401


async def test_keys_expire(api: Api, clock: SettableClock) -> None:
    key = await made(api, expires_at=clock.iso(60))
    assert key["expires_at"] == clock.iso(60)
    clock.advance(59.999)
    assert (await api.get("/tasks", key=key["key"])).status == 200
    clock.advance(0.001)
    assert (await api.get("/tasks", key=key["key"])).code == "invalid_key"


async def test_expiry_is_understood_in_any_zone_and_lies_ahead(api: Api, clock: SettableClock) -> None:
    key = await made(api, expires_at="2027-01-01T00:00:00+02:00")
    assert key["expires_at"] == "2026-12-31T22:00:00.000Z"
    for moment in (clock.iso(), clock.iso(-1), "1999-01-01"):
        reply = await api.post("/keys", {"name": "x", "scopes": ["*"], "expires_at": moment})
        assert (reply.status, reply.fields) == (422, ["expires_at"])


@pytest.mark.parametrize("moment", ["", "soon", "2027-13-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "1969-12-31", "2027-01-01T00:00:00+99:00", "x" * 100, 1_800_000_000])  # fmt: skip
async def test_moments_that_are_none(api: Api, moment: object) -> None:
    reply = await api.post("/keys", {"name": "x", "scopes": ["*"], "expires_at": moment})
    assert (reply.status, reply.fields) == (422, ["expires_at"])


async def test_keys_that_cannot_be(api: Api) -> None:
    reply = await api.post("/keys", {"name": " ", "scopes": ["tasks:read", "tasks:steal"], "key": "rh_mine"})
    assert (reply.status, sorted(reply.fields)) == (422, ["key", "name", "scopes[1]"])
    for scopes in ([], "tasks:read", None, ["*"] * 1_000):
        assert (await api.post("/keys", {"name": "x", "scopes": scopes})).fields == ["scopes"]
    assert (await api.get("/keys")).json["total"] == 0


async def test_the_last_use_is_noted_at_the_latest_when_the_hub_stops(
    start: Start, clock: SettableClock
) -> None:
    api = await start()
    key = await made(api)
    assert key["last_used_at"] is None
    clock.advance(5)
    await api.get("/tasks", key=key["key"])
    api = await start()
    assert (await api.get(f"/keys/{key['id']}")).json["last_used_at"] == clock.iso()


async def test_what_someone_else_changes_in_the_database_counts_within_a_second(
    api: Api, db_path: Path
) -> None:
    key = await made(api)
    conn = sqlite3.connect(db_path, isolation_level=None)
    conn.execute("UPDATE api_keys SET revoked_at = '2026-01-01T00:00:00.000Z'")

    async def refused() -> bool:
        return (await api.get("/tasks", key=key["key"])).status == 401

    await eventually(refused, within_s=1)
    conn.execute("UPDATE api_keys SET revoked_at = NULL")

    async def accepted() -> bool:
        return (await api.get("/tasks", key=key["key"])).status == 200

    await eventually(accepted, within_s=1)
    conn.close()


async def test_what_changes_right_after_the_start_is_seen_too(api: Api, db_path: Path) -> None:
    """Before the first look at the file there is nothing to compare with; it must be read all the same."""
    conn = sqlite3.connect(db_path, isolation_level=None)
    conn.execute(
        "INSERT INTO api_keys (id, name, key_sha256, hint, scopes, created_at) VALUES "
        "('key_1', 'x', lower(?), 'rh_', '[\"*\"]', '2026-01-01T00:00:00.000Z')",
        ("5F4F2B" + "0" * 58,),
    )
    conn.close()
    await eventually(lambda: not api.hub.keyring.find("x", "") and api.hub.keyring._stored, within_s=1.5)


async def test_many_changes_at_once_leave_the_last_word(api: Api) -> None:
    keys = [await made(api, f"k{n}") for n in range(8)]
    await asyncio.gather(
        *(api.delete(f"/keys/{key['id']}") for key in keys), *(made(api, f"n{n}") for n in range(8))
    )
    for key in keys:
        assert (await api.get("/tasks", key=key["key"])).status == 401
    assert (await api.get("/keys")).json["total"] == 16


async def test_keys_live_through_a_restart(start: Start) -> None:
    api = await start()
    kept, ended = await made(api, "kept"), await made(api, "ended")
    await api.delete(f"/keys/{ended['id']}")
    api = await start()
    assert (await api.get("/tasks", key=kept["key"])).status == 200
    assert (await api.get("/tasks", key=ended["key"])).status == 401


async def test_an_older_view_of_the_keys_never_wins(api: Api, db_path: Path) -> None:
    """Two reloads at once must not end with what the slower one read first."""
    read = api.hub.db.read
    held, first = asyncio.Event(), [True]

    async def slow_once(fn):
        found = await read(fn)
        if first.pop() if first else False:
            await held.wait()
        return found

    api.hub.db.read = slow_once  # type: ignore[method-assign]
    older = asyncio.create_task(api.hub.reload_keys())
    await eventually(lambda: not first)
    conn = sqlite3.connect(db_path, isolation_level=None)
    conn.execute(
        "INSERT INTO api_keys (id, name, key_sha256, hint, scopes, created_at) VALUES "
        "('key_1', 'x', 'abc', 'rh_', '[]', '2026-01-01T00:00:00.000Z')"
    )
    conn.close()
    newer = asyncio.create_task(api.hub.reload_keys())
    await asyncio.wait({newer}, timeout=0.1)  # it has every chance to be done before the older one
    held.set()
    await asyncio.gather(older, newer)
    assert set(api.hub.keyring._stored) == {"abc"}
    assert rows(db_path, "SELECT count(*) FROM api_keys") == [(1,)]


async def test_two_holders_of_everything_are_two(api: Api) -> None:
    assert (await api.post("/tasks", {"title": "x"}, key=OTHER)).json["source"] == "api:other"
