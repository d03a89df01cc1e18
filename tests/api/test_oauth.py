"""OAuth at the door: tokens of a provider beside keys, and the hub's own tokens for its clients."""

import base64
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest

from ralf_hub.app import apply
from ralf_hub.keyring import TOKEN_VALID_S
from ralf_hub.secrets import sha256_hex
from ralf_hub.store.access_tokens import TOKENS_MAX
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, ONLY, Api, Reply, settings
from tests.doubles.issuer import AUDIENCE, Issuer, Signer, hmac_token, joined
from tests.doubles.server import Fault
from tests.support import SettableClock, rows

CHALLENGE = 'Bearer realm="ralf-hub"'
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def issuer(clock: SettableClock) -> AsyncIterator[Issuer]:
    async with Issuer(clock.ms / 1000) as started:
        yield started


def by_oauth(issuer: Issuer, **more: Any) -> dict[str, Any]:
    return {"auth_type": "oauth", "oauth": {"issuer": issuer.url, "audience": AUDIENCE}, **more}


@pytest.fixture
async def hub(start: Start, issuer: Issuer, clock: SettableClock) -> Api:
    """A hub that believes *issuer*, whose clocks are both the test's."""
    both = replace(clock.clock, monotonic=lambda: clock.ms / 1000)
    return await start(own_clock=both, api=by_oauth(issuer))


def told(reply: Reply, code: str) -> str:
    """Return what a refusal says; header and body say the same."""
    assert (reply.status, reply.code) == (401, code)
    header = reply.headers["WWW-Authenticate"]
    if code == "missing_key":
        assert header == CHALLENGE
    elif code == "invalid_token":
        assert header == f'{CHALLENGE}, error="invalid_token", error_description="{reply.json["detail"]}"'
    else:
        assert header == f'{CHALLENGE}, error="invalid_token"'
    return str(reply.json["detail"])


# --- tokens of the provider -----------------------------------------------------------------------


async def test_a_good_token_opens_what_its_scopes_say(hub: Api, issuer: Issuer) -> None:
    token = issuer.token(scope="openid tasks:read tasks:write events:read")
    reply = await hub.post("/tasks", {"title": "x"}, key=token)
    assert reply.status == 201
    assert reply.json["source"] == "api:ci-robot"
    assert (await hub.get("/tasks", key=token)).status == 200
    assert (await hub.get("/events", key=token)).status == 200
    refused = await hub.get("/queue", key=token)
    assert (refused.status, refused.code, refused.json["scope"]) == (403, "missing_scope", "queue:read")
    said = f'{CHALLENGE}, error="insufficient_scope", scope="queue:read"'
    assert refused.headers["WWW-Authenticate"] == said
    await hub.hub.write_usage()
    usage = (await hub.get("/usage?by=key")).json["usage"]
    assert "oauth:ci-robot" in {row["key"] for row in usage}


async def test_keys_go_on_beside_tokens(hub: Api) -> None:
    assert (await hub.get("/tasks")).status == 200
    assert (await hub.get("/tasks", key=None, headers={"X-API-Key": EVERYTHING})).status == 200
    assert (await hub.get("/tasks", key=ONLY["events:read"])).status == 403
    told(await hub.get("/tasks", key="rh_nobody"), "invalid_key")
    told(await hub.get("/tasks", key=None), "missing_key")


async def test_a_token_belongs_into_the_header_for_tokens(hub: Api, issuer: Issuer) -> None:
    told(await hub.get("/tasks", key=None, headers={"X-API-Key": issuer.token()}), "invalid_key")


async def test_tokens_mean_nothing_where_only_keys_count(api: Api, issuer: Issuer) -> None:
    told(await api.get("/tasks", key=issuer.token()), "invalid_key")
    assert issuer.seen == []


