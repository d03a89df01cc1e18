"""RALF's files on one side, REST in the middle, Slack and a webhook on the other."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.doubles.receiver import Receiver
from tests.doubles.slack import WEBHOOK_PATH, Slack
from tests.journeys.hub import Hub
from tests.support import eventually

REPOSITORY = Path(__file__).parents[2]
SHARED = Path(os.environ.get("RALF_HUB_SHARED", REPOSITORY.parent / "shared"))
EXAMPLE = REPOSITORY / "examples" / "workspace"

APPEND = """
set -eu
exec 200>"$(dirname "$1")/.events.lock"
flock -w 10 200
cat >> "$1" <<RECORD
- timestamp: '$3'
  task_id: $2
  type: completed
  agent: executor
  result: success
RECORD
"""
"""How RALF's own hooks append: a lock on `.events.lock`, then `cat >>` with a heredoc."""


def _settings(workspace: Path, sink: Receiver, slack: Slack) -> str:
    return f"""
[workspace]
path = "{workspace}"
poll_s = 0.5

[connectors.slack]
webhook_url = "{slack.url}{WEBHOOK_PATH}"
events = ["task_completed"]

[connectors.sink]
type = "webhook"
url = "{sink.url}/hook"
events = ["task_completed", "task_created", "task_started"]
"""


async def _append(events: Path, task_id: str, second: int) -> None:
    stamp = f"2026-11-23T08:{second // 60 % 60:02d}:{second % 60:02d}Z"
    command = ["bash", "-c", APPEND, "append", str(events), task_id, stamp]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)


def copy_shared(source: Path, target: Path) -> None:
    """Copy a tree that may be read-only so that it can be written."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(target):
        Path(folder).chmod(0o755)


def find_events(workspace: Path) -> Path:
    return next(workspace.rglob("events.yaml"))


async def _imported(hub: Hub) -> dict[str, object]:
    async def done() -> bool:
        found = await hub.ok("GET", "/api/v1/workspace")
        return found["last_scan_at"] is not None and not found["scanning"]

    await eventually(done, within_s=30)
    counts: dict[str, object] = (await hub.ok("GET", "/api/v1/workspace"))["counts"]
    return counts


async def _journey(tmp_path: Path, workspace: Path, *, by_file: int, by_rest: int) -> dict[str, object]:
    """Complete tasks by events.yaml and by REST at once; both sinks hear of each, once, in order per task."""
    events = find_events(workspace)
    async with Receiver() as sink, Slack() as slack, Hub(tmp_path, _settings(workspace, sink, slack)) as hub:
        counts = await _imported(hub)
        assert not sink.accepted, "the first import is history"
        files = [f"FILE-{number}" for number in range(by_file)]
        rests = [f"REST-{number}" for number in range(by_rest)]

        async def from_files() -> None:
            for number, task_id in enumerate(files):
                await _append(events, task_id, number)

        async def from_rest() -> None:
            for task_id in rests:
                await hub.ok("POST", "/api/v1/tasks", {"id": task_id, "title": f"Task {task_id}"})
                await hub.ok("PATCH", f"/api/v1/tasks/{task_id}", {"status": "in_progress"})
                await hub.ok("PATCH", f"/api/v1/tasks/{task_id}", {"status": "completed"})

        await asyncio.gather(from_files(), from_rest())

        def heard() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {}
            for item in sink.accepted:
                found.setdefault(item.json["data"]["task_id"], []).append(item.json["type"])
            return found

        wanted = {task: ["task_completed"] for task in files}
        wanted |= {task: ["task_created", "task_started", "task_completed"] for task in rests}
        await eventually(lambda: len(sink.accepted) >= by_file + 3 * by_rest, within_s=60)
        assert heard() == wanted
        await eventually(lambda: len(slack.workspace.messages) >= by_file + by_rest, within_s=60)
        told = [message.text for message in slack.workspace.messages]
        assert all(sum(task in text for text in told) >= 1 for task in (*files[:5], *rests[:5]))
        assert len(told) == by_file + by_rest
        assert hub.command("verify").returncode == 0
    return counts


@pytest.mark.journey
async def test_the_example_workspace(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(EXAMPLE, workspace)
    counts = await _journey(tmp_path, workspace, by_file=20, by_rest=20)
    assert counts["tasks"]
    assert counts["events"]


@pytest.mark.journey
@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "workspaces").is_dir(), reason="../shared/workspaces is not here")
async def test_a_real_workspace_with_200_tasks_completed_from_both_sides(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    copy_shared(SHARED / "workspaces" / "modern", workspace)
    counts = await _journey(tmp_path, workspace, by_file=100, by_rest=100)
    assert counts["events"] == 999
    assert counts["queue"] == 41
    print(counts)
