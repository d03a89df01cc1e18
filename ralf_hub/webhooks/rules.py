"""What webhooks do besides their event: rules as data, an operator's own in place of the defaults.

A rule applies where `when` fits the event type and every condition of `if` holds. All that apply are carried out, in
order. An event type that fits the `when` of one of the operator's rules is theirs: the defaults leave it alone.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ralf_hub.model import TASK_STATUSES, Json
from ralf_hub.texts import plain
from ralf_hub.webhooks.received import find

CONDITIONS_MAX: Final = 20
COMPARED_LENGTH_MAX: Final = 10_000
"""Characters of a text in the body that a condition looks at: a pattern must not be let loose on megabytes."""

_Value = str | int | float | bool | None


def _many(value: object) -> object:
    return value if isinstance(value, (list, tuple)) else [value]


Values = Annotated[tuple[_Value, ...], BeforeValidator(_many)]


class Rule(BaseModel):
    """One thing a webhook does. Texts are jinja2 templates over the webhook's own body."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, populate_by_name=True)

    when: str = Field(
        min_length=1, max_length=200, description="The event, or a pattern: `issues.opened`, `issues.*`."
    )
    condition: Mapping[str, Values] = Field(
        default={},
        alias="if",
        max_length=CONDITIONS_MAX,
        description='What must stand in the body, by dotted path: a value, a pattern, `!` and what must not, or a list of them: `{"issue.labels.name" = "ralf"}`.',
    )
    do: Literal["create_task", "update_task", "note", "event", "apply", "nothing"] = Field(
        description="`create_task`, `update_task` (the linked one), `note` (on the linked task), `event` (one more event), `apply` (the body says what), `nothing` (at all, for an event type the defaults act on)."
    )
    title: str = Field(default="", description="The task's title; left out: the title of what it is about.")
    body: str = Field(default="", description="The task's description.")
    priority: str = Field(default="", description="The task's priority.")
    type: str = Field(default="", description="The task's type.")
    feature_id: str = Field(default="", description="The feature the task belongs to.")
    status: str = Field(default="", description="The status `update_task` gives the task.")
    note: str = Field(default="", description="What is noted on a task that is there already.")
    key: str = Field(
        default="",
        description="What the task is for, where it is not the issue or card itself: one open task per key.",
    )
    renew: bool = Field(default=False, description="Whether a task that has ended is followed by a new one.")
    event: str = Field(default="", description="The type of the event that `event` records.")

    @field_validator("title", "body", "priority", "type", "feature_id", "note", "key")
    @classmethod
    def _template_reads(cls, value: str) -> str:
        if "{" in value:
            # Imported here: jinja2 costs memory that a hub without rules of its own need not pay.
            from ralf_hub.connectors.templates import check_syntax  # noqa: PLC0415

            check_syntax(value)
        return value

    @field_validator("status")
    @classmethod
    def _status_exists(cls, value: str) -> str:
        if value and value not in TASK_STATUSES:
            raise ValueError(f"must be one of {', '.join(TASK_STATUSES)}")
        return value

    @field_validator("event")
    @classmethod
    def _event_named(cls, value: str) -> str:
        if value and re.fullmatch(r"[a-z][a-z0-9_.-]{0,99}", value) is None:
            raise ValueError("must be an event type such as build_broken")
        return value

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        for do, name in (("update_task", "status"), ("note", "note"), ("event", "event")):
            if self.do == do and not getattr(self, name):
                raise ValueError(f"{do} needs {name}")
        return self

    def applies(self, event_type: str, payload: Mapping[str, Json]) -> bool:
        """Return whether this rule is for such a webhook."""
        return self.is_for(event_type) and all(
            _holds(find(payload, path), wanted) for path, wanted in self.condition.items()
        )

    def is_for(self, event_type: str) -> bool:
        """Return whether `when` fits, whatever the body holds."""
        return fnmatchcase(event_type.lower(), self.when.lower())


def _holds(found: Sequence[Json], wanted: Sequence[_Value]) -> bool:
    """Return whether one of *found* is one of *wanted*; what begins with `!` must be none of them."""
    refused = [value[1:] for value in wanted if isinstance(value, str) and value.startswith("!")]
    asked = [value for value in wanted if not (isinstance(value, str) and value.startswith("!"))]
    if any(_is(item, value) for item in found for value in refused):
        return False
    if not asked:
        return True
    return any(_is(item, value) for item in found or [None] for value in asked)


def _is(found: Json, wanted: _Value) -> bool:
    if isinstance(wanted, bool) or wanted is None or isinstance(found, bool) or found is None:
        return found is wanted
    if isinstance(wanted, str):
        return fnmatchcase(plain(found)[:COMPARED_LENGTH_MAX].casefold(), wanted.casefold())
    return bool(found == wanted)


