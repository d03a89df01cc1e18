"""Rules as data: when they apply, what is refused when settings load."""

from typing import Any

import pytest
from pydantic import ValidationError

from ralf_hub.webhooks.received import find, join_type, mentions_in
from ralf_hub.webhooks.rules import Rule, chosen, default_rules

BODY = {
    "action": "opened",
    "draft": False,
    "number": 7,
    "milestone": None,
    "issue": {"title": "Wheel", "labels": [{"name": "Ralf"}, {"name": "bug"}]},
}


def rule(**fields: Any) -> Rule:
    return Rule.model_validate({"when": "issues.opened", "do": "create_task", **fields})


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ("issues.opened", True),
        ("issues.*", True),
        ("*", True),
        ("ISSUES.Opened", True),
        ("issues", False),
        ("issues.closed", False),
        ("issue*", True),
    ],
)
def test_when(when: str, *, applies: bool) -> None:
    assert rule(when=when).applies("issues.opened", BODY) is applies


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"action": "opened"}, True),
        ({"action": "OPENED"}, True),
        ({"action": "open*"}, True),
        ({"action": ["closed", "opened"]}, True),
        ({"action": "closed"}, False),
        ({"action": "!closed"}, True),
        ({"action": "!opened"}, False),
        ({"action": ["!closed", "!deleted"]}, True),
        ({"action": ["open*", "!opened"]}, False),
        ({"missing": "!anything"}, True),
        ({"missing": "x"}, False),
        ({"missing": None}, True),
        ({"milestone": None}, True),
        ({"draft": False}, True),
        ({"draft": True}, False),
        ({"draft": 0}, False),
        ({"draft": "false"}, False),
        ({"number": 7}, True),
        ({"number": "7"}, True),
        ({"number": 8}, False),
        ({"number": True}, False),
        ({"issue.labels.name": "ralf"}, True),
        ({"issue.labels.name": "!ralf"}, False),
        ({"issue.labels.name": "other"}, False),
        ({"issue.labels": "ralf"}, False),
        ({"issue.title.deeper": "x"}, False),
        ({"action": "opened", "number": 8}, False),
    ],
)
def test_if(condition: dict[str, Any], *, holds: bool) -> None:
    assert rule(**{"if": condition}).applies("issues.opened", BODY) is holds


def test_an_event_type_that_one_names_is_one_s_own() -> None:
    defaults = default_rules("github")
    assert [r.do for r in chosen((), defaults, "issues.opened", BODY)] == ["create_task"]
    own = (rule(**{"if": {"action": "never"}}),)
    assert chosen(own, defaults, "issues.opened", BODY) == []
    assert chosen((rule(do="nothing"),), defaults, "issues.opened", BODY) == []
    other = (rule(when="push", do="event", event="pushed"),)
    assert [r.do for r in chosen(other, defaults, "issues.opened", BODY)] == ["create_task"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"when": ""}, "at least 1"),
        ({"do": "explode"}, "Input should be"),
        ({"do": "update_task"}, "update_task needs status"),
        ({"do": "note"}, "note needs note"),
        ({"do": "event"}, "event needs event"),
        ({"do": "event", "event": "No Words"}, "must be an event type"),
        ({"do": "update_task", "status": "done"}, "must be one of pending"),
        ({"title": "{{ issue.title"}, "line 1"),
        ({"title": "{% if %}"}, "line 1"),
        ({"body": "x" * 20_001 + "{"}, "may have 20000 characters"),
        ({"colour": "red"}, "Extra inputs"),
        ({"if": {"action": {"deep": 1}}}, "Input should be"),
        ({"if": {str(n): 1 for n in range(21)}}, "at most 20"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        rule(**fields)


@pytest.mark.parametrize(
    "service", ["github", "gitlab", "jira", "trello", "pagerduty", "slack", "discord", "ci"]
)
def test_the_defaults_are_rules(service: str) -> None:
    assert all(isinstance(found, Rule) for found in default_rules(service))


def test_find() -> None:
    assert find(BODY, "issue.labels.name") == ["Ralf", "bug"]
    assert find(BODY, "issue.labels.name.x") == []
    assert find([[BODY]], "number") == []
    assert find(BODY, "") == []


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("TASK-1770000000-ab12", ("TASK-1770000000-ab12", "TASK-1770000000")),
        ("ralf/TASK-17-oil-it", ("TASK-17-oil-it", "TASK-17-oil", "TASK-17")),
        ("Done. ralf:T-1.", ("T-1",)),
        ("ralf:evt_0199 made this", ()),
        ("MULTITASK-1 and task-2", ()),
        ("TASK-1 TASK-1 TASK-2", ("TASK-1", "TASK-2")),
        ("TASK-" + "x" * 500, ("TASK-" + "x" * 101,)),
    ],
)
def test_mentions(text: str, ids: tuple[str, ...]) -> None:
    assert mentions_in(text) == ids


def test_a_type_is_a_name() -> None:
    assert join_type("issues", "", "opened") == "issues.opened"
    for parts in (("",), ("a b",), ("x" * 200,), ("ok", "\n"), ("é",)):
        with pytest.raises(Exception, match="not valid"):
            join_type(*parts)


def test_a_pattern_looks_at_the_beginning_of_a_long_text() -> None:
    body = {"text": "x" * 10_000 + "needle"}
    assert not rule(**{"if": {"text": "*needle"}}).applies("issues.opened", body)
    assert rule(**{"if": {"text": "x*x"}}).applies("issues.opened", body)
