from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from slack_sdk.web.async_client import AsyncWebClient

from ralf_hub.clock import Clock
from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Http,
    HttpRequest,
    HttpResponse,
    Rejected,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.connectors.slack import SlackSettings
from ralf_hub.model import Link
from tests.connectors.helpers import AT, TASK, Sender, connector, fact, nowhere, planned
from tests.doubles.server import Fault
from tests.doubles.slack import CHANNEL, TOKEN, Message, Slack

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as double:
        yield double


def by_webhook(double: Slack, **more: Any) -> Any:
    return connector("slack", webhook_url=double.webhook_url, **more)


def by_bot(double: Slack, **more: Any) -> Any:
    given = {"bot_token": TOKEN, "channel": "#ralf-updates", "base_url": double.api_url, **more}
    return connector("slack", **given)


def api_error(error: str, on: str = "chat.postMessage", status: int = 200, **headers: str) -> Fault:
    return Fault(on, status=status, body=f'{{"ok":false,"error":"{error}"}}', headers={**JSON, **headers})


# --- incoming webhook -------------------------------------------------------------------------------


async def test_a_webhook_posts_the_notice(slack: Slack, http: Http) -> None:
    sender = Sender(by_webhook(slack), http)
    outcome = await sender.send(planned(sender.made, fact("task_failed", {"error": "exit 1"})))
    assert outcome == Delivered(200, "ok")
    (message,) = slack.messages
    assert message.text == "\u274c Task failed: Fix the login\nexit 1"
    assert set(slack.seen[0].json) == {"text", "blocks", "unfurl_links", "unfurl_media"}


@pytest.mark.parametrize(
    ("status", "body", "name"),
    [
        (400, "invalid_payload", "rejected"),
        (400, "invalid_blocks", "rejected"),
        (400, "no_text", "rejected"),
        (400, "user_not_found", "rejected"),
        (403, "action_prohibited", "rejected"),
        (404, "channel_not_found", "rejected"),
        (410, "channel_is_archived", "rejected"),
        (404, "no_service", "credentials_broken"),
        (404, "no_team", "credentials_broken"),
        (403, "invalid_token", "credentials_broken"),
        (200, "invalid_token", "credentials_broken"),
        (403, "no_active_hooks", "credentials_broken"),
        (403, "<html>denied</html>", "credentials_broken"),
        (404, "", "rejected"),
        (429, "rate_limited", "retry"),
        (500, "rollup_error", "retry"),
        (500, "", "ambiguous"),
        (503, "busy", "retry"),
        (502, "<html>bad gateway</html>", "ambiguous"),
        (200, "<html>please log in</html>", "ambiguous"),
        (302, "", "retry"),
        (200, "", "delivered"),
        (200, '{"success":true}', "delivered"),
    ],
)
async def test_a_webhooks_answers(slack: Slack, http: Http, status: int, body: str, name: str) -> None:
    slack.faults.append(Fault(status=status, body=body))
    made = by_webhook(slack)
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert outcome.name == name
    assert outcome.status_code == status
    assert outcome.response == body


async def test_a_webhooks_limit_holds_the_connector(slack: Slack, http: Http) -> None:
    slack.faults.append(Fault(status=429, body="rate_limited", headers={"Retry-After": "30"}))
    made = by_webhook(slack)
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (30.0, False, True)


async def test_a_revoked_webhook_says_what_to_do(slack: Slack, http: Http) -> None:
    made = connector("slack", webhook_url=f"{slack.url}/services/T/B/revoked")
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, CredentialsBroken)
    assert outcome.reason == "Slack says no_service: the webhook was removed or switched off: make a new one"


# --- bot: threads -----------------------------------------------------------------------------------


async def test_a_tasks_notices_stand_in_one_thread(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack), http)
    first = fact("task_created")
    (action,) = sender.made.plan(first)
    assert action.marker == first.event.id
    outcome = await sender.send(planned(sender.made, first))
    root = slack.messages[0]
    assert isinstance(outcome, Delivered)
    assert outcome.link == Link(
        "slack", root.ts, CHANNEL, state="linked", marker=first.event.id, entity_id="TASK-7"
    )
    for kind in ("task_started", "task_failed", "task_completed"):
        later = await sender.send(planned(sender.made, fact(kind)))
        assert isinstance(later, Delivered)
        assert later.link is None
    assert [message.thread_ts for message in slack.messages[1:]] == [root.ts] * 3
    assert [message.broadcast for message in slack.messages[1:]] == [False, True, False]


