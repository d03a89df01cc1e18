"""Texts in Jira: valid documents whatever a task says, within the limits; and the workflow's choices."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.clock import Clock
from ralf_hub.connectors.jira_layout import TEXT_LENGTH_MAX, comment_text, issue_text, summary
from ralf_hub.connectors.jira_workflow import Offer, Status, Target, choose, offers, where
from ralf_hub.connectors.lookups import REMEMBERED_MAX, Lookups
from ralf_hub.connectors.wording import Wording
from ralf_hub.model import Json
from tests.connectors.helpers import TASK, connector, fact
from tests.doubles.jira import check_document, text_of
from tests.support import SettableClock

MARK = "ralf:evt_1"
HOSTILE = "[~admin] @all <b>x</b> {code} [evil|http://evil] <!-- -->\n/close\n\n\x1b[31mred\u202e"


def comment(template: Any = None, **data: Any) -> Json:
    document = comment_text(Wording(template, str)(fact("task_failed", data)), MARK)
    check_document(document)
    return document


def test_a_comment() -> None:
    document = comment(error="exit 1\nsee the log")
    assert text_of(document) == (
        "Task failed: Fix the login\nexit 1\nsee the log\nTask: TASK-7 · Priority: high\n"
        f"Open in ralf-hub · {MARK}"
    )
    small_print = document["content"][-1]["content"]
    assert small_print[0]["marks"] == [
        {"type": "link", "attrs": {"href": "http://127.0.0.1:8080/#/tasks/TASK-7"}}
    ]


def test_nothing_in_a_text_acts() -> None:
    document = comment(error=HOSTILE)
    kinds = {node["type"] for block in document["content"] for node in block["content"]}
    assert kinds == {"text", "hardBreak"}
    links = [
        mark["attrs"]["href"]
        for block in document["content"]
        for node in block["content"]
        for mark in node.get("marks", [])
        if mark["type"] == "link"
    ]
    assert links == ["http://127.0.0.1:8080/#/tasks/TASK-7"]
    assert "\x1b" not in text_of(document)
    assert "\u202e" not in text_of(document)


@given(st.text(max_size=400), st.text(max_size=400))
def test_whatever_a_task_says_the_documents_are_valid(title: str, words: str) -> None:
    about = fact("task_created", task=replace(TASK, title=title, description=words))
    check_document(issue_text(about, Wording(None, str)(about), MARK))
    made = summary(about)
    assert made
    assert len(made) <= 255
    assert "\n" not in made
    check_document(comment_text(Wording("{{ task.title }}\n{{ task.description }}", str)(about), MARK))


def test_a_long_text_is_cut_between_characters_and_the_way_to_the_task_stays() -> None:
    thumb = "\U0001f44d\U0001f3fd"
    about = fact("task_created", task=replace(TASK, title=thumb * 300, description=thumb * 9000))
    document = issue_text(about, Wording(None, str)(about), MARK)
    check_document(document)
    first = text_of(document["content"][0])
    assert len(first) <= TEXT_LENGTH_MAX
    assert first.endswith(f"{thumb}\u2026")
    assert summary(about).endswith(f"{thumb}\u2026")
    assert "Open in ralf-hub" in text_of(document)


def test_a_template_words_the_comment_and_a_failing_one_says_so() -> None:
    assert text_of(comment("Broken: {{ task.title }}")).startswith("Broken: Fix the login\nOpen in")
    assert "The template failed" in text_of(comment("{{ event.data.nothing.at.all }}"))
    assert text_of(comment("   ")).startswith("Task failed")


def test_a_template_words_the_issue_when_the_task_is_new_and_the_comment_later() -> None:
    made = connector(
        "jira", base_url="https://x.atlassian.net", email="a@b.c", api_token="t", project_key="P",
        template="About {{ task.title }}",
    )  # fmt: skip
    (create,) = made.plan(fact("task_created"))
    assert text_of(create.payload["fields"]["description"]).startswith("About Fix the login")
    create, comment, _ = made.plan(fact("task_completed"))
    assert not text_of(create.payload["fields"]["description"]).startswith("About")
    assert text_of(comment.payload["body"]).startswith("About Fix the login")


# --- the workflow ---------------------------------------------------------------------------------

NEW, DOING, DONE = Status("To Do", "new"), Status("In Progress", "indeterminate"), Status("Done", "done")
WONT = Status("Won't Do", "done")
FINISHED = Target(category="done", favoured=("Done",), shunned=("Won't Do",))


def offer(to: Status, number: str = "1") -> Offer:
    return Offer(number, f"to {to.name}", to)


@pytest.mark.parametrize(
    ("offered", "target", "status", "chosen"),
    [
        ([offer(WONT), offer(DONE, "2")], FINISHED, NEW, "2"),
        ([offer(WONT)], FINISHED, NEW, None),
        ([offer(WONT), offer(DOING, "2")], FINISHED, NEW, "2"),
        ([offer(WONT), offer(DOING, "2")], FINISHED, DOING, None),
        ([offer(Status("Shipped", "done"), "3")], FINISHED, DOING, "3"),
        ([offer(WONT), offer(DONE, "2")], Target(name="won't do"), NEW, "1"),
        ([offer(DOING)], Target(name="Review"), NEW, None),
        ([], FINISHED, None, None),
    ],
)
def test_the_transition_that_is_taken(
    offered: list[Offer], target: Target, status: Status | None, chosen: str | None
) -> None:
    found = choose(offered, target, status)
    assert (None if found is None else found.id) == chosen


@pytest.mark.parametrize("answer", [None, [], {}, {"fields": 5}, {"fields": {"status": {"name": 5}}}])
def test_an_issue_that_shows_no_status(answer: Json) -> None:
    assert where(answer) is None


@pytest.mark.parametrize(
    "answer", [None, {"transitions": 5}, {"transitions": [5, {"id": 5, "to": {"name": "x"}}, {"id": "1"}]}]
)
def test_transitions_that_cannot_be_read_are_none(answer: Json) -> None:
    assert offers(answer) == []


def test_a_status_without_a_category_is_known_by_its_name() -> None:
    (found,) = offers({"transitions": [{"id": "1", "name": "Go", "to": {"name": "Review"}}]})
    assert found == Offer("1", "Go", Status("Review", ""))
    assert found.told == "Go -> Review"
    assert offer(DONE).told == "to Done -> Done"
    assert Offer("1", "Done", DONE).told == "Done"


# --- looks ----------------------------------------------------------------------------------------


def test_what_is_remembered_of_tries_is_bounded() -> None:
    clock = SettableClock()
    lookups = Lookups(Clock(now=lambda: clock.ms), lag_s=30)
    for number in range(REMEMBERED_MAX + 10):
        lookups.note_absent(number)
        lookups.found_nothing(number)
    assert not lookups.surely_absent(9)
    assert lookups.surely_absent(10)
    assert len(lookups._looks) == REMEMBERED_MAX
