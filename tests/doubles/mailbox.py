"""A mail server on loopback: aiosmtpd, the real protocol, with faults at every step of the conversation."""

import asyncio
import ssl
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "ralf", "mail-password-0123"
DROP = "drop"
"""Instead of a reply: end the connection without one."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One mail as it was taken."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=default)  # type: ignore[arg-type, return-value]


class Mailbox:
    """The server and what it was given. `replies` are used up one by one, by step: MAIL, RCPT, DATA."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, auth: bool = False) -> None:
        self.taken: list[Taken] = []
        self.refused: dict[str, str] = {}
        """What is said to RCPT for a recipient, every time."""
        self.replies: dict[str, list[str]] = {}
        self.conversations = 0
        self.port = 0
        self._tls = tls
        self._auth = auth
        self._server: asyncio.Server | None = None
        self._open: list[SMTP] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._conversation, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for protocol in self._open:
            if protocol.transport is not None:
                protocol.transport.abort()
            task = protocol._handler_coroutine
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait({task})
        await self._server.wait_closed()

    def _conversation(self) -> SMTP:
        self.conversations += 1
        more: dict[str, Any] = {}
        if self._auth:
            more = {"authenticator": self._authenticate, "auth_require_tls": False}
        made = SMTP(
            self,
            hostname="mail.test",
            tls_context=self._tls,
            require_starttls=self._tls is not None,
            loop=asyncio.get_running_loop(),
            **more,
        )
        self._open.append(made)
        return made

    @staticmethod
    def _authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        good = isinstance(given, LoginPassword) and (given.login, given.password) == (
            USER.encode(), PASSWORD.encode(),
        )  # fmt: skip
        return AuthResult(success=good, handled=False)

    def _next(self, step: str, server: SMTP) -> str | None:
        waiting = self.replies.get(step)
        reply = waiting.pop(0) if waiting else None
        if reply == DROP and server.transport is not None:
            server.transport.abort()
        return reply

    # --- aiosmtpd asks, by these names --------------------------------------------------------------

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self._auth and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        return self._next("MAIL", server) or "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        reply = self.refused.get(address) or self._next("RCPT", server)
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        reply = self._next("DATA", server)
        if reply is None or reply == DROP:
            content = envelope.content if isinstance(envelope.content, bytes) else b""
            self.taken.append(Taken(envelope.mail_from or "", tuple(envelope.rcpt_tos), content))
        return reply or "250 Queued"
