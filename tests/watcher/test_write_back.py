"""The hub writes, RALF writes, each sees what the other did, once."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ralf_hub.workspace.locks import QUEUE_LOCK
from ralf_hub.workspace.queue import read_queue
from ralf_hub.workspace.scan import scan
from ralf_hub.workspace.writer import Writer
from tests.support import eventually
from tests.watcher.hub import EVENTS, QUEUE, TALK, House, house, make_workspace, write_task

STOP_HOOK = """
set -eu
cd "$1"; task="$2"; talk=.autonomous/agents/communications
exec 200>"$talk/.events.lock"; flock -w 10 200
cat >> "$talk/events.yaml" << EOF

- timestamp: "$(date -Iseconds)"
  task_id: "$task"
  type: completed
  agent: executor
  run_id: "run-$task"
EOF
exec 201>"$talk/.queue.lock"; flock -w 10 201
awk -F': ' -v task_id="$task" '/^- id: / { in_task = ($2 == task_id) }
  in_task && /^  status: / { print "  status: completed"; next } { print }' \
  "$talk/queue.yaml" > "$talk/queue.yaml.tmp" && mv "$talk/queue.yaml.tmp" "$talk/queue.yaml"
mkdir -p tasks/completed
mv "tasks/active/$task" "tasks/completed/$task"
"""
"""What RALF's stop hook does when a task is done, in its order."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_workspace(tmp_path / "ws")


