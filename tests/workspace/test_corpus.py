"""The real workspaces, every file of them, counted here a second time with find and grep."""

import re
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from ralf_hub.workspace.headers import read_head
from ralf_hub.workspace.queue import read_queue, selection_order
from ralf_hub.workspace.scan import ScanSettings, follow_events, scan
from tests.workspace.helpers import PROJECT, read, shared_workspace

pytestmark = pytest.mark.shared

TABLE = {
    "modern": {
        "task files": 358,
        "tasks": {"completed": 194, "pending": 66, "cancelled": 22, "in_progress": 1},
        "same task in several places": 74,
        "short id twice": 2,
        "events": {
            "agent_stop": 598, "agent_start": 377, "task_started": 7, "auto_push_warning": 3, "auto_push_error": 3,
            "in_progress": 2, "auto_push_skipped": 2, "task_state_transition": 2, "task_completed": 2, "queue_refilled": 1,
            "docs_modified": 1, "auto_push_blocked": 1,
        },
        "duplicates": 10,
        "event problems": [],
        "queue": {"pending": 23, "completed": 16, "in_progress": 2},
        "features": {"completed": 8, "planned": 10},
    },
    "flat": {
        "task files": 111,
        "tasks": {"completed": 99, "pending": 12},
        "same task in several places": 0,
        "short id twice": 2,
        "events": {"task_started": 11, "task_completed": 11},
        "duplicates": 0,
        "event problems": [163, 190, 214, 239, 266],
        "queue": {"completed": 5, "pending": 2},
        "features": {"planned": 7, "active": 4, "completed": 1},
    },
}  # fmt: skip
HUB_TYPE = {"started": "task_started", "completed": "task_completed"}


