"""Texts on Trello: shown as they are, whatever they are, within the limits."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.connectors.trello_layout import card_name, card_text, comment_text, escape
from ralf_hub.connectors.wording import Wording
from ralf_hub.texts import clean
from tests.connectors.helpers import TASK, fact
from tests.doubles.trello import TEXT_LENGTH_MAX

MARK = "ralf:evt_1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("*bold* _it_ ~~no~~ `code`", "\\*bold\\* \\_it\\_ \\~\\~no\\~\\~ \\`code\\`"),
        ("[click](http://evil.example/a_b)", "\\[click\\]\\(`http://evil.example/a_b)`"),
        ("![x](y)", "\\!\\[x\\]\\(y\\)"),
        ("<b>html</b>", "\\<b\\>html\\</b\\>"),
        ("# heading\n- item\n+ item\n=====", "\\# heading\n\\- item\n\\+ item\n\\====="),
        ("1. first\n  2) second", "1\\. first\n  2\\) second"),
        ("ask @admin", "ask @\u200badmin"),
        ("a@b.example", "a@\u200bb.example"),
        ("me @ home", "me @ home"),
        ("back\\slash", "back\\\\slash"),
        ("see www.example.org now", "see `www.example.org` now"),
        ("red \x1b[31mtext\u202e", "red text"),
    ],
)
def test_what_would_act_is_shown_instead(text: str, shown: str) -> None:
    assert escape(text) == shown


def unescaped(text: str) -> str:
    return re.sub(r"\\([^\w\s])", r"\1", text.replace("\u200b", ""))


@given(st.text(alphabet=st.characters(exclude_characters="`\u200b"), max_size=200))
def test_escaping_loses_nothing(text: str) -> None:
    shown = unescaped(escape(text).replace("`", ""))
    assert shown.replace("\\", "") == clean(text).replace("\u200b", "").replace("\\", "")


@given(st.text(max_size=300))
def test_nobody_is_named(text: str) -> None:
    assert re.search(r"(?<!`)@\w", re.sub(r"`[^`]*`", "", escape(text))) is None


def comment(template: Any = None, **data: Any) -> str:
    return comment_text(Wording(template, escape)(fact("task_failed", data)), MARK)


def test_a_comment() -> None:
    assert comment(error="exit 1 in [x]") == (
        "**Task failed: Fix the login**\n\nexit 1 in \\[x\\]\n\nTask: TASK-7 · Priority: high\n\n"
        f"[Open in ralf-hub](http://127.0.0.1:8080/#/tasks/TASK-7)\n\n{MARK}"
    )


def test_a_template_words_the_comment_its_values_escaped() -> None:
    said = comment("**{{ task.title }}** {{ event.data.error }}", error="*no*")
    assert said.startswith("**Fix the login** \\*no\\*\n\n[Open in")
    assert "The template failed" in comment("{{ event.data.nothing.at.all }}")
    assert comment("  ").startswith("**Task failed")


@given(st.text(max_size=50), st.text(max_size=300))
def test_whatever_a_task_says_its_card_has_a_name_and_ends_with_the_marker(title: str, words: str) -> None:
    about = fact("task_created", task=replace(TASK, title=title, description=words))
    name = card_name(about)
    assert name
    assert "\n" not in name
    assert card_text(about, Wording(None, escape)(about), MARK).endswith(MARK)


@pytest.mark.parametrize("character", ["*", "x", "\U0001f44d\U0001f3fd"])
def test_long_texts_are_cut_between_characters_and_stay_below_the_limit(character: str) -> None:
    about = fact("task_created", task=replace(TASK, title=character * 9000, description=character * 30_000))
    made = card_text(about, Wording(None, escape)(about), MARK)
    assert len(made) <= TEXT_LENGTH_MAX
    assert made.partition("\n\n")[0].endswith(f"{escape(character)}\u2026")
    assert f"\n\n{MARK}" in made
    assert "Open in ralf-hub" in made
    assert len(card_name(about)) <= 512
    template = Wording("{{ task.description }}", escape)(about)
    assert len(comment_text(template, MARK)) <= TEXT_LENGTH_MAX
