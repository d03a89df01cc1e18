"""Paths, query strings and cursors: the odd ones."""

import base64
from urllib.parse import quote

import orjson
import pytest
from aiohttp.http_parser import HttpRequestParserPy

from ralf_hub.handlers.table import ENDPOINTS
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, V1, Api, check, path_of
from tests.support import SettableClock


async def test_unknown_parameters_are_400_everywhere(api: Api) -> None:
    for endpoint in ENDPOINTS:
        if endpoint.raw:
            continue
        path = path_of(endpoint)
        reply = await api.call(endpoint.method, f"{path}?colour=red&shape=round", raw=b"{}")
        assert (reply.status, reply.code) == (400, "invalid_parameter"), endpoint.label
        assert sorted(reply.fields) == ["colour", "shape"], endpoint.label


async def test_every_bad_parameter_is_named_at_once(api: Api) -> None:
    reply = await api.get("/tasks?status=done&priority=soon&limit=0&colour=red")
    assert (reply.status, sorted(reply.fields)) == (400, ["colour", "limit", "priority", "status"])


async def test_a_parameter_may_be_given_once(api: Api) -> None:
    reply = await api.get("/tasks?status=pending&status=failed&limit=1&limit=1")
    assert (reply.status, sorted(reply.fields)) == (400, ["limit", "status"])


@pytest.mark.parametrize("query", ["q=%00", "%00=1", "q=a%00b", "feature_id=%00"])
async def test_nul_in_a_parameter(api: Api, query: str) -> None:
    reply = await api.get(f"/tasks?{query}")
    assert (reply.status, reply.code) == (400, "invalid_parameter")


@pytest.mark.parametrize("query", ["q=%ff", "q=%ed%a0%80", "%ff=1", "q=%c3"])
async def test_parameters_that_are_no_utf8(api: Api, query: str) -> None:
    reply = await api.get(f"/tasks?{query}")
    assert (reply.status, reply.code) == (400, "invalid_parameter")


TARGETS = (b"/tasks/\xff", b"/tasks?q=\xff", b"/tasks?\xff=1", b"/nowhere\xff", b"/tasks/\xed\xa0\x80")
HEAD = b" HTTP/1.1\r\nHost: x\r\nX-API-Key: " + EVERYTHING.encode() + b"\r\n\r\n"


@pytest.mark.parametrize("target", TARGETS)
async def test_raw_bytes_that_are_no_text_in_the_target(api: Api, target: bytes) -> None:
    reply = await api.raw(b"GET " + V1.encode() + target + HEAD)
    assert reply.status == 400
    assert b"Traceback" not in reply.body