def shell(command: str, cwd: Path) -> list[str]:
    """Return the lines *command* prints."""
    done = subprocess.run(["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.fixture(params=["modern", "flat"])
def tree(request):
    return request.param, shared_workspace(request.param)


def events_of(snapshot):
    batches = list(follow_events(snapshot.layout, ScanSettings()).batches)
    return [r for batch in batches for r in batch.records], [p for batch in batches for p in batch.problems]


def test_the_table(tree):
    name, root = tree
    snapshot = scan(root)
    events, problems = events_of(snapshot)
    messages = [problem.message for problem in snapshot.problems]
    assert {
        "task files": len(snapshot.records),
        "tasks": Counter(task.status for task in snapshot.tasks),
        "same task in several places": sum("places" in message for message in messages),
        "short id twice": sum("another task" in message for message in messages),
        "events": Counter(event.type for event in events),
        "duplicates": len(events) - len({event.fingerprint for event in events}),
        "event problems": [problem.line for problem in problems],
        "queue": Counter(item.status for item in snapshot.queue.items),
        "features": Counter(feature.status for feature in snapshot.features),
    } == TABLE[name]
    assert snapshot.layout.name == name
    assert snapshot.queue.schema == {"modern": "tasks", "flat": "queue"}[name]


def test_events_are_as_many_as_grep_counts(tree):
    _, root = tree
    snapshot = scan(root)
    events, _ = events_of(snapshot)
    file = snapshot.layout.events
    types = shell(rf"grep -hoE '^(- |  )type: .*' '{file}' | sed 's/.*type: //'", root)
    done = len(shell(rf"grep -E '^    to_state: completed$' '{file}'", root))
    expected = Counter(HUB_TYPE.get(name, name) for name in types)
    expected.update({"task_completed": done, "task_state_transition": -done})
    assert Counter(event.type for event in events) == +expected
    lines = shell(rf"grep -nE '^- ' '{file}' | cut -d: -f1", root)
    assert [event.line for event in events] == [int(line) for line in lines]


def test_problems_of_events_are_where_a_yaml_parser_stumbles(tree):
    name, root = tree
    file = scan(root).layout.events
    starts = [int(line) for line in shell(rf"grep -nE '^- ' '{file}' | cut -d: -f1", root)]
    lines = file.read_text().split("\n")
    stumbles = []
    for start, end in pairwise([*starts, len(lines) + 1]):
        try:
            yaml.safe_load("\n".join(lines[start - 1 : end - 1]))
        except yaml.MarkedYAMLError as error:
            stumbles.append(start + error.problem_mark.line)
    assert stumbles == TABLE[name]["event problems"]


def test_tasks_are_as_many_as_find_counts(tree):
    name, root = tree
    found = shell(
        r"find tasks .autonomous/tasks -name '*.md' -not -path '*/runs.migrated/*' -not -path '*/.index/*'"
        r" -not -ipath '*/template/*'",
        root / PROJECT,
    )
    paths = [Path(line) for line in found]
    owners = {path.parent for path in paths if path.name.lower() == "task.md"}
    strength = ["completed", "cancelled", "working", "active", "improvements"]
    best: dict[str, int] = {}
    places: Counter[str] = Counter()
    count = 0
    for path in paths:
        folder = path.parts[path.parts.index("tasks") + 1]
        inside = any(parent in owners for parent in path.parents) and "subtasks" not in path.parts
        if path.name.lower() == "task.md":
            stem = path.parent.name
        elif path.name == "TASK-CONTEXT.md":
            stem = path.parent.parent.name
        elif inside or not re.match(
            r"((MASTER-)?TASK|RALF|STOP|IMP)[-_].+\.md|continuous-improvement.md", path.name
        ):
            continue
        else:
            stem = path.stem
        count += 1
        places[stem] += path.name != "TASK-CONTEXT.md"
        rank = strength.index(folder) if folder in strength else 9
        best[stem] = min(rank, best.get(stem, 9))
    snapshot = scan(root)
    assert (len(snapshot.records), len(snapshot.tasks)) == (count, len(best))
    several = {stem: number for stem, number in places.items() if number > 1}
    assert len(several) == TABLE[name]["same task in several places"]
    told = [problem for problem in snapshot.problems if "stands in" in problem.message]
    found = {re.search(r"stands in (\d+) places", problem.message)[1] for problem in told}
    assert found == {str(number) for number in several.values()}
    assert all((root / problem.file).is_file() for problem in told)
    expected = {"completed": [0], "cancelled": [1], "in_progress": [2], "pending": [3, 4]}
    for status, ranks in expected.items():
        assert sum(task.status == status for task in snapshot.tasks) == sum(
            rank in ranks for rank in best.values()
        )


def test_queue_and_features_are_as_many_as_grep_counts(tree):
    _, root = tree
    snapshot = scan(root)
    lines = shell(rf"grep -nE '^ *- (task_)?id: ' '{snapshot.layout.queue}' | cut -d: -f1", root)
    assert [item.line for item in snapshot.queue.items] == [int(line) for line in lines]
    statuses = shell(rf"grep -oE '^ +status: .*' '{snapshot.layout.queue}' | sed 's/.*: //'", root)
    assert Counter(item.status for item in snapshot.queue.items) == Counter(statuses)
    numbers = shell(
        r"(ls | sed -nE 's/^FEATURE-([0-9]+)-.*/\1/p'; sed -nE 's/^### F-([0-9]+).*/\1/p' BACKLOG.md) | sort -u",
        snapshot.layout.features,
    )
    assert [feature.id for feature in snapshot.features] == [f"F-{number}" for number in numbers]


def test_every_file_is_read(tree):
    _, root = tree
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".md":
            assert read_head(text).damage == () or text.startswith("---"), path
        elif path.name.startswith("queue.yaml"):
            queue = read_queue(text, path.name)
            assert len(queue.items) == len(set(re.findall(r"(?m)^ *- (?:task_)?id: \"?([\w.-]+)", text))), (
                path
            )
        elif path.name.startswith("events."):
            assert read(text, path.name)[0]
        else:
            read(text, "events.yaml")  # whatever it is, it must not raise


def test_names_find_the_tasks_that_events_and_queue_speak_of(tree):
    _, root = tree
    snapshot = scan(root)
    known = {task.id for task in snapshot.tasks} | snapshot.names.keys()
    spoken = {item.id for item in snapshot.queue.items}
    spoken |= {event.task_id for event in events_of(snapshot)[0] if event.task_id}
    unknown = {name for name in spoken if name not in known}
    assert unknown <= {"TASK-TEST-001", "TEST-STATE-MACHINE"}


def test_the_order_of_the_real_queues(tree):
    name, root = tree
    snapshot = scan(root)
    done = {task.id for task in snapshot.tasks if task.status == "completed"}
    ready, blocked = selection_order(snapshot.queue)
    if name == "flat":
        assert [item.id for item in ready] == ["TASK-1769964303", "TASK-1769954137"]
        return
    assert [item.id for item in ready[:3]] == ["TASK-PROC-006", "TASK-SKIL-007", "TASK-PROC-020"]
    assert [item.id for item in blocked] == ["TASK-SKIL-032"]
    ready, _ = selection_order(snapshot.queue, done)
    assert not {item.id for item in ready} & done


def test_ldjson_says_what_yaml_says_where_both_exist():
    root = shared_workspace("modern")
    folder = scan(root).layout.communications
    lines, problems = read((folder / "events.ldjson").read_bytes(), "events.ldjson")
    text, _ = read((folder / "events.yaml").read_bytes())
    assert (len(lines), problems) == (995, [])
    assert Counter(e.type for e in lines) == Counter(
        e.type for e in text if "to_state" not in e.data.get("data", {}) or ()
    )
