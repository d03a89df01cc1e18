import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from ralf_hub.connectors.slack_layout import answered, buttons, cut_mrkdwn, escape, link, message
from ralf_hub.connectors.wording import Wording
from ralf_hub.model import TASK_ID_PATTERN
from tests.connectors.helpers import TASK, fact
from tests.doubles.slack import _check_content

PING = "<!channel> <@U123> <#C1> <https://evil|ok> & more"


def said(about: Any, template: str | None = None) -> dict[str, Any]:
    return message(Wording(template, escape)(about))


def texts(made: dict[str, Any]) -> list[str]:
    return re.findall(r'"text": "((?:[^"\\]|\\.)*)"', json.dumps(made, ensure_ascii=False))


def test_a_message() -> None:
    made = said(fact("task_failed", {"error": "exit 1"}))
    assert made["text"] == "\u274c Task failed: Fix the login\nexit 1"
    header, section, context = made["blocks"]
    assert header["text"] == {
        "type": "plain_text",
        "text": "\u274c Task failed: Fix the login",
        "emoji": False,
    }
    assert section["text"] == {"type": "mrkdwn", "text": "exit 1", "verbatim": True}
    assert [element["text"] for element in context["elements"]] == [
        "Task: TASK-7 \u00b7 Priority: high",
        "<http://127.0.0.1:8080/#/tasks/TASK-7|Open in ralf-hub>",
        "evt_0123456789abcdef",
    ]
    assert made["unfurl_links"] is False


def test_slacks_own_models_read_the_blocks_and_find_no_fault() -> None:
    blocks = Block.parse_all(
        said(fact(data={"result": "x" * 9000}, task=replace(TASK, title="y" * 900)))["blocks"]
    )
    assert [block.type for block in blocks] == ["header", "section", "context"]
    for block in blocks:
        block.validate_json()


@pytest.mark.parametrize("template", [None, "{{ task.title }} {{ event.data.error }} {{ notice.text }}"])
def test_nothing_from_outside_can_mention_link_or_act(template: str | None) -> None:
    about = fact("task_failed", {"error": PING, PING: PING}, replace(TASK, title=PING, assignee=PING))
    made = said(replace(about, hub_url=""), template)
    everything = json.dumps(made, ensure_ascii=False)
    assert "<" not in everything
    assert ">" not in everything
    assert "&lt;!channel&gt;" in everything
    assert re.search(r"&(?!amp;|lt;|gt;)", everything) is None


def test_link_parts_cannot_break_out() -> None:
    made = link("http://hub/#/tasks/a|b><c d", "a|b><!here> & c")
    assert made == "<http://hub/#/tasks/a%7Cb%3E%3Cc%20d|ab&lt;!here &amp; c>"


def test_only_three_characters_are_escaped() -> None:
    assert escape('it\'s "1 < 2" & *b* `c` \u00fc') == 'it\'s "1 &lt; 2" &amp; *b* `c` \u00fc'


def test_a_template_is_mrkdwn_of_the_operators_own() -> None:
    made = said(fact(data={"who": "<x>"}), "*{{ task.title }}* <{{ notice.url }}|open> {{ event.data.who }}")
    assert made["blocks"][0]["text"]["text"] == (
        "*Fix the login* <http://127.0.0.1:8080/#/tasks/TASK-7|open> &lt;x&gt;"
    )
    assert made["text"] == made["blocks"][0]["text"]["text"]


@pytest.mark.parametrize(
    ("template", "words"), [("{{ event.data.nope }}", "The template failed ("), (" ", None)]
)
def test_a_template_that_fails_or_says_nothing_falls_back(template: str, words: str | None) -> None:
    made = said(fact(), template)
    assert made["blocks"][0]["text"]["text"] == "\u2705 Task completed: Fix the login"
    small_print = " ".join(element["text"] for element in made["blocks"][-1]["elements"])
    assert (words is None) or (words in small_print and "nope" in small_print)


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("short", 10, "short"),
        ("abc &amp; def", 9, "abc\u2026"),
        ("go <http://a.example/x|there> now", 20, "go\u2026"),
        ("1 &lt; 2 and on", 10, "1 &lt; 2\u2026"),
    ],
)
def test_entities_and_links_are_not_torn(text: str, limit: int, kept: str) -> None:
    assert cut_mrkdwn(text, limit) == kept


@given(
    title=st.text(alphabet="ab<>&\u00e9\U0001f600\n\x1b|", max_size=400),
    error=st.text(alphabet="ab<>&\u00e9\U0001f600\n\x1b|", max_size=5000),
    template=st.sampled_from([None, "{{ event.data.error }}", "*{{ task.title }}* {{ event.data.error }}"]),
)
def test_any_message_is_one_that_slack_takes(title: str, error: str, template: str | None) -> None:
    made = said(fact("task_failed", {"error": error}, replace(TASK, title=title)), template)
    _check_content(made)
    for block in Block.parse_all(made["blocks"]):
        block.validate_json()
    assert unescape(json.dumps(made))


@given(
    task_id=st.from_regex(TASK_ID_PATTERN, fullmatch=True),
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
)
def test_buttons_are_a_block_that_slack_takes(task_id: str, name: str) -> None:
    block = buttons(name, task_id)
    _check_content({"text": "x", "blocks": [block]})
    for parsed in Block.parse_all([block]):
        parsed.validate_json()


@given(text=st.text(alphabet="ab<>&\u00e9\n\x1b|", min_size=1, max_size=4000))
def test_a_message_that_was_answered_keeps_its_words_and_loses_its_buttons(text: str) -> None:
    shown = {"channel": "C1", "ts": "1.1", "text": "x", "blocks": said(fact(), None)["blocks"]}
    made = answered(shown, f"T-1 {text}")
    _check_content({"text": made["text"], "blocks": made["blocks"]})
    assert made["blocks"][:-1] == shown["blocks"]
