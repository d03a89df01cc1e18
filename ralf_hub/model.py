"""The nouns of the hub: frozen values that every room may use.

Times are ISO-8601 UTC text (see `clock.iso`). Words are those of `docs/glossary.md`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = Any
"""Anything JSON can say."""

# --- tasks ----------------------------------------------------------------------------------------

PENDING, IN_PROGRESS, BLOCKED = "pending", "in_progress", "blocked"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
TASK_STATUSES: Final = (PENDING, IN_PROGRESS, BLOCKED, COMPLETED, FAILED, CANCELLED)
FINAL_STATUSES: Final = frozenset({COMPLETED, CANCELLED})
OPEN_STATUSES: Final = frozenset({PENDING, IN_PROGRESS, BLOCKED})

TASK_TRANSITIONS: Final[Mapping[str, frozenset[str]]] = {
    PENDING: frozenset(TASK_STATUSES) - {PENDING},
    IN_PROGRESS: frozenset(TASK_STATUSES) - {IN_PROGRESS},
    BLOCKED: frozenset(TASK_STATUSES) - {BLOCKED},
    FAILED: frozenset({PENDING, IN_PROGRESS}),
    COMPLETED: frozenset(),
    CANCELLED: frozenset(),
}
"""From each status the statuses a task may move to. Staying where it is is always allowed."""

PRIORITIES: Final = ("critical", "high", "medium", "low")
PRIORITY_RANK: Final[Mapping[str, int]] = {name: rank for rank, name in enumerate(PRIORITIES)}

TASK_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

# --- events ---------------------------------------------------------------------------------------

EVENT_TYPES: Final = (
    "task_created",
    "task_updated",
    "task_started",
    "task_progress",
    "task_blocked",
    "task_completed",
    "task_failed",
    "task_cancelled",
    "feature_created",
    "feature_delivered",
    "queue_changed",
    "webhook_received",
    "system_alert",
    "connector_paused",
    "connector_resumed",
)
"""The event types the hub itself makes; RALF's other types keep their own names."""

STATUS_EVENT: Final[Mapping[str, str]] = {
    PENDING: "task_updated",
    IN_PROGRESS: "task_started",
    BLOCKED: "task_blocked",
    COMPLETED: "task_completed",
    FAILED: "task_failed",
    CANCELLED: "task_cancelled",
}
"""The event a task makes when it enters a status."""

# --- keys -----------------------------------------------------------------------------------------

ALL_SCOPES: Final = "*"
SCOPES: Final = (
    "tasks:read",
    "tasks:write",
    "queue:read",
    "features:read",
    "metrics:read",
    "events:read",
    "events:write",
    "deliveries:read",
    "deliveries:write",
    "connectors:read",
    "connectors:write",
    "admin",
)
"""What a key may be allowed to do; `*` stands for all of it."""

# --- deliveries -----------------------------------------------------------------------------------

DELIVERED, DEAD = "delivered", "dead"
DELIVERY_STATES: Final = (PENDING, DELIVERED, DEAD, CANCELLED)

LANE_WAITS: Final = "9999-12-31T23:59:59.999Z"
"""The `next_attempt_at` of a delivery that waits for the one before it in its lane; a trigger makes it due."""


@dataclass(frozen=True, slots=True)
class Link:
    """What stands outside for a task or feature: the Jira issue, Trello card, Slack message made for it."""

    connector: str
    external_id: str | None = None
    external_key: str | None = None
    url: str | None = None
    state: str = "creating"
    last_state: str | None = None
    marker: str = ""
    entity_type: str = "task"
    entity_id: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of RALF's work."""

    id: str
    title: str
    status: str = PENDING
    priority: str = "medium"
    description: str = ""
    type: str | None = None
    feature_id: str | None = None
    parent_id: str | None = None
    depends_on: tuple[str, ...] = ()
    progress: int = 0
    assignee: str | None = None
    result: Json = None
    error: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    source: str = "api"
    version: int = 1
    created_at: str = ""
    updated_at: str = ""
    started_at: str | None = None
    completed_at: str | None = None
    lease_expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """A planned capability that groups tasks."""

    id: str
    title: str
    status: str = "planned"
    priority: str = "medium"
    description: str = ""
    source: str = "workspace"
    metadata: Mapping[str, Json] = field(default_factory=dict)
    created_at: str = ""
    updated_at: str = ""
    delivered_at: str | None = None
    tasks_total: int = 0
    tasks_completed: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """An immutable fact. `seq` is 0 until the store has given it its place."""

    id: str
    type: str
    occurred_at: str
    source: str = "api"
    task_id: str | None = None
    data: Mapping[str, Json] = field(default_factory=dict)
    seq: int = 0
    recorded_at: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The duty to bring one event to one connector: one row of the outbox."""

    id: int
    event_id: str
    event_type: str
    connector: str
    action: str
    payload: Json
    task_id: str | None = None
    lane: str | None = None
    state: str = PENDING
    attempts: int = 0
    next_attempt_at: str = ""
    first_attempt_at: str | None = None
    last_error: str | None = None
    last_outcome: str | None = None
    created_at: str = ""
    delivered_at: str | None = None
    replayed_at: str | None = None

    @property
    def due_at(self) -> str | None:
        """When it goes next; None where it is not pending, or waits for the one before it in its lane."""
        return self.next_attempt_at if self.state == PENDING and self.next_attempt_at != LANE_WAITS else None

    @property
    def entity(self) -> tuple[str, str] | None:
        """What it is about, kind and id: its task, or what its lane is of; None: nothing of these.

        A lane is a task's id, or `feature:` or `alert:` and an id.
        """
        if self.task_id is not None:
            return "task", self.task_id
        kind, colon, name = (self.lane or "").partition(":")
        if not colon:
            return ("task", kind) if kind else None
        return (kind, name) if name and kind in {"feature", "alert"} else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a delivery; written once, never changed."""

    delivery_id: int
    started_at: str
    duration_ms: int
    outcome: str
    status_code: int | None = None
    error: str | None = None
    response: str | None = None
    id: int = 0


def task_json(task: Task) -> dict[str, Json]:
    """Return *task* as the API shows it."""
    return {
        "id": task.id,
        "title": task.title,
        "description": task.description,
        "status": task.status,
        "priority": task.priority,
        "type": task.type,
        "feature_id": task.feature_id,
        "parent_id": task.parent_id,
        "depends_on": list(task.depends_on),
        "progress": task.progress,
        "assignee": task.assignee,
        "result": task.result,
        "error": task.error,
        "metadata": dict(task.metadata),
        "links": [link_json(link) for link in task.links if link.external_id is not None],
        "source": task.source,
        "version": task.version,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "started_at": task.started_at,
        "completed_at": task.completed_at,
        "lease_expires_at": task.lease_expires_at,
    }


def link_json(link: Link) -> dict[str, Json]:
    """Return *link* as the API shows it."""
    return {
        "connector": link.connector,
        "external_id": link.external_id,
        "external_key": link.external_key,
        "url": link.url,
    }


def event_json(event: Event) -> dict[str, Json]:
    """Return *event* as the API and the stream show it."""
    return {
        "seq": event.seq,
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "task_id": event.task_id,
        "occurred_at": event.occurred_at,
        "recorded_at": event.recorded_at,
        "data": dict(event.data),
    }
