"""The hub writes, RALF writes, each sees what the other did, once; and what goes wrong."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from ralf_hub.workspace.locks import QUEUE_LOCK
from ralf_hub.workspace.scan import scan
from tests.support import eventually
from tests.watcher.hub import EVENTS, QUEUE, TALK, House, by_ralf, house, make_workspace, queued, write_task


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def holding(lock: Path) -> subprocess.Popen[bytes]:
    """Start a script that holds *lock* until it is told to go on."""
    script = 'exec 200>"$1"; flock 200; echo held; read -r _'
    return subprocess.Popen(
        ["bash", "-c", script, "lock", str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


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
