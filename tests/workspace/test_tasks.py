from datetime import UTC
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from ralf_hub.workspace import words
from ralf_hub.workspace.surgery_task import change_task
from ralf_hub.workspace.tasks import TaskSource, read_task, resolve
from ralf_hub.workspace.wishes import Wish

BOLD = """# TASK-SKIL-014: Inconsistent Confidence Thresholds

**Status:** completed
**Priority:** HIGH (Score: 8.0 = (8 x 10) / 20)
**Category:** skills
**Type:** fix
**Estimated Effort:** 4-5 hours
**Created:** 2026-02-05T01:57:10.949940
**Source:** Scout
**Depends On:** TASK-ARCH-003A

---

## Objective

Standardize all thresholds.

```bash
# not a heading
**Status:** not a field
```

## Dependencies

- nothing
"""

FRONT = """---
task_id: TASK-GOALS-001
title: "Complete: Goals System"
linked_goal: IG-006
status: completed
priority: high
created: "2026-02-02"
---

# TASK-GOALS-001: Complete Goals System Setup

## Objective
Build it.
"""

CCPM = """---
name: Add the thing
status: open
created: 2026-02-02T10:00:00Z
parallel: true
effort: 3 hours
depends_on: [TASK-1, 5]
conflicts_with: []
---
Body first.
"""


def source(stem="TASK-X-1", folder="active", **more):
    return TaskSource(f"tasks/{folder}/{stem}/task.md", folder, stem, **more)


def one(text, **where):
    record, problems = read_task(text, source(**where), UTC)
    assert problems == []
    return record


def test_bold_keys():
    task = one(BOLD, stem="TASK-SKIL-014")
    assert (task.id, task.title, task.status, task.priority) == (
        "TASK-SKIL-014", "Inconsistent Confidence Thresholds", "pending", "high",
    )  # fmt: skip
    assert task.description.startswith("Standardize all thresholds.")
    assert (task.type, task.depends_on, task.created_at) == (
        "fix",
        ("TASK-ARCH-003A",),
        "2026-02-05T01:57:10.949Z",
    )
    assert task.metadata["status_text"] == "completed"
    assert task.metadata["priority_text"] == "HIGH (Score: 8.0 = (8 x 10) / 20)"
    assert (task.metadata["estimate"], task.metadata["estimate_minutes"]) == ("4-5 hours", 270)
    assert (task.metadata["category"], task.metadata["source"], task.metadata["folder"]) == (
        "skills",
        "Scout",
        "active",
    )


def test_front_matter():
    task = one(FRONT, stem="TASK-GOALS-001")
    assert (task.title, task.priority, task.created_at) == (
        "Complete Goals System Setup", "high", "2026-02-02T00:00:00.000Z",
    )  # fmt: skip
    assert (task.metadata["goal"], task.description) == ("IG-006", "Build it.")


def test_the_other_front_matter():
    task = one(CCPM, stem="003")
    assert (task.id, task.title, task.depends_on) == ("003", "Add the thing", ("TASK-1", "5"))
    assert (task.metadata["estimate_minutes"], task.metadata["parallel"]) == (180, True)
    assert task.description == "Body first."


def test_neither():
    task = one("# ACTION PLAN: YouTube (Minimal)\n\nDo this.\n", stem="ACTION-PLAN-youtube")
    assert (task.id, task.title, task.description) == (
        "ACTION-PLAN-youtube",
        "ACTION PLAN: YouTube (Minimal)",
        "Do this.",
    )


def test_an_empty_file_is_known_by_its_name_and_reported():
    task, problems = read_task("", source("TASK-1"), UTC)
    assert (task.id, task.title, task.priority) == ("TASK-1", "TASK-1", "medium")
    assert len(problems) == 1


def test_broken_front_matter_is_read_line_by_line():
    task, problems = read_task(
        "---\ntitle: One: two\nstatus: [open\npriority: low\n---\n# T\n", source("TASK-1"), UTC
    )
    assert (task.title, task.priority) == ("T", "low")
    assert [p.line for p in problems] == [2]
    task, problems = read_task("---\ntitle: never ends\n# T\n", source("TASK-1"), UTC)
    assert (task.title, [p.line for p in problems]) == ("T", [1])


