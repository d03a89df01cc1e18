"""Apprise (https://appriseit.com) as a way out: one URL, one service, one try.

It brings its own connections, made by threads of its own, so what the hub holds everything else to is held here as far as
it goes: an address that a URL names is looked up and judged first, redirects and Apprise's own retries are off, and
timeouts are the hub's. A thread that waits cannot be ended, only outwaited. The library is an extra, imported at first use.
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from aiohttp.abc import AbstractResolver

from ralf_hub.connectors.base import NotSentError, UnknownAnswerError
from ralf_hub.connectors.outlets import Announcement
from ralf_hub.delivery import network
from ralf_hub.delivery.transport import CONNECT_TIMEOUT_S, GuardedResolver, RefusedAddressError

if TYPE_CHECKING:
    from apprise import NotifyBase

ENDS_BEFORE_S: Final = 1.0
"""How much earlier than the hub's own timeout a service's is, so that its verdict is still heard."""


class Notifier:
    """Sends announcements to services by their Apprise URLs."""

    def __init__(
        self, allowed_networks: Sequence[str] = (), *, resolver: AbstractResolver | None = None
    ) -> None:
        self._allowed = network.networks(allowed_networks)
        self._resolver = resolver

    async def service(self, url: str) -> str | None:
        """Return the name of the service that *url* is of; None where Apprise knows none."""
        made = await asyncio.to_thread(_service, url)  # the first time it reads all of Apprise
        return None if made is None else str(made.service_name)

    async def __call__(self, url: str, announcement: Announcement) -> bool:
        """Send *announcement* once; return whether Apprise says it was taken. NotSentError, UnknownAnswerError."""
        import apprise  # noqa: PLC0415 - an extra, and slow to import

        service = await asyncio.to_thread(_service, url)
        if service is None:
            raise NotSentError("Apprise knows no service by this URL")
        await self._guard(service)
        service.redirects = False
        service.retry = 0
        service.socket_connect_timeout = min(CONNECT_TIMEOUT_S, announcement.timeout_s)
        service.socket_read_timeout = max(announcement.timeout_s - ENDS_BEFORE_S, ENDS_BEFORE_S)
        sender = apprise.Apprise()
        sender.add(service)
        try:
            async with asyncio.timeout(announcement.timeout_s):
                taken = await sender.async_notify(
                    body=announcement.body,
                    title=announcement.title,
                    notify_type=announcement.kind,
                    body_format="text",
                )
        except TimeoutError:
            raise UnknownAnswerError(f"{service.service_name}: no answer in time") from None
        return bool(taken)

    async def _guard(self, service: "NotifyBase") -> None:
        """Refuse a service whose URL names a host that may not be reached. Others call their vendor's own."""
        host = getattr(service, "host", None)
        templates: Any = getattr(type(service), "templates", None) or ()
        if not host or not any("{host}" in template for template in templates):
            return
        guard = GuardedResolver(self._allowed, self._resolver)
        try:
            await guard.resolve(str(host).strip("[]"), 0, socket.AF_UNSPEC)
        except RefusedAddressError as error:
            raise NotSentError(str(error)) from None
        except OSError:
            raise NotSentError(f"{host}: the name cannot be resolved") from None
        finally:
            await guard.close()


def _service(url: str) -> "NotifyBase | None":
    import apprise  # noqa: PLC0415 - an extra, and slow to import

    return apprise.Apprise.instantiate(url, asset=apprise.AppriseAsset(http_redirects=False))
