from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub import notices
from ralf_hub.model import EVENT_TYPES, Event, Feature, Task
from ralf_hub.notices import Notice, word
from ralf_hub.texts import clean

HUB = "http://127.0.0.1:8080"
AT = "2026-02-01T16:01:00.000Z"
TASK = Task(
    "TASK-7",
    "Fix the login",
    priority="high",
    assignee="executor",
    started_at="2026-02-01T15:00:00.000Z",
    feature_id="F-1",
)
FEATURE = Feature("F-1", "Login", description="People can log in.", tasks_total=4, tasks_completed=4)


def event(kind: str, data: dict[str, Any] | None = None, task_id: str | None = "TASK-7") -> Event:
    return Event("evt_0123", kind, AT, task_id=task_id, data=data or {})


def fields(notice: Notice) -> dict[str, str]:
    return dict(notice.fields)


def test_every_hub_event_type_has_its_own_words() -> None:
    assert set(EVENT_TYPES) == notices.WORDED_TYPES


def test_a_completed_task() -> None:
    notice = word(event("task_completed", {"result": "Tests pass.\nAll of them."}), TASK, FEATURE, HUB)
    assert notice.title == "Task completed: Fix the login"
    assert notice.lines == ("Tests pass.", "All of them.")
    assert notice.severity == "success"
    assert notice.url == f"{HUB}/#/tasks/TASK-7"
    assert notice.event_id == "evt_0123"
    assert fields(notice) == {
        "Task": "TASK-7",
        "Priority": "high",
        "Feature": "Login",
        "Agent": "executor",
        "Took": "1 h 1 min",
    }


def test_a_failed_task_tells_the_error_of_the_event_or_of_the_task() -> None:
    told = word(event("task_failed", {"error": "exit 1"}), replace(TASK, error="old"))
    assert (told.severity, told.lines) == ("error", ("exit 1",))
    assert word(event("task_failed"), replace(TASK, error="boom")).lines == ("boom",)


def test_ralfs_own_completed_record() -> None:
    record = {
        "agent": "executor",
        "run_number": 12,
        "result": "success",
        "duration_seconds": 125,
        "commit_hash": "abc1234",
    }
    notice = word(event("task_completed", record))
    assert notice.title == "Task completed: TASK-7"
    assert notice.lines == ("success",)
    assert fields(notice) == {
        "Task": "TASK-7",
        "Agent": "executor",
        "Took": "2 min 5 s",
        "Commit": "abc1234",
        "Run": "12",
    }


@pytest.mark.parametrize(
    ("kind", "data", "title", "severity", "text"),
    [
        ("task_created", {"description": "Do it."}, "New task: Fix the login", "info", "Do it."),
        ("task_updated", {"changes": {"title": 1, "priority": 2}}, "Task updated: Fix the login", "info", ""),
        ("task_started", {}, "Task started: Fix the login", "info", ""),
        ("task_progress", {"progress": 40, "note": "half"}, "Task at 40 %: Fix the login", "info", "half"),
        ("task_blocked", {"reason": "waits"}, "Task blocked: Fix the login", "warning", "waits"),
        ("task_cancelled", {"reason": "no longer"}, "Task cancelled: Fix the login", "warning", "no longer"),
        ("feature_created", {}, "New feature: Login", "info", "People can log in."),
        ("feature_delivered", {}, "Feature delivered: Login", "success", "People can log in."),
        ("queue_changed", {"depth": 1}, "Queue: 1 task waiting", "info", ""),
        ("queue_changed", {"new_depth": 3, "tasks_added": 2}, "Queue: 3 tasks waiting", "info", ""),
        ("queue_changed", {}, "Queue changed", "info", ""),
        (
            "webhook_received",
            {"service": "github", "event": "issues", "action": "opened", "title": "It breaks"},
            "Webhook from github: issues opened",
            "info",
            "It breaks",
        ),
        ("system_alert", {"severity": "critical", "message": "Disk full"}, "Alert: Disk full", "error", ""),
        (
            "system_alert",
            {"title": "Disk", "message": "Only 1 MB left"},
            "Alert: Disk",
            "warning",
            "Only 1 MB left",
        ),
        (
            "connector_paused",
            {"connector": "slack", "reason": "401"},
            "Connector slack paused",
            "warning",
            "401",
        ),
        ("connector_resumed", {"connector": "slack"}, "Connector slack resumed", "success", ""),
    ],
)
def test_words(kind: str, data: dict[str, Any], title: str, severity: str, text: str) -> None:
    notice = word(event(kind, data), TASK, FEATURE)
    assert (notice.title, notice.severity, notice.text) == (title, severity, text)


