"""Tasks: list, create, read, change, cancel, progress."""

from typing import Any, Literal

from pydantic import Field

from ralf_hub.endpoint import Answer, Body, Call, Endpoint, Whole
from ralf_hub.errors import NotFoundError
from ralf_hub.handlers.shared import (
    DEPENDENCIES_MAX,
    METADATA_KEYS_MAX,
    Name,
    PageQuery,
    TaskId,
    Text,
    Title,
    expected_versions,
    is_known,
    page_answer,
    task_answer,
)
from ralf_hub.intake import tasks as lifecycle
from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import Json, task_json
from ralf_hub.store import tasks

Priority = Literal["critical", "high", "medium", "low"]
Status = Literal["pending", "in_progress", "blocked", "completed", "failed", "cancelled"]


class TaskQuery(PageQuery):
    """Filters of the task list."""

    status: Status | None = Field(default=None, description="Only tasks of this status.")
    priority: Priority | None = Field(default=None, description="Only tasks of this priority.")
    feature_id: str | None = Field(default=None, max_length=200, description="Only tasks of this feature.")
    q: str | None = Field(
        default=None, max_length=200, description="Text to find in id, title and description."
    )


class TaskCreate(Body):
    """A task to create."""

    title: Title = Field(description="What is to be done, in one line.")
    id: TaskId | None = Field(default=None, description="The id; made by the hub where left out.")
    description: Text = Field(default="", description="All that whoever does it has to know; Markdown.")
    type: Name | None = Field(default=None, description="What kind of work it is, in RALF's words.")
    priority: Priority = Field(default="medium", description="How soon.")
    feature_id: Name | None = Field(default=None, description="The feature it belongs to.")
    parent_id: TaskId | None = Field(default=None, description="The task it is a part of.")
    depends_on: list[TaskId] = Field(
        default_factory=list,
        max_length=DEPENDENCIES_MAX,
        description="Tasks to be done before.",
        json_schema_extra={"default": []},
    )
    assignee: Name | None = Field(default=None, description="Who does it.")
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        max_length=METADATA_KEYS_MAX,
        description="Anything else, as JSON.",
        json_schema_extra={"default": {}},
    )


class TaskChange(Body):
    """The fields to change; those left out stay, whatever stands here as default; null empties those that may be."""

    title: Title = Field(default_factory=str, description="What is to be done, in one line.")
    description: Text = Field(
        default_factory=str, description="All that whoever does it has to know; Markdown."
    )
    type: Name | None = Field(default=None, description="What kind of work it is.")
    priority: Priority = Field(default_factory=lambda: "medium", description="How soon.")
    feature_id: Name | None = Field(default=None, description="The feature it belongs to.")
    parent_id: TaskId | None = Field(default=None, description="The task it is a part of.")
    depends_on: list[TaskId] = Field(
        default_factory=list, max_length=DEPENDENCIES_MAX, description="Tasks to be done before."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, max_length=METADATA_KEYS_MAX, description="Anything else."
    )
    status: Status = Field(default_factory=lambda: "pending", description="Where it stands now.")
    progress: Whole = Field(default_factory=int, ge=0, le=100, description="Per cent done.")
    assignee: Name | None = Field(default=None, description="Who does it.")
    result: Any = Field(default=None, description="What came of it, as JSON.")
    error: Text | None = Field(default=None, description="Why it failed.")


class Progress(Body):
    """How far a task has come."""

    percent: Whole = Field(ge=0, le=100, description="Per cent done.")
    note: Text | None = Field(default=None, description="A word on it.")


async def list_tasks(call: Call) -> Answer:
    """Answer with tasks, newest first."""
    query: TaskQuery = call.query
    page = await call.hub.db.read(lambda conn: tasks.page(conn, **query.model_dump()))
    return page_answer("tasks", page, task_json)


def draft_of(body: TaskCreate) -> lifecycle.TaskDraft:
    """Return the task *body* asks for."""
    return lifecycle.TaskDraft(**{**vars(body), "depends_on": tuple(dict.fromkeys(body.depends_on))})


def changes_of(body: TaskChange) -> dict[str, Json]:
    """Return the fields *body* gives and what it gives them."""
    changes: dict[str, Json] = {name: getattr(body, name) for name in body.model_fields_set}
    if "depends_on" in changes:
        changes["depends_on"] = tuple(dict.fromkeys(changes["depends_on"]))
    return changes


