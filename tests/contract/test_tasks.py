"""Contract 3, tasks: fields, the state machine, entity tags, idempotency, dependencies."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from tests.contract.box import TASK_FIELDS, TIME, Box

pytestmark = pytest.mark.journey

STATUSES = ("pending", "in_progress", "blocked", "completed", "failed", "cancelled")
ALLOWED = {
    "pending": {*STATUSES} - {"pending"},
    "in_progress": {*STATUSES} - {"in_progress"},
    "blocked": {*STATUSES} - {"blocked"},
    "failed": {"pending", "in_progress"},
    "completed": set(),
    "cancelled": set(),
}
EVENT = {
    "pending": "task_updated",
    "in_progress": "task_started",
    "blocked": "task_blocked",
    "completed": "task_completed",
    "failed": "task_failed",
    "cancelled": "task_cancelled",
}


def in_status(box: Box, status: str) -> str:
    """Make a task of this status and return its id."""
    task_id = str(box.task()["id"])
    if status != "pending":
        assert box.patch(f"/tasks/{task_id}", {"status": status}).status == 200
    return task_id


def test_a_task_has_every_field_of_the_contract(box: Box) -> None:
    reply = box.post("/tasks", {"title": "T"})
    assert reply.status == 201
    task = reply.json
    assert set(task) >= TASK_FIELDS
    assert reply.headers["location"] == f"/api/v1/tasks/{task['id']}"
    assert (task["status"], task["priority"], task["progress"], task["version"]) == (
        "pending",
        "medium",
        0,
        1,
    )
    assert (task["depends_on"], task["metadata"], task["links"]) == ([], {}, [])
    assert TIME.fullmatch(task["created_at"])
    again = box.get(f"/tasks/{task['id']}")
    assert again.json == task
    assert again.headers["etag"] == reply.headers["etag"]


def test_everything_that_was_given_comes_back(box: Box) -> None:
    other = box.task()["id"]
    given = {
        "id": "Given.1_2-3", "title": "x" * 4000 + "Zwölf 🗼 \u202e\n", "description": "# a\r\n\tb", "type": "implement",
        "priority": "critical", "feature_id": "F-1", "depends_on": [other],
        "metadata": {"deep": [{"a": None, "b": 1.5, "c": 2**53}], "": True},
    }  # fmt: skip
    task = box.task(**given)
    assert {name: task[name] for name in given} == given


@pytest.mark.parametrize(
    ("task_id", "status"),
    [("A", 201), ("a" * 128, 201), ("9._-", 201), ("a" * 129, 422), ("", 422), ("-a", 422), (".a", 422), ("a b", 422),
     ("a/b", 422), ("ä", 422), ("a\n", 422), ("a\u0000", 422), (5, 422)],
)  # fmt: skip
def test_ids(box: Box, task_id: object, status: int) -> None:
    reply = box.post("/tasks", {"title": "T", "id": task_id})
    assert reply.status == status
    if status == 201:
        assert box.get(f"/tasks/{task_id}").json["id"] == task_id
        assert box.post("/tasks", {"title": "again", "id": task_id}).code == "task_exists"


@pytest.mark.parametrize(("was", "becomes"), [*product(STATUSES, STATUSES)])
def test_the_state_machine(box: Box, was: str, becomes: str) -> None:
    for method in ("PUT", "PATCH"):
        task_id = in_status(box, was)
        before = box.get(f"/tasks/{task_id}").json
        reply = box.call(method, f"/api/v1/tasks/{task_id}", {"status": becomes})
        if becomes == was or becomes in ALLOWED[was]:
            assert (reply.status, reply.json["status"]) == (200, becomes)
            last = box.events(f"&task_id={task_id}")[-1]
            if becomes != was:
                assert last["type"] == EVENT[becomes]
                assert reply.json["version"] == before["version"] + 1
            else:
                assert reply.json == before
        else:
            assert (reply.status, reply.code) == (409, "invalid_transition")
            assert set(reply.json["allowed"]) == ALLOWED[was]
            assert box.get(f"/tasks/{task_id}").json == before


@pytest.mark.parametrize("was", STATUSES)
def test_delete_cancels_what_may_be_cancelled(box: Box, was: str) -> None:
    task_id = in_status(box, was)
    reply = box.delete(f"/tasks/{task_id}")
    if was == "cancelled" or "cancelled" in ALLOWED[was]:
        assert (reply.status, reply.json["status"]) == (200, "cancelled")
    else:
        assert (reply.status, reply.code) == (409, "invalid_transition")


@pytest.mark.parametrize("was", STATUSES)
def test_progress_is_for_open_tasks_however_it_is_said(box: Box, was: str) -> None:
    task_id = in_status(box, was)
    status = 200 if was in {"pending", "in_progress", "blocked"} else 409
    assert box.post(f"/tasks/{task_id}/progress", {"percent": 40, "note": "so far"}).status == status
    assert box.patch(f"/tasks/{task_id}", {"progress": 50}).status == status
    task = box.get(f"/tasks/{task_id}").json
    assert task["progress"] == (50 if status == 200 else 100 if was == "completed" else 0)


def test_a_completed_task_has_its_times_and_is_done_to_the_full(box: Box) -> None:
    task_id = in_status(box, "in_progress")
    started = box.get(f"/tasks/{task_id}").json["started_at"]
    task = box.patch(f"/tasks/{task_id}", {"status": "completed", "result": {"lines": 3}}).json
    assert (task["progress"], task["result"], task["started_at"]) == (100, {"lines": 3}, started)
    assert TIME.fullmatch(started)
    assert TIME.fullmatch(task["completed_at"])


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_only_the_fields_given_change(box: Box, method: str) -> None:
    task = box.task(description="d", type="t", priority="high", metadata={"a": 1})
    path = f"/api/v1/tasks/{task['id']}"
    changed = box.call(method, path, {"title": "new", "type": None}).json
    moving = {"title", "type", "version", "updated_at"}
    assert {name for name in task if task[name] != changed[name]} <= moving
    assert (changed["title"], changed["type"]) == ("new", None)
    assert box.call(method, path, {}).json == changed
    assert box.call(method, path, {"title": "new"}).json == changed


def test_changes_that_cannot_be(box: Box) -> None:
    task = box.task()
    for body in (
        {"id": "other"}, {"version": 9}, {"created_at": "2026-01-01T00:00:00Z"}, {"links": []}, {"colour": 1},
        {"title": None}, {"status": None}, {"status": "done"}, {"priority": "P0"}, {"progress": 101}, {"progress": -1},
        {"progress": 1.5}, {"progress": True}, {"progress": "5"}, {"metadata": []}, {"depends_on": ["none"]},
    ):  # fmt: skip
        for method in ("PUT", "PATCH"):
            reply = box.call(method, f"/api/v1/tasks/{task['id']}", body)
            assert (reply.status, reply.code) == (422, "validation_failed"), body
            assert any(field.startswith(next(iter(body))) for field in reply.fields)
    assert box.get(f"/tasks/{task['id']}").json == task
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert box.call(
            method, "/api/v1/tasks/none", {"title": "x"} if method[0] == "P" else None
        ).status in {404, 422}


def test_dependencies_form_no_cycle(box: Box) -> None:
    a, b, c = (box.task()["id"] for _ in range(3))
    assert box.patch(f"/tasks/{a}", {"depends_on": [b]}).status == 200
    assert box.patch(f"/tasks/{b}", {"depends_on": [c, c]}).json["depends_on"] == [c]
    for body in ({"depends_on": [a]}, {"depends_on": [c]}):
        reply = box.patch(f"/tasks/{c}", body)
        assert (reply.status, reply.fields) == (422, {"depends_on"})
    reply = box.post("/tasks", {"title": "T", "id": "SELF", "depends_on": ["SELF", "NONE"]})
    assert (reply.status, reply.fields) == (422, {"depends_on", "depends_on[1]"})
    assert box.patch(f"/tasks/{a}", {"depends_on": []}).status == 200
    assert box.patch(f"/tasks/{c}", {"depends_on": [a]}).status == 200


# --- entity tags ----------------------------------------------------------------------------------


def test_every_change_needs_the_present_version_where_one_is_named(box: Box) -> None:
    task_id = box.task()["id"]
    old = box.get(f"/tasks/{task_id}").headers["etag"]
    assert old.startswith('"')
    new = box.patch(f"/tasks/{task_id}", {"title": "a"}, headers={"If-Match": old}).headers["etag"]
    assert new != old
    for tag in (old, '"none"', "garbage", '""', f'{old}, "x"'):
        stale = {"If-Match": tag}
        replies = (
            box.patch(f"/tasks/{task_id}", {"title": "b"}, headers=stale),
            box.put(f"/tasks/{task_id}", {"title": "b"}, headers=stale),
            box.delete(f"/tasks/{task_id}", headers=stale),
            box.post(f"/tasks/{task_id}/progress", {"percent": 5}, headers=stale),
        )
        assert {(reply.status, reply.code) for reply in replies} == {(412, "version_mismatch")}, tag
    assert box.get(f"/tasks/{task_id}").headers["etag"] == new
    for form in ("*", "W/{new}", "{old}, {new}"):
        tag = form.format(old=old, new=new)
        reply = box.patch(f"/tasks/{task_id}", {"title": f"with {form}"}, headers={"If-Match": tag})
        assert reply.status == 200
        old, new = new, reply.headers["etag"]
    assert box.delete("/tasks/none", headers={"If-Match": "*"}).status == 404


def test_who_knows_the_present_version_is_spared_it(box: Box) -> None:
    path = f"/tasks/{box.task()['id']}"
    tag = box.get(path).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        reply = box.get(path, headers={"If-None-Match": known})
        assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", tag)
    assert box.get(path, headers={"If-None-Match": '"other"'}).status == 200


def test_one_of_many_who_change_the_same_version_wins(box: Box) -> None:
    path = f"/tasks/{box.task()['id']}"
    tag = {"If-Match": box.get(path).headers["etag"]}
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda n: box.patch(path, {"title": f"by {n}"}, headers=tag), range(12)))
    assert sorted(reply.status for reply in replies) == [200] + [412] * 11
    assert box.get(path).json["version"] == 2


# --- idempotency ----------------------------------------------------------------------------------


def test_the_same_key_and_body_is_the_same_answer_also_after_a_restart(box: Box) -> None:
    key, body = {"Idempotency-Key": "once"}, {"title": "once"}
    first = box.post("/tasks", body, headers=key)
    assert "idempotency-replayed" not in first.headers
    box.hub.kill()
    box.again()
    again = box.post("/tasks", body, headers=key)
    assert (again.status, again.json) == (201, first.json)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["etag"] == first.headers["etag"]
    for path, other in (("/tasks", {"title": "other"}), ("/events", body)):
        reply = box.post(path, other, headers=key)
        assert reply.status == 422
    assert box.post("/tasks", {"title": "other"}, headers=key).code == "idempotency_mismatch"
    stranger = box.post("/tasks", body, headers=key, key=box.key("tasks:write"))
    assert (stranger.status, stranger.json["id"] != first.json["id"]) == (201, True)


def test_many_at_once_with_one_key_do_it_once(box: Box) -> None:
    def ask(_: int) -> tuple[int, str, str | None]:
        reply = box.post("/tasks", {"title": "at once"}, headers={"Idempotency-Key": "at once"})
        return reply.status, reply.json["id"], reply.headers.get("idempotency-replayed")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(32)))
    assert {status for status, _, _ in answers} == {201}
    assert len({task_id for _, task_id, _ in answers}) == 1
    assert [replayed for _, _, replayed in answers].count(None) == 1


def test_what_was_refused_is_not_kept(box: Box) -> None:
    key = {"Idempotency-Key": "refused"}
    assert box.post("/tasks", {"title": ""}, headers=key).status == 422
    assert box.post("/tasks", {"title": "good"}, headers=key).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_keys_that_are_none(box: Box, key: str) -> None:
    reply = box.post("/tasks", {"title": "T"}, headers={"Idempotency-Key": key})
    assert (reply.status, reply.fields) == (422, {"Idempotency-Key"})


def test_every_post_with_an_effect_takes_a_key(box: Box) -> None:
    task_id = box.task()["id"]
    for path, body in (
        (f"/tasks/{task_id}/progress", {"percent": 7}),
        ("/queue/claim", {"agent": "a", "lease_s": 60}),
        ("/events", {"type": "note"}),
        ("/deliveries/replay", {}),
        ("/keys", {"name": "k", "scopes": ["tasks:read"]}),
    ):
        replies = [box.post(path, body, headers={"Idempotency-Key": f"key {path}"}) for _ in range(2)]
        assert replies[0].status == replies[1].status < 300, path
        assert replies[1].headers["idempotency-replayed"] == "true", path
        if path != "/keys":  # its answer is the one place where the key is shown, and that is once
            assert replies[0].json == replies[1].json, path
        else:
            assert replies[0].json["id"] == replies[1].json["id"]
