"""Records of events.yaml become events, each once, and what they say of a task becomes true. Synchronous."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ralf_hub.intake.features import deliver_if_done
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import settle
from ralf_hub.model import COMPLETED, FAILED, IN_PROGRESS, Json, Task
from ralf_hub.store import tasks, workspace
from ralf_hub.watcher.merging import may_become
from ralf_hub.workspace.following import Batch, Following
from ralf_hub.workspace.recognition import Seen, recognise
from ralf_hub.workspace.records import EventRecord

SOURCE: Final = "workspace"
EVENTS_STATE: Final = "events"

STATUS_OF: Final[Mapping[str, str]] = {
    "task_started": IN_PROGRESS,
    "task_completed": COMPLETED,
    "task_failed": FAILED,
}
"""The status a record puts its task into; other types change nothing."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one batch brought."""

    new: int
    records: int


def begin(ledger: Ledger, following: Following) -> None:
    """Forget problems and counts that this reading is about to find again."""
    workspace.forget_problems(ledger.conn, "events", from_line=0 if following.whole else following.from_line)
    if following.whole:
        workspace.set_counts(ledger.conn, "events", {})


def take(
    ledger: Ledger,
    batch: Batch,
    *,
    generation: int,
    name_of: Callable[[str], str],
    first: bool,
    notify: bool,
    private: frozenset[str],
) -> Taken:
    """Take one batch over: new records as events, counts and the place to go on from in the same transaction.

    *name_of* leads from other names of tasks to their ids; types in *private* are recorded and told to nobody.
    In the *first* import records change no task: they are history, and the folders say where the tasks are now.
    """
    conn = ledger.conn
    prints = {record.fingerprint for record in batch.records} | set(batch.gone)
    known = {name: Seen(*counts) for name, counts in workspace.standings(conn, prints).items()}
    found = recognise(batch.records, known, generation, batch.gone)
    for record in found.new:
        _record(ledger, record, name_of, first=first, notify=notify and record.raw_type not in private)
    types = {record.fingerprint: record.raw_type for record in batch.records}
    counts = Counter(record.raw_type for record in batch.records)
    counts.subtract(
        Counter(workspace.types_of(conn, batch.gone)[name] for name in batch.gone if name in known)
    )
    workspace.save_standings(conn, found.seen, types)
    workspace.add_counts(conn, "events", counts)
    workspace.add_problems(conn, "events", [(p.file, p.line, p.message) for p in batch.problems])
    workspace.save_state(conn, EVENTS_STATE, batch.state.as_json())
    return Taken(len(found.new), len(batch.records))


def _record(
    ledger: Ledger, record: EventRecord, name_of: Callable[[str], str], *, first: bool, notify: bool
) -> None:
    task_id = None if record.task_id is None else name_of(record.task_id)
    task = None if task_id is None else tasks.get(ledger.conn, task_id)
    was = task
    if task is not None and not first:
        if workspace.take_told(ledger.conn, task.id, record.type):
            return  # its folder moved first, and that was told: one change is one event
        task = _settled(ledger, task, record)
    ledger.record(
        record.type,
        source=SOURCE,
        task=task,
        task_id=task_id,
        data=_data(record, task),
        occurred_at=record.occurred_at,
        notify=notify,
    )
    if was is not None and task is not None:
        deliver_if_done(ledger, was, task, source=SOURCE, notify=notify)


def _settled(ledger: Ledger, task: Task, record: EventRecord) -> Task:
    """Put the task where the record says, as far as the state machine allows; the record itself is a fact either way."""
    status = STATUS_OF.get(record.type)
    if status is None or not may_become(task.status, status):
        return task
    changes: dict[str, Any] = {"status": status}
    if status == FAILED:
        changes["error"] = _words(record.data, "error", "message", "impact", "notes") or "failed"
    if status == COMPLETED and (said := _words(record.data, "impact", "notes")) is not None:
        changes["result"] = said
    return settle(ledger, task, changes)


def _words(data: Mapping[str, Json], *names: str) -> str | None:
    return next((data[name] for name in names if isinstance(data.get(name), str) and data[name]), None)


def _data(record: EventRecord, task: Task | None) -> dict[str, Json]:
    data: dict[str, Json] = dict(record.data)
    if record.raw_type != record.type:
        data.setdefault("raw_type", record.raw_type)
    if task is not None:
        data.setdefault("title", task.title)
    return data
