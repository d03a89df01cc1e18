"""Ways out that are not HTTP, handed to connectors in their `ConnectorEnv`. Only `ralf_hub.delivery` opens sockets."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

Security: TypeAlias = Literal["starttls", "tls", "none"]
Stage: TypeAlias = Literal["connection", "login", "sender", "recipient", "content"]
"""How far a conversation with a mail server has come: what its reply is about."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Who takes mail, and who we are there."""

    host: str
    port: int
    security: Security = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 30.0
    """For each step of the conversation."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to one recipient; addresses are bare, `content` is the whole message as bytes."""

    sender: str
    recipient: str = ""
    """Without one the conversation ends before anything is sent: it only asks whether the sender is taken."""
    content: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class MailReply:
    """The server's last word: its code (https://www.rfc-editor.org/rfc/rfc5321#section-4.2) and what it is about."""

    code: int
    words: str
    stage: Stage


SendMail: TypeAlias = Callable[[MailServer, Mail], Awaitable[MailReply]]
"""Holds one conversation. Raises `NotSentError`, or `UnknownAnswerError` where the message may have been taken."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is told through Apprise, in plain text."""

    title: str
    body: str
    kind: Literal["info", "success", "warning", "failure"] = "info"
    timeout_s: float = 30.0


class Notify(Protocol):
    """The service behind an Apprise URL, which is a secret."""

    async def service(self, url: str) -> str | None:
        """Return the name of the service *url* is of; None where there is none."""

    async def __call__(self, url: str, announcement: Announcement) -> bool:
        """Send once; return whether it was taken. Raises `NotSentError` or `UnknownAnswerError`."""


@dataclass(frozen=True, slots=True)
class Outlets:
    """The ways out there are; None where nothing may be sent, as in tests and dry runs."""

    mail: SendMail | None = None
    notify: Notify | None = None