async def test_once_a_task_has_its_message_no_marker_is_written() -> None:
    made = connector("slack", bot_token=TOKEN, channel=CHANNEL)
    (action,) = made.plan(replace(fact(), link=Link("slack", "1.0", CHANNEL, state="linked")))
    assert action.marker is None


async def test_what_is_about_no_task_stands_alone(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack), http)
    about = fact("system_alert", {"code": "x", "message": "Disk full"}, task=None)
    assert sender.made.plan(about)[0].marker is None
    for _ in range(2):
        outcome = await sender.send(planned(sender.made, about))
        assert isinstance(outcome, Delivered)
        assert outcome.link is None
    assert [message.thread_ts for message in slack.messages] == [None, None]


async def test_threads_can_be_switched_off(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack, thread=False), http)
    for kind in ("task_created", "task_failed"):
        await sender.send(planned(sender.made, fact(kind)))
    assert [message.thread_ts for message in slack.messages] == [None, None]
    assert sender.link is None


@pytest.mark.parametrize(
    "error", ["cannot_reply_to_message", "thread_not_found", "restricted_action_thread_locked"]
)
async def test_when_the_thread_is_gone_the_notice_starts_a_new_one(
    slack: Slack, http: Http, error: str
) -> None:
    sender = Sender(by_bot(slack), http)
    sender.link = Link("slack", "1700000000.000001", CHANNEL, state="linked")
    if error != "cannot_reply_to_message":
        slack.faults.append(api_error(error))
    outcome = await sender.send(planned(sender.made, fact()))
    (message,) = slack.messages
    assert isinstance(outcome, Delivered)
    assert message.thread_ts is None
    assert sender.link is not None
    assert sender.link.external_id == message.ts


MOVED = "C9876543210"


@pytest.mark.parametrize("named", [MOVED, "#moved"])
@pytest.mark.parametrize("archived", [False, True])
async def test_after_the_channel_was_changed_a_task_goes_on_there(
    slack: Slack,
    http: Http,
    named: str,
    archived: bool,  # noqa: FBT001 - a case
) -> None:
    before = Sender(by_bot(slack), http)
    await before.send(planned(before.made, fact("task_created")))
    slack.workspace.channels[MOVED] = "moved"
    if archived:
        slack.workspace.archived.add(CHANNEL)
    after = Sender(by_bot(slack, channel=named), http)
    await after.send(
        planned(after.made, fact("task_created", task=replace(TASK, id="OTHER")))
    )  # says which it is
    after.link = before.link
    assert isinstance(await after.send(planned(after.made, fact("task_completed"))), Delivered)
    last = slack.messages[-1]
    assert (last.channel, last.thread_ts) == (MOVED, None)
    assert after.link is not None
    assert (after.link.external_id, after.link.external_key) == (last.ts, MOVED)


async def test_the_archived_channel_of_a_thread_does_not_keep_a_notice_back(slack: Slack, http: Http) -> None:
    """A channel set by name is only known once it was posted to; until then the thread is tried first."""
    before = Sender(by_bot(slack), http)
    await before.send(planned(before.made, fact("task_created")))
    slack.workspace.channels[MOVED] = "moved"
    slack.workspace.archived.add(CHANNEL)
    after = Sender(by_bot(slack, channel="#moved"), http)
    after.link = before.link
    assert isinstance(await after.send(planned(after.made, fact("task_completed"))), Delivered)
    assert slack.messages[-1].channel == MOVED


async def test_a_post_carries_what_finds_it_again(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack), http)
    row = planned(sender.made, fact())
    await sender.send(row)
    await sender.send(row)
    await sender.send(replace(row, id=2))
    ids = [message.client_msg_id for message in slack.messages]
    assert ids[0] == ids[1] != ids[2]
    assert slack.messages[0].event_id == row.event_id
    web = AsyncWebClient(token=TOKEN, base_url=f"{slack.api_url}/", retry_handlers=[])
    answer = await web.conversations_history(channel=CHANNEL, include_all_metadata=True)
    assert answer["messages"][-1]["metadata"]["event_payload"] == {"event_id": row.event_id}