@pytest.mark.parametrize(
    ("heading", "title", "alias"),
    [
        ("TASK-ARCH-016: Design", "Design", "TASK-ARCH-016"),
        ("TASK-ARCH-016 - Design", "Design", "TASK-ARCH-016"),
        ("Task: Pre-Execution Verification", "Pre-Execution Verification", None),
        ("TASK: Set up Render", "Set up Render", None),
        ("[TASK-ID]: Update Roadmap", "Update Roadmap", None),
        (
            "TASK-${TIMESTAMP}: Implement Feature F-014 (Performance)",
            "Implement Feature F-014 (Performance)",
            None,
        ),
        ("TASK-[ID]: Implement it", "Implement it", None),
        ("TASK-ID: Implement BMAD", "Implement BMAD", None),
        ("TASK-XXX: FILL_ME", "TASK-NAME", None),
        ("STOP - Halt Execution", "STOP - Halt Execution", None),
        ("Choose A | B | C", "TASK-NAME", None),
    ],
)
def test_headings(heading, title, alias):
    task = one(f"# {heading}\n\n**Status:** pending\n", stem="TASK-NAME")
    assert (task.title, task.aliases) == (title, (alias,) if alias else ())


def test_the_folder_decides_not_the_text():
    for folder, status in (
        ("active", "pending"), ("working", "in_progress"), ("completed", "completed"), ("cancelled", "cancelled"),
        ("improvements", "pending"), ("", "completed"),
    ):  # fmt: skip
        assert one(BOLD, folder=folder).status == status


def test_placeholders_are_nothing():
    task = one(
        "# TASK-1: T\n\n**Type:** implement | fix | refactor\n**Priority:** critical | high | low\n"
        "**Created:** YYYY-MM-DDTHH:MM:SSZ\n**Estimated:** FILL_ME\n**Feature:** TBD\n"
    )
    assert (task.type, task.priority, task.created_at, task.feature_id) == (None, "medium", None, None)
    assert "estimate_minutes" not in task.metadata


def test_naive_times_are_in_the_workspaces_zone():
    task, _ = read_task(BOLD, source(), ZoneInfo("Asia/Bangkok"))
    assert task.created_at == "2026-02-04T18:57:10.949Z"


def test_the_feature_is_named_by_key_or_title():
    assert one("# TASK-1: Implement Feature F-008 (Dashboard)\n").feature_id == "F-008"
    assert one("# TASK-1: T\n\n**Feature ID:** FEATURE-012\n").feature_id == "F-012"


def test_parents():
    assert one("# S: T\n", parent="TASK-1769916001-slug").parent_id == "TASK-1769916001"
    assert one("# S: T\n\n**Parent Task:** TASK-AUTONOMY-004\n").parent_id == "TASK-AUTONOMY-004"
    assert one("# S: T\n\n**Parent:** Issue #4 - RALF\n").parent_id is None


def test_dependencies_in_bullets():
    text = "# TASK-1: T\n\n**Dependencies:**\n- TASK-1769916004 (Framework) - COMPLETE\n- TASK-1\n- PyYAML\n\n## More\n- TASK-9\n"
    assert one(text, stem="TASK-1").depends_on == ("TASK-1769916004",)


def test_a_name_that_cannot_be_an_id_is_reported():
    task, problems = read_task("# T\n", source("Fix the thing"), UTC)
    assert (task.id, len(problems)) == ("Fix-the-thing", 1)


def test_one_huge_heading_and_one_huge_key_end():
    read_task("# " + "[" * 500_000 + "\n**Priority:** " + "1" * 500_000 + "\n", source(), UTC)


# --- several files, one task ----------------------------------------------------------------------


def record(stem, folder, text="# T: t\n", **more):
    place = f"{folder}/{more.pop('sub', '')}"
    found, _ = read_task(text, TaskSource(f"tasks/{place}{stem}/task.md", folder, stem, **more), UTC)
    return found