async def create_task(call: Call) -> Answer:
    """Create a task."""
    draft = draft_of(call.body)
    return await call.accept(
        lambda ledger: lifecycle.create(ledger, draft, source=call.source),
        lambda task: task_answer(task, 201, {"Location": f"/api/v1/tasks/{task.id}"}),
    )


async def get_task(call: Call) -> Answer:
    """Answer with one task; 304 where the caller has this version."""
    task_id = call.params["id"]
    task = call.hub.db.peek(lambda conn: tasks.get(conn, task_id))
    if task is None:
        raise NotFoundError(f"There is no task {task_id}.")
    answer = task_answer(task)
    if is_known(call.request.headers.get("If-None-Match"), answer.headers["ETag"]):
        return Answer(304, headers=answer.headers)
    return answer


def _pick(ledger: Ledger, task_id: str, versions: frozenset[int] | None) -> int | None:
    """Return the version to hold the task to: of several that `If-Match` named the present one, where it is among them."""
    if versions is None:
        return None
    task = tasks.get(ledger.conn, task_id) if len(versions) > 1 else None
    return task.version if task is not None and task.version in versions else max(versions)


async def change_task(call: Call) -> Answer:
    """Change the fields given."""
    changes = changes_of(call.body)
    task_id, versions = call.params["id"], expected_versions(call.request.headers.get("If-Match"))
    return await call.accept(
        lambda ledger: lifecycle.change(
            ledger, task_id, changes, source=call.source, expected_version=_pick(ledger, task_id, versions)
        ),
        task_answer,
    )


async def cancel_task(call: Call) -> Answer:
    """Cancel a task."""
    task_id, versions = call.params["id"], expected_versions(call.request.headers.get("If-Match"))
    return await call.accept(
        lambda ledger: lifecycle.cancel(
            ledger, task_id, source=call.source, expected_version=_pick(ledger, task_id, versions)
        ),
        task_answer,
    )


async def note_progress(call: Call) -> Answer:
    """Note how far a task has come."""
    body: Progress = call.body
    task_id, versions = call.params["id"], expected_versions(call.request.headers.get("If-Match"))
    return await call.accept(
        lambda ledger: lifecycle.progress(
            ledger,
            task_id,
            body.percent,
            body.note,
            source=call.source,
            expected_version=_pick(ledger, task_id, versions),
        ),
        task_answer,
    )


_TASKS = "/api/v1/tasks"
_TASK = "/api/v1/tasks/{id}"
_CHANGE_ERRORS = ("not_found", "invalid_transition", "version_mismatch", "validation_failed")

ENDPOINTS = (
    Endpoint(
        "GET",
        _TASKS,
        "listTasks",
        "List tasks",
        list_tasks,
        "tasks:read",
        "tasks",
        query=TaskQuery,
        answer="TaskList",
    ),
    Endpoint(
        "POST",
        _TASKS,
        "createTask",
        "Create a task",
        create_task,
        "tasks:write",
        "tasks",
        body=TaskCreate,
        answer="Task",
        status=201,
        errors=("task_exists", "validation_failed"),
    ),
    Endpoint(
        "GET",
        _TASK,
        "getTask",
        "Read a task",
        get_task,
        "tasks:read",
        "tasks",
        answer="Task",
        errors=("not_found",),
    ),
    Endpoint(
        "PUT",
        _TASK,
        "putTask",
        "Change a task",
        change_task,
        "tasks:write",
        "tasks",
        body=TaskChange,
        answer="Task",
        errors=_CHANGE_ERRORS,
    ),
    Endpoint(
        "PATCH",
        _TASK,
        "changeTask",
        "Change a task",
        change_task,
        "tasks:write",
        "tasks",
        body=TaskChange,
        answer="Task",
        errors=_CHANGE_ERRORS,
    ),
    Endpoint(
        "DELETE",
        _TASK,
        "cancelTask",
        "Cancel a task",
        cancel_task,
        "tasks:write",
        "tasks",
        answer="Task",
        errors=("not_found", "invalid_transition", "version_mismatch"),
    ),
    Endpoint(
        "POST",
        _TASK + "/progress",
        "noteProgress",
        "Note a task's progress",
        note_progress,
        "tasks:write",
        "tasks",
        body=Progress,
        answer="Task",
        errors=_CHANGE_ERRORS,
    ),
)
