from typing import Any

import pytest

from ralf_hub.errors import ConflictError, HubError, NotFoundError, ValidationError
from ralf_hub.intake.tasks import CHANGED_TEXT_MAX, TaskDraft, cancel, change, create, progress
from ralf_hub.model import FINAL_STATUSES, OPEN_STATUSES, STATUS_EVENT, TASK_STATUSES, TASK_TRANSITIONS, Task
from ralf_hub.store import tasks
from tests.intake.conftest import Desk, poster

ROADS: dict[str, list[str]] = {
    "pending": [],
    "in_progress": ["in_progress"],
    "blocked": ["blocked"],
    "completed": ["completed"],
    "failed": ["failed"],
    "cancelled": ["cancelled"],
}
"""How a new task comes to each status."""


def made(desk: Desk, task_id: str = "T-1", **more: Any) -> Task:
    return create(desk.ledger, TaskDraft("Do it", id=task_id, **more), source="api:me")


def moved(desk: Desk, task_id: str = "T-1", **changes: Any) -> Task:
    return change(desk.ledger, task_id, changes, source="api:me")


def stored(desk: Desk, task_id: str = "T-1") -> Task:
    task = tasks.get(desk.conn, task_id)
    assert task is not None
    return task


# --- creating -------------------------------------------------------------------------------------


def test_a_new_task_is_pending_and_told(desk: Desk) -> None:
    task = made(
        desk, description="all of it", type="bug", priority="high", metadata={"a": [1]}, assignee="me"
    )
    assert task == stored(desk)
    assert (task.status, task.version, task.progress, task.source) == ("pending", 1, 0, "api:me")
    assert task.created_at == task.updated_at == desk.clock.iso()
    assert (task.started_at, task.completed_at) == (None, None)
    assert desk.events() == [("task_created", "T-1")]


