"""Features follow their tasks: one is delivered when it is completed itself, or its last task is. Once."""

from dataclasses import replace

from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import COMPLETED, FINAL_STATUSES, Feature, Task
from ralf_hub.store import features


def ensure(ledger: Ledger, feature_id: str, *, source: str) -> None:
    """Make sure a feature a task names exists; RALF's own files may tell more of it later."""
    if features.get(ledger.conn, feature_id) is None:
        feature = Feature(feature_id, feature_id, source=source, created_at=ledger.now, updated_at=ledger.now)
        features.save(ledger.conn, feature)
        ledger.record(
            "feature_created",
            source=source,
            feature=feature,
            data={"feature_id": feature_id, "title": feature.title},
        )


def deliver_if_done(
    ledger: Ledger, was: Task | None, task: Task, *, source: str, notify: bool = True
) -> None:
    """Deliver the feature of *task* if *task*, which was *was* before, ended and was the last one that was open.

    Every task of the feature is completed or cancelled then, and at least one is completed: what was only ever
    cancelled delivers nothing. A failed task may be tried again, so it is one that is open.
    """
    has_ended = task.status in FINAL_STATUSES and (was is None or was.status not in FINAL_STATUSES)
    if task.feature_id is None or not has_ended:
        return
    feature = features.get(ledger.conn, task.feature_id)
    if feature is None or feature.delivered_at is not None or feature.tasks_completed == 0:
        return
    if not features.has_unfinished(ledger.conn, feature.id):
        deliver(ledger, feature, source=source, notify=notify)


def deliver(ledger: Ledger, feature: Feature, *, source: str, notify: bool = True) -> None:
    """Mark *feature* delivered and say so."""
    delivered = replace(feature, status=COMPLETED, updated_at=ledger.now, delivered_at=ledger.now)
    features.save(ledger.conn, delivered)
    ledger.record(
        "feature_delivered",
        source=source,
        feature=delivered,
        notify=notify,
        data={
            "feature_id": feature.id,
            "title": feature.title,
            "tasks": {"total": feature.tasks_total, "completed": feature.tasks_completed},
        },
    )