def test_completed_over_cancelled_over_working_over_active():
    folders = ["improvements", "active", "working", "cancelled", "completed"]
    for weaker, stronger in pairwise(folders):
        found = resolve([record("TASK-1", weaker), record("TASK-1", stronger)])
        assert [t.folder for t in found.tasks] == [stronger]
        assert len(found.problems) == 1
        assert weaker in found.problems[0].message


def test_notes_of_a_run_are_no_contradiction():
    own = record("TASK-1", "active", "# TASK-1: The title\n\n**Priority:** high\n")
    notes = record("TASK-1", "working", "# Task Context: TASK-1\n", is_context=True)
    found = resolve([notes, own, notes])
    assert [(t.title, t.status, t.folder, t.priority) for t in found.tasks] == [
        ("The title", "in_progress", "working", "high")
    ]
    assert found.problems == ()
    assert found.tasks[0].file == own.file


def test_notes_alone_are_a_task():
    found = resolve([record("TASK-1", "working", "# Task Context: TASK-1\n", is_context=True)])
    assert [(t.id, t.status) for t in found.tasks] == [("TASK-1", "in_progress")]


def test_two_names_with_one_short_id_stay_two_tasks():
    stems = ["TASK-1769808835-missing-skills", "TASK-1769808835-fix-imports"]
    found = resolve([record(stem, "completed") for stem in stems])
    assert [t.id for t in found.tasks] == ["TASK-1769808835", "TASK-1769808835-missing-skills"]
    assert len(found.problems) == 1
    assert found == resolve([record(stem, "completed") for stem in reversed(stems)])


def test_the_exact_name_keeps_its_id():
    found = resolve([record("TASK-1769808835-a", "active"), record("TASK-1769808835", "active")])
    assert {t.id: t.stem for t in found.tasks} == {
        "TASK-1769808835": "TASK-1769808835", "TASK-1769808835-a": "TASK-1769808835-a",
    }  # fmt: skip


def test_names_lead_to_ids_where_they_mean_one_task():
    found = resolve([
        record("TASK-1769916001-slug", "active"),
        record("TASK-MEMORY-001-improve", "active", "# TASK-MEMORY-001: T\n"),
        record("TASK-GOALS-001", "active"),
        record("TASK-ARCH-014-goals", "active", "# TASK-GOALS-001: T\n"),
        record("TASK-A-1", "active", "# TASK-TWICE: T\n"),
        record("TASK-A-2", "active", "# TASK-TWICE: T\n\n**Depends On:** TASK-MEMORY-001\n**Parent Task:** TASK-MEMORY-001\n"),
    ])  # fmt: skip
    assert found.names == {
        "TASK-1769916001-slug": "TASK-1769916001", "TASK-MEMORY-001": "TASK-MEMORY-001-improve",
    }  # fmt: skip
    last = next(t for t in found.tasks if t.id == "TASK-A-2")
    assert (last.depends_on, last.parent_id) == (("TASK-MEMORY-001-improve",), "TASK-MEMORY-001-improve")


@pytest.mark.parametrize("stem", ["hub-1", "x_y", "0012", "on", "2026-02-01", "task.md", "TASK-1"])
@pytest.mark.parametrize("title", ["Plain", "TASK-9: looks like an id", 'Say "hello"', "null and void"])
def test_a_heading_that_begins_with_the_tasks_own_name_is_its_title(stem, title):
    source = TaskSource(f"tasks/active/{stem}/task.md", "active", stem)
    task, problems = read_task(f"# {stem}: {title}\n\n**Status:** pending\n", source)
    assert (task.id, task.title, problems) == (stem, title, [])
    wish = Wish(id=stem, title="Another", status="pending", priority="medium", changed=frozenset({"title"}))
    text = f"# {stem}: {title}\n\n**Status:** pending\n"
    assert change_task(text, source, wish) == text.replace(title, "Another")


@pytest.mark.parametrize(
    ("text", "expected"),
    [('"Foo"', "Foo"), ('Say "hello"', 'Say "hello"'), ("`x`", "x"), ("'it's'", "'it's'"), ('"a" and "b"', '"a" and "b"'),
     ("FILL_ME", None), ('""', None), ("'", None)],
)  # fmt: skip
def test_quotes_around_a_title_go_those_in_it_stay(text, expected):
    assert words.title(text) == expected
