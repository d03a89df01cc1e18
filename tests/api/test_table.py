"""Every endpoint: open or closed, its scope, its shape, its other methods."""

from typing import Any

import pytest

from ralf_hub.handlers.table import ENDPOINTS
from ralf_hub.model import SCOPES
from tests.api.helpers import EVERYTHING, ONLY, TIME, V1, Api, path_of

OPEN = {"/health", "/openapi.json", "/docs", "/"}
OWN_DOOR = {"/api/v1/stream", "/api/v1/events/stream", "/oauth/token"}
"""They look at keys, tickets or client secrets themselves."""
CLOSED = [endpoint for endpoint in ENDPOINTS if endpoint.scope is not None]


def test_only_the_open_ones_are_open() -> None:
    opened = {endpoint.path for endpoint in ENDPOINTS if endpoint.scope is None}
    signed = "/api/v1/webhooks/"
    assert {path for path in opened if not path.startswith((signed, "/web/"))} <= OPEN | OWN_DOOR
    assert {endpoint.scope for endpoint in CLOSED} <= set(SCOPES)


def test_names_and_places_are_unique() -> None:
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    assert len({endpoint.label for endpoint in ENDPOINTS}) == len(ENDPOINTS)


async def test_without_a_key_nothing_closed_answers(api: Api) -> None:
    for endpoint in CLOSED:
        reply = await api.call(endpoint.method, path_of(endpoint), key=None)
        assert (reply.status, reply.code) == (401, "missing_key"), endpoint.label
        assert reply.headers["WWW-Authenticate"] == 'Bearer realm="ralf-hub"'
        wrong = await api.call(endpoint.method, path_of(endpoint), key="rh_wrong")
        assert (wrong.status, wrong.code) == (401, "invalid_key"), endpoint.label
        assert 'error="invalid_token"' in wrong.headers["WWW-Authenticate"]


async def test_nor_do_those_with_a_door_of_their_own(api: Api) -> None:
    for endpoint in ENDPOINTS:
        if endpoint.path in OWN_DOOR and endpoint.method == "GET":
            assert (await api.call("GET", endpoint.path, key=None)).status == 401, endpoint.label
            assert (await api.call("GET", endpoint.path, key="rh_wrong")).status == 401, endpoint.label


async def test_each_scope_opens_its_endpoints_and_no_other(api: Api) -> None:
    for endpoint in CLOSED:
        if "stream" in endpoint.path:
            continue
        for scope, key in ONLY.items():
            reply = await api.call(endpoint.method, path_of(endpoint), key=key)
            if scope == endpoint.scope:
                assert reply.status not in {401, 403}, (endpoint.label, scope)
            else:
                assert (reply.status, reply.code) == (403, "missing_scope"), (endpoint.label, scope)
                assert reply.json["scope"] == endpoint.scope


async def test_a_refused_call_changes_nothing(api: Api) -> None:
    for key in (None, "rh_wrong", ONLY["tasks:read"]):
        reply = await api.post("/tasks", {"title": "No"}, key=key)
        assert reply.status in {401, 403}
    assert (await api.get("/tasks")).json["total"] == 0
    assert await api.events() == []


async def test_the_key_is_asked_for_before_the_body_is_looked_at(api: Api) -> None:
    reply = await api.post("/tasks", raw=b"{", key=None)
    assert reply.status == 401


async def test_other_methods_are_405_and_say_which_are_offered(api: Api) -> None:
    offered: dict[str, set[str]] = {}
    for endpoint in ENDPOINTS:
        offered.setdefault(path_of(endpoint), set()).add(endpoint.method)
    for path, methods in offered.items():
        reply = await api.call("TRACE", path)
        assert (reply.status, reply.code) == (405, "method_not_allowed"), path
        allowed = {name.strip() for name in reply.headers["Allow"].split(",")}
        assert methods <= allowed, path


@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/v1", "/api/v2/tasks", "/api/v1/tasks/"])
async def test_unknown_paths_are_404(api: Api, path: str) -> None:
    for key in (None, EVERYTHING):
        reply = await api.call("GET", path, key=key)
        assert (reply.status, reply.code) == (404, "not_found")


