"""The incremental index says at any time what reading everything anew would say."""

import random
import shutil
from pathlib import Path

import pytest

from ralf_hub.watcher.files import Files
from ralf_hub.watcher.said import FileTask, file_task, queue_task
from ralf_hub.workspace.scan import ScanSettings, scan
from tests.watcher.hub import QUEUE, make_workspace, write_task

IDS = [
    "TASK-1", "TASK-2", "TASK-ARCH-007-goals", "TASK-1769900000-one-way", "TASK-1769900000-another", "TASK-1769900000",
    "RALF-2026-01-30-001", "SUBTASK-1",
]  # fmt: skip
FOLDERS = ["active", "completed", "cancelled", "working", "improvements", "completed/2026-02"]


def whole(root: Path) -> dict[str, FileTask]:
    """Return every task as a fresh look at all files gives it."""
    found = scan(root, ScanSettings())
    items = {found.names.get(item.id, item.id): item for item in found.queue.items}
    tasks = {
        task.id: file_task(task, _linked(items.get(task.id), found.names), text=None) for task in found.tasks
    }
    alone = {one: queue_task(one, item) for one, item in items.items() if one not in tasks}
    return tasks | alone


def _linked(item, names):
    from dataclasses import replace  # noqa: PLC0415

    if item is None:
        return None
    return replace(item, depends_on=tuple(names.get(other, other) for other in item.depends_on))


def said(task: FileTask) -> object:
    return task.seen


@pytest.mark.parametrize("seed", range(6))
def test_an_index_kept_up_to_date_is_the_same_as_a_new_one(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = make_workspace(tmp_path / "ws")
    files = Files(root, ScanSettings())
    files.read_all()
    ranks = files.notes().ranks
    for step in range(40):
        paths = [_change(chance, root, step) for _ in range(chance.randint(1, 3))]
        if chance.random() < 0.15:
            files.read_all()
        else:
            files.read_changed(paths)
        expected = whole(root)
        for one in expected:
            task = files.task(one)
            assert task is not None
            assert said(task) == said(expected[one]), (step, one)
        due = files.due(1000)
        files.took(due)
        assert {task.id for task in due} <= set(expected)
        assert files.known.items() >= {one: task.seen.digest for one, task in expected.items()}.items()
        assert files.due(1000) == [], "taken once"
        notes = files.notes()
        counts: dict[str, int] = {}
        for task in scan(root).tasks:
            counts[task.status] = counts.get(task.status, 0) + 1
        assert notes.by_status == counts
        anew = Files(root, ScanSettings())
        anew.read_all()
        if notes.ranks is not None:
            ranks = notes.ranks
        assert ranks == anew.notes().ranks
        if notes.problems is not None:
            assert sorted(p.message for p in notes.problems) == sorted(p.message for p in scan(root).problems)


def _change(chance: random.Random, root: Path, step: int) -> Path:
    """Do something to the tree as RALF might; returns what a watcher would name."""
    kind = chance.random()
    known = sorted(path.parent for path in (root / "tasks").rglob("task.md"))
    if kind < 0.45 or not known:
        other = chance.choice(IDS)
        header = {"dependencies": other} if chance.random() < 0.4 else {}
        header |= {"priority": chance.choice(["LOW", "critical"])} if chance.random() < 0.5 else {}
        title = chance.choice(["One", f"Step {step}", "TASK-1: odd"])
        return write_task(root, chance.choice(IDS), folder=chance.choice(FOLDERS), title=title, **header)
    folder = chance.choice(known)
    if kind < 0.7:
        target = root / "tasks" / chance.choice(FOLDERS[:4]) / folder.name
        if target != folder and not target.exists():
            target.parent.mkdir(exist_ok=True)
            folder.rename(target)
        return root / "tasks"
    if kind < 0.85:
        shutil.rmtree(folder)
        return folder
    names = chance.sample(IDS, 3)
    lines = [
        f"- id: {one}\n  status: {chance.choice(['pending', 'in_progress'])}\n  blockedBy: [{names[0]}]\n"
        f"  priority: {chance.choice(['LOW', 'high', 'critical'])}\n"
        for one in names[1:]
    ]
    (root / QUEUE).write_text(f"tasks:\n# {step}\n" + "".join(lines))
    return root / QUEUE


def test_a_description_is_read_again_where_it_was_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ralf_hub.watcher.files.TEXTS_HELD_MAX", 1)
    root = make_workspace(tmp_path / "ws")
    for number in range(3):
        write_task(root, f"TASK-{number}")
    files = Files(root, ScanSettings())
    files.read_all()
    texts = {task.id: task.fields["description"] for task in files.due(10)}
    assert texts == {f"TASK-{number}": f"About TASK-{number}" for number in range(3)}


def test_a_file_that_vanished_meanwhile_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ralf_hub.watcher.files.TEXTS_HELD_MAX", 0)
    root = make_workspace(tmp_path / "ws")
    path = write_task(root, "TASK-1")
    files = Files(root, ScanSettings())
    files.read_all()
    shutil.rmtree(path.parent)
    assert [task.fields["description"] for task in files.due(10)] == [""]
    files.read_changed([path.parent])
    assert files.task("TASK-1") is None


def test_what_could_not_be_taken_is_due_again(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    write_task(root, "TASK-1")
    files = Files(root, ScanSettings())
    files.read_all()
    due = files.due(10)
    files.again(due)
    assert [task.id for task in files.due(10)] == ["TASK-1"]
