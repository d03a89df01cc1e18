"""A hub in this process on a small workspace: real files, a real database, no port."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, TypeVar

from ralf_hub.app import running
from ralf_hub.clock import Clock
from ralf_hub.config import load
from ralf_hub.intake import queue
from ralf_hub.intake.tasks import TaskDraft, change, create
from ralf_hub.model import Task
from ralf_hub.services import Services
from ralf_hub.store import tasks, workspace
from ralf_hub.watcher.follower import Follower
from ralf_hub.workspace.queue import read_queue
from tests.support import eventually

T = TypeVar("T")
TALK: Final = Path(".autonomous", "agents", "communications")
QUEUE: Final = TALK / "queue.yaml"
EVENTS: Final = TALK / "events.yaml"


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


def make_workspace(root: Path, *, flat: bool = False) -> Path:
    """Make an empty workspace of either form, with a queue and an events file."""
    talk = root / (".autonomous/communications" if flat else TALK)
    talk.mkdir(parents=True)
    (root / (".autonomous/tasks/active" if flat else "tasks/active")).mkdir(parents=True)
    (talk / "queue.yaml").write_text("queue:\n" if flat else "# kept\ntasks:\n")
    (talk / "events.yaml").write_text("")
    return root


def write_task(root: Path, task_id: str, *, folder: str = "active", **header: str) -> Path:
    """Put a task's file into the workspace as RALF's planner would."""
    place = root / "tasks" / folder / task_id
    place.mkdir(parents=True, exist_ok=True)
    fields = {
        "Status": "pending",
        "Priority": "MEDIUM",
        **{key.title(): value for key, value in header.items()},
    }
    title = fields.pop("Title", f"Title of {task_id}")
    lines = [f"# {task_id}: {title}", "", *(f"**{key}:** {value}" for key, value in fields.items())]
    path = place / "task.md"
    replacement = path.with_suffix(".new")
    replacement.write_text("\n".join([*lines, "", "## Objective", "", f"About {task_id}", ""]))
    replacement.replace(path)
    return path


async def by_ralf(root: Path, task_id: str) -> None:
    await asyncio.to_thread(
        subprocess.run, ["bash", "-c", STOP_HOOK, "stop", str(root), task_id], check=True, timeout=30
    )


def queued(root: Path) -> dict[str, str]:
    path = next(root.rglob("queue.yaml"))
    return {item.id: item.status for item in read_queue(path.read_text(), "queue.yaml").items}


@dataclass
class House:
    """The hub, and what the tests ask of it."""

    hub: Services
    root: Path

    @property
    def follower(self) -> Follower:
        assert isinstance(self.hub.workspace, Follower)
        return self.hub.workspace

    async def create(self, title: str = "Made in the hub", **fields: Any) -> Task:
        return await self.hub.intake.accept(
            lambda ledger: create(ledger, TaskDraft(title, **fields), source="api")
        )

    async def change(self, task_id: str, **fields: Any) -> Task:
        return await self.hub.intake.accept(lambda ledger: change(ledger, task_id, fields, source="api"))

    async def claim(self, agent: str = "agent-7") -> Task | None:
        return await self.hub.intake.accept(lambda ledger: queue.claim(ledger, agent, 60, source="api"))

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await self.hub.db.read(fn)

    async def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return await self.read(lambda conn: conn.execute(sql, values).fetchall())

    async def task(self, task_id: str) -> Task | None:
        return await self.read(lambda conn: tasks.get(conn, task_id))

    async def events(self, task_id: str) -> Counter[str]:
        return Counter(
            row[0] for row in await self.rows("SELECT type FROM events WHERE task_id = ?", task_id)
        )

    async def data(self, task_id: str, kind: str) -> list[dict[str, Any]]:
        import orjson  # noqa: PLC0415

        found = await self.rows(
            "SELECT data FROM events WHERE task_id = ? AND type = ? ORDER BY seq", task_id, kind
        )
        return [orjson.loads(row[0]) for row in found]

    async def outcomes(self) -> list[tuple[Any, ...]]:
        return await self.rows(
            "SELECT state, last_error FROM outbox WHERE connector = 'workspace' ORDER BY id"
        )

    async def written(self) -> None:
        """Wait until nothing is left to deliver."""

        async def idle() -> bool:
            return not await self.rows("SELECT 1 FROM outbox WHERE state = 'pending' LIMIT 1")

        await eventually(idle, within_s=20)

    async def looked(self) -> None:
        """Wait until everything that is in the files has been read."""
        self.follower.look_soon()
        async with self.follower.turn:
            pass
        await self.follower.read_all()

    async def is_imported(self) -> bool:
        return await self.read(lambda conn: workspace.state(conn, "imported") is not None)


@asynccontextmanager
async def house(
    tmp_path: Path, root: Path, *, write_back: str = "tasks", more: str = ""
) -> AsyncIterator[House]:
    """Start a hub on the workspace and wait until it has read it."""
    settings = tmp_path / "ralf-hub.toml"
    settings.write_text(
        f'[database]\npath = "hub.db"\n[workspace]\npath = "{root}"\npoll_s = 0.1\nwrite_back = "{write_back}"\n'
        f"[delivery]\nbackoff_first_s = 0.05\nbackoff_max_s = 0.2\nbreaker_probe_first_s = 0.05\n{more}"
    )
    async with running(load(settings, {}), Clock()) as hub:
        found = House(hub, root)
        await eventually(found.is_imported, within_s=30)
        yield found
        await asyncio.sleep(0)
