"""A disk that is full while the hub writes: a real one, small, mounted for the test."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ralf_hub.workspace.events import Reading, events_in
from ralf_hub.workspace.scan import scan
from tests.support import eventually
from tests.watcher.hub import EVENTS, QUEUE, house, make_workspace, write_task

PAGE = 4096
RECORD = "- timestamp: '2026-02-01T00:00:00Z'\n  type: idle\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "ralf-hub-test", str(place)],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], timeout=10, check=True)


def fill(place: Path) -> Path:
    """Write until nothing fits any more."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(b"x" * PAGE)
    return filler


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


async def test_a_full_disk_leaves_no_half_file_and_what_waits_is_written_later(
    tmp_path: Path, disk: Path
) -> None:
    root = make_workspace(disk / "ws")
    write_task(root, "TASK-1")
    (root / QUEUE).write_text("tasks:\n- id: TASK-1\n  status: pending\n")
    fits = (2 * PAGE - 60) // len(RECORD)  # the hub's record crosses the end of a page: half of it fits
    (root / EVENTS).write_text((RECORD * fits).ljust(2 * PAGE - 60, "#") + "\n")
    async with house(tmp_path, root, write_back="full") as hub:
        # As after an earlier write-back: the locks are there, and a folder of what is done.
        for name in (".queue.lock", ".events.lock"):
            (root / EVENTS).with_name(name).touch()
        filler = fill(disk)
        before = contents(root)
        await hub.create(id="HUB-1")
        await hub.change("TASK-1", status="completed")

        async def both_tried() -> bool:
            rows = await hub.rows("SELECT state, last_error FROM outbox ORDER BY id")
            return len(rows) == 2 and all(state == "pending" and "No space" in (e or "") for state, e in rows)

        await eventually(both_tried, within_s=20)
        assert contents(root) == before, "nothing that stood there changed, nothing half-made stayed"
        filler.unlink()
        await hub.written()
        await hub.looked()
        assert [(task.id, task.status) for task in scan(root).tasks] == [
            ("HUB-1", "pending"),
            ("TASK-1", "completed"),
        ]
        assert {item.id: item.status for item in scan(root).queue.items} == {
            "TASK-1": "completed",
            "HUB-1": "pending",
        }
        records, problems = events_in((root / EVENTS).read_bytes(), Reading("events.yaml"))
        assert problems == []
        assert [record.task_id for record in records if record.raw_type == "completed"] == ["TASK-1"]
        assert await hub.events("TASK-1") == {"task_completed": 1}
        assert await hub.events("HUB-1") == {"task_created": 1}


async def test_half_a_record_on_a_full_disk_is_taken_back(tmp_path: Path, disk: Path) -> None:
    root = make_workspace(disk / "ws")
    write_task(root, "TASK-1")
    fits = (2 * PAGE - 60) // len(RECORD)
    (root / EVENTS).write_text((RECORD * fits).ljust(2 * PAGE - 60, "#") + "\n")
    async with house(tmp_path, root, write_back="full") as hub:
        (root / "tasks/completed").mkdir()
        for name in (".queue.lock", ".events.lock"):
            (root / EVENTS).with_name(name).touch()
        filler = fill(disk)
        before = (root / EVENTS).read_bytes()
        await hub.change("TASK-1", status="completed")

        async def tried() -> bool:
            rows = await hub.rows("SELECT last_error FROM outbox WHERE state = 'pending'")
            return bool(rows) and "No space" in (rows[0][0] or "")

        await eventually(tried, within_s=20)
        assert (root / EVENTS).read_bytes() == before
        assert (root / "tasks/completed/TASK-1/task.md").is_file(), "the folder moved: that needs no space"
        filler.unlink()
        await hub.written()
        records, problems = events_in((root / EVENTS).read_bytes(), Reading("events.yaml"))
        assert ([record.task_id for record in records][-1], problems) == ("TASK-1", [])
        await hub.looked()
        assert await hub.events("TASK-1") == {"task_completed": 1}
