"""Taking work: claim with a lease, heartbeat, release, and what happens when a lease ends."""

from dataclasses import replace

from ralf_hub.clock import MS_PER_S, iso
from ralf_hub.errors import ConflictError, NotFoundError
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import change
from ralf_hub.model import IN_PROGRESS, PENDING, Task
from ralf_hub.store import tasks


def claim(ledger: Ledger, agent: str, lease_s: int, *, source: str) -> Task | None:
    """Give *agent* the next task that waits for nobody, in progress and leased; None when there is none."""
    found = tasks.claimable(ledger.conn, 1)
    if not found:
        return None
    until = iso(ledger.clock.now() + lease_s * MS_PER_S)
    return change(
        ledger,
        found[0].id,
        {"status": IN_PROGRESS, "assignee": agent, "lease_expires_at": until},
        source=source,
        data={"agent": agent, "lease_expires_at": until},
    )


def _leased(ledger: Ledger, task_id: str, agent: str) -> Task:
    task = tasks.get(ledger.conn, task_id)
    if task is None:
        raise NotFoundError(f"There is no task {task_id}.")
    if task.status != IN_PROGRESS or task.lease_expires_at is None or task.assignee != agent:
        raise ConflictError(f"{agent} holds no lease on {task_id}.", code="lease_lost")
    return task


def heartbeat(ledger: Ledger, task_id: str, agent: str, lease_s: int) -> Task:
    """Prolong a lease; no event, since nothing has happened. ConflictError `lease_lost`."""
    was = _leased(ledger, task_id, agent)
    task = replace(
        was,
        lease_expires_at=iso(ledger.clock.now() + lease_s * MS_PER_S),
        version=was.version + 1,
        updated_at=ledger.now,
    )
    tasks.update(ledger.conn, task, was=was)
    return task


def release(ledger: Ledger, task_id: str, agent: str, *, source: str) -> Task:
    """Give a task back to the queue. ConflictError `lease_lost`."""
    _leased(ledger, task_id, agent)
    return change(
        ledger, task_id, {"status": PENDING, "assignee": None}, source=source, data={"released_by": agent}
    )


def expire_leases(ledger: Ledger, *, limit: int = 100) -> list[Task]:
    """Return to the queue what agents took and went silent about."""
    return [
        change(
            ledger,
            task_id,
            {"status": PENDING, "assignee": None},
            source="hub",
            data={"reason": "lease_expired"},
        )
        for task_id in tasks.with_lapsed_lease(ledger.conn, now=ledger.now, limit=limit)
    ]
