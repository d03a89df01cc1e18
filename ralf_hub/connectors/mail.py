"""E-mail by SMTP: plain text, one delivery per recipient, the mails of one task in one thread.

The message is the same on every try, its `Message-ID` too, by which many servers and programs show a repeat once. Mail
has no look-up: where the connection breaks after the message was sent, it is sent again.
https://www.rfc-editor.org/rfc/rfc5321, and RFC 3834 for `Auto-Submitted`, which keeps holiday replies away.
"""

from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, ClassVar, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.connectors.base import (
    Action,
    Check,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    CredentialsBroken,
    Delivered,
    Fact,
    Http,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.outlets import Mail, MailReply, MailServer, Security
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Worded, Wording
from ralf_hub.model import Delivery, Json
from ralf_hub.secrets import sha256_hex
from ralf_hub.texts import clean, cut, one_line

if find_spec("aiosmtplib") is None:  # said when the settings load, not when the first mail is due
    raise ModuleNotFoundError("the connector needs aiosmtplib", name="aiosmtplib")

SUBJECT_LENGTH_MAX: Final = 200
TEXT_LENGTH_MAX: Final = 20_000
WORDS_LENGTH_MAX: Final = 300
RECIPIENTS_MAX: Final = 50

_LOGIN_CODES: Final = frozenset({530, 534, 535, 538})
"""Replies about who we are, wherever in the conversation they come (RFC 4954, section 6)."""


class EmailSettings(ConnectorSettings):
    """A mail server, who writes, and to whom."""

    host: str = Field(min_length=1, description="The mail server.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port: 587, or 465 with `security` `tls`.")
    security: Security = Field(
        default="starttls",
        description="`starttls`, `tls` from the first byte, or `none`, which takes no password but on this machine.",
    )
    username: str = Field(default="", description="The account's name; empty: no login.")
    password: SecretStr | None = Field(default=None, description="The account's password.")
    sender: str = Field(description="Who writes: `ralf@example.org` or `RALF <ralf@example.org>`.")
    to: tuple[str, ...] = Field(min_length=1, max_length=RECIPIENTS_MAX, description="Who gets it.")
    subject_prefix: str = Field(
        default="[RALF]", max_length=60, description="What every subject begins with."
    )

    @field_validator("host", "username")
    @classmethod
    def _without_space(cls, value: str) -> str:
        value = value.strip()
        if not value.isprintable() or " " in value:
            raise ValueError("white space or control characters are in it")
        return value

    @field_validator("to", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("to")
    @classmethod
    def _recipients_are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_address(text).addr_spec for text in value))

    @field_validator("sender")
    @classmethod
    def _sender_is_an_address(cls, value: str) -> str:
        return str(_address(value))

    @model_validator(mode="after")
    def _login_is_whole_and_hidden(self) -> Self:
        if self.enabled and bool(self.username) != bool(self.secret_password):
            raise ValueError("a login needs both username and password")
        if self.username and self.security == "none" and not _is_here(self.host):
            raise ValueError(
                "without TLS the password could be read on the way: set security to starttls or tls"
            )
        return self

    @property
    def secret_password(self) -> str:
        """The password as it is sent; empty where there is none."""
        return "" if self.password is None else self.password.get_secret_value()


