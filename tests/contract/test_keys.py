"""Contract 3, keys and scopes: what each scope opens, and nothing else; limits; usage."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.contract.box import TIME, Box, Ground, until

pytestmark = pytest.mark.journey

SCOPES = (
    "tasks:read", "tasks:write", "queue:read", "features:read", "metrics:read", "events:read", "events:write",
    "deliveries:read", "deliveries:write", "connectors:read", "connectors:write", "admin",
)  # fmt: skip
NEEDS = {
    "GET /api/v1/tasks": "tasks:read", "GET /api/v1/tasks/1": "tasks:read", "POST /api/v1/tasks": "tasks:write",
    "PUT /api/v1/tasks/1": "tasks:write", "PATCH /api/v1/tasks/1": "tasks:write", "DELETE /api/v1/tasks/1": "tasks:write",
    "POST /api/v1/tasks/1/progress": "tasks:write", "GET /api/v1/queue": "queue:read",
    "POST /api/v1/queue/claim": "tasks:write", "POST /api/v1/queue/heartbeat": "tasks:write",
    "POST /api/v1/queue/release": "tasks:write", "GET /api/v1/features": "features:read",
    "GET /api/v1/features/1": "features:read", "GET /api/v1/metrics": "metrics:read", "GET /api/v1/usage": "metrics:read",
    "GET /metrics": "metrics:read", "GET /api/v1/events": "events:read", "POST /api/v1/events": "events:write",
    "POST /api/v1/stream/tickets": "events:read", "GET /api/v1/deliveries": "deliveries:read",
    "GET /api/v1/deliveries/1": "deliveries:read", "POST /api/v1/deliveries/1/replay": "deliveries:write",
    "POST /api/v1/deliveries/replay": "deliveries:write", "GET /api/v1/connectors": "connectors:read",
    "POST /api/v1/connectors/1/test": "connectors:write", "POST /api/v1/connectors/1/pause": "connectors:write",
    "POST /api/v1/connectors/1/resume": "connectors:write", "POST /api/v1/connectors/1/notify": "connectors:write",
    "GET /api/v1/keys": "admin", "POST /api/v1/keys": "admin", "DELETE /api/v1/keys/1": "admin",
}  # fmt: skip
STREAMS = ("/api/v1/stream", "/api/v1/events/stream")


@pytest.fixture(scope="module")
def keys(box: Box) -> dict[str, str]:
    """For each scope a key that has it and no other."""
    return {scope: box.key(scope) for scope in SCOPES}


def test_each_endpoint_opens_to_its_scope_and_to_no_other(box: Box, keys: dict[str, str]) -> None:
    paths = box.call("GET", "/openapi.json", key=None).json["paths"]
    seen = set()
    for path, item in paths.items():
        shown = re.sub(r"\{\w+\}", "1", path)
        for method, operation in item.items():
            label = f"{method.upper()} {shown}"
            if operation.get("security") == [] or path in STREAMS or method == "head":
                continue
            seen.add(label)
            opened = set()
            for scope, key in keys.items():
                body = None if method in {"get", "delete"} else b"{"
                reply = box.call(method.upper(), shown, raw=body, key=key)
                assert reply.status != 401
                if reply.status != 403:
                    opened.add(scope)
                else:
                    assert reply.code == "missing_scope"
            assert len(opened) == 1, (label, opened)
            assert opened == {NEEDS.get(label, *opened)}, label
    assert set(NEEDS) <= seen


def test_a_star_opens_everything(box: Box) -> None:
    key = box.key("*")
    for path in (
        "/tasks",
        "/queue",
        "/features",
        "/metrics",
        "/events",
        "/deliveries",
        "/connectors",
        "/keys",
    ):
        assert box.get(path, key=key).status == 200


def test_a_key_is_shown_once_kept_as_a_hash_and_ends_at_once(box: Box) -> None:
    made = box.post("/keys", {"name": "laptop", "scopes": ["tasks:read", "tasks:read"]})
    assert made.status == 201
    key, key_id = made.json["key"], made.json["id"]
    assert re.fullmatch(r"rh_[A-Za-z0-9_-]{20,}", key)
    assert made.json["scopes"] == ["tasks:read"]
    assert key not in box.get("/keys").body.decode()
    stored = box.rows("SELECT * FROM api_keys WHERE id = ?", key_id)[0]
    assert key not in str(stored)
    assert key.encode() not in b"".join(p.read_bytes() for p in box.hub.folder.glob("hub.db*"))
    assert box.get("/tasks", key=key).status == 200
    for _ in range(2):
        assert box.delete(f"/keys/{key_id}").status == 200
    assert (box.get("/tasks", key=key).status, box.get("/tasks", key=key).code) == (401, "invalid_key")
    assert TIME.fullmatch(
        next(k for k in box.get("/keys?limit=200").json["keys"] if k["id"] == key_id)["revoked_at"]
    )


def test_a_key_ends_when_it_was_said_to(box: Box) -> None:
    ends = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    key = box.post("/keys", {"name": "short", "scopes": ["tasks:read"], "expires_at": ends}).json["key"]
    assert box.get("/tasks", key=key).status == 200
    until(lambda: box.get("/tasks", key=key).status == 401)


@pytest.mark.parametrize(
    "body",
    [{}, {"name": "x"}, {"name": "", "scopes": ["*"]}, {"name": "x", "scopes": []}, {"name": "x", "scopes": ["tasks"]},
     {"name": "x", "scopes": "*"}, {"name": "x", "scopes": ["*"], "expires_at": "soon"},
     {"name": "x", "scopes": ["*"], "expires_at": "2020-01-01T00:00:00Z"}, {"name": "x", "scopes": ["*"], "key": "rh_mine"}],
)  # fmt: skip
def test_keys_that_cannot_be(box: Box, body: dict[str, object]) -> None:
    reply = box.post("/keys", body)
    assert (reply.status, reply.code) == (422, "validation_failed")


def test_a_key_that_a_command_made_opens_at_once(box: Box) -> None:
    for _ in range(5):
        made = json.loads(
            box.command("keys", "create", "--name", "now", "--scopes", "tasks:read", "--json").stdout
        )
        assert box.get("/tasks", key=made["key"]).status == 200


def test_keys_by_sql_and_by_command_count_within_a_second(box: Box) -> None:
    made = box.command("keys", "create", "--name", "cli", "--scopes", "tasks:read", "--json")
    assert made.returncode == 0, made.stderr
    until(lambda: box.get("/tasks", key=key_of(made.stdout)).status == 200, within_s=3)
    box.rows("UPDATE api_keys SET revoked_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE name = 'cli'")
    until(lambda: box.get("/tasks", key=key_of(made.stdout)).status == 401, within_s=3)


def key_of(output: str) -> str:
    found = re.search(r"rh_[A-Za-z0-9_-]{20,}", output)
    assert found
    return found[0]


# --- limits and usage -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    api = "rate_limit = { enabled = true, requests_per_minute = 60, failed_auth_per_minute = 5 }"
    made = Box.start(ground, tmp_path_factory.mktemp("limited"), api=api)
    yield made
    made.close()


def test_sixty_a_minute_are_sixty(limited: Box) -> None:
    replies = [limited.get("/tasks") for _ in range(61)]
    statuses = [reply.status for reply in replies]
    assert statuses[:60] == [200] * 60
    refused = (
        next(reply for reply in replies if reply.status == 429) if 429 in statuses else limited.get("/tasks")
    )
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    for reply in (replies[0], refused):
        assert reply.headers["ratelimit"]
        assert "60" in reply.headers["ratelimit-policy"]
    assert limited.call("GET", "/health", key=None).status == 200


def test_guessing_ends_and_a_good_key_goes_on(limited: Box) -> None:
    statuses = [limited.get("/tasks", key="rh_guess").status for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2


def test_usage_is_kept_across_restarts(box: Box) -> None:
    key_id = box.post("/keys", {"name": "counted", "scopes": ["tasks:read"]}).json
    for _ in range(7):
        box.get("/tasks", key=key_id["key"])
    box.get("/nothing-there", key=key_id["key"])

    def requests(by: str) -> int:
        rows = box.get(f"/usage?by={by}").json["usage"]
        mine = [row for row in rows if key_id["id"] in row.values()]
        return sum(row["requests"] for row in mine)

    until(lambda: requests("key") >= 7)
    before = requests("key")
    assert box.stop() == 0
    box.again()
    assert requests("key") == before
    today = datetime.now(UTC).date().isoformat()
    for by in ("day", "endpoint", "key"):
        found = box.get(f"/usage?by={by}&from={today}&to={today}")
        assert found.status == 200
        assert found.json["usage"]
    assert "GET /api/v1/tasks" in str(box.get("/usage?by=endpoint").json)
    assert box.get("/usage?from=2020-01-01&to=2020-01-02").json["usage"] == []


def test_a_keys_id_and_the_key_get_a_token_of_client_credentials(box: Box) -> None:
    made = box.command("keys", "create", "--name", "program", "--scopes", "tasks:read", "--json")
    client = json.loads(made.stdout)
    form = f"grant_type=client_credentials&client_id={client['id']}&client_secret={client['key']}"
    kind = "application/x-www-form-urlencoded"
    reply = box.call("POST", "/oauth/token", raw=form.encode(), content_type=kind, key=None)
    assert (reply.status, reply.json["token_type"].lower()) == (200, "bearer")
    assert reply.json["expires_in"] > 0
    token = reply.json["access_token"]
    assert box.get("/tasks", key=token).status == 200
    assert box.post("/tasks", {"title": "x"}, key=token).status == 403
    wrong = form.replace(client["key"], "rh_" + "x" * 43)
    reply = box.call("POST", "/oauth/token", raw=wrong.encode(), content_type=kind, key=None)
    assert (reply.status, reply.json["error"]) == (401, "invalid_client")
    assert box.delete(f"/keys/{client['id']}").status == 200
    assert box.get("/tasks", key=token).status == 401
