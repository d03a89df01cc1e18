"""Contract 3, the queue: its order, claims, leases."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.box import Box, Ground, until

pytestmark = pytest.mark.journey

PRIORITIES = ("critical", "high", "medium", "low")


@pytest.fixture
def fresh(ground: Ground, tmp_path: Path) -> Iterator[Box]:
    made = Box.start(ground, tmp_path / "hub")
    yield made
    made.close()


def claim(box: Box, agent: str = "a", lease_s: int = 60) -> str | None:
    reply = box.post("/queue/claim", {"agent": agent, "lease_s": lease_s})
    assert reply.status in {200, 204}, reply.body
    if reply.status == 204:
        assert reply.body == b""
        return None
    task = reply.json
    assert (task["status"], task["assignee"]) == ("in_progress", agent)
    return str(task["id"])


def test_unblocked_first_then_by_priority_then_by_age(fresh: Box) -> None:
    ids = [
        fresh.task(f"{p} {n}", id=f"{p}-{n}", priority=p)["id"]
        for n in range(3)
        for p in reversed(PRIORITIES)
    ]
    waits = fresh.task("waits", id="waits", priority="critical", depends_on=["low-2"])["id"]
    blocked = fresh.task("blocked", id="blocked", priority="critical")["id"]
    fresh.patch(f"/tasks/{blocked}", {"status": "blocked"})
    order = [f"{p}-{n}" for p in PRIORITIES for n in range(3)]
    assert sorted(order) == sorted(ids)

    queue = fresh.get("/queue").json
    assert [task["id"] for task in queue["tasks"]] == order
    assert {task["id"] for task in queue["blocked"]} == {waits, blocked}
    assert queue["by_priority"] == {"critical": 4, "high": 3, "medium": 3, "low": 3}
    assert queue["depth"] == 13
    assert queue["oldest_pending_age_s"] > 0
    assert [claim(fresh) for _ in order] == order
    assert claim(fresh) is None

    fresh.patch("/tasks/low-2", {"status": "completed"})
    assert claim(fresh) == waits
    fresh.patch(f"/tasks/{blocked}", {"status": "pending"})
    assert claim(fresh) == blocked
    assert fresh.get("/queue").json == {
        "depth": 0, "tasks": [], "blocked": [], "by_priority": {}, "oldest_pending_age_s": None,
    }  # fmt: skip


def test_many_agents_and_no_task_twice(fresh: Box) -> None:
    ids = {fresh.task(f"{n}")["id"] for n in range(60)}

    def work(agent: int) -> list[str]:
        taken = []
        while (task_id := claim(fresh, f"agent-{agent}")) is not None:
            taken.append(task_id)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [task_id for found in pool.map(work, range(8)) for task_id in found]
    assert len(taken) == len(ids)
    assert set(taken) == ids


def test_a_lease_is_its_agents_until_it_ends(fresh: Box) -> None:
    task_id = fresh.task()["id"]
    assert claim(fresh, "one", lease_s=60) == task_id
    assert fresh.post("/queue/heartbeat", {"task_id": task_id, "agent": "one", "lease_s": 90}).status == 200
    for path in ("heartbeat", "release"):
        reply = fresh.post(f"/queue/{path}", {"task_id": task_id, "agent": "two"})
        assert (reply.status, reply.code) == (409, "lease_lost")
        assert fresh.post(f"/queue/{path}", {"task_id": "none", "agent": "one"}).status == 404
    released = fresh.post("/queue/release", {"task_id": task_id, "agent": "one"})
    assert (released.json["status"], released.json["assignee"]) == ("pending", None)
    assert fresh.post("/queue/release", {"task_id": task_id, "agent": "one"}).code == "lease_lost"

    assert claim(fresh, "two", lease_s=1) == task_id
    fresh.hub.kill()  # a lease ends also while no hub runs
    fresh.again()
    until(lambda: fresh.get(f"/tasks/{task_id}").json["status"] == "pending")
    assert fresh.post("/queue/heartbeat", {"task_id": task_id, "agent": "two"}).code == "lease_lost"
    assert claim(fresh, "three") == task_id
    fresh.patch(f"/tasks/{task_id}", {"status": "completed"})
    assert fresh.post("/queue/release", {"task_id": task_id, "agent": "three"}).code == "lease_lost"


@pytest.mark.parametrize(
    "body", [{}, {"agent": ""}, {"agent": "a", "lease_s": 0}, {"agent": "a", "lease_s": -1}, {"agent": "a", "lease_s": 1.5},
             {"agent": "a", "lease_s": "60"}, {"agent": "a", "lease_s": 10**9}, {"agent": 5, "lease_s": 60},
             {"agent": "a", "lease_s": 60, "colour": 1}],
)  # fmt: skip
def test_claims_that_cannot_be(box: Box, body: dict[str, object]) -> None:
    assert (box.post("/queue/claim", body).status, box.get("/queue?limit=0").status) == (422, 400)
