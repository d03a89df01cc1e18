"""Bodies that are broken, huge, deep, of the wrong type or full of what cannot be stored: a clear error, nothing done."""

import asyncio
import gzip
import json
from typing import Any

import orjson
import pytest

from ralf_hub import middleware
from ralf_hub.endpoint import FIELDS_MAX, NESTING_MAX
from ralf_hub.middleware import ERRORS_MAX
from tests.api.conftest import Start
from tests.api.helpers import EVERYTHING, V1, Api, check
from tests.support import eventually

MIB = 1024 * 1024


async def nothing_was_done(api: Api) -> bool:
    return (await api.get("/tasks")).json["total"] == 0 and await api.events() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"title": "x"',
        b'{"title": "x",}',
        b"{'title': 'x'}",
        b"title=x",
        b"\x00",
        b'{"title": NaN}',
        b'{"title": 1e999}',
        b'{"title": "a\x00b"}',
        b'{"title": "a\nb"}',
        b'{"title": "\\ud800"}',
        b'{"title": "\\udc00\\ud800"}',
        b'{"title": "\xed\xa0\x80"}',
        b'{"title": "\xff\xfe"}',
        '{"title": "x"}'.encode("utf-16"),
        '{"title": "é"}'.encode("latin-1"),
        b'\xef\xbb\xbf{"title": "x"}',
        b'{"title": "x"} {"title": "y"}',
        b"[" * 100_000,
        b'{"title":' * 5_000,
    ],
    ids=repr,
)
async def test_what_is_no_json_is_400(api: Api, raw: bytes) -> None:
    reply = await api.post("/tasks", raw=raw)
    assert (reply.status, reply.code) == (400, "invalid_json")
    assert len(reply.body) < 600
    assert await nothing_was_done(api)


@pytest.mark.parametrize("raw", [b"[]", b'["title"]', b'"title"', b"1", b"1.5", b"true", b"null"])
async def test_json_that_is_no_object_is_422(api: Api, raw: bytes) -> None:
    for method, path in (("POST", "/tasks"), ("PATCH", "/tasks/T-1"), ("POST", "/deliveries/replay")):
        reply = await api.call(method, V1 + path, raw=raw)
        assert (reply.status, reply.code, reply.fields) == (422, "validation_failed", ["body"])
        assert "JSON object" in reply.json["errors"][0]["message"]


