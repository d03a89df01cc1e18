"""Every event put in words, once. Connectors only lay out and escape what stands here.

`word` is pure and total: whatever an event carries, a bounded `Notice` comes out. All its texts are free of
control characters, ANSI sequences, bidirectional overrides and lone surrogates; they are *not* escaped for
any service, because each has its own rules.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal
from urllib.parse import quote

from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.model import Event, Feature, Json, Task
from ralf_hub.texts import clean, cut, duration, first_told, one_line, plain, told

Severity = Literal["info", "success", "warning", "error"]

TITLE_LENGTH_MAX: Final = 140
"""Leaves room for a sign in front: Slack's headers end at 150 characters, Discord's titles at 256."""
TEXT_LENGTH_MAX: Final = 1500
LINES_MAX: Final = 20
FIELD_NAME_LENGTH_MAX: Final = 40
FIELD_VALUE_LENGTH_MAX: Final = 200
FIELDS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Notice:
    """An event in words: the same for every connector."""

    event_type: str
    event_id: str
    title: str
    lines: tuple[str, ...] = ()
    severity: Severity = "info"
    fields: tuple[tuple[str, str], ...] = ()
    url: str | None = None
    occurred_at: str = ""
    task_id: str | None = None

    @property
    def text(self) -> str:
        """The lines under the title as one text; empty where the title says it all."""
        return "\n".join(self.lines)


# --- wording --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _About:
    """What is worded: the event and what it is about."""

    event: Event
    task: Task | None
    feature: Feature | None

    @property
    def subject(self) -> str:
        """The name of the task, as far as it is known."""
        if self.task is not None and self.task.title:
            return self.task.title
        return plain(self.event.data.get("title")) or self.event.task_id or ""


@dataclass(frozen=True, slots=True)
class _Words:
    """What one wording says; `word` bounds it."""

    title: str
    severity: Severity = "info"
    said: str = ""
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _TaskWording:
    """How a task's event is said: the title's start, and where its text stands, best first."""

    title: str
    severity: Severity = "info"
    told_by: tuple[str, ...] = ()
    from_task: str | None = None


_MESSAGE_KEYS: Final = ("message", "note", "notes", "summary", "reason", "preview")

_TASK_WORDINGS: Final[Mapping[str, _TaskWording]] = {
    "task_created": _TaskWording("New task", told_by=("description",), from_task="description"),
    "task_updated": _TaskWording("Task updated"),
    "task_started": _TaskWording("Task started"),
    "task_progress": _TaskWording("Task progress"),
    "task_blocked": _TaskWording("Task blocked", "warning", ("reason", "error"), "error"),
    "task_completed": _TaskWording("Task completed", "success", ("result", "impact"), "result"),
    "task_failed": _TaskWording("Task failed", "error", ("error", "result"), "error"),
    "task_cancelled": _TaskWording("Task cancelled", "warning", ("reason",)),
}

_ALERT_SEVERITY: Final[Mapping[str, Severity]] = {
    "critical": "error",
    "fatal": "error",
    "error": "error",
    "warning": "warning",
    "warn": "warning",
    "success": "success",
    "ok": "success",
    "info": "info",
}

_TYPE_SEVERITY: Final[tuple[tuple[re.Pattern[str], Severity], ...]] = (
    (re.compile(r"error|fail|crash|timeout"), "error"),
    (re.compile(r"warn|blocked|stuck|alert|cancel"), "warning"),
    (re.compile(r"success|complete|delivered|done|resolved"), "success"),
)

_FIELD_NAMES: Final[Mapping[str, str]] = {
    "agent": "Agent",
    "agent_type": "Agent",
    "agent_id": "Agent id",
    "run_id": "Run",
    "run_number": "Run",
    "run_dir": "Run",
    "parent_task": "Parent",
    "commit_hash": "Commit",
    "duration_seconds": "Seconds",
}


def word(event: Event, task: Task | None = None, feature: Feature | None = None, hub_url: str = "") -> Notice:
    """Return *event* in words. *hub_url* is where the dashboard is, without it there are no links."""
    words = _WORDINGS.get(event.type, _generic_words)(_About(event, task, feature))
    said = cut(clean(words.said).strip(), TEXT_LENGTH_MAX)
    lines = said.split("\n") if said else []
    return Notice(
        event_type=event.type,
        event_id=event.id,
        title=cut(one_line(words.title), TITLE_LENGTH_MAX),
        lines=tuple(lines if len(lines) <= LINES_MAX else [*lines[: LINES_MAX - 1], "…"]),
        severity=words.severity,
        fields=_bounded(words.fields),
        url=_url(hub_url, event, feature),
        occurred_at=event.occurred_at,
        task_id=event.task_id,
    )


def short_id(event_id: str) -> str:
    """Return enough of *event_id* to tell events apart in a message's small print."""
    return one_line(event_id)[:24]


