"""The hub as a process and RALF's scripts write the same files at once; kills in the middle; the real trees."""

import asyncio
import contextlib
import difflib
import os
import random
import subprocess
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
import yaml

from ralf_hub.workspace.events import Reading, events_in
from ralf_hub.workspace.queue import read_queue
from ralf_hub.workspace.scan import scan
from tests.journeys.hub import Hub
from tests.journeys.test_workspace import SHARED, copy_shared, find_events
from tests.support import eventually
from tests.watcher.hub import EVENTS, QUEUE, make_workspace, write_task

ROUNDS = int(os.environ.get("RALF_HUB_KILL_ROUNDS", "10"))
"""Kills. `make test` makes ten, so that it stays short; all fifty: RALF_HUB_KILL_ROUNDS=50 pytest -n0 -s -k kills <this file>."""
SEED = int(os.environ.get("RALF_HUB_SEED", "20260201"))
WRITERS, RECORDS = 8, 250
LOADERS, TASKS_PER_ROUND = 2, 20
HUB_TASKS_MIN = 40
WAITING = "SELECT count(*) FROM outbox WHERE state = 'pending'"
WRITTEN = "SELECT count(*) FROM outbox WHERE state = 'delivered'"

WRITER = """
set -eu
talk="$1"; writer="$2"; records="$3"
for n in $(seq 1 "$records"); do
  (
    flock -w 30 200
    cat >> "$talk/events.yaml" << EOF

- timestamp: "2026-02-01T10:00:00Z"
  task_id: "R-$writer-$n"
  type: agent_stop
  agent_id: "w$writer-$n"
  source: hook
EOF
  ) 200>"$talk/.events.lock"
  if [ $((n % 25)) -eq 0 ]; then
    (
      flock -w 30 201
      awk -F': ' -v task_id="Q-$writer" -v by="run-$n" '
        /^  - task_id: / { in_task = ($2 == task_id) }
        in_task && /^    notes: / { print "    notes: \\"" by "\\""; next }
        { print }' "$talk/queue.yaml" > "$talk/queue.yaml.tmp.$writer" && mv "$talk/queue.yaml.tmp.$writer" "$talk/queue.yaml"
    ) 201>"$talk/.queue.lock"
  fi
done
"""
"""How RALF's hooks append and its scripts rewrite the queue: `flock`, heredoc, `awk`, `mv`."""


def _settings(root: Path, write_back: str) -> str:
    return f"""
[workspace]
path = "{root}"
poll_s = 0.2
write_back = "{write_back}"

[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.2
breaker_probe_first_s = 0.05
breaker_probe_max_s = 0.2
"""


async def _idle(hub: Hub, *, within_s: float = 60) -> None:
    def nothing_waits() -> bool:
        return bool(hub.value(WAITING) == 0)

    await eventually(nothing_waits, within_s=within_s)


async def _imported(hub: Hub) -> None:
    def noted() -> bool:
        return hub.value("SELECT count(*) FROM workspace_state WHERE key = 'imported'") == 1

    await eventually(noted, within_s=60)


def _queue_with(writers: int) -> str:
    items = "".join(
        f'  - task_id: Q-{n}\n    title: Of writer {n}   # kept\n    priority: low\n    status: blocked\n    notes: ""\n'
        for n in range(writers)
    )
    return f"# the queue\nqueue:\n{items}metadata:\n  last_updated: now\n"


