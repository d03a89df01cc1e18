"""What goes wrong inside is answered in plain words, and told to the log with the id the client has."""

import sqlite3

import pytest
from aiohttp import web

from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.errors import PROBLEMS, HubError
from tests.api.conftest import Start
from tests.api.helpers import CANARY, EVERYTHING, V1, Api, check


def failing(name: str, error: BaseException) -> Endpoint:
    async def fail(_: Call) -> Answer:
        raise error

    return Endpoint("GET", f"{V1}/failing/{name}", name, name, fail, "admin", "tests")


FAULTS = (
    ValueError(f"{CANARY} at /work/hub.db"),
    sqlite3.IntegrityError(f"UNIQUE constraint failed: SELECT {CANARY}"),
    KeyError(CANARY),
    RecursionError(CANARY),
    UnicodeEncodeError("utf-8", CANARY, 0, 1, "surrogates not allowed"),
)


async def test_a_fault_of_ours_is_500_and_says_nothing_but_its_id(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    api = await start(more=tuple(failing(str(n), fault) for n, fault in enumerate(FAULTS)))
    for number in range(len(FAULTS)):
        reply = await api.get(f"/failing/{number}")
        assert (reply.status, reply.code) == (500, "internal_error")
        (record,) = caplog.records
        assert reply.json["request_id"] in record.getMessage()
        assert record.exc_info is not None
        caplog.clear()
    assert (await api.call("GET", "/health")).status == 200


async def test_a_fault_that_is_told_keeps_its_words(start: Start) -> None:
    faults = {
        code: HubError("In words.", code=code, extra={"more": 1})
        for code in PROBLEMS
        if code != "rate_limited"
    }
    api = await start(more=tuple(failing(code, fault) for code, fault in faults.items()))
    for code in faults:
        reply = await api.get(f"/failing/{code}")
        assert (reply.code, reply.json["detail"], reply.json["more"]) == (code, "In words.", 1)


async def test_a_fault_while_head_is_asked(start: Start) -> None:
    api = await start(more=(failing("x", ValueError(CANARY)),))
    assert (await api.call("HEAD", f"{V1}/failing/x")).status == 500


async def test_what_aiohttp_raises_is_a_problem_too(start: Start) -> None:
    faults = {
        "teapot": web.HTTPRequestRangeNotSatisfiable(text=CANARY),
        "gateway": web.HTTPBadGateway(text=CANARY),
    }
    api = await start(more=tuple(failing(name, fault) for name, fault in faults.items()))
    assert (await api.get("/failing/teapot")).code == "bad_request"
    assert (await api.get("/failing/gateway")).code == "internal_error"


@pytest.mark.parametrize(
    "line",
    [
        f"X-API-Key: {EVERYTHING}\x01",
        f"Authorization: Bearer {EVERYTHING}\r\nX-\0: 1",
        "X-Long: " + EVERYTHING * 900,
    ],
)
async def test_a_request_that_cannot_be_read_leaves_no_key_in_the_log(
    api: Api, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    reply = check(await api.raw(f"GET {V1}/tasks HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode()))
    assert (reply.status, reply.code) == (400, "bad_request")
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert "cannot be read" in record.getMessage()
    assert EVERYTHING not in caplog.text


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS, spoken to a port without it
        b"GET\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: x\r\n: nameless\r\n\r\n",
        b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_as_a_problem_too(api: Api, request_bytes: bytes) -> None:
    reply = check(await api.raw(request_bytes))
    assert (reply.status, reply.code) == (400, "bad_request")


async def test_the_detail_alone_tells_what_is_wrong(api: Api) -> None:
    reply = await api.post("/tasks", {"title": 5, "colour": 1})
    assert reply.json["detail"] == "title: This must be text. colour: There is no such field."
    assert "limit: " in (await api.get("/tasks?limit=0")).json["detail"]


async def test_with_debug_every_request_is_logged_without_its_secrets(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    api = await start(api={"debug": True})
    reply = await api.get(f"/tasks?q={CANARY}")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "ralf_hub.access"]
    assert line.startswith(f"{reply.headers['X-Request-ID']} GET /api/v1/tasks 200 ")
    assert CANARY not in line
    assert EVERYTHING not in line
    caplog.clear()
    api = await start()
    await api.get("/tasks")
    assert not caplog.records
