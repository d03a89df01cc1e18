"""Which addresses outgoing calls may reach. Pure; asked after the name was resolved, at the moment of connecting."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_TRANSLATED: Final = ip_network("64:ff9b::/96")
_UNICAST: Final = ip_network("2000::/3")
"""The only part of IPv6 that is given out for the public; Python's own list leaves holes around it."""
_NOT_PUBLIC: Final = tuple(
    ip_network(text)
    for text in (
        "100.64.0.0/10",  # shared by the customers of one provider
        "192.0.0.0/24",  # protocols' own; Oracle's clouds answer for metadata there, and not every Python knows it all
        "192.88.99.0/24",  # what relayed 6to4
        "2001::/23",  # protocols' own
        "3fff::/20",  # documentation
    )
)
"""Besides what Python calls private (https://www.iana.org/assignments/iana-ipv4-special-registry)."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return *texts* as networks. ValueError when one is none."""
    return tuple(ip_network(text, strict=False) for text in texts)


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address an IPv6 one stands for, else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address.teredo is not None:
            return address.teredo[1]
        if address in _TRANSLATED or (int(address) >> 32 == 0 and int(address) > 1):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@lru_cache(maxsize=1_024)
def is_allowed(host: str, allowed: tuple[Network, ...]) -> bool:
    """Return whether the address *host* is public, or inside one of the *allowed* networks.

    Loopback, private, link-local (the clouds' metadata services), shared, multicast and reserved ranges are
    not public, whichever way they are written (IPv4 inside IPv6 included).
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    inner = _inner(address)
    if any(candidate in network for candidate in (address, inner) for network in allowed):
        return True
    if isinstance(inner, IPv6Address) and inner not in _UNICAST:
        return False
    return (
        inner.is_global
        and not inner.is_multicast
        and not inner.is_reserved
        and not any(inner in network for network in _NOT_PUBLIC)
    )