def chosen(
    own: Sequence[Rule], defaults: Sequence[Rule], event_type: str, payload: Mapping[str, Json]
) -> list[Rule]:
    """Return the rules to carry out, in order: the operator's where one is for this event type, else the defaults."""
    rules = own if any(rule.is_for(event_type) for rule in own) else defaults
    return [rule for rule in rules if rule.do != "nothing" and rule.applies(event_type, payload)]


# --- defaults -------------------------------------------------------------------------------------

_RUN: Final = "ci/{{ repository.full_name }}/{{ workflow_run.head_branch }}/{{ workflow_run.name }}"
_PIPELINE: Final = "ci/{{ project.path_with_namespace }}/{{ object_attributes.ref }}"
_FAILED: Final = ["failure", "timed_out", "startup_failure"]
_DONE: Final = ["done", "completed", "complete", "closed", "finished"]

_DEFAULTS: Final[Mapping[str, Sequence[Mapping[str, Json]]]] = {
    "github": (
        {"when": "issues.opened", "do": "create_task", "body": "{{ issue.body | default('', true) }}"},
        {
            "when": "issues.reopened",
            "do": "create_task",
            "body": "{{ issue.body | default('', true) }}",
            "renew": True,
        },
        {
            "when": "issues.closed",
            "if": {"issue.state_reason": ["not_planned", "duplicate"]},
            "do": "update_task",
            "status": "cancelled",
        },
        {
            "when": "issues.closed",
            "if": {"issue.state_reason": ["!not_planned", "!duplicate"]},
            "do": "update_task",
            "status": "completed",
        },
        {"when": "issues.deleted", "do": "update_task", "status": "cancelled"},
        {
            "when": "pull_request.closed",
            "if": {"pull_request.merged": True},
            "do": "update_task",
            "status": "completed",
        },
        {
            "when": "workflow_run.completed",
            "if": {"workflow_run.conclusion": _FAILED},
            "do": "create_task",
            "key": _RUN,
            "renew": True,
            "title": "Fix CI: {{ workflow_run.name }} on {{ workflow_run.head_branch }} ({{ repository.full_name }})",
            "body": "Run {{ workflow_run.run_number }} ended with {{ workflow_run.conclusion }}: {{ workflow_run.html_url }}",
            "note": "Failed again, run {{ workflow_run.run_number }}: {{ workflow_run.html_url }}",
            "priority": "high",
            "type": "fix",
        },
        {
            "when": "workflow_run.completed",
            "if": {"workflow_run.conclusion": "success"},
            "do": "update_task",
            "key": _RUN,
            "status": "completed",
        },
    ),
    "gitlab": (
        {
            "when": "issue.open",
            "do": "create_task",
            "body": "{{ object_attributes.description | default('', true) }}",
        },
        {
            "when": "issue.reopen",
            "do": "create_task",
            "body": "{{ object_attributes.description | default('', true) }}",
            "renew": True,
        },
        {"when": "issue.close", "do": "update_task", "status": "completed"},
        {"when": "merge_request.merge", "do": "update_task", "status": "completed"},
        {
            "when": "pipeline.failed",
            "do": "create_task",
            "key": _PIPELINE,
            "renew": True,
            "title": "Fix CI: pipeline on {{ object_attributes.ref }} ({{ project.path_with_namespace }})",
            "body": "Pipeline {{ object_attributes.id }} failed: {{ project.web_url }}/-/pipelines/{{ object_attributes.id }}",
            "note": "Failed again, pipeline {{ object_attributes.id }}",
            "priority": "high",
            "type": "fix",
        },
        {"when": "pipeline.success", "do": "update_task", "key": _PIPELINE, "status": "completed"},
    ),
    "jira": (
        {
            "when": "issue_created",
            "do": "create_task",
            "body": "{{ issue.fields.description if issue.fields.description is string }}",
        },
        {
            "when": "issue_updated.status",
            "if": {"issue.fields.status.statusCategory.key": "done"},
            "do": "update_task",
            "status": "completed",
        },
        {"when": "issue_deleted", "do": "update_task", "status": "cancelled"},
    ),
    "trello": (
        {
            "when": "updateCard.list",
            "if": {"action.data.listAfter.name": _DONE},
            "do": "update_task",
            "status": "completed",
        },
        {"when": "deleteCard", "do": "update_task", "status": "cancelled"},
    ),
    "pagerduty": (
        # That an incident of the hub's own is over does not mean that its task is done.
        {
            "when": "incident.resolved",
            "if": {"event.data.incident_key": "!ralf/*"},
            "do": "update_task",
            "status": "completed",
        },
    ),
    "slack": (),
    "discord": (),
}

_GENERIC: Final[Sequence[Mapping[str, Json]]] = (
    {"when": "task.create", "do": "apply"},
    {"when": "task.update", "do": "apply"},
)


def default_rules(service: str) -> tuple[Rule, ...]:
    """Return what the webhooks of *service* do where the settings say nothing else."""
    return tuple(Rule.model_validate(rule) for rule in _DEFAULTS.get(service, _GENERIC))
