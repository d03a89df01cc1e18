"""Requests that a proxy and the hub might read differently: refused, the connection ended, and nothing done.

https://portswigger.net/web-security/request-smuggling and RFC 9112, sections 5, 6 and 11.2, name the ways.
"""

import pytest

from ralf_hub.cli.serving import HEADER_BYTES_MAX
from tests.api.helpers import EVERYTHING, V1, Api
from tests.security.conftest import Connection

BODY = b'{"title":"Smuggled"}'
SECOND = (
    f"POST {V1}/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {EVERYTHING}\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY
"""What an attacker hides behind the first request: it must never be read as one."""


def head(*lines: str, method: str = "POST", target: str = V1 + "/tasks", version: str = "HTTP/1.1") -> bytes:
    usual = ["Host: x", f"Authorization: Bearer {EVERYTHING}", "Content-Type: application/json"]
    return "\r\n".join([f"{method} {target} {version}", *usual, *lines, "", ""]).encode("latin-1")


CHUNKED = b"0\r\n\r\n"
CASES: dict[str, bytes] = {
    "content-length and chunked": head("Content-Length: 5", "Transfer-Encoding: chunked") + CHUNKED + SECOND,
    "chunked and content-length": head("Transfer-Encoding: chunked", "Content-Length: 5") + CHUNKED + SECOND,
    "content-length 0 and chunked": head("Content-Length: 0", "Transfer-Encoding: chunked") + CHUNKED + SECOND,
    "two lengths": head("Content-Length: 2", f"Content-Length: {2 + len(SECOND)}") + b"{}" + SECOND,
    "the same length twice": head("Content-Length: 2", "Content-Length: 2") + b"{}" + SECOND,
    "lengths in a list": head("Content-Length: 2, 2") + b"{}" + SECOND,
    "a length with a sign": head("Content-Length: +2") + b"{}" + SECOND,
    "a negative length": head("Content-Length: -2") + b"{}" + SECOND,
    "a length with an underscore": head("Content-Length: 1_0") + b"{}" + SECOND,
    "a hexadecimal length": head("Content-Length: 0x2") + b"{}" + SECOND,
    "a length in other digits": head("Content-Length: ²") + b"{}" + SECOND,
    "an empty length": head("Content-Length:") + b"{}" + SECOND,
    "a huge length": head("Content-Length: 99999999999999999999999") + b"{}" + SECOND,
    "a blank before the colon": head("Content-Length : 2") + b"{}" + SECOND,
    "a tab before the colon": head("Transfer-Encoding\t: chunked") + CHUNKED + SECOND,
    "a folded line": head("Transfer-Encoding:", " chunked") + CHUNKED + SECOND,
    "a folded length": head("X-A: b", "\tContent-Length: 2") + b"{}" + SECOND,
    "a blank before the first header": head("Content-Length: 2").replace(b"Host", b" Host", 1) + b"{}" + SECOND,
    "an unknown coding": head("Transfer-Encoding: xchunked") + CHUNKED + SECOND,
    "identity": head("Transfer-Encoding: identity") + CHUNKED + SECOND,
    "chunked twice": head("Transfer-Encoding: chunked, chunked") + CHUNKED + SECOND,
    "chunked on two lines": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + CHUNKED + SECOND,
    "chunked is not the last": head("Transfer-Encoding: chunked, gzip") + CHUNKED + SECOND,
    "a vertical tab before chunked": head("Transfer-Encoding: \x0bchunked") + CHUNKED + SECOND,
    "chunked in HTTP/1.0": head("Transfer-Encoding: chunked", version="HTTP/1.0") + CHUNKED + SECOND,
    "a line ended by LF alone": head("Content-Length: 2").replace(b"\r\nContent-L", b"\nContent-L") + b"{}" + SECOND,
    "a bare CR in a value": head("X-A: a\rContent-Length: 2") + b"{}" + SECOND,
    "NUL in a value": head("X-A: a\0b", "Content-Length: 2") + b"{}" + SECOND,
    "NUL in a name": head("X-\0A: b", "Content-Length: 2") + b"{}" + SECOND,
    "a header without a name": head(": x", "Content-Length: 2") + b"{}" + SECOND,
    "a header without a colon": head("Content-Length 2") + b"{}" + SECOND,
    "a name with brackets": head("Content[Length]: 2") + b"{}" + SECOND,
    "two hosts": head("Host: evil.example", "Content-Length: 2") + b"{}" + SECOND,
    "a chunk size with a sign": head("Transfer-Encoding: chunked") + b"+2\r\n{}\r\n" + CHUNKED + SECOND,
    "a chunk size with 0x": head("Transfer-Encoding: chunked") + b"0x2\r\n{}\r\n" + CHUNKED + SECOND,
    "a chunk size with an underscore": head("Transfer-Encoding: chunked") + b"0_2\r\n{}\r\n" + CHUNKED + SECOND,
    "a huge chunk size": head("Transfer-Encoding: chunked") + b"fffffffffffffffff\r\n{}\r\n" + CHUNKED + SECOND,
    "a chunk ended by LF alone": head("Transfer-Encoding: chunked") + b"2\n{}\n0\n\n" + SECOND,
    "a chunk longer than it says": head("Transfer-Encoding: chunked") + b"2\r\n{}xx\r\n" + CHUNKED + SECOND,
    "an extension with LF": head("Transfer-Encoding: chunked") + b"2;a\nx\r\n{}\r\n" + CHUNKED + SECOND,
    "a request line with two targets": b"POST /a /b HTTP/1.1\r\nHost: x\r\n\r\n" + SECOND,
    "a version that is none": head("Content-Length: 2", version="HTTP/1.x") + b"{}" + SECOND,
    "a method with a colon": head("Content-Length: 2", method="PO:ST") + b"{}" + SECOND,
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECOND,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_a_request_that_can_be_read_in_two_ways_is_refused_and_the_connection_ended(
    api: Api, dial: Connection, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    statuses, ended = await dial(CASES[case])
    assert statuses == [400], statuses
    assert ended, "the connection must not be used for more"
    assert (await api.get("/tasks")).json["total"] == 0
    assert EVERYTHING not in caplog.text


def test_there_are_enough_ways() -> None:
    print(f"{len(CASES)} ways of writing a request that can be read twice")
    assert len(CASES) >= 40


FRAMED = head("Content-Length: 2")


@pytest.mark.parametrize(
    "request_",
    [
        FRAMED.replace(
            b"Content-Length: 2", b"X-Long: " + b"a" * 2 * HEADER_BYTES_MAX + b"\r\nContent-Length: 2"
        ),
        FRAMED.replace(
            b"Content-Length: 2", b"X-" + b"a" * 2 * HEADER_BYTES_MAX + b": a\r\nContent-Length: 2"
        ),
        FRAMED.replace(b"/tasks", b"/tasks?q=" + b"a" * 2 * HEADER_BYTES_MAX),
        FRAMED.replace(b"Content-Length: 2", b"X-A: 1\r\n" * 1_000 + b"Content-Length: 2"),
        FRAMED.replace(b"POST", b"P" * 2 * HEADER_BYTES_MAX),
    ],
    ids=["a long value", "a long name", "a long target", "a thousand headers", "a long method"],
)
async def test_headers_have_limits(api: Api, dial: Connection, request_: bytes) -> None:
    statuses, ended = await dial(request_ + b"{}" + SECOND)
    assert statuses == [400]
    assert ended
    assert (await api.get("/tasks")).json["total"] == 0


async def test_two_requests_in_a_row_are_two_where_each_says_where_it_ends(
    api: Api, dial: Connection
) -> None:
    """The cases above are refused for what they are, not because a second request follows."""
    statuses, ended = await dial(head(f"Content-Length: {len(BODY)}") + BODY + SECOND)
    assert (statuses, ended) == ([201, 201], False)
    assert (await api.get("/tasks")).json["total"] == 2