async def test_tokens_that_do_not_count(hub: Api, issuer: Issuer) -> None:
    [signer], now = issuer.signers, issuer.now_s
    unsigned = joined({"alg": "none"}, issuer.claims(), lambda _: b"")
    expected = {
        issuer.token(exp=now - 31): "The token has ended.",
        issuer.token(nbf=now + 31): "The token is not valid yet.",
        issuer.token(aud="other"): "The token is made for another audience.",
        issuer.token(iss="https://other.example.org"): "The token is from another issuer.",
        unsigned: "The token is signed in a way that is not accepted.",
        hmac_token(issuer.claims(), signer.pem(), kid=signer.id): "The token is signed in a way that is not accepted.",
        issuer.token(Signer("strange", number=1)): "The token is signed with a key that the provider does not show.",
        issuer.token(Signer(signer.id, number=1)): "The token's signature is not right.",
        "garbage": "This is no access token of the provider.",
        "a.b.c": "This is no access token of the provider.",
        "é" * 20: "This is no access token of the provider.",
    }  # fmt: skip
    for token, said in expected.items():
        assert told(await hub.get("/tasks", key=token), "invalid_token") == said
    assert (await hub.get("/tasks", key=issuer.token())).status == 200


async def test_a_huge_token(hub: Api, issuer: Issuer) -> None:
    said = told(await hub.get("/tasks", key="x" * 8_000), "invalid_token")
    assert said == "This is no access token of the provider."
    async with hub.client.session.get(
        hub.client.server.make_url("/api/v1/tasks"), headers={"Authorization": f"Bearer {'x' * 100_000}"}
    ) as answer:
        assert answer.status == 400
    assert issuer.seen == []


async def test_a_provider_that_is_away(hub: Api, issuer: Issuer, clock: SettableClock) -> None:
    issuer.faults.append(Fault("*", times=1_000, status=500))
    reply = await hub.get("/tasks", key=issuer.token())
    assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "identity_unavailable", "5")
    assert issuer.url not in reply.body.decode()
    assert (await hub.get("/tasks")).status == 200  # keys need no provider
    issuer.faults.clear()
    clock.advance(5)
    assert (await hub.get("/tasks", key=issuer.token())).status == 200
    issuer.faults.append(Fault("*", times=1_000, status=500))
    clock.advance(60)
    assert (await hub.get("/tasks", key=issuer.token())).status == 200


async def test_an_address_that_keeps_trying_has_to_wait(start: Start, issuer: Issuer) -> None:
    hub = await start(api=by_oauth(issuer, rate_limit={"failed_auth_per_minute": 3}))
    refused = [(await hub.get("/tasks", key="a.b.c")).status for _ in range(4)]
    assert refused == [401, 401, 401, 429]
    assert (await hub.get("/tasks", key=issuer.token())).status == 200


async def test_other_settings_change_who_is_believed(hub: Api, issuer: Issuer, clock: SettableClock) -> None:
    path, token = hub.hub.settings.database.path, issuer.token()
    assert (await hub.get("/tasks", key=token)).status == 200
    await apply(hub.hub, settings(path, api=by_oauth(issuer, debug=True)))
    assert (await hub.get("/tasks", key=token)).status == 200
    assert issuer.fetches == 1  # the same provider: its keys stay known
    await apply(hub.hub, settings(path))
    told(await hub.get("/tasks", key=token), "invalid_key")
    other = {"issuer": issuer.url, "audience": "other"}
    await apply(hub.hub, settings(path, api={"auth_type": "oauth", "oauth": other}))
    told(await hub.get("/tasks", key=token), "invalid_token")
    assert (await hub.get("/tasks", key=issuer.token(aud="other"))).status == 200


