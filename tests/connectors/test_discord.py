"""Discord: what is posted by webhook and bot, how a message is found again, and what Discord's answers come to."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ralf_hub.connectors.base import (
    Ambiguous,
    ConnectorEnv,
    CredentialsBroken,
    Delivered,
    Fact,
    Http,
    HttpResponse,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.discord import DiscordConnector, DiscordSettings
from ralf_hub.connectors.discord_answers import judge
from ralf_hub.connectors.discord_layout import buttons, cut_markup, escape, message, units
from ralf_hub.connectors.wording import Wording
from ralf_hub.model import Link
from ralf_hub.secrets import Redactor
from tests.connectors.helpers import (
    CLOCK,
    HUB,
    NOW_MS,
    TASK,
    Sender,
    connector,
    delivery,
    fact,
    nowhere,
    planned,
)
from tests.doubles.contract import needs_specs
from tests.doubles.discord import (
    CHANNEL,
    CONTRACT,
    TOKEN,
    WEBHOOK_ID,
    WEBHOOK_TOKEN,
    Discord,
    check_embed,
)
from tests.doubles.server import Fault, Seen
from tests.support import SettableClock

DOUBLED = "{{ event.data.error }}{{ event.data.error }}"
HOOK = f"https://discord.com/api/webhooks/{WEBHOOK_ID}/{WEBHOOK_TOKEN}"


@pytest.fixture
async def discord(clock: SettableClock) -> AsyncIterator[Discord]:
    clock.ms = NOW_MS
    async with Discord(now=lambda: clock.ms) as double:
        yield double


def by_webhook(double: Discord, **more: Any) -> Any:
    return connector("discord", webhook_url=double.webhook_url, **more)


def by_bot(double: Discord, **more: Any) -> Any:
    given = {"bot_token": TOKEN, "channel": CHANNEL, "base_url": double.api_url, **more}
    return connector("discord", **given)


def numbered(about: Fact, number: int) -> Fact:
    """Return *about* as an event of its own."""
    return replace(about, event=replace(about.event, id=f"evt_{number:020}"))


# --- webhook --------------------------------------------------------------------------------------


async def test_a_webhook_posts_the_notice(discord: Discord, http: Http) -> None:
    made = by_webhook(discord, username="RALF")
    outcome = await Sender(made, http).send(planned(made, fact("task_failed", {"error": "exit 1"})))
    assert isinstance(outcome, Delivered)
    assert outcome.link is None
    (posted,) = discord.messages
    assert posted.embed == {
        "title": "Task failed: Fix the login",
        "description": "exit 1",
        "url": f"{HUB}/#/tasks/TASK-7",
        "color": 0xDA373C,
        "timestamp": "2026-02-01T16:01:00.000Z",
        "footer": {"text": "evt_0123456789abcdef"},
        "fields": [
            {"name": "Task", "value": "TASK-7", "inline": True},
            {"name": "Priority", "value": "high", "inline": True},
        ],
    }
    assert posted.given["username"] == "RALF"
    assert discord.seen[0].query == {"wait": "true"}
    assert discord.seen[0].path.startswith("/api/v10/webhooks/")


async def test_a_thread_in_the_webhooks_address_is_kept(discord: Discord, http: Http) -> None:
    made = connector("discord", webhook_url=f"{discord.webhook_url}?thread_id=77&wait=false")
    await Sender(made, http).send(planned(made, fact()))
    assert discord.seen[0].query == {"thread_id": "77", "wait": "true"}


def test_one_webhook_is_one_place_however_its_address_is_written() -> None:
    older = HOOK.replace("discord.com/api", "discordapp.com/api/v8")
    first, second = (connector("discord", webhook_url=url).destinations() for url in (HOOK, f"{older}/"))
    assert first == second
    assert connector("discord", webhook_url=f"{HOOK}?thread_id=7").destinations() != first
    assert WEBHOOK_TOKEN not in str(first)


async def test_a_deleted_webhook_says_what_to_do(discord: Discord, http: Http) -> None:
    discord.place.has_webhook = False
    made = by_webhook(discord)
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, CredentialsBroken)
    assert (
        outcome.reason
        == "Discord says Unknown Webhook (404, code 10015): the webhook was deleted: make a new one"
    )


# --- bot ------------------------------------------------------------------------------------------


async def test_a_tasks_notices_answer_its_first_one(discord: Discord, http: Http) -> None:
    sender = Sender(by_bot(discord), http)
    first = numbered(fact("task_created"), 1)
    (action,) = sender.made.plan(first)
    assert action.marker == first.event.id
    outcome = await sender.send(delivery(action, first, 1))
    root = discord.messages[0]
    assert isinstance(outcome, Delivered)
    assert outcome.link == Link(
        "discord", root.id, CHANNEL, state="linked", marker=first.event.id, entity_id="TASK-7"
    )
    for number, kind in enumerate(("task_started", "task_failed", "task_completed"), 2):
        about = numbered(fact(kind, link=sender.link), number)
        (action,) = sender.made.plan(about)
        assert action.marker is None
        later = await sender.send(delivery(action, about, number))
        assert isinstance(later, Delivered)
        assert later.link is None
    assert [posted.answers for posted in discord.messages] == [None, root.id, root.id, root.id]


async def test_without_threads_and_without_a_task_nothing_is_answered(discord: Discord, http: Http) -> None:
    for made, about in (
        (by_bot(discord, thread=False), fact()),
        (by_bot(discord), fact("system_alert", {"code": "x", "message": "Disk full"}, task=None)),
    ):
        (action,) = made.plan(about)
        assert action.marker is None
        outcome = await Sender(made, http).send(planned(made, about))
        assert isinstance(outcome, Delivered)
        assert outcome.link is None
        discord.messages.clear()


async def test_a_first_message_that_is_gone_or_elsewhere_is_not_answered(
    discord: Discord, http: Http
) -> None:
    made = by_bot(discord)
    for link in (
        Link("discord", "1234", CHANNEL, state="linked", entity_id=TASK.id),
        Link("discord", "1234", "99", state="linked", entity_id=TASK.id),
    ):
        sender = Sender(made, http)
        sender.link = link
        assert isinstance(await sender.send(planned(made, fact()), again=False), Delivered)
    assert {posted.answers for posted in discord.messages} == {None}


async def test_a_bot_that_may_not_answer_writes_below(discord: Discord, http: Http) -> None:
    sender = Sender(by_bot(discord), http)
    await sender.send(planned(sender.made, numbered(fact("task_created"), 1), 1))
    discord.place.answerable = False
    outcome = await sender.send(planned(sender.made, numbered(fact("task_failed"), 2), 2))
    assert isinstance(outcome, Delivered)
    assert [posted.answers for posted in discord.messages] == [None, None]


async def test_a_repeat_within_minutes_is_one_message_by_its_nonce(discord: Discord, http: Http) -> None:
    made = by_bot(discord)
    row = planned(made, fact())
    for _ in range(2):
        assert isinstance(await Sender(made, http).send(row), Delivered)
    assert len(discord.messages) == 1
    assert len(discord.seen[0].json["nonce"]) == 25
    other = DiscordConnector("other", made.settings, ConnectorEnv(clock=CLOCK, hub_url=HUB))
    await Sender(other, http).send(row)
    assert len(discord.messages) == 2


async def test_a_later_repeat_is_found_in_the_channel(
    discord: Discord, http: Http, clock: SettableClock
) -> None:
    made = by_bot(discord)
    row = planned(made, fact())
    await Sender(made, http).send(row)
    clock.advance(3600)
    for number in range(120):  # what others wrote since
        discord._keep({"embeds": [{"title": str(number)}], "allowed_mentions": {"parse": []}}, None)
    sender = Sender(made, http)
    outcome = await sender.send(row, again=True)
    assert isinstance(outcome, Delivered)
    assert outcome.response.startswith("found: an earlier try had posted it")
    assert sender.link is not None
    assert sender.link.external_id == discord.messages[0].id
    assert len(discord.calls("/messages")) == 2


async def test_it_is_looked_for_page_by_page(discord: Discord, http: Http, clock: SettableClock) -> None:
    made = by_bot(discord)
    for number in range(150):
        discord._keep({"embeds": [{"title": str(number)}], "allowed_mentions": {"parse": []}}, None)
    row = planned(made, fact())
    await Sender(made, http).send(row)
    clock.advance(3600)
    assert isinstance(await Sender(made, http).send(row, again=True), Delivered)
    assert len(discord.messages) == 151


async def test_what_a_webhook_told_of_the_same_event_is_not_the_bots(discord: Discord, http: Http) -> None:
    hook, bot = by_webhook(discord), by_bot(discord)
    await Sender(hook, http).send(planned(hook, fact()))
    assert isinstance(await Sender(bot, http).send(planned(bot, fact()), again=True), Delivered)
    assert [posted.webhook_id for posted in discord.messages] == [WEBHOOK_ID, None]


async def test_a_channel_that_cannot_be_read_is_posted_to(discord: Discord, http: Http) -> None:
    discord.place.readable = False
    made = by_bot(discord)
    assert isinstance(await Sender(made, http).send(planned(made, fact()), again=True), Delivered)
    assert len(discord.messages) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("/messages", method="GET", status=503), "ambiguous"),
        (Fault("/messages", method="GET", status=429, body='{"retry_after": 2.5}'), "retry"),
        (
            Fault("/messages", method="GET", status=401, body='{"code":0,"message":"401"}'),
            "credentials_broken",
        ),
    ],
)
async def test_what_stands_in_the_way_of_looking_is_waited_for(
    discord: Discord, http: Http, fault: Fault, kind: str
) -> None:
    discord.faults.append(fault)
    made = by_bot(discord)
    outcome = await Sender(made, http).send(planned(made, fact()), again=True)
    assert outcome.name == kind
    assert discord.messages == []


async def test_an_unknown_channel_dies_and_names_it(discord: Discord, http: Http) -> None:
    made = by_bot(discord, channel="42")
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, Rejected)
    assert "Unknown Channel" in outcome.reason
    assert outcome.reason.endswith(f"(channel: 42); the bot sees '#ralf-updates ({CHANNEL})'")


@pytest.mark.parametrize("how", [{"status": 403}, {"drop": "before"}, {"status": 200, "body": "{}"}])
async def test_an_unknown_channel_dies_all_the_same_where_nothing_is_seen(
    discord: Discord, http: Http, how: dict[str, Any]
) -> None:
    discord.faults.append(Fault("/guilds", times=9, **how))
    made = by_bot(discord, channel="42")
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, Rejected)
    assert outcome.reason.endswith("(channel: 42)")


async def test_a_channel_that_may_not_be_written_to_parks_the_connector(discord: Discord, http: Http) -> None:
    discord.place.writable = False
    made = by_bot(discord)
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, CredentialsBroken)
    assert "let it send messages" in outcome.reason


async def test_a_failure_has_buttons_where_they_come_back_to_the_hub(discord: Discord, http: Http) -> None:
    made = by_bot(discord)
    env = ConnectorEnv(clock=CLOCK, hub_url=HUB, consoles=frozenset({"discord"}))
    console = DiscordConnector("discord", made.settings, env)
    assert "components" not in planned(made, fact("task_failed")).payload
    assert "components" not in planned(console, fact("task_completed")).payload
    await Sender(console, http).send(planned(console, fact("task_failed")))
    (row,) = discord.messages[0].given["components"]
    assert [button["custom_id"] for button in row["components"]] == ["ralf:retry:TASK-7", "ralf:ack:TASK-7"]
    assert buttons("T" * 128) == []


# --- what the answers come to ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "words"),
    [
        (200, '{"id":"1"}', {}, Delivered, ""),
        (204, "", {}, Delivered, ""),
        (200, "<html>", {}, Ambiguous, "not Discord's JSON"),
        (400, '{"code":50035,"message":"Invalid Form Body"}', {}, Rejected, "does not like the message"),
        (400, '{"code":50006,"message":"Empty"}', {}, Rejected, "the message is empty"),
        (400, "no", {}, Rejected, "(400)"),
        (401, '{"code":0,"message":"401: Unauthorized"}', {}, CredentialsBroken, "401: Unauthorized"),
        (401, "", {}, CredentialsBroken, "(401)"),
        (403, '{"code":50001,"message":"Missing Access"}', {}, CredentialsBroken, "invite it there"),
        (403, '{"code":40001,"message":"Unauthorized"}', {}, CredentialsBroken, "code 40001"),
        (403, '{"code":240000,"message":"harmful"}', {}, Rejected, "blocks an address"),
        (404, '{"code":10003,"message":"Unknown Channel"}', {}, Rejected, "no such channel"),
        (404, '{"code":10015,"message":"Unknown Webhook"}', {}, CredentialsBroken, "make a new one"),
        (500, "", {}, Ambiguous, "failed (500)"),
        (502, "<html>", {}, Ambiguous, "gateway"),
        (503, "{}", {}, Ambiguous, "failed (503)"),
    ],
)
def test_answers(status: int, body: str, headers: dict[str, str], kind: type, words: str) -> None:
    outcome = judge(HttpResponse(status, headers, body.encode()), NOW_MS)
    assert type(outcome) is kind
    assert words in getattr(outcome, "reason", "")


@pytest.mark.parametrize(
    ("body", "headers", "wait", "words"),
    [
        (
            '{"message":"x","retry_after":1.337,"global":false}',
            {"retry-after": "2"},
            1.337,
            "of this channel",
        ),
        ('{"message":"x","retry_after":64,"global":true}', {}, 64.0, "of the whole application"),
        ('{"message":"x","retry_after":-3}', {}, 0.0, "of this channel"),
        ('{"message":"x","retry_after":1e12}', {}, 86400.0, "of this channel"),
        ("error code: 1015", {"retry-after": "30"}, 30.0, "too many requests"),
        ("error code: 1015", {}, 60.0, "too many requests"),
    ],
)
def test_limits_hold_the_connector(body: str, headers: dict[str, str], wait: float, words: str) -> None:
    outcome = judge(HttpResponse(429, headers, body.encode()), NOW_MS)
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (wait, False, True)
    assert words in outcome.reason


def test_an_error_names_the_part_it_is_about() -> None:
    body = {
        "code": 50035,
        "message": "Invalid Form Body",
        "errors": {
            "embeds": {"0": {"title": {"_errors": [{"code": "X", "message": "Must be 256 or fewer"}]}}}
        },
    }
    outcome = judge(HttpResponse(400, {}, orjson.dumps(body)), NOW_MS)
    assert isinstance(outcome, Rejected)
    assert "embeds.0.title: Must be 256 or fewer" in outcome.reason


@pytest.mark.parametrize(
    "errors", [None, 5, {"_errors": 5}, {"_errors": [5]}, {"a": {"a": {"a": {"_errors": []}}}}]
)
def test_an_error_of_no_known_shape_is_judged_all_the_same(errors: Any) -> None:
    body = orjson.dumps({"code": 50035, "message": 7, "errors": errors})
    assert isinstance(judge(HttpResponse(400, {}, body), NOW_MS), Rejected)


# --- layout ---------------------------------------------------------------------------------------


def said(about: Fact, template: str | None = None) -> Any:
    return message(Wording(template, escape)(about))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*bold* _i_ ~~s~~ ||spoiler||", r"\*bold\* \_i\_ \~\~s\~\~ \|\|spoiler\|\|"),
        ("<@1> <#2> <t:5>", "\\<@\u200b1\\> \\<\\#2\\> \\<t:5\\>"),
        ("@everyone", "@\u200beveryone"),
        ("[ok](https://evil.example/a_b)", r"\[ok\]\(`https://evil.example/a_b)`"),
        ("# head\n- item\n> said\n+ one", "\\# head\n\\- item\n\\> said\n\\+ one"),
        ("a-b `c` \\", r"a-b \`c\` \\"),
    ],
)
def test_nothing_from_outside_acts(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(alphabet="@<>#*_`\\|~[]()\n -+ab\U0001f600", max_size=4000), st.sampled_from([None, DOUBLED]))
def test_every_embed_is_within_the_limits(text: str, template: str | None) -> None:
    about = fact("task_failed", {"error": text, "agent": text}, replace(TASK, title=text, assignee=text))
    made = said(about, template)
    (embed,) = made["embeds"]
    check_embed(0, embed)
    assert made["allowed_mentions"] == {"parse": []}
    assert "@everyone" not in orjson.dumps(made).decode()


def test_a_long_text_is_cut_and_leads_to_the_task() -> None:
    made = said(fact("task_failed", {"error": "\U0001f600" * 9000}), "{{ event.data.error }}")
    (embed,) = made["embeds"]
    assert embed["description"].endswith("\u2026")
    assert 3900 < units(embed["description"]) <= 4000
    assert embed["url"] == f"{HUB}/#/tasks/TASK-7"


def test_no_escape_is_torn() -> None:
    assert cut_markup(r"ab\*cd", 4) == "ab\u2026"
    assert cut_markup(r"a\\bcd", 4) == "a\\\\\u2026"
    assert cut_markup("abc", 3) == "abc"


def test_a_template_that_fails_is_told() -> None:
    made = connector("discord", webhook_url=HOOK, template="{{ event.data.missing }}")
    (action,) = made.plan(fact("task_failed", {"error": "exit 1"}))
    (embed,) = action.payload["embeds"]
    assert embed["description"] == "exit 1"
    assert "template failed" in embed["fields"][-1]["name"]
    assert "missing" in action.payload["template_error"]


# --- settings and checks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "set webhook_url, or bot_token and channel"),
        ({"webhook_url": " ", "bot_token": ""}, "set webhook_url"),
        ({"bot_token": "t"}, "set channel to its id"),
        ({"bot_token": "t", "channel": "#ralf"}, "id is a number"),
        ({"bot_token": "t t", "channel": "5"}, "no token has"),
        ({"webhook_url": "https://discord.com/channels/1/2"}, "no Discord webhook's"),
        ({"webhook_url": f"{HOOK}/slack"}, "no Discord webhook's"),
        ({"webhook_url": "ftp://discord.com/x"}, "must start with https"),
        ({"webhook_url": HOOK, "username": "My Discord bot"}, "'discord' or 'clyde'"),
        ({"webhook_url": HOOK, "base_url": "discord.com"}, "must start with https"),
    ],
)
def test_settings_that_cannot_work(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DiscordSettings(**given)


def test_settings_forgive_what_is_easily_written() -> None:
    made = DiscordSettings(bot_token=f" Bot {TOKEN}\n", channel=int(CHANNEL))  # type: ignore[arg-type]
    assert made.bot_token is not None
    assert (made.bot_token.get_secret_value(), made.channel) == (TOKEN, CHANNEL)


async def test_the_check_posts_nothing(discord: Discord, http: Http) -> None:
    assert (await by_webhook(discord).validate(http)).message == "the webhook works: RALF"
    check = await by_bot(discord).validate(http)
    assert (check.ok, check.message) == (True, "the token works: ralf in #ralf-updates")
    wrong = await by_bot(discord, channel="42").validate(http)
    assert (wrong.ok, "Unknown Channel" in wrong.message) == (False, True)
    assert not (await by_bot(discord, bot_token="other").validate(http)).ok
    discord.place.has_webhook = False
    assert not (await by_webhook(discord).validate(http)).ok
    assert discord.messages == []
    assert {seen.method for seen in discord.seen} == {"GET"}


def test_a_dry_run_and_nothing_of_the_secrets_in_sight() -> None:
    for chosen in ({"webhook_url": HOOK}, {"bot_token": TOKEN, "channel": CHANNEL}):
        made = connector("discord", **chosen)
        request = made.prepare(planned(made, fact()), SendContext(nowhere, CLOCK))
        assert request.method == "POST"
        secrets = made.settings.secret_values()
        assert secrets
        assert all(secret not in repr(request) + repr(made.settings) + repr(made) for secret in secrets)
        assert TOKEN not in Redactor(secrets)(str(request.headers))


@needs_specs
@pytest.mark.shared
@pytest.mark.parametrize(
    "body",
    [
        {"content": "x" * 2001},
        {"embeds": [{"title": "x"}] * 11},
        {"embeds": [{"title": "x" * 257}]},
        {"embeds": "x"},
    ],
)
def test_the_double_refuses_what_discords_own_description_does_not_know(body: Any) -> None:
    path = f"/api/v10/webhooks/{WEBHOOK_ID}/{WEBHOOK_TOKEN}"
    headers = {"content-type": "application/json"}
    assert CONTRACT.violation(Seen("POST", path, {"wait": "true"}, headers, orjson.dumps(body)))
    good = {"content": "x", "allowed_mentions": {"parse": []}}
    assert CONTRACT.violation(Seen("POST", path, {"wait": "true"}, headers, orjson.dumps(good))) is None