async def by_ralf(root: Path, task_id: str) -> None:
    await asyncio.to_thread(
        subprocess.run, ["bash", "-c", STOP_HOOK, "stop", str(root), task_id], check=True, timeout=30
    )


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def holding(lock: Path) -> subprocess.Popen[bytes]:
    """Start a script that holds *lock* until it is told to go on."""
    script = 'exec 200>"$1"; flock 200; echo held; read -r _'
    return subprocess.Popen(
        ["bash", "-c", script, "lock", str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def queued(root: Path) -> dict[str, str]:
    path = next(root.rglob("queue.yaml"))
    return {item.id: item.status for item in read_queue(path.read_text(), "queue.yaml").items}


# --- there and back, once -------------------------------------------------------------------------


@pytest.mark.parametrize("write_back", ["tasks", "full"])
@pytest.mark.parametrize("flat", [False, True])
async def test_what_the_hub_wrote_is_no_news(tmp_path: Path, write_back: str, *, flat: bool) -> None:
    root = make_workspace(tmp_path / "ws", flat=flat)
    async with house(tmp_path, root, write_back=write_back) as hub:
        task = await hub.create(
            description="Do it.\n\n## Steps\n- one", metadata={"mine": 1}, priority="high"
        )
        await hub.written()
        await hub.looked()
        assert queued(root) == {task.id: "pending"}
        assert [found.id for found in scan(root).tasks] == [task.id]
        await hub.change(task.id, status="in_progress", assignee="agent-7")
        await hub.change(task.id, title="Another title", description="Do more")
        await hub.written()
        await hub.looked()
        assert queued(root) == {task.id: "in_progress"}
        done = await hub.change(task.id, status="completed")
        await hub.written()
        await hub.looked()
        await hub.looked()
        now = await hub.task(task.id)
        assert now == done, "reading it back changed nothing, not even its version"
        assert now.metadata == {"mine": 1}
        assert await hub.events(task.id) == {
            "task_created": 1,
            "task_started": 1,
            "task_updated": 1,
            "task_completed": 1,
        }
        found = scan(root)
        assert [(t.id, t.status, t.title, t.description) for t in found.tasks] == [
            (task.id, "completed", "Another title", "Do more")
        ]
        records = next(root.rglob("events.yaml")).read_text()
        assert records.count("type: started") == records.count("type: completed") == (write_back == "full")
        assert await hub.rows("SELECT count(*) FROM workspace_records") == [(2 * (write_back == "full"),)]
        assert {state for state, _ in await hub.outcomes()} == {"delivered"}


async def test_a_restart_finds_no_news_in_it_either(tmp_path: Path, root: Path) -> None:
    async with house(tmp_path, root, write_back="full") as hub:
        task = await hub.create()
        await hub.change(task.id, status="failed", error="it broke")
        await hub.change(task.id, status="pending")
        await hub.change(task.id, status="cancelled")
        await hub.written()
        before = await hub.events(task.id)
    async with house(tmp_path, root, write_back="full") as hub:
        await hub.looked()
        assert await hub.events(task.id) == before
        assert before == {"task_created": 1, "task_failed": 1, "task_updated": 1, "task_cancelled": 1}
        assert (await hub.task(task.id)).status == "cancelled"  # type: ignore[union-attr]


@pytest.mark.parametrize("made_by", ["hub", "ralf"])
async def test_what_ralf_completes_is_one_event(tmp_path: Path, root: Path, made_by: str) -> None:
    ids = [f"TASK-{number}" for number in range(5)]
    if made_by == "ralf":
        for one in ids:
            write_task(root, one)
    async with house(tmp_path, root) as hub:
        if made_by == "hub":
            for one in ids:
                await hub.create(id=one)
            await hub.written()
        for one in ids:
            await by_ralf(root, one)

        async def done() -> bool:
            found = [await hub.task(one) for one in ids]
            return all(task is not None and task.status == "completed" for task in found)

        await eventually(done, within_s=10)
        await hub.looked()
        await asyncio.sleep(0.5)
        await hub.looked()
        for one in ids:
            assert (await hub.events(one))["task_completed"] == 1


async def test_a_folder_that_moves_before_its_record_is_told_once(tmp_path: Path, root: Path) -> None:
    write_task(root, "TASK-1")
    async with house(tmp_path, root) as hub:
        (root / "tasks/completed").mkdir()
        (root / "tasks/active/TASK-1").rename(root / "tasks/completed/TASK-1")

        async def told() -> bool:
            return bool((await hub.events("TASK-1"))["task_completed"])

        await eventually(told)
        with (root / EVENTS).open("a") as stream:
            stream.write("- timestamp: '2026-02-01T00:00:00Z'\n  task_id: TASK-1\n  type: completed\n")
        await hub.looked()
        await asyncio.sleep(0.4)
        await hub.looked()
        assert await hub.events("TASK-1") == {"task_completed": 1}
        assert await hub.rows("SELECT recorded, standing FROM workspace_records") == [(1, 1)]


async def feature_events(hub: House) -> list[tuple[str, str]]:
    return await hub.rows(
        "SELECT data ->> 'feature_id', json(data -> 'tasks') FROM events WHERE type = 'feature_delivered'"
    )


@pytest.mark.parametrize("last", ["completed", "cancelled"])
async def test_a_feature_is_delivered_when_the_last_folder_moves(
    tmp_path: Path, root: Path, last: str
) -> None:
    (root / "plans/features").mkdir(parents=True)
    (root / "plans/features/FEATURE-031-doors.md").write_text("# FEATURE-031: Doors\n\n**Status:** active\n")
    for number in range(3):
        write_task(root, f"TASK-{number}", feature="F-031")
    async with house(tmp_path, root) as hub:

        async def moved(number: int, folder: str) -> None:
            target = root / "tasks" / folder / f"TASK-{number}"
            target.parent.mkdir(exist_ok=True)
            (root / f"tasks/active/TASK-{number}").rename(target)
            await hub.looked()

        await moved(0, "completed")
        await moved(1, "cancelled")
        assert await feature_events(hub) == []
        await moved(2, last)
        done = 2 if last == "completed" else 1
        assert await feature_events(hub) == [("F-031", f'{{"total":3,"completed":{done}}}')]
        write_task(root, "TASK-3", folder="completed", feature="F-031")
        await hub.looked()
        assert len(await feature_events(hub)) == 1, "once"


async def test_a_feature_that_gets_a_task_as_another_one_ends_goes_on(tmp_path: Path, root: Path) -> None:
    (root / "plans/features").mkdir(parents=True)
    (root / "plans/features/FEATURE-031-doors.md").write_text("# FEATURE-031: Doors\n\n**Status:** active\n")
    write_task(root, "TASK-1", feature="F-031")
    async with house(tmp_path, root) as hub:
        async with hub.follower.turn:  # one commit of a planner brings both
            (root / "tasks/completed").mkdir()
            (root / "tasks/active/TASK-1").rename(root / "tasks/completed/TASK-1")
            write_task(root, "TASK-2", feature="F-031")
        await hub.looked()
        assert (await hub.events("TASK-1"))["task_completed"] == 1
        assert await feature_events(hub) == []


# --- both at once ---------------------------------------------------------------------------------


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


# --- order ----------------------------------------------------------------------------------------


async def taken(hub: House) -> list[str]:
    order = []
    while (task := await hub.claim()) is not None:
        order.append(task.id)
    return order


async def test_the_queue_is_taken_as_ralfs_own_script_takes_it(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws", flat=True)
    (root / ".autonomous/communications/queue.yaml").write_text(
        "queue:\n  - task_id: Q-1\n    priority: low\n    status: pending\n  - task_id: Q-2\n    priority: critical\n"
        "    status: pending\n  - task_id: Q-3\n    priority: low\n    status: pending\n    blockedBy: [Q-4]\n"
        "  - task_id: Q-4\n    priority: low\n    status: pending\n"
    )
    async with house(tmp_path, root, write_back="off") as hub:
        for number, priority in enumerate(["low", "high", "critical", "high"]):
            await hub.create(id=f"H-{number}", priority=priority)
        order = await taken(hub)
        assert [one for one in order if one.startswith("Q")] == ["Q-1", "Q-2", "Q-4"], (
            "file order, as awk reads it"
        )
        assert [one for one in order if one.startswith("H")] == ["H-2", "H-1", "H-3", "H-0"], (
            "priority, then age"
        )
        assert order == ["Q-1", "Q-2", "H-2", "H-1", "H-3", "Q-4", "H-0"], (
            "what stands before an urgent one is as urgent"
        )


async def test_a_queue_with_scores_is_taken_by_score(tmp_path: Path, root: Path) -> None:
    (root / QUEUE).write_text(
        "tasks:\n- id: Q-1\n  status: pending\n  priority: HIGH\n  priority_score: 2\n- id: Q-3\n  status: pending\n"
        "  priority: HIGH\n  priority_score: 9\n- id: Q-2\n  status: pending\n  priority: HIGH\n  priority_score: 9\n"
    )
    async with house(tmp_path, root) as hub:
        await hub.create(id="H-1", priority="high")
        await hub.create(id="H-0", priority="high")
        await hub.create(id="H-2", priority="critical")
        await hub.written()
        assert await taken(hub) == ["H-2", "Q-2", "Q-3", "Q-1", "H-1", "H-0"]


async def test_improvements_are_shown_but_never_taken(tmp_path: Path, root: Path) -> None:
    write_task(root, "IMP-1", folder="improvements", priority="CRITICAL")
    write_task(root, "TASK-1")
    async with house(tmp_path, root) as hub:
        assert await taken(hub) == ["TASK-1"]
        from ralf_hub.store import tasks  # noqa: PLC0415

        assert [task.id for task in await hub.read(lambda conn: tasks.waiting(conn, 10))] == ["IMP-1"]
        (root / "tasks/improvements/IMP-1").rename(root / "tasks/active/IMP-1")
        await hub.looked()
        assert await taken(hub) == ["IMP-1"]


# --- trouble --------------------------------------------------------------------------------------


async def test_a_lock_held_too_long_is_waited_for(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ralf_hub.watcher.desk.LOCK_WAIT_S", 0.1)
    async with house(tmp_path, root) as hub:
        with holding(root / TALK / QUEUE_LOCK) as bash:
            assert bash.stdout is not None
            assert await asyncio.to_thread(bash.stdout.readline) == b"held\n"
            task = await hub.create()

            async def waits() -> bool:
                ((state, error),) = await hub.outcomes()
                return state == "pending" and "has been held" in (error or "")

            await eventually(waits)
            assert queued(root) == {}
            bash.communicate(b"\n", timeout=10)
        await hub.written()
        assert queued(root) == {task.id: "pending"}


async def test_a_workspace_that_is_gone_is_waited_for(tmp_path: Path, root: Path) -> None:
    async with house(tmp_path, root) as hub:
        await asyncio.to_thread(root.rename, tmp_path / "elsewhere")
        task = await hub.create()

        async def waits() -> bool:
            ((state, error),) = await hub.outcomes()
            return state == "pending" and error is not None

        await eventually(waits)
        assert contents(tmp_path / "ws") == {}, "nothing is made where nothing was"
        await asyncio.to_thread((tmp_path / "elsewhere").rename, root)
        await hub.written()
        assert queued(root) == {task.id: "pending"}


async def test_an_id_that_cannot_be_written_is_dead_with_the_reason(tmp_path: Path, root: Path) -> None:
    async with house(tmp_path, root) as hub:
        await hub.create(id="a..b")
        await hub.written()
        ((state, error),) = await hub.outcomes()
        assert state == "dead"
        assert "cannot be the name" in (error or "")
        assert scan(root).tasks == ()


async def test_a_queue_nobody_understands_is_left_alone_and_told(
    tmp_path: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root / QUEUE).write_text("- agent_type: scout\n  run_id: r1\n")
    async with house(tmp_path, root) as hub:
        task = await hub.create()
        await hub.written()
        assert (root / QUEUE).read_text() == "- agent_type: scout\n  run_id: r1\n"
        assert [found.id for found in scan(root).tasks] == [task.id]
        ((response,),) = await hub.rows("SELECT response FROM attempts")
        assert "queue.yaml was left as it is: no list of tasks" in response
    assert "queue.yaml was left as it is" in caplog.text


async def test_a_delivery_that_is_replayed_writes_nothing_twice(tmp_path: Path, root: Path) -> None:
    async with house(tmp_path, root, write_back="full") as hub:
        task = await hub.create()
        await hub.change(task.id, status="completed")
        await hub.written()
        before = contents(root)
        await hub.hub.db.write(
            lambda conn: conn.execute("UPDATE outbox SET state = 'pending', next_attempt_at = created_at")
        )
        await hub.hub.dispatcher.refresh()
        await hub.written()
        assert contents(root) == before
        assert await hub.events(task.id) == {"task_created": 1, "task_completed": 1}


async def test_nothing_is_written_where_write_back_is_off(tmp_path: Path, root: Path) -> None:
    before = contents(root)
    async with house(tmp_path, root, write_back="off") as hub:
        task = await hub.create()
        await hub.change(task.id, status="completed")
        assert await hub.outcomes() == []
        assert "workspace" not in hub.hub.dispatcher.channels
    assert contents(root) == before


async def test_many_tasks_at_once_are_written_together(tmp_path: Path, root: Path) -> None:
    async with house(tmp_path, root) as hub:
        made = await asyncio.gather(*(hub.create(f"Task {number}") for number in range(200)))
        await hub.written()
        assert queued(root) == {task.id: "pending" for task in made}
        assert {task.id for task in scan(root).tasks} == {task.id for task in made}
        assert scan(root).problems == ()


async def test_the_connector_says_whether_it_can_write(tmp_path: Path, root: Path) -> None:
    async with house(tmp_path, root) as hub:
        connector = hub.hub.dispatcher.channels["workspace"].connector
        check = await connector.validate(hub.hub.transport)
        assert (check.ok, check.message) == (True, "a modern workspace that can be written")
