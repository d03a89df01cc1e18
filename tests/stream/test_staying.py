"""A stream that is open ends when what opened it would open nothing any more, and says why."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import WSCloseCode, WSMsgType

from ralf_hub.app import apply
from ralf_hub.identity.claims import LEEWAY_S
from ralf_hub.keyring import TOKEN_VALID_S
from ralf_hub.stream.client import NO_LONGER_ALLOWED
from tests.api.conftest import Start
from tests.api.helpers import ONLY, V1, Api, settings
from tests.doubles.issuer import AUDIENCE, Issuer
from tests.stream.test_websocket import ask, opened, seqs
from tests.support import SettableClock, rows

WITHIN_S = 10


async def ended(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Read to the end: the reason as a problem, then as what closes the socket."""
    last: dict[str, Any] = {}
    async with asyncio.timeout(WITHIN_S):
        while (frame := await ws.receive()).type is WSMsgType.TEXT:
            last = orjson.loads(frame.data)
    assert last["op"] == "error"
    assert (last["problem"]["code"], last["problem"]["detail"]) == ("invalid_key", NO_LONGER_ALLOWED)
    assert (ws.close_code, frame.extra) == (WSCloseCode.POLICY_VIOLATION, NO_LONGER_ALLOWED)


async def made(api: Api, **more: Any) -> tuple[str, str]:
    """Return the id and the secret of a new key."""
    reply = await api.post("/keys", {"name": "reader", "scopes": ["events:read"], **more})
    assert reply.status == 201
    return reply.json["id"], reply.json["key"]


async def token_of(api: Api, client_id: str, secret: str) -> str:
    basic = "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    async with api.client.session.post(
        api.client.make_url("/oauth/token"),
        data={"grant_type": "client_credentials"},
        headers={"Authorization": basic},
    ) as answer:
        return str((await answer.json())["access_token"])


Ending = Callable[[Api, str], Awaitable[None]]


async def revoked(api: Api, key_id: str) -> None:
    assert (await api.delete(f"/keys/{key_id}")).status == 200


async def revoked_by_hand(api: Api, key_id: str) -> None:
    rows(api.hub.db.path, "UPDATE api_keys SET revoked_at = created_at WHERE id = ?", (key_id,))


@pytest.mark.parametrize("end", [revoked, revoked_by_hand])
async def test_a_revoked_key_ends_its_streams_and_no_others(api: Api, end: Ending) -> None:
    key_id, key = await made(api)
    async with opened(api, key=key) as ws, opened(api) as other:
        await ask(ws, op="subscribe", topics=["events"])
        await ask(other, op="subscribe", topics=["events"])
        await end(api, key_id)
        await ended(ws)
        await api.task()
        assert await seqs(other, 1) == [1]


async def test_a_key_that_ends_ends_its_streams(api: Api, clock: SettableClock) -> None:
    _, key = await made(api, expires_at=clock.iso(after_s=60))
    async with opened(api, key=key) as ws:
        assert (await ask(ws, op="ping"))["op"] == "pong"
        clock.advance(61)
        await ended(ws)


async def test_a_ticket_is_worth_no_more_than_the_key_behind_it(api: Api) -> None:
    key_id, key = await made(api)
    ticket = (await api.post("/stream/tickets", key=key)).json["ticket"]
    async with opened(api, key=None, query=f"?ticket={ticket}") as ws:
        await revoked(api, key_id)
        await ended(ws)


async def test_an_access_token_ends_its_streams(api: Api, clock: SettableClock) -> None:
    token = await token_of(api, *await made(api, kind="oauth"))
    async with opened(api, key=token) as ws:
        assert (await ask(ws, op="ping"))["op"] == "pong"
        clock.advance(TOKEN_VALID_S + 1)
        await ended(ws)


async def test_a_revoked_client_ends_the_streams_of_its_tokens(api: Api) -> None:
    client_id, secret = await made(api, kind="oauth")
    async with opened(api, key=await token_of(api, client_id, secret)) as ws:
        await revoked(api, client_id)
        await ended(ws)


async def test_a_key_that_leaves_the_settings_or_may_less_ends_its_streams(api: Api, db_path: Path) -> None:
    key = ONLY["events:read"]
    for left in ([], [{"name": "only-events-read", "key": key, "scopes": ["tasks:read"]}]):
        await apply(api.hub, settings(db_path))
        async with opened(api, key=key) as ws:
            assert (await ask(ws, op="ping"))["op"] == "pong"
            await apply(api.hub, settings(db_path, api={"api_keys": left}))
            await ended(ws)


@pytest.fixture
async def issuer(clock: SettableClock) -> AsyncIterator[Issuer]:
    async with Issuer(clock.ms / 1000) as started:
        yield started


async def test_a_token_of_a_provider_ends_its_streams(
    start: Start, issuer: Issuer, clock: SettableClock
) -> None:
    api = await start(api={"auth_type": "oauth", "oauth": {"issuer": issuer.url, "audience": AUDIENCE}})
    token = issuer.token(scope="events:read", exp=clock.ms / 1000 + 60)
    async with opened(api, key=token) as ws:
        assert (await ask(ws, op="ping"))["op"] == "pong"
        clock.advance(60 + LEEWAY_S + 1)
        await ended(ws)


async def test_nothing_is_done_for_who_may_not_stay(api: Api) -> None:
    """The look each second may be a moment away: a command in between is not carried out."""
    key_id, key = await made(api, scopes=["events:read", "tasks:write"])
    async with opened(api, key=key) as ws:
        await revoked(api, key_id)
        await ws.send_json({"op": "task.create", "data": {"title": "Too late"}})
        await ended(ws)
    assert (await api.get("/tasks")).json["total"] == 0


async def test_server_sent_events_end_with_the_key(api: Api) -> None:
    key_id, key = await made(api)
    url = api.client.make_url(f"{V1}/events/stream")
    async with api.client.session.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
        await answer.content.readuntil(b"\n\n")
        await revoked(api, key_id)
        async with asyncio.timeout(WITHIN_S):
            text = (await answer.content.read()).decode()
    assert text.startswith("event: error\ndata: ")
    assert orjson.loads(text.partition("data: ")[2])["code"] == "invalid_key"


async def test_since_may_be_what_is_stored_and_not_yet_told(api: Api) -> None:
    insert = (
        "INSERT INTO events (id, type, source, occurred_at, recorded_at) "
        "VALUES (?, 'by_hand', 'sqlite3', '2026-02-02T00:00:00.000Z', '2026-02-02T00:00:00.000Z')"
    )
    await api.task()
    async with opened(api) as ws:
        rows(api.hub.db.path, insert, ("evt_hand",))
        assert api.hub.feed.last_seq == 1
        ack = await ask(ws, op="subscribe", topics=["events"], since=2)
        assert (ack["op"], ack["seq"]) == ("ack", 2)
        await api.task()
        assert await seqs(ws, 1) == [3]
        assert (await ask(ws, op="subscribe", topics=["events"], since=4))["op"] == "error"
