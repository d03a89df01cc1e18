"""By what name a caller without a key is known. The rest of admission is tested through the door, in tests/api."""

import pytest

from ralf_hub.admission import who_limits


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_a_caller_cannot_escape_its_limit_by_another_address_of_its_network(address: str, name: str) -> None:
    assert who_limits(address) == name
