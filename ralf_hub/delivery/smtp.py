"""The conversation with a mail server, under the same guard on addresses as every other way out.

aiosmtplib is an extra (`pip install 'ralf-hub[email]'`) and imported when the first mail is sent.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from aiohttp.abc import AbstractResolver

from ralf_hub.connectors.base import NotSentError, UnknownAnswerError
from ralf_hub.connectors.outlets import Mail, MailReply, MailServer, Stage
from ralf_hub.delivery import network
from ralf_hub.delivery.transport import CONNECT_TIMEOUT_S, GuardedResolver, RefusedAddressError

if TYPE_CHECKING:
    import aiosmtplib

QUIT_TIMEOUT_S: Final = 2.0
REFUSED_FROM: Final = 400
NOT_OFFERED: Final = 502
"""Stands for a reply where the server does not offer what the settings ask for."""


class Mailer:
    """Hands mail to servers that may be reached. *tls* is how their certificates are checked, for tests."""

    def __init__(
        self,
        allowed_networks: Sequence[str] = (),
        *,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allowed = network.networks(allowed_networks)
        self._resolver = resolver
        self._given_tls = tls

    async def __call__(self, server: MailServer, mail: Mail) -> MailReply:
        """Hand over *mail* and return the server's verdict. NotSentError, UnknownAnswerError."""
        import aiosmtplib  # noqa: PLC0415 - an extra, and only mail needs it

        sock = await self._connection(server)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            sock=sock,
            use_tls=server.security == "tls",
            start_tls=False,  # done in the open below, where a server without it is told apart
            tls_context=None if server.security == "none" else self._tls,
            local_hostname=mail.sender.rpartition("@")[2],
            timeout=server.timeout_s,
        )
        conversation = _Conversation(client, server, mail)
        try:
            return await conversation.hold()
        except aiosmtplib.SMTPResponseException as error:
            if error.code >= REFUSED_FROM:
                return MailReply(error.code, error.message, conversation.stage)
            raise _unfinished(conversation.stage, f"{server.host}: no mail server answers there") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise _unfinished(conversation.stage, f"{server.host}: {_words(error)}") from None
        finally:
            client.close()  # and with it the socket, which is the connection's since it began

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()

    async def _connection(self, server: MailServer) -> socket.socket:
        """Return a connected socket to an address that may be reached. It is chosen once: no name is asked twice."""
        guard = GuardedResolver(self._allowed, self._resolver)
        try:
            found = await guard.resolve(server.host, server.port, socket.AF_UNSPEC)
        except RefusedAddressError as error:
            raise NotSentError(str(error)) from None
        except OSError:
            raise NotSentError(f"{server.host}: the name cannot be resolved") from None
        finally:
            await guard.close()
        problem = "no connection"
        for entry in found:
            sock = socket.socket(entry["family"], socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(min(CONNECT_TIMEOUT_S, server.timeout_s)):
                    await asyncio.get_running_loop().sock_connect(sock, (entry["host"], server.port))
            except TimeoutError:
                problem = "no connection in time"
            except OSError as error:
                problem = f"no connection ({os.strerror(error.errno)})" if error.errno else "no connection"
            except BaseException:
                sock.close()
                raise
            else:
                return sock
            sock.close()
        raise NotSentError(f"{server.host}: {problem}")


class _Conversation:
    """One conversation; `stage` says how far it has come."""

    def __init__(self, client: "aiosmtplib.SMTP", server: MailServer, mail: Mail) -> None:
        self._client = client
        self._server = server
        self._mail = mail
        self.stage: Stage = "connection"

    async def hold(self) -> MailReply:
        client, server, mail = self._client, self._server, self._mail
        await client.connect()
        await client.ehlo()
        if server.security == "starttls":
            if not client.supports_extension("starttls"):
                return MailReply(NOT_OFFERED, "it offers no STARTTLS", self.stage)
            await client.starttls()
            await client.ehlo()
        self.stage = "login"
        if server.username:
            if not client.supports_extension("auth"):
                return MailReply(NOT_OFFERED, "it offers no login", self.stage)
            await client.login(server.username, server.password)
        self.stage = "sender"
        size = [f"SIZE={len(mail.content)}"] if client.supports_extension("size") and mail.content else []
        taken = await client.mail(mail.sender, options=size)
        if not mail.recipient:
            await self._leave()
            return MailReply(taken.code, taken.message, self.stage)
        self.stage = "recipient"
        await client.rcpt(mail.recipient)
        self.stage = "content"
        taken = await client.data(mail.content)
        await self._leave()
        return MailReply(taken.code, taken.message, self.stage)

    async def _leave(self) -> None:
        """Say goodbye; the verdict stands whatever comes of it."""
        with contextlib.suppress(Exception):
            await self._client.quit(timeout=QUIT_TIMEOUT_S)


def _unfinished(stage: Stage, words: str) -> NotSentError | UnknownAnswerError:
    """Return what a conversation without a verdict leaves: once the message is on its way, nobody knows."""
    return UnknownAnswerError(words) if stage == "content" else NotSentError(words)


def _words(error: Exception) -> str:
    """Say what went wrong in our own words: the library's may repeat what the server or the settings say."""
    if isinstance(error, ssl.SSLCertVerificationError) or isinstance(
        error.__cause__, ssl.SSLCertVerificationError
    ):
        return "its TLS certificate is not valid"
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        return "no TLS connection"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if "Disconnected" in type(error).__name__ or isinstance(error, ConnectionError):
        return "the connection broke"
    return type(error).__name__