class EmailConnector(Connector):
    """Writes one mail per event and recipient."""

    service: ClassVar[str] = "email"
    settings_model: ClassVar[type[ConnectorSettings]] = EmailSettings
    default_events: ClassVar[tuple[str, ...]] = ("task_failed", "feature_delivered", "system_alert")
    tells_people: ClassVar[bool] = True

    def __init__(self, name: str, settings: EmailSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self._sender = _address(settings.sender)
        self._server = MailServer(
            settings.host,
            settings.port,
            settings.security,
            settings.username,
            settings.secret_password,
            env.timeout_s,
        )
        self._wording = Wording(settings.template, clean)

    def destinations(self) -> frozenset[str]:
        """Return all recipients' name: two instances that write to the same people are one place."""
        return frozenset({place(self.service, *sorted(address.lower() for address in self.settings.to))})

    # --- planning ---------------------------------------------------------------------------------

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return one mail per recipient, each in a lane of its own: who refuses mail holds up nobody else's."""
        worded = self._wording(fact)
        lane = _lane(fact)
        actions = []
        for recipient in self.settings.to:
            alone = len(self.settings.to) == 1 or lane is None
            payload = self._payload(fact, worded, recipient)
            actions.append(
                Action(f"mail:{recipient}", payload, lane=None if alone else f"{lane}>{recipient}")
            )
        return actions

    def _payload(self, fact: Fact, worded: Worded, recipient: str) -> dict[str, Json]:
        notice, event = worded.notice, fact.event
        subject = f"{self.settings.subject_prefix} {notice.title}"
        made: dict[str, Json] = {
            "to": recipient,
            "subject": cut(one_line(subject), SUBJECT_LENGTH_MAX),
            "text": _text(worded),
            "date_s": parse_iso(event.recorded_at or event.occurred_at) // MS_PER_S,
            "id": f"{event.id}.{sha256_hex(recipient)[:12]}",
        }
        lane = _lane(fact)
        if lane is not None:
            # Nobody has the mail of this name. What refers to it is shown as one conversation all the same.
            made["thread"] = f"ralf.{sha256_hex(f'{self.env.instance}/{lane}')[:24]}"
        if worded.template_error is not None:
            made["template_error"] = worded.template_error
        return made

    # --- sending ----------------------------------------------------------------------------------

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Hand the mail to the server."""
        del context
        if self.env.outlets.mail is None:
            return Retry("there is no way out for mail here")
        mail = Mail(self._sender.addr_spec, str(delivery.payload["to"]), self.message(delivery))
        return judge(await self.env.outlets.mail(self._server, mail))

    def message(self, delivery: Delivery) -> bytes:
        """Return the message; the same for every try."""
        payload = delivery.payload
        domain = self._sender.domain
        made = EmailMessage(policy=SMTP)
        made["From"] = self._sender
        made["To"] = payload["to"]
        made["Subject"] = one_line(str(payload["subject"]))
        made["Date"] = formatdate(payload["date_s"])
        made["Message-ID"] = f"<{payload['id']}@{domain}>"
        if "thread" in payload:
            made["In-Reply-To"] = made["References"] = f"<{payload['thread']}@{domain}>"
        made["Auto-Submitted"] = "auto-generated"
        made["X-RALF-Event-Id"] = one_line(delivery.event_id)
        made.set_content(str(payload["text"]), charset="utf-8", cte="quoted-printable")
        return made.as_bytes()

    # --- checking ---------------------------------------------------------------------------------

    async def validate(self, http: Http) -> Check:
        """Log in and ask whether the sender is taken; no mail is sent."""
        del http
        if self.env.outlets.mail is None:
            return Check(ok=False, message="there is no way out for mail here")
        outcome = judge(await self.env.outlets.mail(self._server, Mail(self._sender.addr_spec)))
        if not isinstance(outcome, Delivered):
            return Check(ok=False, message=outcome.reason)
        who = f"logged in as {self.settings.username}" if self.settings.username else "no login"
        return Check(ok=True, message=f"{self.settings.host} takes mail ({who}); none was sent")


def judge(reply: MailReply) -> Outcome:
    """Judge the server's reply: 4 is for later, 5 for never, unless it is about us and not about this mail."""
    code, said = reply.code, cut(one_line(reply.words), WORDS_LENGTH_MAX)
    told = f"({code}{f': {said}' if said else ''})"
    match code // 100:
        case 2:
            return Delivered(code, said)
        case 4:
            return Retry(f"the mail server asks to come back later {told}", code)
        case _ if reply.stage == "login" or code in _LOGIN_CODES:
            return CredentialsBroken(f"the mail server refuses the login {told}", code)
        case _ if reply.stage == "connection":
            return CredentialsBroken(f"the mail server does not serve us {told}", code)
        case _:
            return Rejected(f"the mail server refuses the {reply.stage} {told}", code)


def _text(worded: Worded) -> str:
    """Return the mail's text: nothing in it acts, since it is plain."""
    notice = worded.notice
    if worded.text is not None and worded.text.strip():
        parts = [cut(clean(worded.text).strip(), TEXT_LENGTH_MAX)]
    else:
        parts = [notice.title, notice.text, "\n".join(f"{name}: {value}" for name, value in notice.fields)]
    if worded.template_error is not None:
        parts.append(f"The template failed ({worded.template_error}); this is the default wording.")
    small = [notice.url or "", notice.event_id]
    parts.append("-- \n" + "\n".join(filter(None, small)))
    return "\n\n".join(filter(None, parts)) + "\n"


def _lane(fact: Fact) -> str | None:
    """Return what the mails of one conversation are about."""
    if fact.event.task_id is not None:
        return fact.event.task_id
    return None if fact.feature is None else f"feature:{fact.feature.id}"


def _address(text: str) -> Address:
    """Return *text* as an address. ValueError where mail cannot go there."""
    if not text.isprintable():
        raise ValueError("an address has a line break or control character in it")
    name, spec = parseaddr(text.strip())
    try:
        made = Address(name, addr_spec=spec)
    except (ValueError, IndexError):
        raise ValueError(f"{cut(text, 60)!r} is not an e-mail address") from None
    if not spec.isascii() or not made.username or not made.domain or len(spec) > 254:  # noqa: PLR2004 - RFC 5321's limit
        raise ValueError(f"{cut(text, 60)!r} is not an e-mail address in ASCII: write name@example.org")
    return made


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
