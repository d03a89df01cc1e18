"""RALF and the hub change the same task: one after the other, at once, and in the middle of each other's work."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ralf_hub.workspace.scan import scan
from ralf_hub.workspace.writer import Writer
from tests.watcher.hub import House, by_ralf, house, queued, write_task


async def test_the_newer_change_stands_and_the_other_is_kept(tmp_path: Path, root: Path) -> None:
    file = write_task(root, "TASK-1", title="Old")
    async with house(tmp_path, root, write_back="off") as hub:
        await hub.change("TASK-1", title="By the hub", priority="low")
        write_task(root, "TASK-1", title="By RALF, later")
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime + 5))
        await hub.looked()
        task = await hub.task("TASK-1")
        assert task is not None
        assert (task.title, task.priority) == ("By RALF, later", "low")
        (told,) = [data for data in await hub.data("TASK-1", "task_updated") if "lost" in data]
        assert (told["lost"], told["kept"]) == ({"title": "By the hub"}, "workspace")

        await hub.change("TASK-1", title="By the hub again")
        write_task(root, "TASK-1", title="By RALF, but long ago", category="skills")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        await hub.looked()
        task = await hub.task("TASK-1")
        assert task is not None
        assert task.title == "By the hub again"
        assert task.metadata["category"] == "skills"
        told = (await hub.data("TASK-1", "task_updated"))[-1]
        assert (told["lost"], told["kept"], told["changes"]) == (
            {"title": "By RALF, but long ago"},
            "hub",
            {},
        )


async def test_a_change_of_ralf_that_nobody_saw_yet_is_not_written_over(tmp_path: Path, root: Path) -> None:
    """The hub changes a title; RALF has just changed the priority, and another one the title. Nothing is lost."""
    write_task(root, "TASK-1", title="Old")
    write_task(root, "TASK-2", title="Old")
    async with house(tmp_path, root) as hub:
        async with hub.follower.turn:  # nobody reads while both change
            write_task(root, "TASK-1", title="Old", priority="CRITICAL")
            second = write_task(root, "TASK-2", title="By RALF, later")
            os.utime(second, (second.stat().st_atime, second.stat().st_mtime + 5))
            await hub.change("TASK-1", title="By the hub")
            await hub.change("TASK-2", title="By the hub")
        await hub.written()
        await hub.looked()
        found = {task.id: task for task in scan(root).tasks}
        assert (found["TASK-1"].title, found["TASK-1"].priority) == ("By the hub", "critical")
        assert found["TASK-2"].title == "By RALF, later"
        for one in found.values():
            task = await hub.task(one.id)
            assert task is not None
            assert (task.title, task.priority) == (one.title, one.priority)
        lost = [data["lost"] for data in await hub.data("TASK-2", "task_updated") if "lost" in data]
        assert lost == [{"title": "By the hub"}]


async def test_a_task_ralf_completes_while_the_hub_cancels_it_ends_in_one_place(
    tmp_path: Path, root: Path
) -> None:
    write_task(root, "TASK-1")
    async with house(tmp_path, root) as hub:
        async with hub.follower.turn:
            await hub.change("TASK-1", status="cancelled")
            await by_ralf(root, "TASK-1")
        await hub.written()
        await hub.looked()
        task = await hub.task("TASK-1")
        assert task is not None
        assert task.status == "cancelled", "final is final"
        assert [(t.id, t.status) for t in scan(root).tasks] == [("TASK-1", "cancelled")]
        assert not (root / "tasks/completed/TASK-1").exists()


@pytest.mark.parametrize("by", ["record", "folder"])
async def test_a_failed_task_that_ralf_completes_after_all_is_completed(
    tmp_path: Path, root: Path, by: str
) -> None:
    """RALF tries a failed task again without telling; its end must be believed, and its folder left where it is."""
    write_task(root, "TASK-1")
    async with house(tmp_path, root) as hub:
        async with hub.follower.turn:
            await hub.change("TASK-1", status="failed", error="it broke")
            if by == "record":
                await by_ralf(root, "TASK-1")
            else:
                (root / "tasks/completed").mkdir()
                (root / "tasks/active/TASK-1").rename(root / "tasks/completed/TASK-1")
        await hub.written()
        await hub.looked()
        task = await hub.task("TASK-1")
        assert task is not None
        assert (task.status, task.error) == ("completed", None)
        assert [(t.id, t.status) for t in scan(root).tasks] == [("TASK-1", "completed")]
        assert await hub.events("TASK-1") == {"task_failed": 1, "task_completed": 1}


async def test_a_task_ralf_completes_while_the_hub_changes_it_stays_completed(
    tmp_path: Path, root: Path
) -> None:
    """Nobody has seen yet that the folder moved when the hub comes to write: it must not move it back."""
    for number in range(3):
        write_task(root, f"TASK-{number}")
    (root / "tasks/completed").mkdir()
    async with house(tmp_path, root) as hub:
        async with hub.follower.turn:
            await hub.change("TASK-0", status="blocked")
            await hub.change("TASK-1", status="in_progress", assignee="agent-7")
            await hub.change("TASK-2", title="Another")
            for number in range(3):
                (root / f"tasks/active/TASK-{number}").rename(root / f"tasks/completed/TASK-{number}")
        await hub.written()
        await hub.looked()
        for number in range(3):
            task = await hub.task(f"TASK-{number}")
            assert task is not None
            assert task.status == "completed"
        assert {(t.id, t.status) for t in scan(root).tasks} == {(f"TASK-{n}", "completed") for n in range(3)}
        assert {t.id: t.title for t in scan(root).tasks}["TASK-2"] == "Another"


def once_before(hub: House, monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None]) -> None:
    """Let RALF do something just before the follower is asked for *name* the next time, and never again."""
    real = getattr(hub.follower, name)
    waiting = [act]

    async def then(*given: Any, **named: Any) -> Any:
        while waiting:
            waiting.pop()()
        return await real(*given, **named)

    monkeypatch.setattr(hub.follower, name, then)


async def test_what_ralf_changes_while_the_hub_writes_is_still_news(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the hub's writing and its reading back, RALF edits a title and completes another task."""
    first = write_task(root, "TASK-1")
    write_task(root, "TASK-2")
    async with house(tmp_path, root) as hub:

        def by_ralf_meanwhile() -> None:
            first.write_text(first.read_text().replace("Title of TASK-1", "By RALF"))
            (root / "tasks/completed").mkdir()
            (root / "tasks/active/TASK-2").rename(root / "tasks/completed/TASK-2")

        once_before(hub, monkeypatch, "adopt", by_ralf_meanwhile)
        await asyncio.gather(hub.change("TASK-1", priority="low"), hub.change("TASK-2", status="blocked"))
        await hub.written()
        await hub.looked()
        one, two = await hub.task("TASK-1"), await hub.task("TASK-2")
        assert one is not None
        assert two is not None
        assert (one.title, one.priority) == ("By RALF", "low")
        assert two.status == "completed"
        assert await hub.events("TASK-2") == {"task_blocked": 1, "task_completed": 1}
        assert {(t.id, t.title, t.status) for t in scan(root).tasks} == {
            ("TASK-1", "By RALF", "pending"),
            ("TASK-2", "Title of TASK-2", "completed"),
        }
        before = await hub.rows("SELECT id, version FROM tasks")
        await hub.looked()
        assert await hub.rows("SELECT id, version FROM tasks") == before, "and is taken over once"