async def test_an_empty_body_is_an_empty_object(api: Api) -> None:
    for raw in (None, b"", b"{}"):
        reply = await api.post("/tasks", raw=raw)
        assert (reply.status, reply.fields) == (422, ["title"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", 1),
        ("title", None),
        ("title", ""),
        ("title", " \t\n "),
        ("title", ["x"]),
        ("title", {"x": 1}),
        ("title", True),
        ("title", "x" * 5_001),
        ("id", ""),
        ("id", "-x"),
        ("id", ".x"),
        ("id", "a b"),
        ("id", "a/b"),
        ("id", "a\n"),
        ("id", "é"),
        ("id", "x" * 129),
        ("id", 7),
        ("description", 1),
        ("description", "x" * 200_001),
        ("type", 1),
        ("type", ""),
        ("priority", "urgent"),
        ("priority", "HIGH"),
        ("priority", 1),
        ("priority", None),
        ("feature_id", 5),
        ("feature_id", "x" * 201),
        ("parent_id", "a b"),
        ("depends_on", "T-1"),
        ("depends_on", [1]),
        ("depends_on", ["a b"]),
        ("depends_on", {"T-1": 1}),
        ("depends_on", ["T-1"] * 201),
        ("metadata", []),
        ("metadata", "x"),
        ("metadata", None),
        ("metadata", {str(n): n for n in range(201)}),
        ("assignee", 3),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_wrongly_typed_fields_are_named(api: Api, field: str, value: Any) -> None:
    reply = await api.post("/tasks", {"title": "fine", field: value})
    assert (reply.status, reply.code) == (422, "validation_failed")
    assert [name.split("[")[0] for name in reply.fields] == [field]
    assert await nothing_was_done(api)


async def test_every_invalid_field_is_named_at_once(api: Api) -> None:
    reply = await api.post(
        "/tasks",
        {
            "id": "a b",
            "priority": "soon",
            "depends_on": ["T-1", "no way", 3],
            "colour": "red",
            "status": "x",
            "nul": "\0",
        },
    )
    assert reply.status == 422
    assert reply.fields == ["nul"]  # what cannot be stored at all comes first
    reply = await api.post(
        "/tasks", {"id": "a b", "priority": "soon", "depends_on": ["T-1", "no way", 3], "colour": "red"}
    )
    assert sorted(reply.fields) == ["colour", "depends_on[1]", "depends_on[2]", "id", "priority", "title"]
    words = {error["field"]: error["message"] for error in reply.json["errors"]}
    assert words["colour"] == "There is no such field."
    assert words["title"] == "This field is needed."
    assert "'critical', 'high', 'medium' or 'low'" in words["priority"]


async def test_what_was_sent_is_not_sent_back(api: Api) -> None:
    reply = await api.post("/tasks", {"title": ["canary-value"], "priority": "canary-value"})
    assert b"canary-value" not in reply.body


async def test_nul_is_named_where_it_stands(api: Api) -> None:
    body = {"title": "a\0b", "metadata": {"x": [1, {"y": "\0"}], "k\0": 1}, "depends_on": ["ok"]}
    reply = await api.post("/tasks", body)
    assert (reply.status, reply.code) == (422, "validation_failed")
    assert reply.fields == ["title", "metadata.k\ufffd", "metadata.x[1].y"]
    assert (await api.post("/tasks", raw=b'"\\u0000"')).fields == ["body"]
    fine = await api.post("/tasks", raw=rb'{"title": "a literal \\u0000"}')
    assert (fine.status, fine.json["title"]) == (201, r"a literal \u0000")


def nested(levels: int, kind: str = "list") -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


@pytest.mark.parametrize("kind", ["list", "dict"])
async def test_depth_has_a_limit_and_what_is_within_comes_back_whole(api: Api, kind: str) -> None:
    deepest = {"deep": nested(NESTING_MAX - 2, kind)}
    task = await api.task("Deep", metadata=deepest)
    assert task["metadata"] == deepest
    assert (await api.get(f"/tasks/{task['id']}")).json["metadata"] == deepest
    assert (await api.events())[-1]["task_id"] == task["id"]
    for levels in (NESTING_MAX - 1, 300, 1_000):
        raw = orjson.dumps({"title": "x", "metadata": {"deep": "@"}}).replace(
            b'"@"',
            (b"[" if kind == "list" else b'{"a":') * levels
            + b'"\\u0000"'
            + (b"]" if kind == "list" else b"}") * levels,
        )
        reply = await api.post("/tasks", raw=raw)
        assert (reply.status, reply.code) == (400, "invalid_json"), levels
        assert "levels deep" in reply.json["detail"] or levels == 1_000


async def test_wide_is_not_deep(api: Api) -> None:
    task = await api.task("Wide", metadata={"wide": [{"a": [n]} for n in range(500)]})
    assert len(task["metadata"]["wide"]) == 500


async def test_many_unknown_fields_do_not_make_a_huge_answer(api: Api) -> None:
    reply = await api.post("/tasks", {f"f{n}": n for n in range(FIELDS_MAX)})
    assert (reply.status, len(reply.fields)) == (422, ERRORS_MAX)
    reply = await api.post("/tasks", {f"f{n}": n for n in range(50_000)})
    assert (reply.status, reply.fields) == (422, ["body"])
    reply = await api.post("/tasks", {"x" * 100_000: 1, "title": "x"})
    assert (reply.status, len(reply.body) < 1_000) == (422, True)


async def test_numbers_keep_their_value(api: Api) -> None:
    numbers = {"big": 2**63, "negative": -(2**63), "float": 0.1, "zero": 0, "exponent": 1e300}
    task = await api.task("Numbers", metadata=numbers)
    assert (await api.get(f"/tasks/{task['id']}")).json["metadata"] == numbers


async def test_every_text_comes_back_as_it_came(api: Api) -> None:
    text = "žluťoučký 🐎 \u202e \ufeff \x7f \x1b[31m <b>&\"'\\ \U0010ffff"
    task = await api.task(text, description=text, metadata={text: text}, assignee=text, feature_id=text)
    again = (await api.get(f"/tasks/{task['id']}")).json
    assert again == task
    assert (again["title"], again["metadata"]) == (text, {text: text})


# --- size -----------------------------------------------------------------------------------------


async def test_413_above_the_limit_and_not_at_it(api: Api) -> None:
    def body(size: int) -> bytes:
        frame = b'{"title":"x","metadata":{"a":""}}'
        return frame[:-3] + b"a" * (size - len(frame)) + frame[-3:]

    assert (await api.post("/tasks", raw=body(MIB))).status == 201
    for size in (MIB + 1, 2 * MIB, 8 * MIB):
        reply = await api.post("/tasks", raw=body(size))
        assert (reply.status, reply.code) == (413, "body_too_large")
    assert (await api.get("/tasks")).json["total"] == 1


async def test_the_limit_is_a_setting(start: Start) -> None:
    api = await start(api={"body_bytes_max": 2048})
    assert (await api.post("/tasks", {"title": "x", "description": "a" * 1_000})).status == 201
    assert (await api.post("/tasks", {"title": "x", "description": "a" * 2_048})).code == "body_too_large"


async def test_a_compressed_body_counts_as_what_it_unpacks_to(api: Api) -> None:
    headers = {"Content-Encoding": "gzip"}
    fine = await api.post("/tasks", raw=gzip.compress(b'{"title":"x"}'), headers=headers)
    assert (fine.status, fine.json["title"]) == (201, "x")
    bomb = gzip.compress(b'{"title":"' + b"a" * (20 * MIB) + b'"}')
    assert (await api.post("/tasks", raw=bomb, headers=headers)).code == "body_too_large"
    broken = await api.post("/tasks", raw=b"no gzip at all", headers=headers)
    assert (broken.status, broken.code) == (400, "bad_request")


# --- content type ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/octet-stream",
        "json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
    ],
)
async def test_other_content_types_are_415(api: Api, kind: str | None) -> None:
    reply = await api.post("/tasks", raw=b'{"title":"x"}', content_type=kind)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")
    assert await nothing_was_done(api)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "Application/JSON",
        "application/merge-patch+json",
    ],
)
async def test_json_by_any_of_its_names(api: Api, kind: str) -> None:
    assert (await api.post("/tasks", raw=b'{"title":"x"}', content_type=kind)).status == 201


