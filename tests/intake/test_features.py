from dataclasses import replace
from typing import Any

from ralf_hub.intake.features import deliver, deliver_if_done
from ralf_hub.intake.tasks import TaskDraft, change, create
from ralf_hub.store import features, tasks
from tests.intake.conftest import Desk, poster


def made(desk: Desk, task_id: str, feature_id: str | None = "F-1") -> None:
    create(desk.ledger, TaskDraft("x", id=task_id, feature_id=feature_id), source="api")


def moved(desk: Desk, task_id: str, **changes: Any) -> None:
    change(desk.ledger, task_id, changes, source="api")


def delivered(desk: Desk) -> int:
    return desk.kinds().count("feature_delivered")


def test_a_feature_a_task_names_is_made_once(desk: Desk) -> None:
    made(desk, "T-1")
    made(desk, "T-2")
    made(desk, "T-3", None)
    moved(desk, "T-3", feature_id="F-2")
    assert desk.kinds() == [
        "feature_created",
        "task_created",
        "task_created",
        "task_created",
        "feature_created",
        "task_updated",
    ]


def test_a_feature_is_delivered_with_its_last_task_and_only_once(desk: Desk) -> None:
    desk.route(poster("a", events=["feature_delivered"]))
    for n in range(3):
        made(desk, f"T-{n}")
    moved(desk, "T-0", status="completed")
    moved(desk, "T-1", status="cancelled")
    assert delivered(desk) == 0
    moved(desk, "T-2", status="completed")
    assert delivered(desk) == 1
    assert desk.outbox() == [("feature_delivered", "a", "post", "pending")]
    assert desk.outbox("lane") == [("feature:F-1",)]
    made(desk, "T-4")
    moved(desk, "T-4", status="completed")
    assert delivered(desk) == 1
    feature = features.get(desk.conn, "F-1")
    assert feature is not None
    assert (feature.status, feature.delivered_at) == ("completed", desk.clock.iso())
    assert (feature.tasks_total, feature.tasks_completed) == (4, 3)


def test_an_open_or_failed_task_holds_its_feature(desk: Desk) -> None:
    for status in ("in_progress", "blocked", "failed"):
        made(desk, status, f"F-{status}")
        moved(desk, status, status=status)
        made(desk, f"T-{status}", f"F-{status}")
        moved(desk, f"T-{status}", status="completed")
    assert delivered(desk) == 0


def test_a_feature_of_which_nothing_was_done_is_not_delivered(desk: Desk) -> None:
    made(desk, "T-1")
    made(desk, "T-2")
    moved(desk, "T-1", status="cancelled")
    moved(desk, "T-2", status="cancelled")
    assert delivered(desk) == 0


def test_cancelling_the_last_open_task_delivers_what_the_others_completed(desk: Desk) -> None:
    for n in range(3):
        made(desk, f"T-{n}")
    moved(desk, "T-0", status="completed")
    moved(desk, "T-1", status="cancelled")
    assert delivered(desk) == 0
    moved(desk, "T-2", status="cancelled")
    assert desk.kinds()[-2:] == ["task_cancelled", "feature_delivered"]
    made(desk, "T-3")
    moved(desk, "T-3", status="cancelled")
    assert delivered(desk) == 1, "once"


def test_a_task_of_no_feature_or_of_one_nobody_knows_delivers_nothing(desk: Desk) -> None:
    made(desk, "T-1", None)
    moved(desk, "T-1", status="completed")
    task = tasks.get(desk.conn, "T-1")
    assert task is not None
    deliver_if_done(desk.ledger, None, replace(task, feature_id="F-unknown"), source="api")
    assert delivered(desk) == 0


def test_the_event_tells_what_was_delivered(desk: Desk) -> None:
    made(desk, "T-1")
    moved(desk, "T-1", status="completed")
    (data,) = desk.conn.execute("SELECT data FROM events WHERE type = 'feature_delivered'").fetchone()
    assert data == '{"feature_id":"F-1","title":"F-1","tasks":{"total":1,"completed":1}}'


def test_history_is_delivered_without_telling_anybody(desk: Desk) -> None:
    desk.route(poster("a", events=["*"]))
    made(desk, "T-1")
    feature = features.get(desk.conn, "F-1")
    assert feature is not None
    before = desk.outbox()
    deliver(desk.ledger, feature, source="workspace", notify=False)
    assert desk.outbox() == before
    assert desk.kinds()[-1] == "feature_delivered"
