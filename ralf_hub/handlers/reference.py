"""`docs/api.md`, made from the endpoint table: `python -m ralf_hub.handlers.reference > docs/api.md`."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import BaseModel

from ralf_hub.endpoint import Endpoint, Query
from ralf_hub.errors import PROBLEMS
from ralf_hub.handlers.deliveries import attempt_json, delivery_json
from ralf_hub.handlers.features import feature_json
from ralf_hub.handlers.jobs import job_json
from ralf_hub.handlers.keys import key_json
from ralf_hub.handlers.shared import NOT_BLANK
from ralf_hub.handlers.table import ENDPOINTS
from ralf_hub.model import Attempt, Delivery, Event, Feature, Json, Link, Task, event_json, task_json
from ralf_hub.store.jobs import BulkJob
from ralf_hub.store.keys import ApiKey

PATTERN_SHOWN_MAX: Final = 60
"""Longer patterns help nobody on this page; `openapi.json` has them."""

_HEAD: Final = """\
# HTTP API

<!-- Made from the endpoint table: python -m ralf_hub.handlers.reference > docs/api.md -->

JSON in and out, in UTF-8. Times are ISO-8601 in UTC with milliseconds and `Z`.

- **Key**: `Authorization: Bearer KEY` or `X-API-Key: KEY`. Each endpoint names the scope the key needs; `*` is all.
- **Errors** are problem documents, see [errors.md](errors.md). Every answer carries `X-Request-ID`; yours is kept when it
  has up to 64 letters, digits, `.`, `_` or `-`.
- **Lists** answer `{"<noun>": [...], "total": N, "next_cursor": TEXT or null}`. Take `limit` (up to 200) and go on with
  `cursor`. Parameters that do not exist are errors.
- **Repeating a POST** is safe with an `Idempotency-Key` (1 to 255 printable characters, kept for 24 hours): the same
  request gets the same answer and `Idempotency-Replayed: true`.
- **Changing a task somebody else may change**: send its `ETag` as `If-Match`; 412 when it has changed since.
- **Limits**: `RateLimit` and `RateLimit-Policy` say what is left; 429 comes with `Retry-After`.
"""

_ALWAYS: Final = "Every endpoint may also answer"
_USUAL: Final = ("invalid_parameter", "bad_request", "missing_key", "invalid_key", "missing_scope", "rate_limited",
                 "body_too_large", "internal_error", "not_ready", "storage_unavailable")  # fmt: skip


def reference() -> str:
    """Return the reference of all endpoints as Markdown."""
    parts = [_HEAD, f"{_ALWAYS} {', '.join(f'`{code}`' for code in _USUAL)}.\n", _overview()]
    for tag in dict.fromkeys(endpoint.tag for endpoint in ENDPOINTS):
        parts.append(f"## {tag.capitalize()}\n")
        parts.extend(_section(endpoint) for endpoint in ENDPOINTS if endpoint.tag == tag)
    parts.append("## What the answers are made of\n")
    parts.extend(_example(name, value) for name, value in _shapes().items())
    return "\n".join(parts).replace("\n\n\n", "\n\n")


def _overview() -> str:
    rows = ["| endpoint | what it does | scope |", "|---|---|---|"]
    rows += [
        f"| [`{endpoint.label}`](#op-{endpoint.name.lower()}) | {endpoint.summary} | {_scope(endpoint)} |"
        for endpoint in ENDPOINTS
    ]
    return "\n".join(rows) + "\n"


def _scope(endpoint: Endpoint) -> str:
    return "none: open to all" if endpoint.scope is None else f"`{endpoint.scope}`"


def _section(endpoint: Endpoint) -> str:
    answer = f"{endpoint.status} {HTTPStatus(endpoint.status).phrase}"
    lines = [
        f'<a id="op-{endpoint.name.lower()}"></a>\n### `{endpoint.label}`\n',
        f"{inspect.getdoc(endpoint.handler)} Scope: {_scope(endpoint)}.\n",
    ]
    if endpoint.query is not None:
        lines += ["Parameters:\n", _table(endpoint.query)]
    if endpoint.body is not None:
        lines += ["Body:\n", _table(endpoint.body)]
    shown = f" with a `{endpoint.answer}`" if endpoint.answer else ""
    problems = ", ".join(f"{PROBLEMS[code].status} `{code}`" for code in endpoint.errors)
    lines.append(f"Answers {answer}{shown}" + (f"; problems: {problems}.\n" if problems else ".\n"))
    return "\n".join(lines)


def _table(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    nothing = {"type": "null"} if issubclass(model, Query) else None  # a parameter is left out, never null
    needed = schema.get("required", [])
    rows = ["| name | takes | default | meaning |", "|---|---|---|---|"]
    for name, field in schema.get("properties", {}).items():
        default = "needed" if name in needed else _default(field)
        meaning = str(field.get("description", "")).replace("|", "\\|")
        rows.append(f"| `{name}` | {_takes(field, nothing)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    return "" if default in (None, "", [], {}) else f"`{orjson.dumps(default).decode()}`"


_KINDS: Final = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "object": "object", "null": "null"}  # fmt: skip


def _takes(field: Mapping[str, Any], nothing: Mapping[str, Any] | None = None) -> str:
    """Return a field's JSON schema in words, with its limits; *nothing* is a choice not worth naming."""
    if "anyOf" in field:
        return " or ".join(_takes(choice) for choice in field["anyOf"] if choice != nothing)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        return f"list of {_takes(field.get('items', {}))}"
    return ", ".join([_KINDS.get(str(field.get("type")), "any JSON"), *_limits(field)])


