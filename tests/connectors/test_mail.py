"""E-mail: what is written, to whom, what the server's replies come to, and that no private server is reached."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from ralf_hub.connectors.base import (
    Action,
    ConnectorEnv,
    CredentialsBroken,
    Delivered,
    Fact,
    NotSentError,
    Outcome,
    Rejected,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.connectors.mail import EmailConnector, EmailSettings, judge
from ralf_hub.connectors.outlets import MailReply, Outlets, Stage
from ralf_hub.delivery.smtp import Mailer
from ralf_hub.model import Delivery, Feature
from tests.connectors.helpers import CLOCK, HUB, TASK, delivery, fact, nowhere
from tests.delivery.house import House
from tests.doubles.mailbox import DROP, PASSWORD, USER, Mailbox
from tests.support import SettableClock, eventually, rows

LOOPBACK = ("127.0.0.0/8",)
CONTEXT = SendContext(nowhere, CLOCK)
TO = ("ops@example.org", "lead@example.org")


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with Mailbox() as double:
        yield double


def made(port: int = 587, mailer: Mailer | None = None, **more: Any) -> EmailConnector:
    given = {"host": "127.0.0.1", "port": port, "security": "none", "sender": "RALF <ralf@example.org>"}
    settings = EmailSettings(**{**given, "to": TO, **more})  # type: ignore[arg-type]
    outlets = Outlets(mail=mailer or Mailer(LOOPBACK))
    return EmailConnector("email", settings, ConnectorEnv(CLOCK, HUB, timeout_s=2.0, outlets=outlets))


def row(one: EmailConnector, about: Fact | None = None, number: int = 0) -> Delivery:
    about = about or fact("task_failed", {"error": "exit 1"})
    return delivery(one.plan(about)[number], about, number + 1)


async def sent(one: EmailConnector, **more: Any) -> Outcome:
    return await one.send(row(one, **more), CONTEXT)


# --- what is written ------------------------------------------------------------------------------


def test_one_delivery_per_recipient_in_lanes_of_their_own() -> None:
    actions = made().plan(fact("task_failed"))
    assert [action.payload["to"] for action in actions] == list(TO)
    assert [action.name for action in actions] == [f"mail:{to}" for to in TO]
    assert [action.lane for action in actions] == [f"TASK-7>{to}" for to in TO]
    (alone,) = made(to="ops@example.org").plan(fact("task_failed"))
    assert alone.lane is None
    feature = fact("feature_delivered", task=None, feature=Feature("F-1", "Login"))
    assert made().plan(feature)[0].lane == "feature:F-1>ops@example.org"


async def test_a_mail_as_it_arrives(mailbox: Mailbox) -> None:
    one = made(mailbox.port)
    task = replace(TASK, title="Grüße\r\nBcc: evil@example.org")
    outcome = await sent(one, about=fact("task_failed", {"error": "exit 1\n.\n.. ключ"}, task))
    assert outcome == Delivered(250, "Queued")
    (taken,) = mailbox.taken
    assert (taken.sender, taken.recipients) == ("ralf@example.org", ("ops@example.org",))
    assert taken.content.isascii()
    mail = taken.message
    assert mail["Subject"] == "[RALF] Task failed: Grüße Bcc: evil@example.org"
    assert mail["Bcc"] is None
    assert (mail["From"], mail["To"]) == ("RALF <ralf@example.org>", "ops@example.org")
    assert mail["Date"] == "Sun, 01 Feb 2026 16:01:00 -0000"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-RALF-Event-Id"] == "evt_0123456789abcdef"
    assert mail["Message-ID"].startswith("<evt_0123456789abcdef.")
    assert mail["Message-ID"].endswith("@example.org>")
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == (
        "Task failed: Grüße Bcc: evil@example.org\n\nexit 1\n.\n.. ключ\n\nTask: TASK-7\nPriority: high\n\n"
        f"-- \n{HUB}/#/tasks/TASK-7\nevt_0123456789abcdef\n"
    )


async def test_a_repeat_is_the_same_mail_and_a_task_is_one_conversation(mailbox: Mailbox) -> None:
    one = made(mailbox.port)
    first, second = row(one), row(one, fact("task_completed"))
    for each in (first, replace(first, first_attempt_at="x", attempts=3), second):
        await one.send(each, CONTEXT)
    contents = [taken.content for taken in mailbox.taken]
    assert contents[0] == contents[1]
    mails: list[EmailMessage] = [taken.message for taken in mailbox.taken]
    assert len({mail["References"] for mail in mails}) == 1
    assert mails[0]["In-Reply-To"] == mails[0]["References"]
    other = one.plan(fact("task_failed", task=replace(TASK, id="TASK-8")))[0].payload
    assert other["thread"] != first.payload["thread"]
    assert one.plan(fact("task_failed"))[1].payload["id"] != first.payload["id"]


def test_long_texts_are_cut_and_lead_to_the_task() -> None:
    about = fact("task_failed", {"error": "x" * 90_000}, replace(TASK, title="t" * 9000))
    (payload, _) = (action.payload for action in made(template="{{ event.data.error }}").plan(about))
    assert len(payload["subject"]) <= 200
    assert len(payload["text"]) < 20_200
    assert f"{HUB}/#/tasks/TASK-7" in payload["text"]


def test_a_template_that_fails_is_told() -> None:
    payload = made(template="{{ event.data.missing }}").plan(fact("task_failed"))[0].payload
    assert "The template failed" in payload["text"]
    assert "missing" in payload["template_error"]


# --- what the replies come to ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "stage", "kind", "words"),
    [
        (250, "content", Delivered, ""),
        (450, "recipient", Retry, "later (450: said)"),
        (451, "content", Retry, "later"),
        (421, "connection", Retry, "later"),
        (454, "login", Retry, "later"),
        (550, "recipient", Rejected, "refuses the recipient (550: said)"),
        (552, "content", Rejected, "refuses the content"),
        (554, "content", Rejected, "refuses the content"),
        (550, "sender", Rejected, "refuses the sender"),
        (535, "login", CredentialsBroken, "refuses the login (535: said)"),
        (530, "sender", CredentialsBroken, "refuses the login"),
        (502, "login", CredentialsBroken, "refuses the login"),
        (554, "connection", CredentialsBroken, "does not serve us"),
    ],
)
def test_replies(code: int, stage: Stage, kind: type, words: str) -> None:
    outcome = judge(MailReply(code, "said", stage))
    assert type(outcome) is kind
    assert words in getattr(outcome, "reason", "")


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    ("reply", "kind"), [("450 later", Retry), ("550 never", Rejected), ("535 who are you", CredentialsBroken)]
)
async def test_a_refusal_at_every_step(mailbox: Mailbox, step: str, reply: str, kind: type) -> None:
    mailbox.replies[step] = [reply]
    outcome = await sent(made(mailbox.port))
    assert type(outcome) is kind
    assert mailbox.taken == []
    assert isinstance(await sent(made(mailbox.port)), Delivered)


async def test_one_refused_recipient_is_the_trouble_of_that_one_alone(mailbox: Mailbox) -> None:
    mailbox.refused["ops@example.org"] = "550 no such user"
    one = made(mailbox.port)
    assert isinstance(await sent(one), Rejected)
    assert isinstance(await sent(one, number=1), Delivered)
    assert [taken.recipients for taken in mailbox.taken] == [("lead@example.org",)]


async def test_a_connection_lost_after_the_message_leaves_it_open_and_before_it_does_not(
    mailbox: Mailbox,
) -> None:
    one = made(mailbox.port)
    for step in ("MAIL", "RCPT"):
        mailbox.replies[step] = [DROP]
        with pytest.raises(NotSentError, match=r"127\.0\.0\.1: the connection broke"):
            await sent(one)
    mailbox.replies["DATA"] = [DROP]
    with pytest.raises(UnknownAnswerError, match=r"127\.0\.0\.1: the connection broke"):
        await sent(one)
    assert len(mailbox.taken) == 1


async def test_nobody_there() -> None:
    async with Mailbox() as gone:
        port = gone.port
    with pytest.raises(NotSentError, match="no connection"):
        await sent(made(port))


async def test_a_server_that_is_none_is_not_believed() -> None:
    import asyncio  # noqa: PLC0415 - only this test speaks nonsense by hand

    async def nonsense(reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NotSentError):
            await sent(made(server.sockets[0].getsockname()[1]))


# --- login and TLS --------------------------------------------------------------------------------


async def test_a_login(mailbox: Mailbox) -> None:
    async with Mailbox(auth=True) as closed:
        good = made(closed.port, username=USER, password=PASSWORD)
        assert isinstance(await sent(good), Delivered)
        check = await good.validate(nowhere)
        assert (check.ok, check.message) == (True, "127.0.0.1 takes mail (logged in as ralf); none was sent")
        for one in (made(closed.port, username=USER, password="wrong-password"), made(closed.port)):
            outcome = await sent(one)
            assert isinstance(outcome, CredentialsBroken)
            assert not (await one.validate(nowhere)).ok
        assert len(closed.taken) == 1
    # a server that knows no login
    assert isinstance(await sent(made(mailbox.port, username=USER, password=PASSWORD)), CredentialsBroken)


async def test_tls_is_asked_for_checked_and_never_done_without(mailbox: Mailbox, tmp_path: Path) -> None:
    server, client = certificates(tmp_path)
    async with Mailbox(tls=server, auth=True) as safe:
        given = {"security": "starttls", "username": USER, "password": PASSWORD}
        assert isinstance(await sent(made(safe.port, Mailer(LOOPBACK, tls=client), **given)), Delivered)
        with pytest.raises(NotSentError, match="certificate is not valid"):
            await sent(made(safe.port, **given))
    outcome = await sent(made(mailbox.port, security="starttls"))
    assert isinstance(outcome, CredentialsBroken)
    assert mailbox.taken == []
    with pytest.raises(NotSentError, match="no TLS connection"):
        await sent(made(mailbox.port, security="tls"))


def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context for 127.0.0.1 and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(public + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=public.decode())


# --- the guard on addresses -----------------------------------------------------------------------


class Names(AbstractResolver):
    """Resolves every name to one address."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        del family
        found = ResolveResult(hostname=host, host=self.address, port=port, family=2, proto=6, flags=0)
        return [found]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1"])
