"""What RALF's event types mean to the hub: one table, and what is private in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

from ralf_hub.model import TASK_ID_PATTERN, Json

ALIASES: Final[Mapping[str, str]] = {
    "start": "task_started",
    "started": "task_started",
    "complete": "task_completed",
    "completed": "task_completed",
    "task_complete": "task_completed",
    "task_state_transition:completed": "task_completed",
    "fail": "task_failed",
    "failed": "task_failed",
    "blocked": "task_blocked",
    "cancelled": "task_cancelled",
}
"""RALF's type -> the hub's; `type:state` means a transition to that state. Other types keep their names."""

FAILED_RESULTS: Final = frozenset({"failed", "failure", "fail", "error"})
"""A completion with one of these results is a failure: RALF writes no other trace of one."""

PRIVATE_TYPES: Final = frozenset({"user_prompt"})
"""Types that carry what a person typed."""

PUBLIC_FIELDS: Final = frozenset(
    {
        "task",
        "task_id",
        "run",
        "run_id",
        "run_number",
        "agent",
        "agent_id",
        "agent_type",
        "source",
        "session_id",
        "id",
    },
)
"""All that is kept of a private record: a list of what may pass, so that a new field is private at first."""

TYPE_FIELDS: Final = ("type", "event", "event_type")
TIME_FIELDS: Final = ("timestamp", "time", "ts", "occurred_at", "created_at")
TASK_FIELDS: Final = ("task_id", "task", "parent_task")
TYPE_CHARACTERS_MAX: Final = 64
PUBLIC_CHARACTERS_MAX: Final = 128

_TASK_ID = re.compile(TASK_ID_PATTERN)
_PLACEHOLDER = re.compile(r"[{<$\[].*[}>\])]|\$\w+|FILL_ME|TASK-(?:XXX|ID)|NA|N/A", re.IGNORECASE)
_NOT_IN_TYPE = re.compile(r"[^A-Za-z0-9_.:-]+")


@dataclass(frozen=True)
class Meaning:
    """How to understand records: settings may add aliases, and may keep the text of prompts.

    Without slots, so that the merged table is made once.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    keep_prompts: bool = False

    @cached_property
    def _table(self) -> Mapping[str, str]:
        return {**ALIASES, **self.aliases}

    @cached_property
    def _with_states(self) -> frozenset[str]:
        return frozenset(name.partition(":")[0] for name in self._table if ":" in name)

    def hub_type(self, raw_type: str, fields: Mapping[str, object]) -> str:
        """Return the hub's type for a record of *raw_type* with *fields*."""
        found = self._table.get(raw_type) or self._table.get(raw_type.lower(), raw_type)
        if raw_type in self._with_states:
            state = _text(_nested(fields, "to_state")).lower()
            found = self._table.get(f"{raw_type}:{state}", found)
        if found == "task_completed" and _text(_nested(fields, "result")).lower() in FAILED_RESULTS:
            return "task_failed"
        return found

    def is_private(self, raw_type: str, hub_type: str) -> bool:
        """Return whether records of this type lose their text."""
        return not self.keep_prompts and bool({raw_type.lower(), hub_type} & PRIVATE_TYPES)


def _nested(fields: Mapping[str, object], name: str) -> object:
    """Return a field of the record, or of the `data` inside it."""
    value = fields.get(name)
    inner = fields.get("data")
    return inner.get(name) if value is None and isinstance(inner, Mapping) else value


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def task_id(value: object) -> str | None:
    """Return *value* if it can be a task's id: RALF also writes `task_id:`, empty texts and placeholders."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text and _TASK_ID.match(text) and not is_placeholder(text) else None


def is_placeholder(value: object) -> bool:
    """Return whether *value* is a hole in a template: `{EVENT}`, `$TASK_ID`, `FILL_ME`, `<id>`."""
    if isinstance(value, Mapping):
        return len(value) == 1 and all(item is None for item in value.values())
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value.strip()) is not None


def type_name(value: object) -> str | None:
    """Return *value* as the name of an event type, or None if it is none."""
    return _type_name(value) if isinstance(value, str) else None


@lru_cache(maxsize=1024)
def _type_name(value: str) -> str | None:
    if is_placeholder(value):
        return None
    return _NOT_IN_TYPE.sub("_", value.strip())[:TYPE_CHARACTERS_MAX].strip("_") or None


def public_part(fields: Mapping[str, Json], *, damaged: bool) -> dict[str, Json]:
    """Return what may be kept of a private record.

    In a *damaged* record the lines of the text may look like fields, so nothing after the first
    field that is not public is trusted.
    """
    kept: dict[str, Json] = {}
    for key, value in fields.items():
        if (
            key in PUBLIC_FIELDS
            and isinstance(value, (str, int))
            and len(str(value)) <= PUBLIC_CHARACTERS_MAX
        ):
            kept[key] = value
        elif damaged and key not in {*TIME_FIELDS, *TYPE_FIELDS}:
            break
    return kept