def _bounded(fields: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    cleaned = (
        (cut(one_line(name), FIELD_NAME_LENGTH_MAX), cut(one_line(value), FIELD_VALUE_LENGTH_MAX))
        for name, value in fields
        if value
    )
    return tuple(islice((field for field in cleaned if all(field)), FIELDS_MAX))


def _url(hub_url: str, event: Event, feature: Feature | None) -> str | None:
    """Return the dashboard's page of what the event is about."""
    if not hub_url:
        return None
    root = hub_url.rstrip("/")
    if event.task_id:
        return f"{root}/#/tasks/{quote(event.task_id, safe='', errors='replace')}"
    if feature is not None:
        return f"{root}/#/features/{quote(feature.id, safe='', errors='replace')}"
    return f"{root}/"


def _task_words(about: _About) -> _Words:
    event, task = about.event, about.task
    wording = _TASK_WORDINGS[event.type]
    said = first_told(event.data, wording.told_by)
    if not said and task is not None and wording.from_task is not None:
        said = told(getattr(task, wording.from_task)).strip()
    said = said or first_told(event.data, _MESSAGE_KEYS)
    start = wording.title
    percent = event.data.get("percent", event.data.get("progress", task.progress if task else None))
    if event.type == "task_progress" and isinstance(percent, (int, float)):
        start = f"Task at {percent:g} %"
    return _Words(
        title=f"{start}: {about.subject}" if about.subject else start,
        severity=wording.severity,
        said=said,
        fields=_task_fields(about),
    )


def _task_fields(about: _About) -> tuple[tuple[str, str], ...]:
    event, task, feature = about.event, about.task, about.feature
    data = event.data
    changed = data.get("changes") if event.type == "task_updated" else None
    names = [str(name) for name in changed] if isinstance(changed, (list, tuple, Mapping)) else []
    assignee = task.assignee if task is not None else None
    feature_name = feature.title if feature is not None else (task.feature_id if task is not None else None)
    return (
        ("Task", event.task_id or ""),
        ("Priority", task.priority if task is not None else ""),
        ("Feature", feature_name or ""),
        ("Agent", assignee or plain(data.get("agent"))),
        ("Changed", ", ".join(names)),
        ("Took", _took(event, task)),
        ("Commit", plain(data.get("commit_hash"))),
        ("Run", plain(data.get("run_number", data.get("run_id")))),
    )


def _took(event: Event, task: Task | None) -> str:
    """Return how long the task was worked on, once it has ended."""
    if event.type not in {"task_completed", "task_failed"}:
        return ""
    seconds = event.data.get("duration_seconds")
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < 1e9:  # noqa: PLR2004 - 31 years: not a duration
        return duration(seconds)
    if task is None or not task.started_at:
        return ""
    try:
        ended = parse_iso(task.completed_at or event.occurred_at)
        return duration(max(ended - parse_iso(task.started_at), 0) / MS_PER_S)
    except (ValueError, OverflowError):
        return ""


def _feature_words(about: _About) -> _Words:
    event, feature = about.event, about.feature
    delivered = event.type == "feature_delivered"
    name = feature.title if feature is not None else about.subject
    fields = [("Feature", feature.id if feature is not None else plain(event.data.get("feature_id")))]
    if feature is not None:
        fields += [("Priority", feature.priority)]
        if feature.tasks_total:
            fields += [("Tasks", f"{feature.tasks_completed} of {feature.tasks_total} completed")]
    return _Words(
        title=f"{'Feature delivered' if delivered else 'New feature'}: {name}".rstrip(": "),
        severity="success" if delivered else "info",
        said=first_told(event.data, ("result", *_MESSAGE_KEYS))
        or (feature.description if feature is not None else ""),
        fields=tuple(fields),
    )


def _queue_words(about: _About) -> _Words:
    data = about.event.data
    depth = data.get("depth", data.get("new_depth"))
    title = "Queue changed"
    if isinstance(depth, int) and not isinstance(depth, bool):
        title = f"Queue: {depth} task{'' if depth == 1 else 's'} waiting"
    rest = {key: value for key, value in data.items() if key not in {"depth", "new_depth"}}
    return _Words(title, said=first_told(rest, _MESSAGE_KEYS), fields=_data_fields(rest))


def _webhook_words(about: _About) -> _Words:
    data = about.event.data
    service = plain(data.get("service")) or about.event.source
    what = " ".join(part for part in (plain(data.get("event")), plain(data.get("action"))) if part)
    rest = {key: value for key, value in data.items() if key not in {"service", "event", "action"}}
    title = f"Webhook from {service}" + (f": {what}" if what else "")
    return _Words(title, said=first_told(rest, ("title", *_MESSAGE_KEYS)), fields=_data_fields(rest))


def _alert_words(about: _About) -> _Words:
    data = about.event.data
    message = first_told(data, _MESSAGE_KEYS)
    title = plain(data.get("title")) or one_line(message) or "Something needs your attention"
    said = message if one_line(message) != one_line(title) or len(message) > TITLE_LENGTH_MAX else ""
    rest = {key: value for key, value in data.items() if key not in {"severity", "title"}}
    severity = _ALERT_SEVERITY.get(plain(data.get("severity")).lower(), "warning")
    return _Words(f"Alert: {title}", severity, said, _data_fields(rest))


def _connector_words(about: _About) -> _Words:
    event, data = about.event, about.event.data
    name = plain(data.get("connector", data.get("name")))
    paused = event.type == "connector_paused"
    rest = {key: value for key, value in data.items() if key not in {"connector", "name"}}
    return _Words(
        title=f"Connector {name} {'paused' if paused else 'resumed'}".replace("  ", " "),
        severity="warning" if paused else "success",
        said=first_told(data, ("reason", "error", *_MESSAGE_KEYS)),
        fields=_data_fields({key: value for key, value in rest.items() if key != "error"}),
    )


def _generic_words(about: _About) -> _Words:
    """Word an event type of RALF's own that the hub does not know."""
    event, feature = about.event, about.feature
    name = re.sub(r"[_.\-/\s]+", " ", clean(event.type)).strip() or "event"
    severity: Severity = "info"
    for words, found in _TYPE_SEVERITY:
        if words.search(event.type.lower()):
            severity = found
            break
    return _Words(
        title=f"{name[0].upper()}{name[1:]}" + (f": {about.subject}" if about.subject else ""),
        severity=severity,
        said=first_told(event.data, (*_MESSAGE_KEYS, "result", "error")),
        fields=(
            ("Task", event.task_id or ""),
            ("Feature", feature.title if feature is not None else ""),
            *_data_fields(event.data),
        ),
    )


def _data_fields(data: Mapping[str, Json]) -> tuple[tuple[str, str], ...]:
    """Return the short facts an event carries, named in words; its texts stand in the lines already."""
    elsewhere = {*_MESSAGE_KEYS, "result", "title", "task_id", "timestamp"}
    return tuple(
        (_FIELD_NAMES.get(key, key.replace("_", " ").capitalize()), plain(value))
        for key, value in data.items()
        if key not in elsewhere
    )


_WORDINGS: Final[Mapping[str, Callable[[_About], _Words]]] = {
    **dict.fromkeys(_TASK_WORDINGS, _task_words),
    "feature_created": _feature_words,
    "feature_delivered": _feature_words,
    "queue_changed": _queue_words,
    "webhook_received": _webhook_words,
    "system_alert": _alert_words,
    "connector_paused": _connector_words,
    "connector_resumed": _connector_words,
}

WORDED_TYPES: Final = frozenset(_WORDINGS)
"""The event types with a wording of their own; a test holds that these are the hub's own types."""
