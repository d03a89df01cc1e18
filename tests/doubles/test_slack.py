"""The double of Slack is one that the real `slack_sdk` takes for Slack."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.models.blocks import (
    ActionsBlock,
    ButtonElement,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
)
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from tests.doubles.server import Fault, Seen
from tests.doubles.slack import CHANNEL, TOKEN, Slack

BLOCKS = [
    HeaderBlock(text=PlainTextObject(text="Title")),
    SectionBlock(text=MarkdownTextObject(text="*bold*")),
    ContextBlock(elements=[MarkdownTextObject(text="small")]),
]
METADATA = {"event_type": "ralf_event", "event_payload": {"event_id": "evt_1"}}


@pytest.fixture
async def slack() -> AsyncIterator[Slack]:
    async with Slack() as double:
        yield double


def client(double: Slack, token: str = TOKEN) -> AsyncWebClient:
    return AsyncWebClient(token=token, base_url=f"{double.api_url}/", retry_handlers=[])


async def test_the_sdks_webhook_client(slack: Slack) -> None:
    answer = await AsyncWebhookClient(slack.webhook_url, retry_handlers=[]).send(text="hello", blocks=BLOCKS)
    assert (answer.status_code, answer.body) == (200, "ok")
    assert slack.messages[0].text == "hello"
    other = await AsyncWebhookClient(f"{slack.url}/services/T/B/x", retry_handlers=[]).send(text="hello")
    assert (other.status_code, other.body) == (404, "no_service")


async def test_the_sdks_web_client_posts_buttons_and_changes_the_message(slack: Slack) -> None:
    web = client(slack)
    button = ButtonElement(text=PlainTextObject(text="Retry"), action_id="ralf_retry", value="T-1")
    blocks = [*BLOCKS, ActionsBlock(block_id="ralf slack", elements=[button])]
    root = await web.chat_postMessage(channel=CHANNEL, text="root", blocks=blocks)
    await web.chat_update(channel=CHANNEL, ts=root["ts"], text="changed", blocks=BLOCKS)
    assert slack.messages[0].text == "changed"
    assert [block["type"] for block in slack.messages[0].blocks] == ["header", "section", "context"]
    with pytest.raises(SlackApiError, match="message_not_found"):
        await web.chat_update(channel=CHANNEL, ts="1.1", text="changed")


async def test_the_sdks_web_client_posts_threads_and_reads(slack: Slack) -> None:
    web = client(slack)
    assert (await web.auth_test())["team"] == "Test"
    root = await web.chat_postMessage(channel="#ralf-updates", text="root", blocks=BLOCKS, metadata=METADATA)
    assert root["channel"] == CHANNEL
    await web.chat_postMessage(channel=CHANNEL, text="under it", thread_ts=root["ts"])
    await web.chat_postMessage(channel=CHANNEL, text="shown", thread_ts=root["ts"], reply_broadcast=True)
    history = await web.conversations_history(channel=CHANNEL, include_all_metadata=True, oldest="1")
    assert [message["text"] for message in history["messages"]] == ["shown", "root"]
    assert history["messages"][1]["metadata"] == METADATA
    replies = await web.conversations_replies(channel=CHANNEL, ts=root["ts"])
    assert [message["text"] for message in replies["messages"]] == ["root", "under it", "shown"]
    listed = await web.conversations_list(limit=1000)
    assert listed["channels"] == [{"id": CHANNEL, "name": "ralf-updates"}]


async def test_pages(slack: Slack) -> None:
    web = client(slack)
    slack.workspace.page_size = 2
    for number in range(5):
        await web.chat_postMessage(channel=CHANNEL, text=str(number))
    texts = [
        message["text"]
        async for page in await web.conversations_history(channel=CHANNEL)
        for message in page["messages"]
    ]
    assert texts == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"channel": "#nowhere", "text": "x"}, "channel_not_found"),
        ({"channel": CHANNEL}, "no_text"),
        ({"channel": CHANNEL, "text": "x" * 40_001}, "msg_too_long"),
        ({"channel": CHANNEL, "text": "x", "thread_ts": "1.000001"}, "cannot_reply_to_message"),
        ({"channel": CHANNEL, "text": "x", "metadata": {"event_type": 1}}, "invalid_metadata_format"),
        ({"channel": CHANNEL, "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        (
            {
                "channel": CHANNEL,
                "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}],
            },
            "invalid_blocks",
        ),
        (
            {
                "channel": CHANNEL,
                "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}],
            },
            "invalid_blocks",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The top-level `text`:UserWarning")  # its absence is what is tried
async def test_it_refuses_as_slack_does(slack: Slack, given: dict[str, Any], error: str) -> None:
    slack.held_to_sdk = False
    with pytest.raises(SlackApiError) as caught:
        await client(slack).chat_postMessage(**given)
    assert caught.value.response["error"] == error
    assert slack.messages == []


async def test_tokens_and_scopes(slack: Slack) -> None:
    with pytest.raises(SlackApiError, match="invalid_auth"):
        await client(slack, "xoxb-other").auth_test()
    slack.workspace.scopes.discard("channels:history")
    with pytest.raises(SlackApiError, match="missing_scope"):
        await client(slack).conversations_history(channel=CHANNEL)
    slack.workspace.revoked = True
    with pytest.raises(SlackApiError, match="token_revoked"):
        await client(slack).auth_test()


async def test_limits_are_told_as_slack_tells_them(slack: Slack) -> None:
    slack.faults.append(
        Fault(
            "chat.postMessage",
            status=429,
            headers={"Retry-After": "3", "Content-Type": "application/json"},
            body='{"ok":false,"error":"ratelimited"}',
        )
    )
    with pytest.raises(SlackApiError) as caught:
        await client(slack).chat_postMessage(channel=CHANNEL, text="x")
    assert caught.value.response.headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/chat.postMessage", {"channel": CHANNEL, "nonsense": 1}, "no argument nonsense"),
        ("/api/chat.update", {"client": 1}, "no argument client"),
        ("/api/chat.update", {"blocks": [{"type": "nonsense"}]}, "there is no block"),
        (
            "/services/T/B/x",
            {"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]},
            "cannot exceed 150 characters",
        ),
    ],
)
def test_what_is_sent_is_held_to_the_sdk(path: str, body: Any, words: str) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    found = Slack().violation(Seen("POST", path, {}, headers, json.dumps(body).encode()))
    assert found is not None
    assert words in found