@pytest.mark.journey
def test_a_hub_without_a_provider_does_not_carry_what_reads_tokens() -> None:
    code = "import sys, ralf_hub.app; sys.exit(bool({'jwt', 'cryptography'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_tokens_open_the_stream(hub: Api, issuer: Issuer) -> None:
    url = hub.client.server.make_url("/api/v1/stream")
    headers = {"Authorization": f"Bearer {issuer.token(scope='events:read')}"}
    async with hub.client.session.ws_connect(url, headers=headers) as ws:
        await ws.send_json({"op": "ping"})
        assert (await ws.receive_json(timeout=5))["op"] == "pong"
    reply = await hub.get("/events/stream", key=issuer.token(exp=1))
    told(reply, "invalid_token")


# --- clients of the hub's own ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client, as the hub made it."""

    id: str
    secret: str

    @property
    def basic(self) -> dict[str, str]:
        given = base64.b64encode(f"{self.id}:{self.secret}".encode()).decode()
        return {"Authorization": f"Basic {given}"}

    @property
    def fields(self) -> dict[str, str]:
        return {"client_id": self.id, "client_secret": self.secret}


async def made(api: Api, *scopes: str, **more: str) -> Client:
    reply = await api.post("/keys", {"name": "ci", "scopes": list(scopes or ("tasks:read", "tasks:write")), "kind": "oauth", **more})  # fmt: skip
    assert (reply.status, reply.json["kind"]) == (201, "oauth")
    return Client(reply.json["id"], reply.json["key"])