def test_an_id_is_made_where_none_is_given(desk: Desk) -> None:
    ids = [create(desk.ledger, TaskDraft("x"), source="api").id for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(task_id.startswith(f"TASK-{desk.clock.ms // 1000}-") for task_id in ids)


def test_an_id_is_taken_once(desk: Desk) -> None:
    made(desk)
    with pytest.raises(ConflictError) as caught:
        made(desk)
    assert (caught.value.code, caught.value.status) == ("task_exists", 409)
    assert desk.kinds() == ["task_created"]


# --- the state machine ----------------------------------------------------------------------------


@pytest.mark.parametrize("start", TASK_STATUSES)
@pytest.mark.parametrize("end", TASK_STATUSES)
def test_every_transition_happens_with_its_event_or_is_refused_with_what_is_allowed(
    desk: Desk, start: str, end: str
) -> None:
    made(desk)
    for status in ROADS[start]:
        moved(desk, status=status)
    before, told = stored(desk), desk.kinds()
    if end == start:
        assert moved(desk, status=end) == before
        assert desk.kinds() == told
        return
    if end in TASK_TRANSITIONS[start]:
        after = moved(desk, status=end)
        assert (after.status, after.version) == (end, before.version + 1)
        assert desk.kinds() == [*told, STATUS_EVENT[end]]
        return
    with pytest.raises(ConflictError) as caught:
        moved(desk, status=end)
    assert (caught.value.code, caught.value.status) == ("invalid_transition", 409)
    assert caught.value.extra == {
        "current": start,
        "requested": end,
        "allowed": sorted(TASK_TRANSITIONS[start]),
    }
    assert stored(desk) == before
    assert desk.kinds() == told


def test_the_table_of_transitions_is_what_the_contract_says() -> None:
    assert {status for status in TASK_STATUSES if not TASK_TRANSITIONS[status]} == FINAL_STATUSES
    assert TASK_TRANSITIONS["failed"] == {"pending", "in_progress"}
    for status in OPEN_STATUSES:
        assert TASK_TRANSITIONS[status] == set(TASK_STATUSES) - {status}


def test_what_follows_from_a_status(desk: Desk) -> None:
    made(desk)
    desk.clock.advance(10)
    started = moved(desk, status="in_progress", assignee="ralf")
    assert (started.started_at, started.assignee) == (desk.clock.iso(), "ralf")
    desk.clock.advance(10)
    failed = moved(desk, status="failed", error="no disk")
    assert (failed.error, failed.assignee, failed.completed_at) == ("no disk", "ralf", None)
    again = moved(desk, status="pending")
    assert again.assignee is None
    desk.clock.advance(10)
    assert moved(desk, status="in_progress").error is None
    done = moved(desk, status="completed", result={"files": 3})
    assert (done.progress, done.result, done.error) == (100, {"files": 3}, None)
    assert (done.started_at, done.completed_at) == (started.started_at, desk.clock.iso())


def test_what_was_never_started_starts_when_it_is_completed(desk: Desk) -> None:
    made(desk)
    done = moved(desk, status="completed")
    assert done.started_at == done.completed_at == desk.clock.iso()


# --- changing -------------------------------------------------------------------------------------


def test_one_change_is_one_event_with_all_that_changed(desk: Desk) -> None:
    made(desk)
    moved(desk, title="Better", priority="critical", metadata={"x": 1})
    assert desk.kinds() == ["task_created", "task_updated"]
    (data,) = desk.conn.execute("SELECT data FROM events WHERE seq = 2").fetchone()
    assert data == (
        '{"title":"Better","status":"pending","priority":"critical","previous_status":"pending",'
        '"changes":{"title":"Better","priority":"critical","metadata":{"x":1}}}'
    )


def test_a_change_that_changes_nothing_is_no_event_and_no_new_version(desk: Desk) -> None:
    task = made(desk, metadata={"a": 1})
    desk.clock.advance(5)
    assert moved(desk, title="Do it", metadata={"a": 1}, depends_on=(), status="pending") == task
    assert moved(desk) == task
    assert desk.kinds() == ["task_created"]


def test_progress_alone_is_progress(desk: Desk) -> None:
    made(desk)
    moved(desk, progress=30)
    moved(desk, progress=40, title="x")
    assert desk.kinds() == ["task_created", "task_progress", "task_updated"]


def test_what_is_final_can_still_be_described(desk: Desk) -> None:
    made(desk)
    moved(desk, status="completed")
    assert moved(desk, description="how it went").description == "how it went"
    assert desk.kinds()[-1] == "task_updated"


def test_long_texts_are_cut_in_the_event_and_whole_in_the_task(desk: Desk) -> None:
    made(desk)
    text = "x" * (CHANGED_TEXT_MAX + 1)
    assert moved(desk, description=text).description == text
    (shown,) = desk.conn.execute(
        "SELECT data ->> '$.changes.description' FROM events WHERE seq = 2"
    ).fetchone()
    assert shown == "x" * CHANGED_TEXT_MAX + "…"


def test_a_stale_version_is_refused_even_where_nothing_would_change(desk: Desk) -> None:
    made(desk)
    moved(desk, title="Better")
    for changes in ({"title": "Best"}, {}):
        with pytest.raises(HubError) as caught:
            change(desk.ledger, "T-1", changes, source="api", expected_version=1)
        assert (caught.value.code, caught.value.status) == ("version_mismatch", 412)
        assert caught.value.extra == {"version": 2}
    assert change(desk.ledger, "T-1", {"title": "Best"}, source="api", expected_version=2).version == 3


def test_a_task_nobody_knows_is_not_found(desk: Desk) -> None:
    for attempt in (
        lambda: moved(desk, "T-9", title="x"),
        lambda: progress(desk.ledger, "T-9", 5, None, source="api"),
        lambda: cancel(desk.ledger, "T-9", source="api"),
    ):
        with pytest.raises(NotFoundError):
            attempt()
    assert desk.events() == []


def test_cancelling_twice_is_one_event(desk: Desk) -> None:
    made(desk)
    assert cancel(desk.ledger, "T-1", source="api").status == "cancelled"
    assert cancel(desk.ledger, "T-1", source="api").status == "cancelled"
    assert desk.kinds() == ["task_created", "task_cancelled"]


def test_an_event_says_when_it_happened_outside(desk: Desk) -> None:
    made(desk)
    change(
        desk.ledger,
        "T-1",
        {"status": "completed"},
        source="workspace",
        occurred_at="2026-01-01T00:00:00.000Z",
    )
    found = desk.conn.execute("SELECT occurred_at, recorded_at, source FROM events WHERE seq = 2").fetchone()
    assert found == ("2026-01-01T00:00:00.000Z", desk.clock.iso(), "workspace")


# --- progress -------------------------------------------------------------------------------------


def test_progress_is_always_news(desk: Desk) -> None:
    made(desk)
    progress(desk.ledger, "T-1", 30, "half of the half", source="api")
    task = progress(desk.ledger, "T-1", 30, None, source="api")
    assert (task.progress, task.version) == (30, 3)
    notes = desk.conn.execute("SELECT data ->> 'note' FROM events WHERE type = 'task_progress'").fetchall()
    assert notes == [("half of the half",), (None,)]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_is_over_makes_no_progress(desk: Desk, status: str) -> None:
    made(desk)
    moved(desk, status=status)
    with pytest.raises(ConflictError) as caught:
        progress(desk.ledger, "T-1", 5, None, source="api")
    assert caught.value.code == "invalid_transition"


# --- dependencies ---------------------------------------------------------------------------------


def chain(desk: Desk, length: int) -> None:
    """T-0 <- T-1 <- ... : each depends on the one before."""
    for n in range(length):
        made(desk, f"T-{n}", depends_on=(f"T-{n - 1}",) if n else ())


def refused(desk: Desk, task_id: str, *depends_on: str) -> list[str]:
    before = stored(desk, task_id)
    with pytest.raises(ValidationError) as caught:
        moved(desk, task_id, depends_on=depends_on)
    assert caught.value.status == 422
    assert stored(desk, task_id) == before
    return [error.field for error in caught.value.errors]


def test_a_task_cannot_wait_for_itself(desk: Desk) -> None:
    made(desk)
    assert refused(desk, "T-1", "T-1") == ["depends_on"]
    with pytest.raises(ValidationError):
        made(desk, "T-2", depends_on=("T-2",))
    assert not tasks.exists(desk.conn, "T-2")


@pytest.mark.parametrize("length", [2, 3, 50])
def test_a_cycle_of_any_length_is_refused(desk: Desk, length: int) -> None:
    chain(desk, length)
    assert refused(desk, "T-0", f"T-{length - 1}") == ["depends_on"]
    assert moved(desk, f"T-{length - 1}", depends_on=()).depends_on == ()
    assert moved(desk, "T-0", depends_on=(f"T-{length - 1}",)).depends_on == (f"T-{length - 1}",)


def test_a_diamond_is_no_cycle(desk: Desk) -> None:
    chain(desk, 2)
    made(desk, "T-2", depends_on=("T-0",))
    assert made(desk, "T-3", depends_on=("T-1", "T-2")).depends_on == ("T-1", "T-2")


def test_dependencies_nobody_knows_are_all_named(desk: Desk) -> None:
    made(desk)
    assert refused(desk, "T-1", "X-1", "T-1", "X-2") == ["depends_on[0]", "depends_on[2]", "depends_on"]
    with pytest.raises(ValidationError) as caught:
        made(desk, "T-2", depends_on=("T-1", "X-9"))
    assert [(error.field, error.message) for error in caught.value.errors] == [
        ("depends_on[1]", "There is no task X-9.")
    ]


def test_dependencies_that_are_taken_away_hold_nobody(desk: Desk) -> None:
    chain(desk, 2)
    assert [task.id for task in tasks.claimable(desk.conn, 10)] == ["T-0"]
    moved(desk, "T-1", depends_on=())
    assert [task.id for task in tasks.claimable(desk.conn, 10)] == ["T-0", "T-1"]


# --- deliveries -----------------------------------------------------------------------------------


def test_a_refused_change_delivers_nothing(desk: Desk) -> None:
    desk.route(poster("a", events=["*"]))
    made(desk)
    moved(desk, status="completed")
    for changes in ({"status": "pending"}, {"depends_on": ("T-1",)}):
        with pytest.raises(HubError):
            moved(desk, **changes)
    assert desk.outbox("event_type") == [("task_created",), ("task_completed",)]


def test_the_event_has_its_deliveries(desk: Desk) -> None:
    desk.route(poster("a"), poster("b", events=["task_completed"]))
    made(desk)
    moved(desk, status="completed")
    assert desk.outbox() == [
        ("task_created", "a", "post", "pending"),
        ("task_completed", "a", "post", "pending"),
        ("task_completed", "b", "post", "pending"),
    ]
    assert set(desk.outbox("task_id, lane")) == {("T-1", "T-1")}