# --- bot: errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "name"),
    [
        *((error, "credentials_broken") for error in (
            "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope",
            "no_permission", "org_login_required", "ekm_access_denied", "accesslimited", "not_allowed_token_type",
        )),
        *((error, "rejected") for error in (
            "channel_not_found", "not_in_channel", "is_archived", "msg_too_long", "no_text", "too_many_attachments",
            "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "restricted_action", "invalid_arguments",
            "duplicate_message_not_found",
        )),
        *((error, "retry") for error in (
            "ratelimited", "rate_limited", "service_unavailable", "request_timeout", "message_limit_exceeded",
            "something_new", "", "Not <a> word",
        )),
        ("internal_error", "ambiguous"),
        ("fatal_error", "ambiguous"),
    ],
)  # fmt: skip
async def test_errors_of_the_web_api(slack: Slack, http: Http, error: str, name: str) -> None:
    slack.faults.append(api_error(error))
    made = by_bot(slack)
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert outcome.name == name
    assert slack.messages == []
    assert "<a>" not in getattr(outcome, "reason", "")


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault(status=500), "ambiguous"),
        (Fault(status=502), "ambiguous"),
        (Fault(status=503), "ambiguous"),
        (Fault(status=403, body="<html>"), "credentials_broken"),
        (Fault(status=302), "retry"),
        (Fault(status=200, body="<html>"), "ambiguous"),
        (Fault(status=200, body="[]"), "ambiguous"),
        (Fault(status=200, body='{"ok":"yes"}'), "ambiguous"),
        (Fault(status=200, body='{"ok":true}'), "delivered"),
    ],
)
async def test_other_answers_of_the_web_api(slack: Slack, http: Http, fault: Fault, name: str) -> None:
    slack.faults.append(fault)
    made = by_bot(slack)
    assert (await Sender(made, http).send(planned(made, fact()))).name == name


@pytest.mark.parametrize("status", [200, 429])
async def test_a_rate_limit_holds_the_connector(slack: Slack, http: Http, status: int) -> None:
    slack.faults.append(api_error("ratelimited", status=status, **{"Retry-After": "7"}))
    made = by_bot(slack)
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (7.0, False, True)


async def test_errors_say_what_to_do(slack: Slack, http: Http) -> None:
    made = by_bot(slack, channel="#nowhere")
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, Rejected)
    assert "no such channel" in outcome.reason
    assert outcome.reason.endswith("(channel: #nowhere); the bot sees 'ralf-updates'")
    slack.workspace.scopes.remove("channels:read")
    blind = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(blind, Rejected)
    assert blind.reason.endswith("(channel: #nowhere)")
    slack.workspace.scopes.clear()
    missing = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(missing, CredentialsBroken)
    assert "(needed: a scope for chat.postMessage)" in missing.reason


# --- bot: an earlier try may have got through -------------------------------------------------------


async def lost_answer(sender: Sender, slack: Slack, about: Any) -> Any:
    """Let a post happen and its answer be lost."""
    row = planned(sender.made, about)
    slack.faults.append(Fault("chat.postMessage", drop="after"))
    with pytest.raises(UnknownAnswerError):
        await sender.send(row)
    return row


@pytest.mark.parametrize("channel", [CHANNEL, "#ralf-updates"])
async def test_a_post_whose_answer_was_lost_is_found_and_not_repeated(
    slack: Slack, http: Http, channel: str
) -> None:
    sender = Sender(by_bot(slack, channel=channel), http)
    row = await lost_answer(sender, slack, fact())
    outcome = await sender.send(row, again=True)
    (message,) = slack.messages
    assert isinstance(outcome, Delivered)
    assert outcome.link is not None
    assert (outcome.link.external_id, outcome.link.external_key) == (message.ts, CHANNEL)


async def test_a_reply_whose_answer_was_lost_is_found_in_its_thread(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack), http)
    await sender.send(planned(sender.made, fact("task_created")))
    root = sender.link
    about = replace(fact("task_completed"), event=replace(fact("task_completed").event, id="evt_second"))
    row = await lost_answer(sender, slack, about)
    outcome = await sender.send(row, again=True)
    assert isinstance(outcome, Delivered)
    assert len(slack.messages) == 2
    assert sender.link == root


async def test_what_never_arrived_is_posted(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack), http)
    row = planned(sender.made, fact())
    slack.faults.append(Fault("chat.postMessage", drop="before"))
    with pytest.raises(UnknownAnswerError):
        await sender.send(row)
    assert isinstance(await sender.send(row, again=True), Delivered)
    assert len(slack.messages) == 1


async def test_it_looks_on_every_page(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack, channel=CHANNEL, thread=False), http)
    row = await lost_answer(sender, slack, fact())
    slack.workspace.page_size = 2
    for number in range(7):
        other = fact()
        other = replace(other, event=replace(other.event, id=f"evt_{number}"))
        await sender.send(planned(sender.made, other))
    assert isinstance(await sender.send(row, again=True), Delivered)
    assert [message.event_id for message in slack.messages].count(row.event_id) == 1
    assert len(slack.calls("conversations.history")) == 4