@pytest.mark.journey
async def test_eight_scripts_and_the_hub_lose_nothing_of_each_other(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    await asyncio.to_thread((root / QUEUE).write_text, _queue_with(WRITERS))
    async with Hub(tmp_path, _settings(root, "full")) as hub:
        await _imported(hub)
        scripts = [
            asyncio.to_thread(
                subprocess.run,
                ["bash", "-c", WRITER, "writer", str(root / EVENTS.parent), str(number), str(RECORDS)],
                check=True,
                timeout=300,
            )
            for number in range(WRITERS)
        ]
        work = asyncio.gather(*scripts)
        made = 0
        while made < HUB_TASKS_MIN or not work.done():
            await asyncio.sleep(0.05)  # spread over the time the scripts take
            one = f"H-{made}"
            await hub.ok("POST", "/api/v1/tasks", {"id": one, "title": f"Task {one}"})
            await hub.ok("PATCH", f"/api/v1/tasks/{one}", {"status": "in_progress"})
            if made % 2:
                await hub.ok("PATCH", f"/api/v1/tasks/{one}", {"status": "completed"})
            made += 1
        await work
        await _idle(hub, within_s=120)
        wanted = {f"w{writer}-{n}" for writer in range(WRITERS) for n in range(1, RECORDS + 1)}

        def all_seen() -> bool:
            return hub.value("SELECT count(*) FROM events WHERE type = 'agent_stop'") >= len(wanted)

        await eventually(all_seen, within_s=60)
        seen = Counter(
            row[0] for row in hub.rows("SELECT data ->> 'agent_id' FROM events WHERE type = 'agent_stop'")
        )
        assert seen == Counter(wanted), "every record once"
        told = Counter(row[0] for row in hub.rows("SELECT type FROM events WHERE task_id LIKE 'H-%'"))
        assert told == {"task_created": made, "task_started": made, "task_completed": made // 2}
        assert hub.command("verify").returncode == 0
    _check_files(root, wanted, made)


def _check_files(root: Path, wanted: set[str], made: int) -> None:
    """Nothing of either side is missing in the files, and both are still YAML."""
    text = (root / QUEUE).read_text()
    assert yaml.safe_load(text)["metadata"] == {"last_updated": "now"}
    found = read_queue(text, "queue.yaml")
    assert found.problems == ()
    by_id = {item.id: item for item in found.items}
    for writer in range(WRITERS):
        assert by_id[f"Q-{writer}"].metadata["notes"] == f"run-{RECORDS}"
        assert f"    title: Of writer {writer}   # kept\n" in text
    assert {one: by_id[one].status for one in by_id if one.startswith("H")} == {
        f"H-{n}": "completed" if n % 2 else "in_progress" for n in range(made)
    }
    records, problems = events_in((root / EVENTS).read_bytes(), Reading("events.yaml"))
    assert problems == []
    assert Counter(r.data.get("agent_id") for r in records if r.raw_type == "agent_stop") == Counter(wanted)
    kinds = Counter(r.raw_type for r in records if r.task_id and r.task_id.startswith("H-"))
    assert kinds == {"started": made, "completed": made // 2}
    tasks = Counter(task.status for task in scan(root).tasks)
    assert tasks["completed"] == made // 2
    print(
        f"{len(wanted)} records of scripts, {made} tasks of the hub, {sum(kinds.values())} records of the hub"
    )


# --- kill -9 --------------------------------------------------------------------------------------


async def _load(hub: Hub, known: dict[str, str], prefix: str) -> None:
    """Make and complete some tasks; only what was answered counts, the rest may be either."""
    for number in range(TASKS_PER_ROUND // LOADERS):
        one = f"{prefix}-{number}"
        try:
            status, _ = await hub.call("POST", "/api/v1/tasks", {"id": one, "title": f"Task {one}"})
            if status == 201:
                known[one] = "pending"
                for wanted in ("in_progress", "completed"):
                    status, _ = await hub.call("PATCH", f"/api/v1/tasks/{one}", {"status": wanted})
                    if status == 200:
                        known[one] = wanted
        except (aiohttp.ClientError, ConnectionError):
            return


@pytest.mark.journey
async def test_kills_in_the_middle_of_writing_leave_no_half_file(tmp_path: Path) -> None:
    """Each round waits until something is written, and kills the hub within the time the next writes take."""
    chance = random.Random(SEED)
    root = make_workspace(tmp_path / "ws")
    known: dict[str, str] = {}
    hub = Hub(tmp_path, _settings(root, "full"))
    interrupted = 0
    async with hub:
        await _imported(hub)
        for number in range(ROUNDS):
            written = hub.value(WRITTEN)
            load = [
                asyncio.create_task(_load(hub, known, f"T-{number}-{worker}")) for worker in range(LOADERS)
            ]
            await eventually(lambda written=written: hub.value(WRITTEN) > written, within_s=60)
            await asyncio.sleep(chance.uniform(0, 0.15))  # the random moment is the test
            hub.kill()
            await asyncio.gather(*load)
            _whole(root)
            interrupted += hub.value(WAITING) > 0
            await hub.start()
        await _idle(hub)
        truth = dict(hub.rows("SELECT id, status FROM tasks"))
        assert truth.keys() >= known.keys()
        assert _stands(root) == truth
        await asyncio.sleep(1)  # the watcher has had time to find news where there is none
        await _idle(hub)
        told = Counter(hub.rows("SELECT task_id, type FROM events"))
        assert set(told.values()) == {1}, [one for one, n in told.items() if n > 1][:5]
        assert {task for task, kind in told if kind == "task_completed"} == {
            t for t, s in truth.items() if s == "completed"
        }
        assert hub.command("verify").returncode == 0
        assert interrupted > ROUNDS // 2, "most kills hit while something was still to be written"
        print(f"{ROUNDS} kills, {interrupted} in the middle, {len(truth)} tasks, {len(known)} answered for")


def _whole(root: Path) -> None:
    """After a kill every file is one that somebody meant to write."""
    text = (root / QUEUE).read_text()
    assert text.startswith("# kept\ntasks:\n")
    assert not text or text.endswith("\n")
    found = read_queue(text, "queue.yaml")
    assert found.problems == ()
    for path in (root / "tasks").rglob("*.md"):
        if not path.parent.name.startswith("."):
            assert path.read_text().endswith("- [ ] The objective is met\n"), path
    _, problems = events_in((root / EVENTS).read_bytes(), Reading("events.yaml"))
    assert problems == []


def _stands(root: Path) -> dict[str, str]:
    """Return how every task stands in the files; fails where one stands twice, or queue and folder disagree."""
    found = scan(root)
    assert found.problems == (), found.problems[:3]
    queue = {item.id: item.status for item in found.queue.items}
    folders = {task.id: task.status for task in found.tasks}
    assert queue.keys() == folders.keys()
    assert all(folders[one] in {queue[one], "pending"} for one in queue)
    lines = (root / QUEUE).read_text().split("\n")
    assert max(Counter(line for line in lines if line.startswith("- id:")).values(), default=1) == 1
    records, _ = events_in((root / EVENTS).read_bytes(), Reading("events.yaml"))
    assert max(Counter((r.task_id, r.raw_type) for r in records).values(), default=1) == 1, "no record twice"
    completed = {r.task_id for r in records if r.raw_type == "completed"}
    assert completed == {one for one, status in queue.items() if status == "completed"}
    return queue


# --- the real trees -------------------------------------------------------------------------------


@pytest.mark.journey
@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "workspaces").is_dir(), reason="../shared/workspaces is not here")
@pytest.mark.parametrize("tree", ["modern", "flat"])
async def test_on_the_real_trees_only_entries_change(tmp_path: Path, tree: str) -> None:
    root = tmp_path / "ws"
    await asyncio.to_thread(copy_shared, SHARED / "workspaces" / tree, root)
    before = _bytes(root)
    async with Hub(tmp_path, _settings(root, "full")) as hub:
        await _imported(hub)
        known = dict(hub.rows("SELECT id, status FROM tasks"))
        items = read_queue(_queue_text(root), "queue.yaml").items
        open_one = next(one.id for one in items if one.status == known[one.id] == "pending")
        await hub.ok("POST", "/api/v1/tasks", {"id": "HUB-1", "title": "Made in the hub", "priority": "low"})
        await hub.ok("PATCH", f"/api/v1/tasks/{open_one}", {"status": "completed"})
        await _idle(hub)
        await asyncio.sleep(1)  # time for news where there is none
        told = Counter(
            hub.rows("SELECT task_id, type FROM events WHERE routed IS NOT NULL AND task_id NOT NULL")
        )
        assert told == {("HUB-1", "task_created"): 1, (open_one, "task_completed"): 1}
        assert hub.rows("SELECT DISTINCT state FROM outbox") == [("delivered",)]
    after = _bytes(root)
    events = find_events(root).relative_to(root).as_posix()
    queue_file = next(name for name in after if name.endswith("/queue.yaml"))
    moved = {name for name in before if name not in after}
    made = {name for name in after if name not in before} - {name for name in after if name.endswith(".lock")}
    assert {Path(name).name for name in moved} <= {Path(name).name for name in made}
    assert {after[name] for name in made if "HUB-1" not in name} == {before[name] for name in moved}
    same = before.keys() - moved - {events, queue_file}
    assert all(after[name] == before[name] for name in same), "every other file, every byte"
    assert after[events].startswith(before[events])
    old, new = before[queue_file].decode().split("\n"), after[queue_file].decode().split("\n")
    lost = [line for line in difflib.ndiff(old, new) if line.startswith("- ")]
    assert len(lost) == 1, lost
    assert "status: pending" in lost[0]
    print(
        f"{tree}: {len(same)} files untouched, {len(new) - len(old)} lines more in queue.yaml, moved {sorted(moved)}"
    )


def _queue_text(root: Path) -> str:
    return next(root.rglob("queue.yaml")).read_text()


def _bytes(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.journey
async def test_a_large_tree_is_watched_by_a_process_that_ends_with_the_hub(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "ws")
    for number in range(450):
        write_task(root, f"TASK-{number}")
    async with Hub(tmp_path, _settings(root, "tasks").replace("poll_s = 0.2", "poll_s = 3600")) as hub:
        await _imported(hub)
        await eventually(lambda: _children(hub.pid), within_s=10)
        (child,) = _children(hub.pid)

        def noticed() -> bool:
            source = root / "tasks/active/TASK-7"
            with contextlib.suppress(FileNotFoundError):
                (root / "tasks/completed").mkdir(exist_ok=True)
                source.rename(root / "tasks/completed/TASK-7")
            return bool(
                hub.value("SELECT count(*) FROM events WHERE task_id = 'TASK-7' AND type = 'task_completed'")
            )

        await eventually(noticed, within_s=20)
        hub.kill()
        await eventually(lambda: not _is_alive(child), within_s=10)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(one) for one in text.split()]


def _is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split(") ")[1][:1]
    except FileNotFoundError:
        return False