async def test_private_mail_servers_are_not_reached_unless_allowed(mailbox: Mailbox, host: str) -> None:
    one = made(mailbox.port, Mailer(), host=host)
    with pytest.raises(NotSentError, match="private or reserved network"):
        await sent(one)
    assert mailbox.conversations == 0


async def test_a_name_is_judged_by_where_it_leads(mailbox: Mailbox) -> None:
    names = Names("127.0.0.1")
    with pytest.raises(NotSentError, match="private or reserved network"):
        await sent(made(mailbox.port, Mailer(resolver=names), host="mail.example.org"))
    assert mailbox.conversations == 0
    one = made(mailbox.port, Mailer(LOOPBACK, resolver=names), host="mail.example.org")
    assert isinstance(await sent(one), Delivered)


# --- on real inner rooms --------------------------------------------------------------------------


async def test_a_refusal_of_one_recipient_holds_up_nobody(
    mailbox: Mailbox, db_path: Path, clock: SettableClock
) -> None:
    mailbox.refused["ops@example.org"] = "450 mailbox is full"
    async with House(db_path, clock.clock) as house:
        house.connectors["email"] = made(mailbox.port)
        await house.start()
        for kind in ("task_failed", "feature_delivered", "task_failed"):
            await house.intake.accept(lambda ledger, kind=kind: ledger.record(kind, source="t", task=TASK))  # type: ignore[misc]
        await eventually(lambda: len(mailbox.taken) == 3)
        await eventually(lambda: house.states() == {"pending": 3, "delivered": 3})
        outcomes = rows(db_path, "SELECT DISTINCT outcome FROM attempts")
    assert sorted(outcomes) == [("delivered",), ("retry",)]