def test_what_was_changed_is_named() -> None:
    assert (
        fields(word(event("task_updated", {"changes": {"title": "x", "priority": "low"}}), TASK))["Changed"]
        == "title, priority"
    )


def test_types_of_ralfs_own_are_worded_from_what_they_carry() -> None:
    data = {
        "agent_type": "github-auto-push",
        "message": "No remote 'origin' configured",
        "nested": {"a": 1},
        "tries": 3,
    }
    notice = word(event("auto_push_error", data, task_id=None))
    assert notice.title == "Auto push error"
    assert notice.severity == "error"
    assert notice.lines == ("No remote 'origin' configured",)
    assert fields(notice) == {"Agent": "github-auto-push", "Tries": "3"}


@pytest.mark.parametrize(
    ("kind", "severity"),
    [("auto_push_warning", "warning"), ("deploy_success", "success"), ("agent_start", "info"), ("", "info")],
)
def test_severity_of_other_types(kind: str, severity: str) -> None:
    assert word(event(kind)).severity == severity


def test_a_result_that_is_data_is_told_by_its_summary_or_as_json() -> None:
    assert word(event("task_completed", {"result": {"summary": "done", "n": 1}})).text == "done"
    assert word(event("task_completed", {"result": {"n": [1, 2]}})).text == '{"n":[1,2]}'


def test_a_result_that_json_cannot_say_is_left_out() -> None:
    assert word(event("task_completed", {"result": {"n": 2**70}})).lines == ()
    assert word(event("task_completed", {"result": "\x1b[0m \x00"})).lines == ()


def test_texts_from_outside_are_cleaned_and_bounded() -> None:
    hostile = "\x1b[2J\u202e" + "x" * 5000 + "\x00"
    task = replace(TASK, title="a\nb" + hostile)
    notice = word(event("task_failed", {"error": "\n".join(["line"] * 90) + hostile}), task)
    assert len(notice.title) == notices.TITLE_LENGTH_MAX
    assert len(notice.text) <= notices.TEXT_LENGTH_MAX
    assert len(notice.lines) == notices.LINES_MAX
    assert "\n" not in notice.title
    assert clean(notice.title + notice.text) == notice.title + notice.text


def test_many_and_long_fields_are_bounded() -> None:
    notice = word(event("odd", {f"key{'x' * 100}{i}": "v" * 999 for i in range(50)}))
    assert len(notice.fields) == notices.FIELDS_MAX
    assert all(len(n) <= notices.FIELD_NAME_LENGTH_MAX for n, _ in notice.fields)
    assert all(len(v) <= notices.FIELD_VALUE_LENGTH_MAX for _, v in notice.fields)


def test_links_quote_what_they_carry() -> None:
    assert word(event("odd", task_id="a/b c?#"), hub_url=HUB + "/").url == f"{HUB}/#/tasks/a%2Fb%20c%3F%23"
    assert (
        word(event("feature_delivered", task_id=None), feature=FEATURE, hub_url=HUB).url
        == f"{HUB}/#/features/F-1"
    )
    assert word(event("system_alert", task_id=None), hub_url=HUB).url == f"{HUB}/"
    assert word(event("task_failed")).url is None


@pytest.mark.parametrize("started", ["yesterday", "", "2026-02-01T17:00:00Z"])
def test_unreadable_or_backward_times_do_no_harm(started: str) -> None:
    took = fields(word(event("task_completed"), replace(TASK, started_at=started))).get("Took")
    assert took in {None, "0 s"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
known_keys = st.sampled_from(
    [
        "message",
        "result",
        "error",
        "reason",
        "percent",
        "progress",
        "depth",
        "changes",
        "severity",
        "duration_seconds",
        "title",
    ]
)


@given(
    kind=st.sampled_from([*EVENT_TYPES, "auto_push_error"]) | st.text(max_size=30),
    data=st.dictionaries(known_keys | st.text(max_size=12), json_values, max_size=6),
    title=st.text(max_size=300),
    task_id=st.none() | st.text(max_size=20),
)
def test_any_event_is_worded_within_bounds(
    kind: str, data: dict[str, Any], title: str, task_id: str | None
) -> None:
    task = Task(task_id or "T", title, result=data.get("result"), error=None)
    notice = word(Event("evt_1", kind, AT, task_id=task_id, data=data), task, None, HUB)
    assert notice.title
    assert len(notice.title) <= notices.TITLE_LENGTH_MAX
    assert len(notice.text) <= notices.TEXT_LENGTH_MAX
    assert len(notice.fields) <= notices.FIELDS_MAX
    assert clean(notice.text) == notice.text
    assert all(name and value for name, value in notice.fields)
