"""Calls from web pages: allowed origins may, others may not, and errors can be read as well."""

import pytest

from tests.api.conftest import Start
from tests.api.helpers import ORIGIN, V1, Api, Reply

ALLOW = "Access-Control-Allow-Origin"
OTHERS = ("https://evil.example.org", "http://dashboard.example.org", ORIGIN + ".evil.org", "null", "*", "")


async def preflight(
    api: Api, path: str, method: str, origin: str = ORIGIN, headers: str = "authorization"
) -> Reply:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return await api.call("OPTIONS", V1 + path, key=None, headers=asked)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
async def test_preflight_of_an_allowed_origin(api: Api, method: str) -> None:
    wanted = "authorization,content-type,idempotency-key,if-match,if-none-match,x-api-key,x-request-id"
    reply = await preflight(api, "/tasks/T-1", method, headers=wanted)
    assert reply.status == 200
    assert reply.headers[ALLOW] == ORIGIN
    assert reply.headers["Access-Control-Allow-Methods"] == method
    assert set(reply.headers["Access-Control-Allow-Headers"].lower().split(",")) == set(wanted.split(","))
    assert int(reply.headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in reply.headers


@pytest.mark.parametrize("origin", OTHERS)
async def test_preflight_of_other_origins(api: Api, origin: str) -> None:
    reply = await preflight(api, "/tasks", "POST", origin)
    assert (reply.status, reply.code) == (403, "origin_refused")
    assert ALLOW not in reply.headers


async def test_preflight_of_what_is_not_offered(api: Api) -> None:
    assert (await preflight(api, "/tasks", "BREW")).status == 403
    assert (await preflight(api, "/tasks", "GET", headers="x-magic")).status == 403
    assert (await preflight(api, "/nowhere", "GET")).status == 404
    no_method = await api.call("OPTIONS", V1 + "/tasks", key=None, headers={"Origin": ORIGIN})
    assert no_method.status == 403


async def test_calls_of_an_allowed_origin_can_be_read(api: Api) -> None:
    task = await api.task()
    replies = [
        await api.get("/tasks", headers={"Origin": ORIGIN}),
        await api.call("HEAD", V1 + "/tasks", headers={"Origin": ORIGIN}),
        await api.patch(f"/tasks/{task['id']}", {}, headers={"Origin": ORIGIN}),
        await api.call("GET", "/health", headers={"Origin": ORIGIN}),
    ]
    assert [reply.status for reply in replies] == [200] * 4
    for reply in replies:
        assert reply.headers[ALLOW] == ORIGIN
        shown = {name.lower() for name in reply.headers["Access-Control-Expose-Headers"].split(",")}
        assert {
            "etag",
            "location",
            "x-request-id",
            "retry-after",
            "ratelimit",
            "idempotency-replayed",
        } <= shown


async def test_errors_can_be_read_by_an_allowed_origin_too(start: Start) -> None:
    api = await start(api={"rate_limit": {"requests_per_minute": 4}})
    headers = {"Origin": ORIGIN}
    replies = [
        await api.get("/tasks", key=None, headers=headers),
        await api.get("/tasks/none", headers=headers),
        await api.get("/tasks?x=1", headers=headers),
        await api.post("/tasks", {}, headers=headers),
        await api.post("/tasks", raw=b"x" * 2_000_000, headers=headers),
        await api.get("/tasks", headers=headers),
    ]
    assert [reply.status for reply in replies] == [401, 404, 400, 422, 413, 429]
    assert {reply.headers.get(ALLOW) for reply in replies} == {ORIGIN}


@pytest.mark.parametrize("origin", OTHERS)
async def test_calls_of_other_origins_are_answered_but_not_opened_to_the_page(api: Api, origin: str) -> None:
    for reply in (
        await api.get("/tasks", headers={"Origin": origin}),
        await api.get("/tasks", key=None, headers={"Origin": origin}),
    ):
        assert not [name for name in reply.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("cors", [{"enabled": False}, {"origins": []}])
async def test_without_cors_there_is_none(start: Start, cors: dict[str, object]) -> None:
    api = await start(api={"cors": cors})
    assert ALLOW not in (await api.get("/tasks", headers={"Origin": ORIGIN})).headers
    assert (await preflight(api, "/tasks", "GET")).status == 405
