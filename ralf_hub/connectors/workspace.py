"""Writing back: what the hub changes reaches RALF's files, as deliveries like any other.

The connector decides what a change asks for; the desk it is handed (`ralf_hub/watcher/desk.py`) brings the files in
line with the task as the hub has it at that moment, so a delivery that is repeated, or comes late, never undoes
anything newer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol

from ralf_hub.connectors.base import (
    Action,
    Check,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Http,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.model import Delivery, Json

NAME: Final = "workspace"
SOURCE: Final = "workspace"
"""The source of events that come from RALF's files: they are never written back."""
TOGETHER_MAX: Final = 64
"""Tasks written with one change of queue.yaml."""

WRITTEN: Final = frozenset({"title", "description", "priority", "status"})
RECORDED: Final = {
    "task_started": "started",
    "task_completed": "completed",
    "task_failed": "failed",
    "task_cancelled": "cancelled",
    "task_blocked": "blocked",
}
"""Event type -> the type RALF's own records have."""

WriteBack = Literal["off", "tasks", "full"]


@dataclass(frozen=True, slots=True)
class Order:
    """What a delivery asks the desk for: the task, what changed of it, and a record for events.yaml."""

    task_id: str
    changed: frozenset[str]
    creates: bool
    record: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of an order: done with these words, or not, and whether and when to ask again.

    `waits` is True where nothing can be written before the workspace has been read: no fault of anybody's.
    """

    done: bool
    words: str
    final: bool = False
    waits: bool = False
    retry_after_s: float | None = None


class Desk(Protocol):
    """Who writes. One per hub."""

    async def carry_out(self, order: Order) -> Carried:
        """Bring the files in line with the task of *order*. Never raises but for being cancelled."""

    async def check(self) -> tuple[bool, str]:
        """Return whether the workspace can be written now, and what was seen."""


class WorkspaceSettings(ConnectorSettings):
    """`[workspace]` as this connector takes it; there is no section of its own."""

    write_back: WriteBack = "tasks"


class WorkspaceConnector(Connector):
    """Plans what of each event RALF's files have to show."""

    service: ClassVar[str] = NAME
    settings_model: ClassVar[type[ConnectorSettings]] = WorkspaceSettings
    default_events: ClassVar[tuple[str, ...]] = (
        "task_created",
        "task_updated",
        *RECORDED,
    )

    def __init__(self, settings: WorkspaceSettings, env: ConnectorEnv, desk: Desk | None) -> None:
        super().__init__(NAME, settings, env)
        self._desk = desk

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Ask for what the event changed, unless it came from the files."""
        event, task = fact.event, fact.task
        if task is None or event.source == SOURCE:
            return ()
        creates = event.type == "task_created"
        changed = set(event.data.get("changes") or ()) & WRITTEN
        if event.type in RECORDED:
            changed.add("status")
        if not (creates or changed):
            return ()
        payload: dict[str, Json] = {"task_id": task.id, "changed": sorted(changed), "creates": creates}
        if self.settings.write_back == "full" and event.type in RECORDED:
            payload["record"] = self._record(fact)
        return (Action("write", payload),)

    @staticmethod
    def _record(fact: Fact) -> dict[str, Json]:
        """Return the record of the event, in the fields RALF's hooks write; the event's own id ends it.

        By that id an interrupted try is found in the file, so it stands last: where it is, all of the record is.
        """
        event = fact.event
        record = {
            "timestamp": f"{event.occurred_at[:19]}Z",
            "task_id": event.task_id or "",
            "type": RECORDED[event.type],
            "agent": "ralf-hub",
        }
        if event.type == "task_completed":
            record["result"] = "success"
        if event.type == "task_failed" and fact.task is not None:
            record["notes"] = (fact.task.error or "failed")[:500]
        return {**record, "source": "ralf-hub", "run_id": event.id}

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Have it written."""
        del context
        if self._desk is None:
            return Retry("RALF's files are written by a running hub only", counts=False)
        given = delivery.payload
        order = Order(
            given["task_id"],
            frozenset(given.get("changed", ())),
            bool(given.get("creates")),
            given.get("record"),
        )
        carried = await self._desk.carry_out(order)
        if carried.done:
            return Delivered(response=carried.words)
        if carried.final:
            return Rejected(carried.words)
        return Retry(
            carried.words,
            retry_after_s=carried.retry_after_s,
            counts=not carried.waits,
            holds_connector=carried.waits,
        )

    async def validate(self, http: Http) -> Check:
        """Look whether the workspace can be written."""
        del http
        if self._desk is None:
            return Check(ok=True, message="written by the running hub")
        ok, message = await self._desk.check()
        return Check(ok=ok, message=message)
