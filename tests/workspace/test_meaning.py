import pytest

from ralf_hub.workspace import meaning
from ralf_hub.workspace.meaning import Meaning


@pytest.mark.parametrize(
    ("raw", "fields", "expected"),
    [
        ("started", {}, "task_started"),
        ("start", {}, "task_started"),
        ("completed", {"result": "success"}, "task_completed"),
        ("completed", {"result": "skipped"}, "task_completed"),
        ("complete", {}, "task_completed"),
        ("task_complete", {}, "task_completed"),
        ("task_completed", {}, "task_completed"),
        ("completed", {"result": "failed"}, "task_failed"),
        ("completed", {"result": " Failed "}, "task_failed"),
        ("task_completed", {"data": {"result": "failed"}}, "task_failed"),
        ("task_state_transition", {"data": {"to_state": "completed"}}, "task_completed"),
        ("task_state_transition", {"to_state": "completed", "result": "failed"}, "task_failed"),
        ("task_state_transition", {"data": {"to_state": "claimed"}}, "task_state_transition"),
        ("task_state_transition", {"data": "completed"}, "task_state_transition"),
        ("failed", {}, "task_failed"),
        ("COMPLETED", {}, "task_completed"),
        ("in_progress", {}, "in_progress"),
        ("agent_stop", {"result": "failed"}, "agent_stop"),
        ("completed", {"result": 1}, "task_completed"),
    ],
)
def test_types_mean_what_the_table_says(raw, fields, expected):
    assert Meaning().hub_type(raw, fields) == expected


def test_settings_extend_and_override_the_table():
    own = Meaning(aliases={"agent_stop": "system_alert", "started": "began", "moved:done": "task_completed"})
    assert own.hub_type("agent_stop", {}) == "system_alert"
    assert own.hub_type("started", {}) == "began"
    assert own.hub_type("moved", {"to_state": "done"}) == "task_completed"
    assert own.hub_type("moved", {}) == "moved"
    assert own.hub_type("completed", {}) == "task_completed"


@pytest.mark.parametrize(
    "value",
    ["task_id:", "", "  ", None, 12, ["TASK-1"], "../x", "/etc/passwd", "a b", "{TASK_ID}", "$TASK", "TASK-XXX",
     "FILL_ME", "x" * 129, "-TASK"],
)  # fmt: skip
def test_what_is_no_task_id(value):
    assert meaning.task_id(value) is None


def test_what_is_one():
    assert meaning.task_id(" TASK-1 ") == "TASK-1"
    assert meaning.task_id("x" * 128) == "x" * 128


def test_odd_type_names_are_made_safe():
    assert meaning.type_name("agent stop\n<b>") == "agent_stop_b"
    assert meaning.type_name("x" * 500) == "x" * meaning.TYPE_CHARACTERS_MAX
    for value in ("{EVENT}", "", None, 5, {"EVENT": None}, "💥"):
        assert meaning.type_name(value) is None


def test_the_public_part_of_a_private_record_is_a_list_of_what_may_pass():
    fields = {
        "run": "r-1",
        "preview": "secret",
        "agent": "a",
        "unheard_of": "secret",
        "source": {"a": "secret"},
    }
    assert meaning.public_part(fields, damaged=False) == {"run": "r-1", "agent": "a"}
    assert meaning.public_part(fields, damaged=True) == {"run": "r-1"}
    assert meaning.public_part({"agent": "secret " * 100}, damaged=False) == {}
