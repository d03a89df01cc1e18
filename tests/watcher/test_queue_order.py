"""Tasks are taken in the order RALF's own scripts take them."""

from pathlib import Path

from ralf_hub.store import tasks
from tests.watcher.hub import QUEUE, House, house, make_workspace, write_task


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
        assert [task.id for task in await hub.read(lambda conn: tasks.waiting(conn, 10))] == ["IMP-1"]
        (root / "tasks/improvements/IMP-1").rename(root / "tasks/active/IMP-1")
        await hub.looked()
        assert await taken(hub) == ["IMP-1"]
