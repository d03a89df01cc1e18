from typing import Any

import pytest

from ralf_hub.errors import ConflictError, NotFoundError
from ralf_hub.intake import queue
from ralf_hub.intake.tasks import TaskDraft, change, create
from ralf_hub.model import Task
from ralf_hub.store import tasks
from tests.intake.conftest import Desk

LEASE_S = 60


def made(desk: Desk, task_id: str, **more: Any) -> None:
    create(desk.ledger, TaskDraft("x", id=task_id, **more), source="api")
    desk.clock.advance(1)


def claim(desk: Desk, agent: str = "ralf-1") -> Task | None:
    return queue.claim(desk.ledger, agent, LEASE_S, source="api:agent")


def claimed(desk: Desk, agent: str = "ralf-1") -> str | None:
    task = claim(desk, agent)
    return None if task is None else task.id


def test_an_empty_queue_gives_nothing_and_tells_nothing(desk: Desk) -> None:
    assert claim(desk) is None
    assert desk.events() == []


def test_a_claim_starts_and_leases_the_task(desk: Desk) -> None:
    made(desk, "T-1")
    task = claim(desk)
    assert task is not None
    assert (task.status, task.assignee, task.lease_expires_at) == (
        "in_progress",
        "ralf-1",
        desk.clock.iso(LEASE_S),
    )
    assert desk.kinds() == ["task_created", "task_started"]
    agent = desk.conn.execute("SELECT data ->> 'agent' FROM events WHERE seq = 2").fetchone()
    assert agent == ("ralf-1",)


def test_the_order_is_unblocked_first_then_priority_then_age(desk: Desk) -> None:
    made(desk, "old-low", priority="low")
    made(desk, "old-medium")
    made(desk, "young-medium")
    made(desk, "high", priority="high")
    made(desk, "critical-but-waits", priority="critical", depends_on=("old-low",))
    made(desk, "critical", priority="critical")
    order = [claimed(desk) for _ in range(7)]
    assert order == ["critical", "high", "old-medium", "young-medium", "old-low", None, None]
    change(desk.ledger, "old-low", {"status": "completed"}, source="api")
    assert claimed(desk) == "critical-but-waits"


@pytest.mark.parametrize(("status", "waits"), [("completed", False), ("cancelled", False), ("failed", True)])
def test_a_dependency_that_ended_well_or_was_dropped_holds_nobody(
    desk: Desk,
    status: str,
    waits: bool,  # noqa: FBT001
) -> None:
    made(desk, "T-1")
    made(desk, "T-2", depends_on=("T-1",))
    change(desk.ledger, "T-1", {"status": status}, source="api")
    assert claimed(desk) == (None if waits else "T-2")


def test_what_is_not_pending_is_not_given(desk: Desk) -> None:
    for status in ("in_progress", "blocked", "completed", "failed", "cancelled"):
        made(desk, status)
        change(desk.ledger, status, {"status": status}, source="api")
    assert claim(desk) is None


def test_each_task_is_given_once(desk: Desk) -> None:
    for n in range(5):
        made(desk, f"T-{n}")
    assert [claimed(desk, f"ralf-{n}") for n in range(6)] == ["T-0", "T-1", "T-2", "T-3", "T-4", None]


# --- heartbeat and release ------------------------------------------------------------------------


def test_a_heartbeat_prolongs_the_lease_without_an_event(desk: Desk) -> None:
    made(desk, "T-1")
    claim(desk)
    desk.clock.advance(50)
    task = queue.heartbeat(desk.ledger, "T-1", "ralf-1", LEASE_S)
    assert task.lease_expires_at == desk.clock.iso(LEASE_S)
    assert tasks.get(desk.conn, "T-1") == task
    desk.clock.advance(50)
    assert queue.expire_leases(desk.ledger) == []
    assert desk.kinds() == ["task_created", "task_started"]


def test_a_release_gives_the_task_back(desk: Desk) -> None:
    made(desk, "T-1")
    claim(desk)
    task = queue.release(desk.ledger, "T-1", "ralf-1", source="api")
    assert (task.status, task.assignee, task.lease_expires_at) == ("pending", None, None)
    assert claimed(desk, "ralf-2") == "T-1"


@pytest.mark.parametrize("agent", ["ralf-2", "", "RALF-1"])
def test_only_who_holds_the_lease_may_use_it(desk: Desk, agent: str) -> None:
    made(desk, "T-1")
    claim(desk)
    for use in (
        lambda: queue.heartbeat(desk.ledger, "T-1", agent, LEASE_S),
        lambda: queue.release(desk.ledger, "T-1", agent, source="api"),
    ):
        with pytest.raises(ConflictError) as caught:
            use()
        assert caught.value.code == "lease_lost"


def test_a_lease_ends_with_the_work(desk: Desk) -> None:
    made(desk, "T-1")
    claim(desk)
    done = change(desk.ledger, "T-1", {"status": "completed"}, source="api")
    assert (done.lease_expires_at, done.assignee) == (None, "ralf-1")
    with pytest.raises(ConflictError):
        queue.heartbeat(desk.ledger, "T-1", "ralf-1", LEASE_S)
    with pytest.raises(NotFoundError):
        queue.release(desk.ledger, "T-9", "ralf-1", source="api")


def test_a_task_someone_set_in_progress_has_no_lease(desk: Desk) -> None:
    made(desk, "T-1")
    change(desk.ledger, "T-1", {"status": "in_progress", "assignee": "ralf-1"}, source="api")
    with pytest.raises(ConflictError):
        queue.heartbeat(desk.ledger, "T-1", "ralf-1", LEASE_S)
    desk.clock.advance(10 * LEASE_S)
    assert queue.expire_leases(desk.ledger) == []


# --- leases that end ------------------------------------------------------------------------------


def test_a_lease_that_has_ended_gives_the_task_back_and_says_why(desk: Desk) -> None:
    made(desk, "T-1")
    claim(desk)
    desk.clock.advance(LEASE_S - 0.001)
    assert queue.expire_leases(desk.ledger) == []
    desk.clock.advance(0.001)
    (task,) = queue.expire_leases(desk.ledger)
    assert (task.status, task.assignee, task.lease_expires_at) == ("pending", None, None)
    assert queue.expire_leases(desk.ledger) == []
    found = desk.conn.execute(
        "SELECT type, source, data ->> 'reason' FROM events ORDER BY seq DESC"
    ).fetchone()
    assert found == ("task_updated", "hub", "lease_expired")
    with pytest.raises(ConflictError):
        queue.heartbeat(desk.ledger, "T-1", "ralf-1", LEASE_S)
    assert claimed(desk, "ralf-2") == "T-1"


def test_the_agent_who_claims_it_anew_is_not_taken_for_the_one_before(desk: Desk) -> None:
    made(desk, "T-1")
    claim(desk)
    desk.clock.advance(LEASE_S)
    queue.expire_leases(desk.ledger)
    claim(desk, "ralf-2")
    with pytest.raises(ConflictError):
        queue.release(desk.ledger, "T-1", "ralf-1", source="api")


def test_many_leases_end_a_few_at_a_time(desk: Desk) -> None:
    for n in range(7):
        made(desk, f"T-{n}")
        claim(desk)
    desk.clock.advance(LEASE_S)
    assert [len(queue.expire_leases(desk.ledger, limit=3)) for _ in range(4)] == [3, 3, 1, 0]
