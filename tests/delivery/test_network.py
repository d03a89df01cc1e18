import pytest

from ralf_hub.delivery.network import is_allowed, networks


def words(text: str) -> list[str]:
    return text.split()


NOT_PUBLIC = words("""
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.1.2.3
127.255.255.255 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.192 192.0.0.255 192.0.2.1 192.88.99.1
192.168.0.1 192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1
255.255.255.255
:: ::1 ::2 fe80::1 fe80::1%eth0 febf::1 fec0::1 feff::1 fc00::1 fd00::1 fd00:ec2::254 fdff:ffff::1 ff02::1 ff0e::1
100::1 200::1 1000::1 4000::1 8000::1 5f00::1 3fff::1 2001:db8::1 2001::1 2001:1::1 2001:1ff::1 2001:2::1 2001:10::1
::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::127.0.0.1 ::10.0.0.1
::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::7f00:1 64:ff9b::169.254.169.254 64:ff9b::192.168.1.1 64:ff9b:1::1
64:ff9b:1::10.0.0.1 2002:7f00:1:: 2002:a00:1:: 2002:a9fe:a9fe:: 2002:c0a8:101::1 2001:0:4136:e378:8000:63bf:f5ff:fffe
""")

PUBLIC = words("""
1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 169.253.0.1 172.15.0.1 172.32.0.1 192.167.0.1 191.255.255.255 192.0.1.1
192.169.0.1 223.255.255.254 2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450:4001::1 2001:200::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
""")

NO_ADDRESS = [
    "",
    "localhost",
    "2130706433",
    "0x7f000001",
    "127.1",
    "0177.0.0.1",
    "1.2.3.4.",
    "1.2.3.256",
    "[::1]",
    "::g",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert not is_allowed(address, ())


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_allowed(address: str) -> None:
    assert is_allowed(address, ())


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_plain_address_is_refused_even_when_all_is_allowed(text: str) -> None:
    assert not is_allowed(text, networks(["0.0.0.0/0", "::/0"]))


@pytest.mark.parametrize(
    ("allowed", "address", "passes"),
    [
        ("127.0.0.0/8", "127.0.0.1", True),
        ("127.0.0.0/8", "::ffff:127.0.0.1", True),
        ("127.0.0.0/8", "10.0.0.1", False),
        ("127.0.0.0/8", "::1", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("::1", "::1", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "8.8.8.8", True),
        ("10.1.2.3/8", "10.9.9.9", True),
    ],
)
def test_allowed_networks_add_to_what_is_public(allowed: str, address: str, passes: bool) -> None:  # noqa: FBT001
    assert is_allowed(address, networks([allowed])) is passes


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/40", "10.0.0"])
def test_what_is_no_network_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        networks([text])


def test_there_are_enough_cases() -> None:
    assert len(set(NOT_PUBLIC)) >= 60
