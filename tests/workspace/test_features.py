from datetime import UTC

import pytest

from ralf_hub.workspace.features import (
    feature_status,
    is_feature_file,
    read_backlog,
    read_feature,
    resolve_features,
)

BACKLOG = """# Feature Backlog

**Version:** 2.0.0

## Planned Features

### F-005: Automated Documentation

**Status:** completed ✅
**Completed:** 2026-02-01 (Run 54)
**Task:** TASK-1769952151
**Priority:** HIGH (Score: 10.0)
**Estimated:** 90 minutes (~1.5 hours)

**User Value:**
- **Who:** operators

### F-008:
**Completed:** 2026-02-01 (Run 58)
**Task:** TASK-1769954137
**File:** `plans/features/FEATURE-008-realtime-dashboard.md` (to be created)

### F-002: Skills Library

**Status:** planned
**Priority:** MEDIUM

## Active Features

### F-010: Knowledge Base

## Completed Features

### F-001: Coordination ✅
**Task:** TASK-1769916007

## Feature Acceptance Criteria

### Not a feature
"""


def feature(text, name="FEATURE-008-realtime-dashboard.md"):
    return read_feature(text, f"plans/features/{name}", UTC)


@pytest.mark.parametrize(
    "heading",
    [
        "FEATURE-008: Real-time Dashboard",
        "Feature Specification: F-008 Real-time Dashboard",
        "Feature F-008: Real-time Dashboard",
    ],
)
def test_three_styles_of_heading(heading):
    found, problems = feature(
        f"# {heading}\n\n**Status:** active\n**Priority:** MEDIUM-HIGH (Score: 3.0)\n**Task:** TASK-17\n"
    )
    assert (found.id, found.title, found.status, found.priority, found.task_ids, problems) == (
        "F-008", "Real-time Dashboard", "active", "high", ("TASK-17",), [],
    )  # fmt: skip


def test_a_file_whose_heading_says_another_number_is_reported():
    found, problems = feature("# Feature F-009: T\n")
    assert (found.id, [p.line for p in problems]) == ("F-008", [1])
    found, problems = feature("No heading\n")
    assert (found.id, found.title, [p.line for p in problems]) == (
        "F-008",
        "FEATURE-008-realtime-dashboard",
        [1],
    )


def test_which_files_are_features():
    assert is_feature_file("FEATURE-012-api-gateway.md")
    for name in ("BACKLOG.md", "EXAMPLE-feature-x.md", "FEATURE-EXAMPLE.md", "FEATURE-012.txt", "README.md"):
        assert not is_feature_file(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("completed ✅", "completed"), ("implemented", "completed"), ("Planned", "planned"), ("active", "active"),
     ("example", "planned"), (None, "planned"), ("in progress", "active")],
)  # fmt: skip
def test_statuses(text, expected):
    assert feature_status(text) == expected


def test_the_backlog_is_read_entry_by_entry():
    entries = {entry.id: entry for entry in read_backlog(BACKLOG, "BACKLOG.md", UTC)}
    assert {name: entry.status for name, entry in entries.items()} == {
        "F-005": "completed", "F-008": "completed", "F-002": "planned", "F-010": "active", "F-001": "completed",
    }  # fmt: skip
    assert (entries["F-005"].line, entries["F-005"].task_ids) == (7, ("TASK-1769952151",))
    assert (entries["F-008"].title, entries["F-001"].title) == ("realtime dashboard", "Coordination")
    assert (entries["F-005"].priority, entries["F-005"].metadata["estimate_minutes"]) == ("high", 90)


def test_what_is_done_stays_done_and_contradictions_are_reported():
    own, _ = feature(
        "# FEATURE-005: Docs\n\n**Status:** active\n\n## Overview\nWords.\n", "FEATURE-005-docs.md"
    )
    found, problems = resolve_features([own], read_backlog(BACKLOG, "BACKLOG.md", UTC))
    first = next(f for f in found if f.id == "F-005")
    assert (first.title, first.status, first.description, first.file) == (
        "Docs",
        "completed",
        "Words.",
        own.file,
    )
    assert first.task_ids == ("TASK-1769952151",)
    assert [(p.file, p.line) for p in problems] == [("BACKLOG.md", 7)]
    assert [f.id for f in found] == ["F-001", "F-002", "F-005", "F-008", "F-010"]
