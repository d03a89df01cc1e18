"""The walk, and everything that may stand in its way."""

import os
import socket
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from ralf_hub.workspace import files
from ralf_hub.workspace.files import RefusedError, open_regular
from ralf_hub.workspace.following import BATCH_RECORDS
from ralf_hub.workspace.layout import find_layout
from ralf_hub.workspace.records import Limits
from ralf_hub.workspace.scan import ScanSettings, follow_events, read_task_file, scan
from tests.workspace.helpers import write

TASK = "# {id}: Title of {id}\n\n**Status:** pending\n**Priority:** high\n\n## Objective\n\nDo it.\n"


def task(root, name, folder="active"):
    return write(root, f"tasks/{folder}/{name}/task.md", TASK.format(id=name))


def ids(snapshot):
    return [found.id for found in snapshot.tasks]


def said(snapshot):
    return {problem.file: problem.message for problem in snapshot.problems}


def test_which_files_are_tasks(tmp_path):
    for name in (
        "active/TASK-1/task.md", "active/TASK-2/TASK.md", "active/TASK-3-flat.md", "completed/2026-02/TASK-4/task.md",
        "completed/old/TASK-5-flat.md", "active/TASK-1/subtasks/TASK-1A/task.md", "active/TASK-1/subtasks/TASK-1B-x.md",
        "active/loose-task.md", "improvements/IMP-6/task.md", "working/TASK-7/run-1/TASK-CONTEXT.md",
        "active/GROUP/subtasks/TASK-8-x.md",
    ):  # fmt: skip
        write(tmp_path, f"tasks/{name}", TASK.format(id="TASK-X"))
    for name in (
        "README.md", "template/task.md", "active/TEMPLATE/task.md", "active/AGENT_CONTEXT.md", "active/TASK-1/PLAN.md",
        "active/TASK-1/TASK-NOTES.md", "completed/.index/2026-02-index.md", "active/GROUP/PLAN.md", "active/task.md",
        "active/TASK-1/runs/TASK-9/task.md", "active/note.txt", "working/TASK-7/run-1/README.md", "active/TASK-9.md.bak",
    ):  # fmt: skip
        write(tmp_path, f"tasks/{name}", TASK.format(id="TASK-NOT"))
    write(tmp_path, "tasks/active/just-a-note.md", "# A note\n\nNothing more.\n")
    snapshot = scan(tmp_path)
    assert {t.stem: t.parent_id for t in snapshot.tasks} == {
        "TASK-1": None, "TASK-2": None, "TASK-3-flat": None, "TASK-4": None, "TASK-5-flat": None, "TASK-1A": "TASK-1",
        "TASK-1B-x": "TASK-1", "loose-task": None, "IMP-6": None, "TASK-7": None, "TASK-8-x": "GROUP",
    }  # fmt: skip
    assert {t.id: t.status for t in snapshot.tasks if t.status != "pending"} == {
        "TASK-4": "completed", "TASK-5-flat": "completed", "TASK-7": "in_progress",
    }  # fmt: skip


def test_one_changed_file_is_read_as_the_scan_reads_it(tmp_path):
    for name in (
        "active/TASK-1/task.md",
        "active/TASK-1/subtasks/TASK-1A/task.md",
        "completed/2026-02/TASK-4/task.md",
    ):
        write(tmp_path, f"tasks/{name}", TASK.format(id="TASK-X"))
    notes = write(tmp_path, "tasks/active/TASK-1/PLAN.md", "# Plan\n")
    layout, settings = find_layout(tmp_path), ScanSettings()
    for record in scan(tmp_path).records:
        assert read_task_file(tmp_path / record.file, layout, settings) == (record, [])
    for path in (notes, tmp_path / "tasks/active/TASK-9/task.md", tmp_path / "elsewhere.md"):
        assert read_task_file(path, layout, settings) == (None, [])


def test_links_out_of_the_workspace_and_loops_are_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    task(outside, "TASK-SECRET")
    task(root, "TASK-1")
    active = root / "tasks/active"
    (active / "TASK-OUT").symlink_to(outside / "tasks/active/TASK-SECRET")
    (active / "TASK-FILE-OUT.md").symlink_to(outside / "tasks/active/TASK-SECRET/task.md")
    (active / "TASK-1" / "self").symlink_to(active)
    (active / "loop").symlink_to(active / "loop")
    (active / "TASK-GONE.md").symlink_to(root / "nowhere")
    snapshot = scan(root)
    assert ids(snapshot) == ["TASK-1"]
    assert said(snapshot) == {
        "tasks/active/TASK-OUT": "a symbolic link that leads out of the workspace; not followed",
        "tasks/active/TASK-FILE-OUT.md": "a symbolic link that leads out of the workspace; not followed",
        "tasks/active/loop": "a symbolic link that leads nowhere or in a circle; not followed",
        "tasks/active/TASK-GONE.md": "a symbolic link that leads nowhere or in a circle; not followed",
    }


