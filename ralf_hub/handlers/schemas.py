"""What the answers are, as JSON schemas: `openapi.py` puts them into the document by name."""

from typing import Any, Final

from ralf_hub.model import DELIVERY_STATES, PRIORITIES, TASK_STATUSES

Schema = dict[str, Any]


def text(description: str = "", **more: Any) -> Schema:
    """Return the schema of a text."""
    return {"type": "string", **({"description": description} if description else {}), **more}


def number(description: str = "", kind: str = "integer", **more: Any) -> Schema:
    """Return the schema of a number."""
    return {"type": kind, **({"description": description} if description else {}), **more}


def maybe(schema: Schema) -> Schema:
    """Return *schema* or null."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    """Return a reference to the schema *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(items: Schema, description: str = "") -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def obj(description: str = "", /, **properties: Schema) -> Schema:
    """Return the schema of an object whose every property is always there."""
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "properties": properties,
        "required": list(properties),
    }


def page(noun: str, item: str, /, **more: Schema) -> Schema:
    """Return the schema of one page of a list."""
    return obj(
        "",
        **{noun: many(ref(item))},
        total=number("How many match."),
        next_cursor=maybe(text("Where the next page begins; null on the last.")),
        **more,
    )


ANY: Final[Schema] = {"description": "Any JSON."}
OPEN: Final[Schema] = {"type": "object", "additionalProperties": True}
COUNTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "integer"}}
TRUTH: Final[Schema] = {"type": "boolean"}
TIME: Final = text("A time, ISO-8601 in UTC with milliseconds.", format="date-time")

_LINK = obj(
    "What stands outside for a task.",
    connector=text(),
    external_id=maybe(text()),
    external_key=maybe(text()),
    url=maybe(text()),
)
_TASK = obj(
    "A unit of RALF's work.",
    id=text(),
    title=text(),
    description=text(),
    status=text(enum=list(TASK_STATUSES)),
    priority=text(enum=list(PRIORITIES)),
    type=maybe(text()),
    feature_id=maybe(text()),
    parent_id=maybe(text()),
    depends_on=many(text()),
    progress=number("Per cent.", minimum=0, maximum=100),
    assignee=maybe(text()),
    result=ANY,
    error=maybe(text()),
    metadata=OPEN,
    links=many(ref("Link")),
    source=text("Who made it: `api:NAME`, `workspace`, a webhook's service."),
    version=number("Counts changes; the ETag carries it."),
    created_at=TIME,
    updated_at=TIME,
    started_at=maybe(TIME),
    completed_at=maybe(TIME),
    lease_expires_at=maybe(TIME),
)
_FEATURE = obj(
    "A planned capability.",
    id=text(),
    title=text(),
    status=text(),
    priority=text(enum=list(PRIORITIES)),
    description=text(),
    tasks=obj("", total=number(), completed=number()),
    source=text(),
    metadata=OPEN,
    created_at=TIME,
    updated_at=TIME,
    delivered_at=maybe(TIME),
)
_EVENT = obj(
    "An immutable fact.",
    seq=number("Its place among all events, without gaps."),
    id=text(),
    type=text(),
    source=text(),
    task_id=maybe(text()),
    occurred_at=TIME,
    recorded_at=TIME,
    data=OPEN,
)
_DELIVERY_FIELDS: dict[str, Schema] = {
    "id": number(),
    "event_id": text(),
    "event_type": text(),
    "task_id": maybe(text()),
    "connector": text(),
    "action": text(),
    "state": text(enum=list(DELIVERY_STATES)),
    "next_attempt_at": maybe(TIME),
    "last_error": maybe(text()),
    "created_at": TIME,
    "delivered_at": maybe(TIME),
}
_ATTEMPT = obj(
    "One try.",
    id=number(),
    started_at=TIME,
    duration_ms=number(),
    outcome=text(),
    status_code=maybe(number()),
    error=maybe(text()),
    response=maybe(text("An excerpt, without secrets.")),
)
_JOB = obj(
    "Work on many rows, a few at a time.",
    id=text(),
    kind=text(),
    state=text(enum=["running", "done", "cancelled"]),
    count=number(),
    done=number(),
    parameters=OPEN,
    created_by=text(),
    created_at=TIME,
    updated_at=TIME,
)
_KEY_FIELDS: dict[str, Schema] = {
    "id": text(),
    "name": text(),
    "hint": text("The first characters of the key."),
    "kind": text("`oauth`: the secret of an OAuth client.", enum=["api", "oauth"]),
    "scopes": many(text()),
    "created_at": TIME,
    "last_used_at": maybe(TIME),
    "expires_at": maybe(TIME),
    "revoked_at": maybe(TIME),
}
_PROBLEM: Schema = {
    **obj(
        "What went wrong (RFC 9457).",
        type=text(),
        title=text(),
        status=number(),
        detail=text(),
        code=text("One of the codes in docs/errors.md."),
        request_id=text(),
    ),
}
_PROBLEM["properties"]["errors"] = many(obj("", field=text(), message=text()), "Every invalid field.")

SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": _PROBLEM,
    "Link": _LINK,
    "Task": _TASK,
    "TaskList": page("tasks", "Task"),
    "Queue": obj(
        "",
        depth=number("Pending tasks."),
        tasks=many(ref("Task"), "In the order RALF will take them."),
        blocked=many(ref("Task"), "Those that cannot be taken now."),
        by_priority=COUNTS,
        oldest_pending_age_s=maybe(number(kind="number")),
    ),
    "Feature": _FEATURE,
    "FeatureList": page("features", "Feature"),
    "Event": _EVENT,
    "EventList": page("events", "Event", last_seq=number("The highest `seq` ever given.")),
    "Ticket": obj("", ticket=text("Good once."), expires_in_s=number(kind="number")),
    "Delivery": obj("The duty to bring one event to one connector.", **_DELIVERY_FIELDS, attempts=number()),
    "DeliveryList": page("deliveries", "Delivery"),
    "DeliveryDetail": obj(
        "",
        **_DELIVERY_FIELDS,
        payload=ANY,
        attempts=many(ref("Attempt")),
        attempts_counted=number(),
        explain=text("Why it is where it is, and when it goes next."),
    ),
    "Attempt": _ATTEMPT,
    "Job": _JOB,
    "JobList": page("jobs", "Job"),
    "BulkReplay": obj("", count=number(), job={"anyOf": [ref("Job"), {"type": "null"}]}),
    "Connector": {
        **obj(
            "",
            name=text(),
            type=text(),
            events=many(text()),
            breaker=text(enum=["closed", "open", "disabled"]),
            paused=TRUTH,
            rate_budget=maybe(
                obj(
                    "What the service's last answer said is left of its rate limit.",
                    remaining=number("Calls."),
                    limit=maybe(number("Of so many.")),
                    resets_at=maybe(TIME),
                )
            ),
            identity=maybe(
                obj(
                    "Who the service takes the hub for, once it was asked.",
                    names=many(text(), "The names and ids its webhooks use."),
                    is_bot=TRUTH,
                )
            ),
            pending=number(),
            delivered=number(),
            dead=number(),
        ),
        "additionalProperties": True,
    },
    "ConnectorList": page("connectors", "Connector"),
    "ConnectorCheck": obj("", ok=TRUTH, message=text()),
    "ConnectorPause": obj("", name=text(), paused=TRUTH),
    "DryRunRequests": obj(
        "",
        requests=many(
            {
                **OPEN,
                "description": "`{action, method, url, headers, body}`, or `{action, payload}` without HTTP.",
            }
        ),
    ),
    "Notified": obj("", event_id=text(), seq=number(), connector=text()),
    "Workspace": obj(
        "",
        path=maybe(text()),
        layout=maybe(text()),
        counts=obj(
            "",
            tasks=number(),
            tasks_by_status=COUNTS,
            events=number(),
            events_by_type=COUNTS,
            queue=number(),
            features=number(),
        ),
        last_scan_at=maybe(TIME),
        scanning=TRUTH,
        problems=many(obj("", file=text(), line=maybe(number()), message=text())),
    ),
    "Key": obj("", **_KEY_FIELDS),
    "KeyList": page("keys", "Key"),
    "KeyCreated": obj("", **_KEY_FIELDS, key=maybe(text("The key itself, shown this once."))),
    "AccessToken": obj(
        "",
        access_token=text("To be sent as `Authorization: Bearer TOKEN`."),
        token_type=text(enum=["Bearer"]),
        expires_in=number("Seconds."),
        scope=text("What it may do, with spaces between."),
    ),
    "OAuthError": obj(
        "",
        error=text(enum=["invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type"]),
        error_description=text(),
    ),
    "Health": obj("", status=text(enum=["ok", "failing"]), version=text(), settings=text(), checks=OPEN),
    "Metrics": obj(
        "",
        tasks=OPEN,
        queue=OPEN,
        deliveries={"type": "object", "additionalProperties": OPEN, "description": "By connector."},
        delivered_per_minute=many(number(), "Of the last 30 minutes, the present one at the end."),
        webhooks=OPEN,
        api=OPEN,
        process=OPEN,
    ),
    "Usage": obj("", **{"from": text(), "to": text(), "by": text(), "usage": many(OPEN), "total": COUNTS}),
    "WebhookTaken": {
        "description": "`{id, status, event_id, task_id}`, or what the service asks for.",
        **OPEN,
    },
    "WebhookReceipt": obj(
        "What was kept of a webhook.",
        id=text(),
        service=text(),
        status=text(enum=["accepted", "ignored", "failed", "rejected"]),
        reason=maybe(text("Why it was not acted on, or what went wrong on the way.")),
        hint=maybe(text("The usual mistake that explains a refusal.")),
        event_type=maybe(text("In the service's own words.")),
        event_id=maybe(text()),
        task_id=maybe(text()),
        delivery=maybe(text("The service's name for it, or the hash of its body.")),
        duplicates=number("How often it came again."),
        headers=OPEN,
        body_bytes=number(),
        remote=maybe(text("The caller's address.")),
        received_at=TIME,
    ),
    "WebhookList": page("webhooks", "WebhookReceipt"),
}