async def test_the_same_without_aiohttps_compiled_parser(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets such bytes through as surrogates; as it does raw UTF-8, which is understood."""
    monkeypatch.setattr("aiohttp.web_protocol.HttpRequestParser", HttpRequestParserPy)
    api = await start()
    for target in TARGETS:
        reply = check(await api.raw(b"GET " + V1.encode() + target + HEAD))
        assert (reply.status, reply.code) == (400, "bad_request")
    await api.task("Grüße")
    assert (await api.raw(f"GET {V1}/tasks?q=Grüße".encode() + HEAD)).json["total"] == 1


@pytest.mark.parametrize("name", ["Authorization: Bearer ", "X-API-Key: ", "If-Match: ", "Idempotency-Key: ", "X-Request-ID: ", "Origin: ", "Content-Type: "])  # fmt: skip
async def test_raw_bytes_that_are_no_text_in_a_header(api: Api, name: str) -> None:
    head = f"POST {V1}/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    if "Bearer" not in name and "API" not in name:
        head += f"X-API-Key: {EVERYTHING}\r\n"
    if "Type" not in name:
        head += "Content-Type: application/json\r\n"
    reply = await api.raw(head.encode() + name.encode() + b"\xff\xfe\r\n\r\n{}")
    assert 400 <= reply.status < 500


@pytest.mark.parametrize(
    "task_id",
    ["%00", "%2F", "a%2Fb", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%ff", "%C3%BC", "x" * 5_000, "%27%20OR%201=1", "T-1%3Cscript%3E", "%7Bid%7D"],
)  # fmt: skip
async def test_odd_ids_are_not_found(api: Api, task_id: str) -> None:
    for method, path in (("GET", "/tasks/"), ("PATCH", "/tasks/"), ("GET", "/features/"), ("GET", "/jobs/")):
        reply = await api.call(method, f"{V1}{path}{task_id}", {})
        assert (reply.status, reply.code) == (404, "not_found")
        assert len(reply.body) < 1_000


@pytest.mark.parametrize(
    "number", ["0", "-1", "1.5", "x", "%D9%A3", "9" * 18, "9" * 19, "9" * 40, "0" * 5_000, "1e3"]
)
async def test_odd_delivery_ids_are_not_found(api: Api, number: str) -> None:
    for method, end in (("GET", ""), ("POST", "/replay"), ("POST", "/cancel")):
        reply = await api.call(method, f"{V1}/deliveries/{number}{end}")
        assert (reply.status, reply.code) == (404, "not_found")


async def test_an_id_that_is_percent_encoded_without_need_is_the_same_id(api: Api) -> None:
    task = await api.task(id="A-1")
    assert (await api.get("/tasks/%41%2D1")).json["id"] == task["id"]


# --- searching ------------------------------------------------------------------------------------


async def test_wildcards_are_only_characters(api: Api) -> None:
    for title in ("100%", "a_b", "axb", "back\\slash", "quo'te"):
        await api.task(title)
    for q, found in (
        ("%", ["100%"]),
        ("_", ["a_b"]),
        ("\\", ["back\\slash"]),
        ("'", ["quo'te"]),
        ("A_B", ["a_b"]),
    ):
        reply = await api.get(f"/tasks?q={quote(q)}")
        assert [task["title"] for task in reply.json["tasks"]] == found
        assert reply.json["total"] == 1


async def test_filters_and_totals(api: Api) -> None:
    for number in range(4):
        await api.task(
            f"T{number}",
            id=f"T-{number}",
            priority="high" if number % 2 else "low",
            feature_id="F-1" if number else None,
        )
    await api.patch("/tasks/T-3", {"status": "in_progress"})
    for query, ids in (
        ("status=pending", ["T-2", "T-1", "T-0"]),
        ("status=in_progress", ["T-3"]),
        ("priority=high", ["T-3", "T-1"]),
        ("feature_id=F-1", ["T-3", "T-2", "T-1"]),
        ("feature_id=F-1&priority=high&status=pending", ["T-1"]),
        ("q=t2", ["T-2"]),
        ("q=", ["T-3", "T-2", "T-1", "T-0"]),
        ("status=failed", []),
    ):
        reply = (await api.get(f"/tasks?{query}")).json
        assert ([task["id"] for task in reply["tasks"]], reply["total"]) == (ids, len(ids)), query


# --- cursors --------------------------------------------------------------------------------------


def cursor(position: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(position)).decode().rstrip("=")


async def test_pages_under_inserts_show_everything_that_was_there_once(
    api: Api, clock: SettableClock
) -> None:
    for number in range(10):
        clock.advance(1 if number % 3 else 0)  # some share their moment
        await api.task(id=f"T-{number}")
    seen: list[str] = []
    path = "/tasks?limit=3"
    while True:
        page = (await api.get(path)).json
        seen += [task["id"] for task in page["tasks"]]
        if page["next_cursor"] is None:
            break
        clock.advance(1)
        await api.task(id=f"new-{len(seen)}")
        path = f"/tasks?limit=3&cursor={page['next_cursor']}"
    assert sorted(seen) == [f"T-{number}" for number in range(10)]
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
async def test_the_last_page_has_no_cursor(api: Api, clock: SettableClock, count: int) -> None:
    for number in range(count):
        clock.advance(1)
        await api.task(id=f"T-{number}", feature_id=f"F-{number}")
        await api.post("/keys", {"name": f"K-{number}", "scopes": ["tasks:read"]})
    for path, noun in (
        ("/tasks", "tasks"),
        ("/features", "features"),
        ("/keys", "keys"),
        ("/events?type=task_created", "events"),
    ):
        items = await api.listed(path, noun, limit=3)
        assert len(items) == count
        assert len({item["id"] for item in items}) == count
        full = (await api.get(f"{path}{'&' if '?' in path else '?'}limit={max(1, count)}")).json
        assert (full["next_cursor"], full["total"]) == (None, count)


BAD_CURSORS = [
    *("", "x", "%00", "!!!", "é", "a" * 5_000, "e30", "W10", "bnVsbA", "WzFdWzFd", "1.5", "-1", "9" * 30),
    *map(cursor, ([], ["a", 1], [True], [None], [[1]], [2**63], [-1], [1.5], {"a": 1}, ["a", "b", "c"])),
]


@pytest.mark.parametrize("path", ["/tasks", "/features", "/deliveries", "/events", "/connectors", "/keys"])
async def test_bad_cursors_are_400(api: Api, path: str) -> None:
    for bad in BAD_CURSORS:
        reply = await api.get(f"{path}?cursor={quote(bad, safe='%')}")
        assert reply.status == 400, bad
        assert reply.code == ("invalid_parameter" if bad == "%00" else "invalid_cursor")


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for number in range(2):
        await api.task(id=f"T-{number}", feature_id=f"F-{number}")
    cursors = {
        path: (await api.get(f"{path}?limit=1")).json["next_cursor"]
        for path in ("/tasks", "/features", "/events")
    }
    assert all(cursors.values())
    for path in cursors:
        for other, given in cursors.items():
            reply = await api.get(f"{path}?cursor={given}")
            assert (reply.status == 200) is (path == other), (path, other)