async def test_the_channels_id_is_looked_for_on_every_page(slack: Slack, http: Http) -> None:
    slack.workspace.channels = {f"C000000{n:02}": f"other-{n}" for n in range(5)} | slack.workspace.channels
    slack.workspace.page_size = 2
    sender = Sender(by_bot(slack), http)
    row = await lost_answer(sender, slack, fact())
    assert isinstance(await sender.send(row, again=True), Delivered)
    assert len(slack.messages) == 1


async def test_long_pages_are_read_whole(slack: Slack, http: Http) -> None:
    """A page of messages, or of a company's channels, is larger than what is read of other answers."""
    slack.workspace.channels = {f"C{n:08}": f"other-{n}" for n in range(3_000)} | slack.workspace.channels
    slack.workspace.page_size = 10_000
    sender = Sender(by_bot(slack), http)
    row = await lost_answer(sender, slack, fact())
    slack.messages.extend(
        Message(f"{9_000_000_000 + n}.0", CHANNEL, "x" * 3_000, [], "bot") for n in range(60)
    )
    assert isinstance(await sender.send(row, again=True), Delivered)
    assert len([found for found in slack.messages if found.event_id]) == 1


async def test_the_answer_with_a_long_message_in_it_is_read_whole(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack), http)
    about = fact("task_failed", {"error": "\N{BRICK}" * 4_000})
    assert isinstance(await sender.send(planned(sender.made, about)), Delivered)
    assert sender.link is not None


async def test_an_unknown_channel_is_told_with_those_most_like_it(slack: Slack, http: Http) -> None:
    slack.workspace.channels |= {f"C{n:08}": f"team-{n}" for n in range(100)}
    made = by_bot(slack, channel="#ralf-update")
    outcome = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(outcome, Rejected)
    assert "; the bot sees 'ralf-updates', " in outcome.reason
    assert outcome.reason.endswith(" and 71 more")
    slack.faults.append(Fault("conversations.list", times=9, drop="before"))
    blind = await Sender(made, http).send(planned(made, fact()))
    assert isinstance(blind, Rejected)


async def test_it_does_not_look_for_ever(slack: Slack, http: Http) -> None:
    sender = Sender(by_bot(slack, channel=CHANNEL, thread=False), http)
    row = await lost_answer(sender, slack, fact())
    slack.workspace.page_size = 1
    for number in range(6):
        other = replace(fact().event, id=f"evt_{number}")
        await sender.send(planned(sender.made, replace(fact(), event=other)))
    assert isinstance(await sender.send(row, again=True), Delivered)
    assert len(slack.calls("conversations.history")) == 5
    slack.workspace.channels = {f"C000000{n:02}": f"other-{n}" for n in range(9)} | slack.workspace.channels
    unknown = Sender(by_bot(slack), http)
    assert isinstance(await unknown.send(row, again=True), Delivered)
    assert len(slack.calls("conversations.list")) == 5


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (api_error("ratelimited", "conversations.history", 429, **{"Retry-After": "9"}), "retry"),
        (api_error("internal_error", "conversations.history"), "ambiguous"),
        (Fault("conversations.history", status=503), "ambiguous"),
        (api_error("token_revoked", "conversations.history"), "credentials_broken"),
        (api_error("ratelimited", "conversations.list", 429), "retry"),
    ],
)
async def test_a_look_up_that_fails_for_now_comes_before_any_repeat(
    slack: Slack, http: Http, fault: Fault, name: str
) -> None:
    sender = Sender(by_bot(slack), http)
    row = await lost_answer(sender, slack, fact())
    slack.faults.append(fault)
    assert (await sender.send(row, again=True)).name == name
    assert len(slack.messages) == 1
    assert isinstance(await sender.send(row, again=True), Delivered)
    assert len(slack.messages) == 1


@pytest.mark.parametrize("scope", ["channels:history", "channels:read"])
async def test_without_the_scope_to_look_it_posts_again_rather_than_never(
    slack: Slack, http: Http, scope: str
) -> None:
    slack.workspace.scopes.discard(scope)
    sender = Sender(by_bot(slack), http)
    row = await lost_answer(sender, slack, fact())
    assert isinstance(await sender.send(row, again=True), Delivered)
    assert len(slack.messages) == 2