def test_the_link_to_a_run_that_ralf_makes_is_harmless(tmp_path):
    task(tmp_path, "TASK-1")
    work = write(tmp_path, "tasks/working/TASK-1/run-1/TASK-CONTEXT.md", "# Task Context: TASK-1\n").parent
    write(tmp_path, "runs/executor/run-1/THOUGHTS.md", "# t\n")
    (work / "run").symlink_to(tmp_path / "runs/executor/run-1")
    snapshot = scan(tmp_path)
    assert [(t.id, t.status) for t in snapshot.tasks] == [("TASK-1", "in_progress")]
    assert snapshot.problems == ()


def test_folders_that_lead_out_hide_everything_and_are_reported(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    task(outside, "TASK-SECRET")
    write(outside, "communications/events.yaml", "- type: started\n  timestamp: 2026-02-01\n")
    write(outside, "communications/queue.yaml", "queue:\n- task_id: TASK-SECRET\n")
    (root / ".autonomous").mkdir(parents=True)
    (root / "tasks").symlink_to(outside / "tasks")
    (root / ".autonomous/communications").symlink_to(outside / "communications")
    snapshot = scan(root)
    assert (ids(snapshot), snapshot.queue.items) == ([], ())
    assert set(said(snapshot)) == {"tasks", ".autonomous/communications/queue.yaml"}
    with pytest.raises(RefusedError, match="out of the workspace"):
        follow_events(snapshot.layout, ScanSettings())


def test_an_events_file_named_outside_is_refused(tmp_path):
    root = tmp_path / "root"
    task(root, "TASK-1")
    write(tmp_path, "outside.yaml", "- type: started\n  timestamp: 2026-02-01\n")
    for name in ("../outside.yaml", str(tmp_path / "outside.yaml")):
        settings = ScanSettings(events_file=name)
        with pytest.raises(RefusedError):
            follow_events(find_layout(root, name), settings)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, monkeypatch):
    task(tmp_path, "TASK-1")
    active = tmp_path / "tasks/active"
    os.mkfifo(active / "TASK-FIFO.md")
    (active / "TASK-DIR.md").mkdir()
    (tmp_path / ".autonomous/communications").mkdir(parents=True)
    os.mkfifo(tmp_path / ".autonomous/communications/queue.yaml")
    os.mkfifo(tmp_path / ".autonomous/communications/events.yaml")
    monkeypatch.chdir(active)  # the path of a socket is short: 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("TASK-SOCKET.md")
        snapshot = scan(tmp_path)
    assert ids(snapshot) == ["TASK-1"]
    assert said(snapshot) == dict.fromkeys(
        [
            "tasks/active/TASK-FIFO.md",
            "tasks/active/TASK-SOCKET.md",
            ".autonomous/communications/queue.yaml",
        ],
        "not a regular file; not opened",
    )
    with pytest.raises(RefusedError, match="not a regular file"):
        follow_events(snapshot.layout, ScanSettings())


