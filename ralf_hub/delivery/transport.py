"""The only way out: one aiohttp session with limits, timeouts, no redirects and a guard on where it may connect."""

import asyncio
import os
import socket
from collections.abc import Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from ralf_hub import __version__
from ralf_hub.connectors.base import HttpRequest, HttpResponse, NotSentError, UnknownAnswerError
from ralf_hub.delivery import network

RESPONSE_BYTES_MAX: Final = 64 * 1024
CONNECT_TIMEOUT_S: Final = 10.0
CONNECTIONS_MAX: Final = 512
KEEPALIVE_S: Final = 4.0
"""Shorter than the five seconds many servers keep an idle connection: one that is reused must not be closing."""
DNS_CACHE_S: Final = 60
USER_AGENT: Final = f"ralf-hub/{__version__}"
_SKIPPED_HEADERS: Final = frozenset({"Accept", "Accept-Encoding", "User-Agent", "Content-Type"})


class RefusedAddressError(OSError):
    """The name resolves to an address the hub may not reach."""


class GuardedResolver(AbstractResolver):
    """Resolves names and drops what may not be reached, so that no second look-up can be rebound in between."""

    def __init__(self, allowed: Sequence[network.Network], inner: AbstractResolver | None = None) -> None:
        self.allowed = tuple(allowed)
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of *host* that may be reached. RefusedAddressError when there is none."""
        found = await self._inner.resolve(host, port, family)
        usable = [entry for entry in found if network.is_allowed(entry["host"], self.allowed)]
        if not usable:
            raise RefusedAddressError(_refusal(host))
        return usable

    async def close(self) -> None:
        """Close the resolver inside."""
        await self._inner.close()


def _refusal(host: str) -> str:
    return (
        f"{host} is in a private or reserved network, which the hub does not call; "
        "[security] allowed_networks can allow it"
    )


class Transport:
    """Sends the requests connectors prepare. Use as an async context manager."""

    def __init__(
        self,
        *,
        allowed_networks: Sequence[str] = (),
        timeout_s: float = 30.0,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._resolver = GuardedResolver(network.networks(allowed_networks), resolver)
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._connector: aiohttp.TCPConnector | None = None

    def allow(self, networks: Sequence[str], timeout_s: float) -> None:
        """Take new settings; connections that are open stay open."""
        self._resolver.allowed = network.networks(networks)
        self._timeout_s = timeout_s
        if self._connector is not None:
            self._connector.clear_dns_cache()

    async def __aenter__(self) -> Self:
        self._connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            limit=CONNECTIONS_MAX,
            keepalive_timeout=KEEPALIVE_S,
            ttl_dns_cache=DNS_CACHE_S,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            skip_auto_headers=_SKIPPED_HEADERS,
            headers={"User-Agent": USER_AGENT},
            auto_decompress=True,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Send *request* once. NotSentError or UnknownAnswerError; neither ever shows the URL."""
        if self._session is None:
            raise NotSentError("the hub is stopping")
        url = _checked(request.url)
        host = url.host or ""
        if _is_address(host) and not network.is_allowed(host, self._resolver.allowed):
            raise NotSentError(_refusal(host))  # aiohttp asks no resolver for a literal address
        timeout = _timeout(request.timeout_s or self._timeout_s, min(CONNECT_TIMEOUT_S, self._timeout_s))
        try:
            async with self._session.request(
                request.method,
                url,
                data=request.body or None,
                headers=request.headers,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                body = await _read_some(response, request.response_bytes_max or RESPONSE_BYTES_MAX)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpResponse(response.status, headers, body)
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,
            RefusedAddressError,
        ) as error:
            raise NotSentError(_words(error, host)) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnknownAnswerError(_words(error, host)) from None


@lru_cache(maxsize=64)
def _timeout(total_s: float, connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, sock_connect=connect_s)


async def _read_some(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Read at most *bytes_max*; a longer body is cut and its connection given up."""
    body = bytearray()
    while len(body) < bytes_max and not response.content.at_eof():
        more = await response.content.read(bytes_max - len(body))
        if not more:
            break
        body += more
    if not response.content.at_eof():
        response.close()
    return bytes(body)


def _checked(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        raise NotSentError("the URL is not valid") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise NotSentError("the URL is not an http or https address")
    return url


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


_TEXTS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (aiohttp.ClientConnectorDNSError, "the name cannot be resolved"),
    (aiohttp.ClientConnectorCertificateError, "its TLS certificate is not valid"),
    (aiohttp.ClientSSLError, "no TLS connection"),
    (aiohttp.ConnectionTimeoutError, "no connection in time"),
    (aiohttp.ClientConnectorError, "no connection"),
    (asyncio.TimeoutError, "no answer in time"),
    (aiohttp.ServerDisconnectedError, "closed the connection without an answer"),
    (aiohttp.ClientOSError, "the connection broke"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.InvalidURL, "the URL is not valid"),
)


def _words(error: BaseException, host: str) -> str:
    """Say what went wrong without the URL: aiohttp's own texts may carry it."""
    cause: Any = error
    while cause is not None:
        if isinstance(cause, RefusedAddressError):
            return str(cause)
        cause = cause.__cause__ or (
            cause.os_error if isinstance(cause, aiohttp.ClientConnectorError) else None
        )
    if type(error) is aiohttp.ClientConnectorError:
        number = error.os_error.errno  # its text names the address, and not always the reason
        return f"{host}: no connection ({os.strerror(number)})" if number else f"{host}: no connection"
    text = next((text for kind, text in _TEXTS if isinstance(error, kind)), type(error).__name__)
    return f"{host}: {text}"