def _limits(field: Mapping[str, Any]) -> Iterator[str]:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        yield f"{low:,} to {high:,}"
    elif low is not None:
        yield f"{low:,} or more"
    if "maxLength" in field:
        yield f"up to {field['maxLength']:,} characters"
    if field.get("format") == "date-time":
        yield "a time in ISO-8601"
    if field.get("pattern") == NOT_BLANK:
        yield "not blank"
    elif len(field.get("pattern", "")) in range(1, PATTERN_SHOWN_MAX):
        yield f"`{field['pattern'].replace('|', chr(92) + '|')}`"


# --- examples -------------------------------------------------------------------------------------

_AT: Final = "2026-03-09T07:31:02.000Z"


def _task() -> Task:
    return Task(
        id="TASK-TIDE-003",
        title="Show spring and neap tides",
        status="in_progress",
        priority="high",
        feature_id="F-001",
        depends_on=("TASK-TIDE-001",),
        progress=40,
        assignee="executor",
        links=(
            Link(
                "slack", "C024BE91L:1741505462.000100", None, "https://example.slack.com/archives/C024BE91L"
            ),
        ),
        source="workspace",
        version=3,
        created_at="2026-03-04T08:12:00.000Z",
        updated_at=_AT,
        started_at=_AT,
    )


def _shapes() -> dict[str, Json]:
    """Return one example of everything answers are made of, made by what makes the answers."""
    task = _task()
    event = Event(
        "evt_0195791f4c701c2d3e4f", "task_started", _AT, "workspace", task.id, {"title": task.title}, 17, _AT
    )
    delivery = Delivery(
        42, event.id, event.type, "slack", "post", {}, task.id, task.id, next_attempt_at=_AT, attempts=1,
        last_error="HTTP 503", created_at=_AT,
    )  # fmt: skip
    attempt = Attempt(42, _AT, 118, "retry", 503, "HTTP 503", "upstream is down", 7)
    feature = Feature(
        "F-001",
        "The tide clock",
        "active",
        "high",
        created_at=_AT,
        updated_at=_AT,
        tasks_total=4,
        tasks_completed=2,
    )
    job = BulkJob(
        "job_0195791f4c70",
        "replay",
        "running",
        {"state": "dead", "connector": "slack"},
        120,
        50,
        812,
        "ops",
        _AT,
        _AT,
    )
    scopes = ("tasks:read", "events:read")
    key = ApiKey("key_0195791f4c70", "dashboard", "rh_q7M", scopes, "api", _AT, _AT, None, None, "")
    return {
        "Task": task_json(task),
        "Event": event_json(event),
        "Delivery": delivery_json(delivery),
        "Attempt": attempt_json(attempt),
        "Feature": feature_json(feature),
        "Job": job_json(job),
        "Key": key_json(key),
    }


def _example(name: str, value: Json) -> str:
    return f"### {name}\n\n```json\n{orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