async def test_a_new_task_ralf_edits_and_completes_at_once_is_believed(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, root) as hub:

        def at_once() -> None:
            file = root / "tasks/active/NEW-1/task.md"
            file.write_text(file.read_text().replace("Made in the hub\n\n", "By RALF\n\n", 1))
            (root / "tasks/completed").mkdir()
            (root / "tasks/active/NEW-1").rename(root / "tasks/completed/NEW-1")

        once_before(hub, monkeypatch, "adopt", at_once)
        await hub.create(id="NEW-1")
        await hub.written()
        await hub.looked()
        task = await hub.task("NEW-1")
        assert task is not None
        assert (task.title, task.status) == ("By RALF", "completed")
        assert await hub.events("NEW-1") == {"task_created": 1, "task_completed": 1}


async def test_a_new_task_ralf_edits_at_once_keeps_the_edit(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path, root) as hub:

        def at_once() -> None:
            file = root / "tasks/active/NEW-1/task.md"
            file.write_text(file.read_text().replace("Made in the hub\n\n", "By RALF\n\n", 1))

        once_before(hub, monkeypatch, "adopt", at_once)
        await hub.create(id="NEW-1")
        await hub.written()
        await hub.looked()
        task = await hub.task("NEW-1")
        assert task is not None
        assert (task.title, task.description) == ("By RALF", "")
        assert await hub.events("NEW-1") == {"task_created": 1, "task_updated": 1}


