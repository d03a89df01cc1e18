"""Every way we know of to make the hub call an address it must not: none leads to as much as an attempt to connect.

Python tells an audit hook of each connect before it happens, so nothing can slip past unseen.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

from ralf_hub.connectors.base import NotSentError
from ralf_hub.connectors.outlets import Mail, MailServer
from ralf_hub.delivery.smtp import Mailer
from tests.delivery.house import Sink, always
from tests.delivery.test_transport import Names, failure, network, post

_TEXT: Final = """
127.0.0.1 127.0.0.2 127.255.255.255 127.1 127.0.1 0 0.0.0.0 0.0.0.1 2130706433 0x7f000001 0x7f.0.0.1
0x7f.0x0.0x0.0x1 0177.0.0.1 0177.0.0.01 017700000001 00000177.0.0.1 127.0.0.1. 0x7f.1 127.0x1 10.0.0.1
10.1 172.16.0.1 172.31.255.254 192.168.0.1 192.168.257 169.254.169.254 0xa9fea9fe 2852039166
0251.0376.0251.0376 169.254.170.2 100.64.0.1 100.100.100.200 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 [::] [::1] [0:0:0:0:0:0:0:1]
[::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:169.254.169.254] [0:0:0:0:0:ffff:a9fe:a9fe] [::127.0.0.1]
[::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::169.254.169.254] [64:ff9b:1::a00:1] [2002:7f00:1::]
[2002:a9fe:a9fe::1] [2001:0:4136:e378:8000:63bf:f5ff:fffe] [fe80::1] [fe80::1%25lo] [fc00::1]
[fd00:ec2::254] [fd12:3456::1] [fec0::1] [ff02::1] [2001:db8::1] [3fff::1] [100::1] [5f00::1] localhost
LOCALHOST localhost. localhost.localdomain ip6-localhost %31%32%37.0.0.1 user:password@127.0.0.1
1.1.1.1@127.0.0.1 1.1.1.1:80@169.254.169.254 1.1.1.1%40127.0.0.1
"""
LITERALS: Final = [
    *_TEXT.split(),
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u246b\u2466.0.0.1",
]
"""Hosts that are, or are meant to be taken for, an address that is not public."""

NAMES: Final[dict[str, list[str]]] = {
    "metadata.google.internal": ["169.254.169.254"],
    "metadata.goog": ["169.254.169.254"],
    "instance-data.ec2.internal": ["169.254.169.254"],
    "metadata.tencentyun.com": ["169.254.0.23"],
    "metadata.alibaba.example": ["100.100.100.200"],
    "metadata.oracle.example": ["192.0.0.192"],
    "ec2-v6.example": ["fd00:ec2::254"],
    "kubernetes.default.svc": ["10.96.0.1"],
    "host.docker.internal": ["192.168.65.254"],
    "localtest.me": ["127.0.0.1"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "a9fea9fe.nip.io": ["169.254.169.254"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
    "sixtofour.example": ["2002:7f00:1::"],
    "all-private.example": ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"],
    "broken.example": ["not an address", ""],
    "nobody.example": [],
}
"""Names, and what a name server under somebody else's control says of them."""

connects: list[Any] = []
_watching = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "socket.connect":
        connects.append(arguments[1])


sys.addaudithook(_note)  # for as long as this process lives: there is no way to take one back


@pytest.fixture
def watched() -> Iterator[list[Any]]:
    global _watching  # noqa: PLW0603 - the hook cannot be given anything
    connects.clear()
    _watching = True
    yield connects
    _watching = False


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_literal_leads_to_a_connection(watched: list[Any], scheme: str) -> None:
    async with network("10.9.9.9/32") as http:  # the real resolver of this machine
        for host in LITERALS:
            error = await failure(http, f"{scheme}://{host}:8080/latest/meta-data/")
            assert isinstance(error, NotSentError), host
    assert watched == []


async def test_no_name_leads_to_a_connection(watched: list[Any]) -> None:
    for name, addresses in NAMES.items():
        async with network("10.9.9.9/32", names=Names(addresses)) as http:
            assert isinstance(await failure(http, f"http://{name}/"), NotSentError), name
    assert watched == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "::1", "0x7f000001", "2130706433"]
)
async def test_no_mail_server_is_reached_there_either(watched: list[Any], host: str) -> None:
    mailer = Mailer(["10.9.9.9/32"])
    server = MailServer(host, 25, "none", None, None, 2.0)
    with pytest.raises(NotSentError):
        await mailer(server, Mail("ralf@example.org", ("you@example.org",), b"Subject: x\r\n\r\nx\r\n"))
    assert watched == []


async def test_of_a_name_with_good_and_bad_addresses_only_the_good_are_tried(watched: list[Any]) -> None:
    names = Names(["169.254.169.254", "::1", "127.0.0.2", "10.0.0.1"])
    async with network("127.0.0.2/32", names=names) as http:
        await failure(http, "http://both.example:9/")
    assert [address[:2] for address in watched] == [("127.0.0.2", 9)]


async def test_a_name_that_is_rebound_between_two_calls_is_judged_each_time(watched: list[Any]) -> None:
    names = Names(["127.0.0.2"], ["169.254.169.254"])
    async with network("127.0.0.2/32", names=names) as http:
        await failure(http, "http://rebind.example:9/")
        http.allow(["127.0.0.2/32"], 5)  # forgets what names meant
        assert "private or reserved" in str(await failure(http, "http://rebind.example:9/"))
    assert [address[0] for address in watched] == ["127.0.0.2"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(watched: list[Any], status: int) -> None:
    async with Sink() as sink, network("127.0.0.0/8") as http:
        sink.answers["/a"] = always(status, {"Location": "http://169.254.169.254/"})
        assert (await http(post(f"{sink.url}/a"))).status == status
    assert {address[0] for address in watched} == {"127.0.0.1"}


def test_there_are_enough_ways() -> None:
    tried = len(set(LITERALS)) + len(NAMES)
    print(
        f"{tried} ways to an address that is not public, each with http and, as literals, https: 0 connections"
    )
    assert tried >= 60
    assert sum(host.startswith("[") for host in LITERALS) >= 20, "IPv6 among them"
