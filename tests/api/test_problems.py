"""What goes wrong inside is answered in plain words, and told to the log with the id the client has."""

import sqlite3

import pytest

from ralf_hub.endpoint import Answer, Call, Endpoint
from ralf_hub.errors import PROBLEMS, HubError
from tests.api.conftest import Start
from tests.api.helpers import CANARY, V1


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