async def test_a_mail_whose_answer_was_lost_goes_again_as_the_same_mail(
    mailbox: Mailbox, db_path: Path, clock: SettableClock
) -> None:
    mailbox.replies["DATA"] = [DROP]
    async with House(db_path, clock.clock) as house:
        house.connectors["email"] = made(mailbox.port, to="ops@example.org")
        await house.start()
        await house.intake.accept(lambda ledger: ledger.record("task_failed", source="t", task=TASK))
        await eventually(lambda: rows(db_path, "SELECT outcome FROM attempts") == [("ambiguous",)])
        clock.advance(60)
        house.dispatcher.wake()
        await eventually(lambda: house.states() == {"delivered": 1})
    first, second = mailbox.taken
    assert first == second


# --- settings and checks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sender": "nobody"}, "not an e-mail address"),
        ({"sender": "a@b\r\nBcc: c@d"}, "line break"),
        ({"to": []}, "at least 1"),
        ({"to": ["ops@example.org", "@"]}, "not an e-mail address"),
        ({"to": "ops@bücher.example"}, "in ASCII"),
        ({"host": "a b"}, "white space"),
        ({"port": 70_000}, "65535"),
        ({"username": "ralf"}, "both username and password"),
        ({"password": "secret-123"}, "both username and password"),
        (
            {"host": "mail.example.org", "username": "ralf", "password": "secret-123"},
            "without TLS the password",
        ),
    ],
)
def test_settings_that_cannot_work(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        made(**given)
    assert "secret-123" not in str(caught.value)


def test_several_recipients_in_one_line_and_none_twice() -> None:
    settings = made(to="ops@example.org, Lead <lead@example.org>, ops@example.org").settings
    assert settings.to == TO


async def test_without_a_way_out_nothing_is_lost() -> None:
    settings = made().settings
    blind = EmailConnector("email", settings, ConnectorEnv(CLOCK))
    assert isinstance(await sent(blind), Retry)
    assert not (await blind.validate(nowhere)).ok


async def test_the_check_sends_nothing(mailbox: Mailbox) -> None:
    check = await made(mailbox.port).validate(nowhere)
    assert (check.ok, check.message) == (True, "127.0.0.1 takes mail (no login); none was sent")
    mailbox.replies["MAIL"] = ["550 not you"]
    assert not (await made(mailbox.port).validate(nowhere)).ok
    assert mailbox.taken == []


def test_the_password_is_nowhere_in_sight() -> None:
    one = made(username=USER, password=PASSWORD)
    action: Action = one.plan(fact("task_failed"))[0]
    shown = repr(one) + repr(one.settings) + repr(one._server) + str(action) + str(one.destinations())
    assert PASSWORD not in shown
    assert one.settings.secret_values() == [PASSWORD]
