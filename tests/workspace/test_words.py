import pytest

from ralf_hub.workspace import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CRITICAL", "critical"), ("high", "high"), ("Medium", "medium"), ("LOW", "low"), ("P0", "critical"), ("P1", "high"),
        ("p2", "medium"), ("P3", "low"), ("medium-high", "high"), ("MEDIUM-HIGH (Score: 3.0)", "high"),
        ("HIGH (Score: 8.0 = (8 \u00d7 10) / 20)", "high"), ("MEDIUM (low effort)", "medium"), ("High (from analysis)", "high"),
        ("**HIGH**", "high"), ("urgent", "critical"), ("critical | high | medium | low", None), ("FILL_ME", None), ("", None),
        (None, None), (3, None), ("highest ever", None),
    ],
)  # fmt: skip
def test_priorities(text, expected):
    assert words.priority(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pending", "pending"), ("completed ✅", "completed"), ("COMPLETE - NO ACTION NEEDED", "completed"),
        ("SKIPPED - DUPLICATE", "cancelled"), ("in_progress", "in_progress"), ("In Progress", "in_progress"),
        ("in-progress", "in_progress"), ("ACTIVE", "in_progress"), ("✅ Done", "completed"), ("planned", "pending"),
        ("STOP acknowledged, RALF loop halting", None), ("FILL_ME (pending/in_progress/completed)", None),
        ("pending | in_progress | completed", None), ("claimed", "in_progress"), (None, None), ([], None), ("", None),
    ],
)  # fmt: skip
def test_statuses(text, expected):
    assert words.status(text) == expected


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("15 minutes", 15), ("4-5 hours", 270), ("90 minutes (~1.5 hours)", 90), ("~2 hours", 120), ("1-2 days", 720),
        ("40", 40), (45, 45), ("1.5 h", 90), ("30 min", 30), ("2 to 4 hours", 180), ("FILL_ME", None), ("", None), (None, None),
        ("soon", None), (True, None), (-3, None), ("9" * 100_000, None),
    ],
)  # fmt: skip
def test_estimates(text, minutes):
    if isinstance(text, str) and len(text) > words.WORDS_CHARACTERS_MAX:
        words.estimate_minutes(text)  # only that it ends
    else:
        assert words.estimate_minutes(text) == minutes


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("TASK-1769916001-automate-queue-management", "TASK-1769916001"),
        ("TASK-1769916001", "TASK-1769916001"),
        ("TASK-20260203171821-enhance-session-start", "TASK-20260203171821"),
        ("MASTER-TASK-20260204000001", "MASTER-TASK-20260204000001"),
        ("IMP-1769903001-auto-sync", "IMP-1769903001"),
        ("TASK-ARCH-014-goals-system", "TASK-ARCH-014-goals-system"),
        ("TASK-001-test", "TASK-001-test"),
        ("TASK-20260130-001-fix-skills-system", "TASK-20260130-001-fix-skills-system"),
        ("STOP_1769783023", "STOP_1769783023"),
        ("Fix the thing!", "Fix-the-thing"),
        ("über", "ber"),
        ("..", ""),
        ("x" * 300, "x" * 128),
    ],
)
def test_a_stem_gives_the_id(stem, expected):
    assert words.id_of(stem) == expected


def test_ids_in_lists_texts_and_nothing():
    assert words.ids_in([["TASK-1", "goals-setup"], "None", "TASK-2 (done), TASK-1"]) == (
        "TASK-1",
        "goals-setup",
        "TASK-2",
    )
    assert words.ids_in([None, 5, {}, [], "[]", "no dependencies"]) == ("5",)