def before_writing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let RALF do something after the hub has looked at its files and before it writes; once."""
    real = Writer.carry_out
    waiting = [act]

    def late(self: Writer, wishes: Any) -> Any:
        while waiting:
            waiting.pop()()
        return real(self, wishes)

    monkeypatch.setattr(Writer, "carry_out", late)


async def test_a_folder_moved_after_it_was_read_is_followed(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_task(root, f"TASK-{number}")
    async with house(tmp_path, root) as hub:

        def by_ralf_meanwhile() -> None:
            (root / "tasks/completed").mkdir()
            for number in range(3):
                (root / f"tasks/active/TASK-{number}").rename(root / f"tasks/completed/TASK-{number}")

        before_writing(monkeypatch, by_ralf_meanwhile)
        await asyncio.gather(
            hub.change("TASK-0", title="Another"),
            hub.change("TASK-1", status="cancelled"),
            hub.change("TASK-2", status="blocked"),
        )
        await hub.written()
        await hub.looked()
        assert {(t.id, t.title, t.status) for t in scan(root).tasks} == {
            ("TASK-0", "Another", "completed"),
            ("TASK-1", "Title of TASK-1", "cancelled"),
            ("TASK-2", "Title of TASK-2", "completed"),
        }
        for number, status in enumerate(["completed", "cancelled", "completed"]):
            task = await hub.task(f"TASK-{number}")
            assert task is not None
            assert task.status == status


async def test_a_file_changed_after_it_was_read_is_not_written_over(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RALF changes the title in the moment between the hub's look and its writing of another: the later one stands."""
    file = write_task(root, "TASK-1")
    async with house(tmp_path, root) as hub:

        def by_ralf_meanwhile() -> None:
            file.write_text(file.read_text().replace("Title of TASK-1", "By RALF"))
            later = file.stat().st_mtime + 5
            os.utime(file, (later, later))

        before_writing(monkeypatch, by_ralf_meanwhile)
        await hub.change("TASK-1", title="By the hub")
        await hub.written()
        await hub.looked()
        task = await hub.task("TASK-1")
        assert task is not None
        assert task.title == scan(root).tasks[0].title == "By RALF"
        lost = [data["lost"] for data in await hub.data("TASK-1", "task_updated") if "lost" in data]
        assert lost == [{"title": "By the hub"}]


async def test_a_claim_given_back_before_it_was_read_back_stays_given_back(
    tmp_path: Path, root: Path
) -> None:
    async with house(tmp_path, root) as hub:
        task = await hub.create()
        await hub.written()
        for _ in range(5):
            assert (await hub.claim()) is not None
            await asyncio.sleep(0.02)
            await hub.change(task.id, status="pending")
        await hub.written()
        await hub.looked()
        assert queued(root) == {task.id: "pending"}
        assert (await hub.events(task.id))["task_started"] == 5
        assert (await hub.task(task.id)).status == "pending"  # type: ignore[union-attr]