async def test_an_endpoint_without_a_body_takes_none(api: Api) -> None:
    task = await api.task()
    path = f"{V1}/tasks/{task['id']}"
    assert (await api.call("GET", path, {})).status == 200
    for method in ("GET", "DELETE"):
        assert (await api.call(method, path, {"force": True})).fields == ["force"]
        assert (await api.call(method, path, raw=b"{")).code == "invalid_json"
    assert (await api.get(f"/tasks/{task['id']}")).json["status"] == "pending"


# --- broken transfers -----------------------------------------------------------------------------


def request(extra: str, body: bytes = b"", method: str = "POST", path: str = V1 + "/tasks") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {EVERYTHING}\r\n{extra}\r\n"
    return head.encode() + b"\r\n" + body


async def test_a_body_in_pieces_is_one_body(api: Api) -> None:
    pieces = b'8\r\n{"title"\r\n5\r\n:"x"}\r\n0\r\n\r\n'
    head = "Content-Type: application/json\r\nTransfer-Encoding: chunked"
    assert (await api.raw(request(head, pieces))).status == 201
    broken = await api.raw(request(head, b"zz\r\n"))
    assert broken.status == 400
    assert (await api.get("/tasks")).json["total"] == 1


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error_of_ours(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(asyncio.all_tasks())
    await api.leave(request("Content-Type: application/json\r\nContent-Length: 100", b'{"title":'))
    await eventually(lambda: len(asyncio.all_tasks()) <= before)
    assert await nothing_was_done(api)
    assert not caplog.records


async def test_a_body_that_does_not_come_is_not_waited_for_forever(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BODY_WITHIN_S", 0.05)
    reply = check(
        await api.raw(request("Content-Type: application/json\r\nContent-Length: 100", b'{"title":'))
    )
    assert (reply.status, reply.code) == (400, "bad_request")


async def test_commands_of_the_live_stream_are_read_as_strictly(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": f"Bearer {EVERYTHING}"}
    async with api.client.session.ws_connect(api.client.make_url(V1 + "/stream"), headers=headers) as ws:
        for number, data, code in (
            (1, {"title": "x", "metadata": {"deep": nested(300)}}, "invalid_json"),
            (2, {"title": "x", "metadata": {"nul": "\0"}}, "validation_failed"),
            (3, {"title": "x", **{f"f{n}": n for n in range(FIELDS_MAX)}}, "validation_failed"),
        ):
            text = json.dumps({"op": "task.create", "id": number, **data})
            await ws.send_str(text)
            answer = await ws.receive_json(timeout=5)
            assert (answer["op"], answer["problem"]["code"]) == ("error", code), number
    assert await nothing_was_done(api)
    assert not caplog.records