async def asked(
    api: Api,
    fields: Mapping[str, str] | bytes,
    headers: Mapping[str, str] | None = None,
    *,
    content_type: str = FORM,
) -> tuple[int, Any, Mapping[str, str]]:
    """Ask for a token as any OAuth library does."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    url = api.client.server.make_url("/oauth/token")
    sent = {**(headers or {}), "Content-Type": content_type}
    async with api.client.session.post(url, data=body, headers=sent) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json(content_type=None), answer.headers


async def token_of(api: Api, client: Client, **fields: str) -> str:
    status, answer, _ = await asked(api, {"grant_type": "client_credentials", **fields}, client.basic)
    assert status == 200, answer
    return str(answer["access_token"])


async def test_a_client_gets_a_token_and_the_token_opens_the_door(api: Api) -> None:
    client = await made(api)
    for fields, headers in (
        ({}, client.basic),
        (client.fields, {}),
        ({"client_id": client.id}, client.basic),
    ):
        status, answer, _ = await asked(api, {"grant_type": "client_credentials", **fields}, headers)
        assert status == 200
        assert {name: answer[name] for name in ("token_type", "expires_in", "scope")} == {
            "token_type": "Bearer",
            "expires_in": TOKEN_VALID_S,
            "scope": "tasks:read tasks:write",
        }
        token = answer["access_token"]
        reply = await api.post("/tasks", {"title": "x"}, key=token)
        assert (reply.status, reply.json["source"]) == (201, "api:ci")
        assert (await api.get("/tasks", key=None, headers={"X-API-Key": token})).status == 200
        assert (await api.get("/queue", key=token)).status == 403
    await api.hub.write_usage()
    assert client.id in {row["key"] for row in (await api.get("/usage?by=key")).json["usage"]}


async def test_a_token_is_kept_as_a_hash_and_survives_a_restart(start: Start, api: Api) -> None:
    client = await made(api)
    token = await token_of(api, client)
    path = api.hub.settings.database.path
    assert rows(path, "SELECT token_sha256, client_id, scopes FROM access_tokens") == [
        (sha256_hex(token), client.id, '["tasks:read","tasks:write"]')
    ]
    again = await start()
    assert (await again.get("/tasks", key=token)).status == 200
    assert token.encode() not in path.read_bytes()


async def test_a_token_can_be_asked_for_less(api: Api) -> None:
    client = await made(api)
    token = await token_of(api, client, scope="tasks:read")
    assert (await api.get("/tasks", key=token)).status == 200
    assert (await api.post("/tasks", {"title": "x"}, key=token)).status == 403
    everything = await made(api, "*")
    assert (await api.get("/queue", key=await token_of(api, everything, scope="queue:read"))).status == 200


async def test_a_token_ends_after_an_hour(api: Api, clock: SettableClock) -> None:
    token = await token_of(api, await made(api))
    clock.advance(TOKEN_VALID_S - 1)
    assert (await api.get("/tasks", key=token)).status == 200
    clock.advance(1)
    said = told(await api.get("/tasks", key=token), "invalid_token")
    assert said == "The access token has ended, was revoked or never was."


async def test_a_token_ends_with_its_client(api: Api, clock: SettableClock) -> None:
    revoked, ending = await made(api), await made(api, expires_at=clock.iso(60))
    tokens = [await token_of(api, revoked), await token_of(api, ending)]
    _, answer, _ = await asked(api, {"grant_type": "client_credentials"}, ending.basic)
    assert answer["expires_in"] == 60
    assert (await api.delete(f"/keys/{revoked.id}")).status == 200
    told(await api.get("/tasks", key=tokens[0]), "invalid_token")
    assert (await api.get("/tasks", key=tokens[1])).status == 200
    clock.advance(60)
    told(await api.get("/tasks", key=tokens[1]), "invalid_token")
    for client in (revoked, ending):
        status, answer, _ = await asked(api, {"grant_type": "client_credentials"}, client.basic)
        assert (status, answer["error"]) == (401, "invalid_client")


async def test_a_clients_secret_opens_nothing_else(api: Api) -> None:
    client = await made(api, "*")
    told(await api.get("/tasks", key=client.secret), "invalid_key")


async def test_a_key_is_a_client_too_whose_tokens_may_no_more_and_live_no_longer(api: Api) -> None:
    key = (await api.post("/keys", {"name": "k", "scopes": ["tasks:read"]})).json
    client = Client(key["id"], key["key"])
    for scope, error in (("queue:read", "invalid_scope"), ("*", "invalid_scope")):
        wanted = {"grant_type": "client_credentials", "scope": scope}
        assert (await asked(api, wanted, client.basic))[1]["error"] == error
    token = await token_of(api, client)
    assert (await api.get("/tasks", key=token)).status == 200
    assert (await api.get("/queue", key=token)).status == 403
    assert (await api.delete(f"/keys/{key['id']}")).status == 200
    told(await api.get("/tasks", key=token), "invalid_token")
    status, answer, _ = await asked(api, {"grant_type": "client_credentials"}, client.basic)
    assert (status, answer["error"]) == (401, "invalid_client")


async def test_tokens_nobody_was_given(start: Start, issuer: Issuer) -> None:
    for sections in ({}, by_oauth(issuer)):
        api = await start(api=sections)
        for token in ("rh_at_", "rh_at_x", "rh_at_" + "x" * 5_000, "rh_at_é", "rh_at_' OR 1=1 --"):
            told(await api.get("/tasks", key=token), "invalid_token")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password", "username": "a", "password": "b"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "tasks:read queue:read"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "*"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": "nonsense"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": " "}, "invalid_scope"),
        ({"grant_type": "client_credentials", "client_secret": "x"}, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "other"}, "invalid_request"),
        ({str(number): "x" for number in range(50)}, "invalid_request"),
        (b"grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        (b"grant_type=%ff", "invalid_request"),
        (b"\xff=1", "invalid_request"),
        (b"", "invalid_request"),
    ],
)
async def test_requests_that_are_refused(api: Api, fields: Any, error: str) -> None:
    status, answer, _ = await asked(api, fields, (await made(api)).basic)
    assert (status, answer["error"]) == (400, error)
    assert set(answer) == {"error", "error_description"}
    assert rows(api.hub.settings.database.path, "SELECT count(*) FROM access_tokens") == [(0,)]


async def test_a_body_that_is_no_form(api: Api) -> None:
    client = await made(api)
    status, answer, _ = await asked(
        api, b'{"grant_type": "client_credentials"}', client.basic, content_type="application/json"
    )
    assert (status, answer["error"]) == (400, "invalid_request")
    reply = await api.call("POST", "/oauth/token", raw=b"x" * (2 << 20), content_type=FORM)
    assert (reply.status, reply.code) == (413, "body_too_large")
    assert (await api.call("GET", "/oauth/token")).status == 405


async def test_clients_that_are_not_believed(api: Api) -> None:
    client = await made(api)
    grant = {"grant_type": "client_credentials"}
    for fields, headers in (
        (grant, {}),
        ({**grant, "client_id": client.id}, {}),
        ({**grant, **client.fields, "client_secret": client.secret + "x"}, {}),
        ({**grant, **client.fields, "client_id": "key_other"}, {}),
        (grant, replace(client, secret="").basic),
        (grant, replace(client, secret="\udcff".encode("utf-8", "replace").decode()).basic),
        (grant, {"Authorization": f"Bearer {client.secret}"}),
    ):
        status, answer, shown = await asked(api, fields, headers)
        assert (status, answer["error"]) == (401, "invalid_client")
        assert shown["WWW-Authenticate"] == 'Basic realm="ralf-hub"'
        assert client.secret not in str(answer)


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Basic eA==", "Basic //79", "Basic " + "x" * 5_000])
async def test_basic_headers_that_cannot_be_read(api: Api, header: str) -> None:
    status, answer, _ = await asked(api, {"grant_type": "client_credentials"}, {"Authorization": header})
    assert (status, answer["error"]) == (400, "invalid_request")


async def test_guessing_has_to_wait_and_who_is_right_does_not(start: Start) -> None:
    api = await start(api={"rate_limit": {"failed_auth_per_minute": 3}})
    client = await made(api)
    wrong = replace(client, secret="rh_wrong").basic
    grant = {"grant_type": "client_credentials"}
    assert [(await asked(api, grant, wrong))[0] for _ in range(4)] == [401, 401, 401, 429]
    assert await token_of(api, client)


async def test_a_client_that_asks_too_often_has_to_wait(start: Start) -> None:
    api = await start(api={"rate_limit": {"requests_per_minute": 2}})
    client = await made(api)
    grant = {"grant_type": "client_credentials"}
    assert [(await asked(api, grant, client.basic))[0] for _ in range(3)] == [200, 200, 429]


async def test_only_so_many_tokens_of_a_client_are_kept(api: Api, clock: SettableClock) -> None:
    client = await made(api)
    first = await token_of(api, client)
    path = api.hub.settings.database.path
    clock.advance(1)
    with sqlite3.connect(path) as conn:
        conn.executemany(
            "INSERT INTO access_tokens VALUES (?, ?, '[]', ?, ?)",
            [(f"{number}", client.id, clock.iso(), clock.iso(60)) for number in range(TOKENS_MAX - 1)],
        )
    conn.close()
    clock.advance(1)
    assert (await api.get("/tasks", key=first)).status == 200
    last = await token_of(api, client)
    assert rows(path, "SELECT count(*) FROM access_tokens") == [(TOKENS_MAX,)]
    told(await api.get("/tasks", key=first), "invalid_token")
    assert (await api.get("/tasks", key=last)).status == 200
    clock.advance(TOKEN_VALID_S)
    await token_of(api, client)
    assert rows(path, "SELECT count(*) FROM access_tokens") == [(1,)]


async def test_it_works_beside_a_provider_and_not_where_everybody_may_call(
    start: Start, hub: Api, issuer: Issuer
) -> None:
    client = await made(hub)
    assert (await hub.get("/tasks", key=await token_of(hub, client))).status == 200
    assert issuer.seen == []
    api = await start(api={"auth_type": "none"})
    reply = await api.call("POST", "/oauth/token", raw=b"", content_type=FORM, headers=client.basic, key=None)
    assert (reply.status, reply.code) == (404, "not_found")
