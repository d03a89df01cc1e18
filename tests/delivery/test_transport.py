import asyncio
import gzip
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from ralf_hub.connectors.base import HttpRequest, HttpResponse, NotSentError, UnknownAnswerError
from ralf_hub.delivery import transport
from ralf_hub.delivery.transport import Transport
from tests.delivery.house import Sink
from tests.doubles.server import Fault, Seen
from tests.support import eventually

SECRET = "s3cr3t-path"
LOOPBACK = ["127.0.0.0/8", "::1/128"]


class Names(AbstractResolver):
    """Answers with what the test says, one list of addresses per look-up, the last one for ever."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in answer
        ]

    async def close(self) -> None:
        return


@asynccontextmanager
async def network(
    *allowed: str, names: AbstractResolver | None = None, timeout_s: float = 5
) -> AsyncIterator[Transport]:
    async with Transport(allowed_networks=allowed or LOOPBACK, timeout_s=timeout_s, resolver=names) as made:
        yield made


def post(url: str, body: bytes = b"{}", **more: Any) -> HttpRequest:
    return HttpRequest("POST", url, {"Content-Type": "application/json"}, body, **more)


async def failure(http: Transport, url: str) -> Exception:
    with pytest.raises((NotSentError, UnknownAnswerError)) as caught:
        await http(post(url, timeout_s=0.3))
    return caught.value


# --- what comes through ---------------------------------------------------------------------------


async def test_a_request_goes_out_as_it_was_prepared_and_the_answer_comes_back(sink: Sink) -> None:
    async def answer(_: Seen) -> web.Response:
        return web.Response(status=201, text="made", headers={"X-Made": "yes"})

    sink.answers["/a"] = answer
    async with network() as http:
        response = await http(post(f"{sink.url}/a?x=1", b'{"n": 1}'))
    assert (response.status, response.headers["x-made"], response.body) == (201, "yes", b"made")
    (seen,) = sink.seen
    assert (seen.method, seen.query, seen.body) == ("POST", {"x": "1"}, b'{"n": 1}')
    assert set(seen.headers) == {"host", "user-agent", "content-type", "content-length"}
    assert seen.headers["user-agent"].startswith("ralf-hub/")


async def test_redirects_are_answers_not_journeys(sink: Sink) -> None:
    async def elsewhere(_: Seen) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{sink.url}/b"})

    sink.answers["/a"] = elsewhere
    async with network() as http:
        response = await http(post(f"{sink.url}/a"))
    assert (response.status, response.headers["location"]) == (302, f"{sink.url}/b")
    assert [seen.path for seen in sink.seen] == ["/a"]


async def test_cookies_are_not_kept(sink: Sink) -> None:
    async def bake(_: Seen) -> web.Response:
        return web.Response(headers={"Set-Cookie": "session=1; Path=/"})

    sink.answers["/a"] = bake
    async with network() as http:
        await http(post(f"{sink.url}/a"))
        await http(post(f"{sink.url}/a"))
    assert all("cookie" not in seen.headers for seen in sink.seen)


async def test_proxies_of_the_environment_are_not_used(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with network() as http:
        assert (await http(post(f"{sink.url}/a"))).status == 204


async def test_a_connection_is_used_again(sink: Sink) -> None:
    names = Names(["127.0.0.1"])
    async with network(names=names) as http:
        for _ in range(5):
            await http(post(f"http://name.test:{sink.port}/a"))
    assert names.asked == ["name.test"]


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "compressed"])
async def test_a_long_answer_is_cut_and_its_connection_given_up(sink: Sink, encoded: bool) -> None:  # noqa: FBT001
    async def long(_: Seen) -> web.Response:
        body = b"x" * 20_000_000
        if not encoded:
            return web.Response(body=body)
        return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})

    sink.answers["/a"] = long
    async with network() as http:
        response = await http(post(f"{sink.url}/a"))
        assert response.body == b"x" * transport.RESPONSE_BYTES_MAX
        assert (await http(post(f"{sink.url}/b"))).status == 204


async def test_an_answer_of_just_the_limit_is_whole(sink: Sink) -> None:
    async def exact(_: Seen) -> web.Response:
        return web.Response(body=b"x" * transport.RESPONSE_BYTES_MAX)

    sink.answers["/a"] = exact
    async with network() as http:
        assert len((await http(post(f"{sink.url}/a"))).body) == transport.RESPONSE_BYTES_MAX


def test_an_answer_reads_as_text_and_json() -> None:
    answer = HttpResponse(200, {}, b'{"ok": true}')
    assert (answer.text, answer.json()) == ('{"ok": true}', {"ok": True})
    broken = HttpResponse(200, {}, b"\xff{")
    assert (broken.text, broken.json()) == ("\ufffd{", None)


# --- what does not, and what is said of it --------------------------------------------------------


async def test_no_answer_in_time_leaves_open_whether_it_arrived(sink: Sink) -> None:
    sink.faults.append(Fault(delay_s=30))
    async with network() as http:
        error = await failure(http, f"{sink.url}/{SECRET}")
    assert isinstance(error, UnknownAnswerError)
    assert str(error) == "127.0.0.1: no answer in time"


async def test_an_answer_that_never_ends_is_given_up_in_time(sink: Sink) -> None:
    async def trickle(seen: Seen) -> web.Response:
        del seen
        await asyncio.sleep(30)
        return web.Response()

    sink.answers["/a"] = trickle
    async with network(timeout_s=0.2) as http:
        with pytest.raises(UnknownAnswerError):
            await http(post(f"{sink.url}/a"))


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_a_dropped_connection_leaves_open_whether_it_arrived(sink: Sink, drop: str) -> None:
    sink.faults.append(Fault(drop=drop))
    async with network() as http:
        error = await failure(http, f"{sink.url}/{SECRET}")
    assert isinstance(error, UnknownAnswerError)
    assert str(error).startswith("127.0.0.1: ")


async def test_a_refused_connection_was_not_sent(sink: Sink) -> None:
    await sink.refuse()
    async with network() as http:
        error = await failure(http, f"{sink.url}/{SECRET}")
    assert isinstance(error, NotSentError)
    assert str(error) == "127.0.0.1: no connection (Connection refused)"


async def test_a_name_that_cannot_be_resolved_was_not_sent() -> None:
    names = Names(socket.gaierror(-2, "Name or service not known"))
    async with network(names=names) as http:
        error = await failure(http, f"http://nowhere.test/{SECRET}")
    assert isinstance(error, NotSentError)
    assert str(error) == "nowhere.test: the name cannot be resolved"


async def test_https_to_who_does_not_speak_it_was_not_sent(sink: Sink) -> None:
    async with network() as http:
        error = await failure(http, f"https://127.0.0.1:{sink.port}/{SECRET}")
    assert isinstance(error, NotSentError)
    assert str(error) == "127.0.0.1: no TLS connection"
    assert sink.seen == []


async def test_a_certificate_nobody_vouches_for_was_not_sent(tmp_path: Path) -> None:
    async with self_signed(tmp_path) as (port, seen), network() as http:
        error = await failure(http, f"https://127.0.0.1:{port}/{SECRET}")
    assert isinstance(error, NotSentError)
    assert str(error) == "127.0.0.1: its TLS certificate is not valid"
    assert seen == []


@asynccontextmanager
async def self_signed(folder: Path) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve HTTPS with a certificate that no authority signed."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - an optional package
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield runner.addresses[0][1], seen
    await runner.cleanup()


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"/{SECRET}",
        f"ftp://127.0.0.1/{SECRET}",
        f"file:///{SECRET}",
        f"http:///{SECRET}",
        f"http://[::1/{SECRET}",
        f"http://127.0.0.1:99999/{SECRET}",
        f"//127.0.0.1/{SECRET}",
        f"javascript:{SECRET}",
    ],
)
async def test_what_is_no_http_address_is_not_sent(url: str) -> None:
    async with network() as http:
        error = await failure(http, url)
    assert isinstance(error, NotSentError)
    assert SECRET not in str(error)


async def test_a_transport_that_is_closed_sends_nothing(sink: Sink) -> None:
    async with network() as http:
        pass
    with pytest.raises(NotSentError, match="the hub is stopping"):
        await http(post(f"{sink.url}/a"))


async def test_closing_ends_what_is_under_way(sink: Sink) -> None:
    sink.faults.append(Fault(delay_s=30))
    async with network() as http:
        sending = asyncio.create_task(http(post(f"{sink.url}/a")))
        await eventually(lambda: sink.seen)
    with pytest.raises(UnknownAnswerError):
        await sending


async def test_no_error_shows_the_url_or_what_is_in_it(sink: Sink) -> None:
    rest = f"{SECRET}?token={SECRET}#{SECRET}"
    names = Names(socket.gaierror(-2, f"no {SECRET}"))
    failures: list[tuple[Callable[[], None], str]] = [
        (lambda: None, f"http://nowhere.test/{rest}"),
        (lambda: sink.faults.append(Fault(delay_s=30)), f"{sink.url}/{rest}"),
        (lambda: sink.faults.append(Fault(drop="before")), f"{sink.url}/{rest}"),
        (lambda: None, f"https://127.0.0.1:{sink.port}/{rest}"),
        (lambda: None, f"http://10.0.0.1/{rest}"),
        (lambda: None, f"http://{SECRET}:{SECRET}@10.0.0.1/{rest}"),
        (lambda: None, f"http://127.0.0.1:1/{rest}"),
        (lambda: None, f"http://127.0.0.1:99999/{rest}"),
        (lambda: None, f"gopher://127.0.0.1/{rest}"),
    ]
    async with network(names=names) as http:
        for prepare, url in failures:
            prepare()
            error = await failure(http, url)
            shown = "".join(traceback.format_exception(error))
            assert SECRET not in shown
    assert SECRET not in repr(post(f"http://x/{rest}"))


# --- where it may not connect ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "0.0.0.0",  # noqa: S104 - a target here
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1%25lo]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "user:password@127.0.0.1",
        "1.1.1.1@127.0.0.1",
        "1.1.1.1:80@127.0.0.1",
        "%31%32%37.0.0.1",
    ],
)
async def test_no_way_of_writing_it_reaches_this_machine(sink: Sink, host: str) -> None:
    async with network(
        "10.9.9.9/32"
    ) as http:  # the real resolver of this machine, and nothing of loopback allowed
        error = await failure(http, f"http://{host}:{sink.port}/a")
    assert isinstance(error, NotSentError)
    assert sink.seen == []


async def test_a_name_that_resolves_to_a_private_address_is_refused_when_it_connects(sink: Sink) -> None:
    async with network("10.9.9.9/32", names=Names(["127.0.0.1"])) as http:
        error = await failure(http, f"http://innocent.test:{sink.port}/a")
    assert isinstance(error, NotSentError)
    assert "innocent.test is in a private or reserved network" in str(error)
    assert "allowed_networks" in str(error)
    assert sink.seen == []


async def test_of_several_addresses_only_those_allowed_are_tried(sink: Sink) -> None:
    names = Names(["127.0.0.1", "127.0.0.2", "::1"])
    async with network("127.0.0.2/32", names=names) as http:  # nobody listens there
        error = await failure(http, f"http://both.test:{sink.port}/a")
    assert isinstance(error, NotSentError)
    assert "no connection" in str(error)
    assert sink.seen == []


async def test_a_name_that_changes_its_mind_gets_nowhere(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: an allowed address when it is checked, a private one when it is used. There is only one look-up."""
    monkeypatch.setattr(transport, "DNS_CACHE_S", 0)
    names = Names(["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2"], ["127.0.0.1"])
    async with network("127.0.0.2/32", names=names) as http:
        errors = [str(await failure(http, f"http://rebind.test:{sink.port}/a")) for _ in range(6)]
    assert [("private" in error, "no connection" in error) for error in errors] == [
        (False, True),
        (True, False),
        (False, True),
        (True, False),
        (True, False),
        (True, False),
    ]
    assert len(names.asked) == 6
    assert sink.seen == []


async def test_a_redirect_into_a_private_network_is_not_followed(sink: Sink) -> None:
    async def inward(_: Seen) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data/"})

    sink.answers["/a"] = inward
    names = Names(["127.0.0.1"])
    async with network("127.0.0.1/32", names=names) as http:
        assert (await http(post(f"http://outside.test:{sink.port}/a"))).status == 307
    assert names.asked == ["outside.test"]


async def test_what_the_settings_allow_is_reached_and_what_they_no_longer_allow_is_not(sink: Sink) -> None:
    async def close(_: Seen) -> web.Response:
        return web.Response(headers={"Connection": "close"})  # connections that are open stay open

    sink.answers["/a"] = close
    async with network("10.0.0.0/8", names=Names(["127.0.0.1"])) as http:
        urls = [f"http://{host}:{sink.port}/a" for host in ("name.test", "127.0.0.1")]
        for url in urls:
            assert "private or reserved" in str(await failure(http, url))
        http.allow(["127.0.0.0/8"], 5)
        for url in urls:
            assert (await http(post(url))).status == 200
        http.allow(["10.0.0.0/8"], 5)
        for url in urls:
            assert "private or reserved" in str(await failure(http, url))
    assert len(sink.seen) == 2