def test_a_huge_file_is_refused_by_the_name_of_its_limit(tmp_path):
    task(tmp_path, "TASK-1")
    places = {
        "tasks/active/TASK-HUGE/task.md": "task_bytes_max",
        ".autonomous/communications/queue.yaml": "queue_bytes_max",
        "plans/features/FEATURE-001-x.md": "task_bytes_max",
        ".autonomous/communications/events.yaml": "events_bytes_max",
    }
    for name in places:
        with write(tmp_path, name).open("r+b") as stream:
            stream.truncate(1024**3)
    tracemalloc.start()
    snapshot = scan(tmp_path)
    with pytest.raises(RefusedError, match="events_bytes_max"):
        follow_events(snapshot.layout, ScanSettings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ids(snapshot) == ["TASK-1"]
    for name, limit in places.items():
        assert limit == "events_bytes_max" or limit in said(snapshot)[name]
    assert peak < 4 * 1024 * 1024


def test_a_huge_line_within_the_limit_is_read_in_pieces(tmp_path):
    path = write(
        tmp_path,
        ".autonomous/communications/events.yaml",
        "- type: started\n  timestamp: 2026-02-01\n  note: ",
    )
    with path.open("r+b") as stream:
        stream.truncate(100 * 1024**2)
        stream.seek(0, os.SEEK_END)
        stream.write(b"\n- type: completed\n  timestamp: 2026-02-01\n")
    tracemalloc.start()
    batches = list(follow_events(find_layout(tmp_path), ScanSettings()).batches)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [r.type for batch in batches for r in batch.records] == ["task_completed"]
    assert ["record_bytes_max" in p.message for batch in batches for p in batch.problems] == [True]
    assert peak < 64 * 1024**2


def test_non_utf8_bytes_are_replaced_and_reported_with_their_line(tmp_path):
    path = task(tmp_path, "TASK-1")
    path.write_bytes(path.read_bytes() + b"caf\xe9\n")
    snapshot = scan(tmp_path)
    assert [(p.line, p.message) for p in snapshot.problems] == [(9, "bytes that are not UTF-8; replaced")]
    assert "caf\ufffd" in snapshot.tasks[0].description


def test_a_file_that_vanishes_between_listing_and_opening_is_no_problem(tmp_path, monkeypatch):
    gone, _ = task(tmp_path, "TASK-1"), task(tmp_path, "TASK-2")

    def vanish(path, *rest):
        gone.unlink(missing_ok=True)
        return open_regular(path, *rest)

    monkeypatch.setattr(files, "open_regular", vanish)
    snapshot = scan(tmp_path)
    assert (ids(snapshot), snapshot.problems) == (["TASK-2"], ())


def test_what_may_not_be_read_is_reported_and_the_rest_read(tmp_path):
    task(tmp_path, "TASK-1")
    closed = task(tmp_path, "TASK-2").parent
    task(tmp_path, "TASK-3").chmod(0)
    closed.chmod(0)
    program = (
        "import os, sys; from pathlib import Path\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "from ralf_hub.workspace.scan import scan\n"
        "found = scan(Path(sys.argv[1]))\n"
        "print([t.id for t in found.tasks], [(p.file, p.message) for p in found.problems])\n"
    )
    for folder in (tmp_path, *tmp_path.parents[:3]):  # pytest's own folders; with xdist there is one more
        folder.chmod(folder.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    preload = "import ralf_hub.workspace.scan, yaml\n"
    done = subprocess.run(
        [sys.executable, "-c", preload + program, str(tmp_path)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    closed.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['TASK-1'] ")
    assert "('tasks/active/TASK-2', 'cannot be listed: Permission denied')" in done.stdout
    assert "('tasks/active/TASK-3/task.md', 'cannot be read: Permission denied')" in done.stdout


def test_depth_and_number_have_limits(tmp_path):
    for number in range(5):
        task(tmp_path, f"TASK-{number}")
    write(tmp_path, "tasks/active/" + "deep/" * 20 + "TASK-9/task.md", "# T\n")
    snapshot = scan(tmp_path)
    assert len(snapshot.tasks) == 5
    assert "depth_max" in snapshot.problems[0].message
    snapshot = scan(tmp_path, ScanSettings(limits=Limits(task_files_max=3)))
    assert len(snapshot.tasks) == 3
    assert any("task_files_max" in problem.message for problem in snapshot.problems)


def test_problems_have_a_limit(tmp_path):
    for number in range(30):
        write(tmp_path, f"tasks/active/TASK-{number}/task.md", "")
    problems = scan(tmp_path, ScanSettings(limits=Limits(problems_max=10))).problems
    assert len(problems) == 11
    assert "20 more" in problems[-1].message
    path = write(tmp_path, ".autonomous/communications/events.yaml", "- nothing\n" * 30)
    following = follow_events(find_layout(tmp_path), ScanSettings(limits=Limits(problems_max=10)))
    found = [problem for batch in following.batches for problem in batch.problems]
    assert (len(found), found[-1].line, path.name in found[-1].file) == (11, 11, True)


def test_progress_is_told(tmp_path):
    for number in range(250):
        task(tmp_path, f"TASK-{number}")
    calls = []
    scan(tmp_path, progress=lambda what, count: calls.append((what, count)))
    assert calls == [("tasks", 100), ("tasks", 200), ("tasks", 250)]
    write(
        tmp_path,
        ".autonomous/communications/events.yaml",
        "- type: started\n  timestamp: 2026-02-01\n" * 6000,
    )
    batches = list(follow_events(find_layout(tmp_path), ScanSettings()).batches)
    assert len(batches) == 6000 // BATCH_RECORDS
    assert all(batch.read_bytes <= batch.total_bytes for batch in batches)
    assert batches[-1].read_bytes == batches[-1].total_bytes


def test_backups_of_the_queue_are_ignored(tmp_path):
    task(tmp_path, "TASK-1")
    for name in ("queue.yaml.backup", "queue.yaml.backup.20260205", "queue.yaml.tmp", "queue.yaml.bak"):
        write(tmp_path, f".autonomous/communications/{name}", "queue:\n- task_id: TASK-OLD\n")
    assert scan(tmp_path).queue.items == ()
    write(tmp_path, ".autonomous/communications/queue.yaml", "queue:\n- task_id: TASK-NEW\n")
    assert [item.id for item in scan(tmp_path).queue.items] == ["TASK-NEW"]
