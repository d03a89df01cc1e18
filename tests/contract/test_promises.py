"""Contract 5 with a workspace: the first import tells nobody, what happens after it is told, once, whatever is killed."""

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.box import TIME, Box, Ground, until
from tests.contract.conftest import SETTINGS
from tests.snippets import CHECKOUT

pytestmark = pytest.mark.journey

EXAMPLE = CHECKOUT / "examples" / "workspace"
EVENTS = ".autonomous/agents/communications/events.yaml"
RECORD = """\
- timestamp: '{when}'
  task_id: {task_id}
  type: {kind}
  agent: executor
  notes: 'From the shell'
"""


class Village:
    """A copy of the example's workspace, a hub on it, and a receiver that gets everything."""

    def __init__(self, ground: Ground, folder: Path) -> None:
        self.ground, self.folder = ground, folder
        self.workspace = folder / "workspace"
        shutil.copytree(EXAMPLE, self.workspace)
        self.sink = ground.receiver()
        self.settings = (
            f'{SETTINGS}\n[workspace]\npath = "{self.workspace}"\npoll_s = 0.2\n'
            f'[connectors.sink]\ntype = "webhook"\nurl = "{self.sink.url}/x"\nevents = ["*"]\n'
        )
        self.box: Box | None = None

    def start(self, *arguments: str) -> Box:
        self.box = Box.start(self.ground, self.folder / "hub", self.settings, arguments=arguments)
        self.read()
        return self.box

    def read(self) -> None:
        assert self.box is not None
        box = self.box
        until(lambda: (w := box.get("/workspace").json)["last_scan_at"] is not None and not w["scanning"])

    def append(self, kind: str, task_id: str, when: str = "2026-03-09T09:02:11Z") -> None:
        """Append a record as RALF's own hooks do."""
        events = self.workspace / EVENTS
        with (events.parent / ".events.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with events.open("a", encoding="utf-8") as file:
                file.write(RECORD.format(kind=kind, task_id=task_id, when=when))

    def told(self, kind: str, task_id: str) -> set[str]:
        """Return the ids it was told under: one, also where a kill made the hub tell it twice."""
        return {
            r.id
            for r in self.sink.accepted
            if (r.json["type"], r.json["data"].get("task_id")) == (kind, task_id)
        }


@pytest.fixture
def village(ground: Ground, tmp_path: Path) -> Iterator[Village]:
    made = Village(ground, tmp_path)
    yield made
    if made.box is not None:
        made.box.close()
    ground.run(made.sink.stop())


def open_tasks(box: Box) -> list[str]:
    return [t["id"] for t in box.get("/tasks?limit=200&status=pending").json["tasks"]]


def test_the_first_import_is_history_and_what_follows_is_news(village: Village) -> None:
    box = village.start()
    counts = box.get("/workspace").json
    assert {"path", "layout", "counts", "last_scan_at", "scanning", "problems"} <= set(counts)
    assert TIME.fullmatch(counts["last_scan_at"])
    assert {"tasks", "tasks_by_status", "events", "events_by_type", "queue", "features"} <= set(
        counts["counts"]
    )
    assert counts["counts"]["tasks"] == sum(counts["counts"]["tasks_by_status"].values()) > 0
    assert counts["counts"]["events"] == sum(counts["counts"]["events_by_type"].values()) > 0
    assert box.get("/events").json["total"] > 0
    assert box.value("SELECT count(*) FROM outbox") == 0

    task_id = open_tasks(box)[0]
    village.append("completed", task_id)
    until(lambda: village.told("task_completed", task_id))
    assert box.get(f"/tasks/{task_id}").json["status"] == "completed"
    box.stop()
    box.again()
    village.read()
    assert box.command("verify").returncode == 0
    assert len(village.told("task_completed", task_id)) == 1  # not again by a second start


def test_what_is_appended_while_no_hub_runs_is_told_when_one_does(village: Village) -> None:
    box = village.start()
    task_id, other = open_tasks(box)[:2]
    box.hub.kill()
    village.append("completed", task_id)
    village.append("started", other, when="2026-03-09T09:02:12Z")
    box.again()
    until(lambda: village.told("task_completed", task_id) and village.told("task_started", other))
    box.hub.kill()
    text = (village.workspace / EVENTS).read_text(encoding="utf-8")
    (village.workspace / EVENTS).write_text(
        text.replace("'From the shell'", '"From the shell"'), encoding="utf-8"
    )  # says the same
    box.again()
    village.append("note_taken", other, when="2026-03-09T09:02:13Z")
    until(lambda: village.told("note_taken", other))
    assert len(village.told("task_completed", task_id)) == 1
    assert len(village.told("task_started", other)) == 1


def test_history_is_delivered_where_that_is_asked_for(village: Village) -> None:
    box = village.start("--deliver-history")
    total = box.get("/events").json["total"]
    assert box.value("SELECT count(DISTINCT event_seq) FROM outbox") == total > 0
    until(lambda: box.value("SELECT count(*) FROM outbox WHERE state <> 'delivered'") == 0, within_s=30)


def test_what_cannot_be_read_is_told_with_file_and_line_and_stops_nothing(village: Village) -> None:
    events = village.workspace / EVENTS
    with events.open("a", encoding="utf-8") as file:
        file.write("- timestamp: 'broken\n  type: [\n")
    box = village.start()
    problem = next(p for p in box.get("/workspace").json["problems"] if p["file"].endswith("events.yaml"))
    assert problem["line"] > 1
    assert problem["message"]
    task_id = open_tasks(box)[0]
    village.append("completed", task_id)
    until(lambda: village.told("task_completed", task_id))
    checked = box.command("check")
    assert checked.returncode == 0
    assert "events.yaml" in checked.stdout


def test_100_completions_from_both_sides_arrive_once_each_and_in_order(village: Village) -> None:
    box = village.start()
    ids = [box.task(f"{n}", id=f"TASK-MANY-{n:03}")["id"] for n in range(100)]
    for n, task_id in enumerate(ids):
        if n % 2:
            village.append("completed", task_id, when=f"2026-03-09T10:{n // 60:02}:{n % 60:02}Z")
        else:
            box.patch(f"/tasks/{task_id}", {"status": "completed"})
        if n == 60:
            box.hub.kill()
            box.again()
    until(lambda: all(village.told("task_completed", task_id) for task_id in ids), within_s=40)
    until(lambda: not box.value("SELECT count(*) FROM outbox WHERE state = 'pending'"), within_s=30)
    for task_id in ids:
        seqs = [
            r.json["data"]["seq"] for r in village.sink.accepted if r.json["data"].get("task_id") == task_id
        ]
        assert sorted(set(seqs)) == list(dict.fromkeys(seqs))
        assert len(village.told("task_completed", task_id)) == 1
    assert box.command("verify").returncode == 0
    assert box.value("PRAGMA integrity_check") == "ok"
