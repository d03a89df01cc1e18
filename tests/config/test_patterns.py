import pytest

from ralf_hub.config.patterns import is_pattern, nearest, probably_meant, wants


@pytest.mark.parametrize(
    ("patterns", "event_type", "wanted"),
    [
        (["task_completed"], "task_completed", True),
        (["task_completed"], "task_failed", False),
        (["task_*"], "task_failed", True),
        (["task_*"], "agent_stop", False),
        (["*"], "anything_at_all", True),
        (["*", "!agent_*"], "agent_stop", False),
        (["!agent_*", "*"], "agent_stop", False),
        (["!agent_*", "*"], "task_failed", True),
        (["!agent_*"], "task_failed", True),
        (["!agent_*"], "agent_stop", False),
        (["task_*", "!task_progress"], "task_progress", False),
        ([], "task_completed", False),
        (["Task_*"], "task_failed", False),
    ],
)
def test_what_patterns_ask_for(patterns: list[str], event_type: str, *, wanted: bool) -> None:
    assert wants(patterns, event_type) is wanted


@pytest.mark.parametrize("text", ["task_*", "*", "!x", "agent.stop", "a:b", "A-1"])
def test_patterns(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize("text", ["", "!", "task completed", "a\n", "täsk", "[a]", "a" * 200, "!!x"])
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("task_complete", "task_completed"),
        ("completed", "task_completed"),
        ("!task_progres", "task_progress"),
        ("delivered", "feature_delivered"),
        ("task_completed", None),
        ("agent_stop", None),
        ("docs_modified", None),
        ("task_*", None),
    ],
)
def test_only_near_misses_are_taken_for_misspelt(word: str, meant: str | None) -> None:
    assert probably_meant(word) == meant


def test_nearest_ignores_case_and_refuses_far_words() -> None:
    assert nearest("Slak", ["slack", "webhook"]) == "slack"
    assert nearest("zzz", ["slack", "webhook"]) is None