async def test_head_answers_as_get_does_without_a_body(api: Api) -> None:
    task = await api.task()
    paths = ["/health", *(f"{V1}{p}" for p in ("/tasks", f"/tasks/{task['id']}", "/queue", "/events"))]
    for path in paths:
        get, head = await api.call("GET", path), await api.call("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(get.body))
        assert head.headers.get("ETag") == get.headers.get("ETag")
    assert (await api.call("HEAD", V1 + "/tasks", key=None)).status == 401
    assert (await api.call("HEAD", V1 + "/tasks/T-none")).status == 404


async def test_request_ids_are_taken_where_they_are_harmless(api: Api) -> None:
    for given in ("abc-123", "A.b_c-D" * 9 + "x"):
        reply = await api.call("GET", "/health", headers={"X-Request-ID": given})
        assert reply.headers["X-Request-ID"] == given
    for given in ("", "a b", "ä", "x" * 65, 'a"b', "<script>"):
        reply = await api.call("GET", "/health", headers={"X-Request-ID": given})
        assert reply.headers["X-Request-ID"] != given
    ids = {(await api.call("GET", "/health")).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("path", "noun"),
    [
        ("/tasks", "tasks"),
        ("/features", "features"),
        ("/events", "events"),
        ("/deliveries", "deliveries"),
        ("/connectors", "connectors"),
        ("/keys", "keys"),
    ],
)
async def test_every_list_has_the_same_frame_and_the_same_bounds(api: Api, path: str, noun: str) -> None:
    reply = await api.get(path)
    assert reply.status == 200
    assert {noun, "total", "next_cursor"} <= set(reply.json)
    assert (reply.json[noun], reply.json["total"], reply.json["next_cursor"]) == ([], 0, None)
    for limit in ("1", "200"):
        assert (await api.get(f"{path}?limit={limit}")).status == 200
    for limit in ("0", "-1", "201", "", "x", "1.5", "9" * 30, "%20", "null"):
        refused = await api.get(f"{path}?limit={limit}")
        assert (refused.status, refused.code, refused.fields) == (400, "invalid_parameter", ["limit"]), limit


TASK_MEMBERS = {
    "id", "title", "description", "status", "priority", "type", "feature_id", "parent_id", "depends_on", "progress",
    "assignee", "result", "error", "metadata", "links", "source", "version", "created_at", "updated_at", "started_at",
    "completed_at",
}  # fmt: skip


def times(value: Any) -> list[str]:
    """Return every text whose name says it is a time, anywhere in *value*."""
    if isinstance(value, dict):
        own = [v for k, v in value.items() if k.endswith("_at") and v is not None]
        return own + [found for v in value.values() for found in times(v)]
    return [found for v in value for found in times(v)] if isinstance(value, list) else []


async def test_shapes(api: Api) -> None:
    task = await api.task("Build it", feature_id="F-1", priority="high")
    assert set(task) >= TASK_MEMBERS
    await api.patch(f"/tasks/{task['id']}", {"status": "in_progress"})
    await api.patch(f"/tasks/{task['id']}", {"status": "completed"})
    await api.task("Next")
    queue = (await api.get("/queue")).json
    assert set(queue) >= {"depth", "tasks", "blocked", "by_priority", "oldest_pending_age_s"}
    (feature,) = (await api.get("/features")).json["features"]
    assert set(feature) >= {"id", "title", "status", "priority", "tasks"}
    assert feature["tasks"] == {"total": 1, "completed": 1}
    events = (await api.get("/events")).json["events"]
    assert all(
        set(event) >= {"seq", "id", "type", "source", "task_id", "occurred_at", "data"} for event in events
    )
    metrics = (await api.get("/metrics")).json
    assert set(metrics) >= {"tasks", "queue", "deliveries", "webhooks", "api", "process"}
    workspace = (await api.get("/workspace")).json
    assert set(workspace) >= {"path", "layout", "counts", "last_scan_at", "scanning", "problems"}
    assert set(workspace["counts"]) >= {
        "tasks",
        "tasks_by_status",
        "events",
        "events_by_type",
        "queue",
        "features",
    }
    everything = [task, queue, feature, events, metrics, workspace]
    assert times(everything)
    assert all(TIME.fullmatch(text) for text in times(everything))