async def test_odd_answers_to_a_look_up_are_no_find(slack: Slack) -> None:
    sent: list[str] = []

    async def http(request: HttpRequest) -> HttpResponse:
        sent.append(request.url.rpartition("/")[2].partition("?")[0])
        if "conversations" in request.url:
            return HttpResponse(
                200,
                {},
                b'{"ok":true,"channels":[1,{"name":2}],"messages":[1,{"metadata":{"event_payload":3}}]}',
            )
        return HttpResponse(200, {}, b'{"ok":true,"channel":7,"ts":null}')

    for channel in (CHANNEL, "#ralf-updates"):
        made = by_bot(slack, channel=channel)
        row = replace(planned(made, fact()), first_attempt_at=AT)
        outcome = await made.send(row, SendContext(http, Clock(), may_have_been_sent=True))
        assert isinstance(outcome, Delivered)
        assert outcome.link is None
    assert sent == ["conversations.history", "chat.postMessage", "conversations.list", "chat.postMessage"]


# --- settings, places, checks -----------------------------------------------------------------------


def test_the_bot_is_used_where_both_are_set() -> None:
    both = connector(
        "slack", webhook_url="https://hooks.slack.com/services/T/B/x", bot_token=TOKEN, channel="#a"
    )
    request = both.prepare(planned(both, fact()), SendContext(nowhere, Clock()))
    assert request.url == "https://slack.com/api/chat.postMessage"
    assert both.uses_links
    assert not connector("slack", webhook_url="https://hooks.slack.com/services/T/B/x").uses_links


def test_routes_to_one_channel_are_one_place() -> None:
    hook = "https://hooks.slack.com/services/T/B/x"
    both = connector("slack", webhook_url=hook, bot_token=TOKEN, channel="#a").destinations()
    assert both & connector("slack", "outgoing", webhook_url=hook).destinations()
    assert both & connector("slack", "second", bot_token=TOKEN, channel="#a").destinations()
    assert not both & connector("slack", "third", bot_token=TOKEN, channel="#b").destinations()
    assert TOKEN not in str(both)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "set webhook_url, or bot_token and channel"),
        ({"webhook_url": "", "bot_token": " "}, "set webhook_url, or bot_token and channel"),
        ({"bot_token": "xoxb-s3cret"}, "set channel"),
        ({"bot_token": "xoxb s3cret", "channel": "#a"}, "no token has"),
        ({"webhook_url": "hooks.slack.com/s3cret"}, "must start with https://"),
        ({"webhook_url": "https://a/s3cret", "base_url": "slack.com"}, "must start with https://"),
        ({"webhook_url": "https://a/s3cret", "chanel": "#a"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_showing_secrets(
    given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        SlackSettings(**given)
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_section_that_is_switched_off_may_be_empty() -> None:
    assert not SlackSettings(enabled=False).enabled
    assert not SlackSettings(enabled=False, bot_token="xoxb-1").enabled


async def test_validate_asks_whose_token_it_is_and_posts_nothing(slack: Slack, http: Http) -> None:
    check = await by_bot(slack).validate(http)
    assert (check.ok, check.message) == (True, "the token works: ralf in Test")
    slack.workspace.scopes.discard("channels:history")
    assert "may show twice" in (await by_bot(slack).validate(http)).message
    slack.workspace.scopes.discard("chat:write")
    assert not (await by_bot(slack).validate(http)).ok
    wrong = await by_bot(slack, bot_token="xoxb-wrong-0123").validate(http)
    assert (wrong.ok, wrong.message) == (
        False,
        "Slack says invalid_auth: the bot token is not valid: copy it again",
    )
    assert slack.messages == []


@pytest.mark.parametrize(
    ("path", "ok"),
    [("/services/T00/B00/xyz", True), ("/workflows/T00/A/1/xyz", False), ("/services/T00", False)],
)
async def test_a_webhooks_shape_is_checked_without_a_call(path: str, ok: Any) -> None:
    check = await connector("slack", webhook_url=f"https://hooks.slack.com{path}").validate(nowhere)
    assert check.ok is ok
    assert "xyz" not in check.message


async def test_the_dry_run_shows_the_first_request(slack: Slack) -> None:
    made = by_bot(slack)
    context = SendContext(nowhere, Clock(), Link("slack", "1.5", CHANNEL, state="linked"))
    request = made.prepare(planned(made, fact("task_failed", task=TASK)), context)
    assert (request.method, request.headers["authorization"]) == ("POST", f"Bearer {TOKEN}")
    assert b'"thread_ts":"1.5"' in request.body
    assert TOKEN not in repr(request)
    assert isinstance(Ambiguous("x").name, str)
