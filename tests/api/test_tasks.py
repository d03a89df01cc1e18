"""Tasks over HTTP: made, read, changed, cancelled; what may become of what."""

import itertools

import pytest

from ralf_hub.model import FINAL_STATUSES, TASK_STATUSES, TASK_TRANSITIONS
from tests.api.conftest import Start
from tests.api.helpers import V1, Api
from tests.support import SettableClock

FULL = {
    "id": "TASK-1",
    "title": "Fix the login",
    "description": "The **whole** story",
    "type": "bug",
    "priority": "high",
    "feature_id": "F-1",
    "parent_id": "EPIC-1",
    "depends_on": [],
    "assignee": "ralf",
    "metadata": {"a": [1, None, {"b": True}]},
}


async def test_create_in_full(api: Api, clock: SettableClock) -> None:
    reply = await api.post("/tasks", FULL)
    assert (reply.status, reply.headers["Location"], reply.etag) == (201, "/api/v1/tasks/TASK-1", '"v1"')
    task = reply.json
    assert {name: task[name] for name in FULL} == FULL
    assert (task["status"], task["progress"], task["version"]) == ("pending", 0, 1)
    assert (task["links"], task["result"], task["error"]) == ([], None, None)
    assert task["created_at"] == task["updated_at"] == clock.iso()
    assert (task["started_at"], task["completed_at"]) == (None, None)
    again = await api.call("GET", reply.headers["Location"])
    assert (again.status, again.json, again.etag) == (200, task, '"v1"')


async def test_create_with_a_title_alone(api: Api) -> None:
    one, two = await api.task("One"), await api.task("Two")
    assert one["id"] != two["id"]
    assert (one["priority"], one["description"], one["metadata"], one["depends_on"]) == ("medium", "", {}, [])
    assert (one["type"], one["feature_id"], one["parent_id"], one["assignee"]) == (None, None, None, None)


async def test_an_id_is_taken_once(api: Api) -> None:
    await api.task(id="T-1")
    reply = await api.post("/tasks", {"title": "Another", "id": "T-1"})
    assert (reply.status, reply.code) == (409, "task_exists")
    assert (await api.task("Its case counts", id="t-1"))["id"] == "t-1"
    longest = "a" + "._-9" * 31 + "xyz"
    assert (await api.task(id=longest))["id"] == longest


async def test_unknown_tasks(api: Api) -> None:
    for reply in (
        await api.get("/tasks/T-none"),
        await api.patch("/tasks/T-none", {"title": "x"}),
        await api.put("/tasks/T-none", {"title": "x"}),
        await api.delete("/tasks/T-none"),
        await api.post("/tasks/T-none/progress", {"percent": 1}),
    ):
        assert (reply.status, reply.code) == (404, "not_found")


# --- changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_the_fields_given_change_and_no_other(api: Api, clock: SettableClock, method: str) -> None:
    task = (await api.post("/tasks", FULL)).json
    clock.advance(1)
    reply = await api.call(method, "/api/v1/tasks/TASK-1", {"title": "New", "progress": 30, "result": [1]})
    wanted = {**task, "title": "New", "progress": 30, "result": [1], "version": 2, "updated_at": clock.iso()}
    assert (reply.status, reply.json, reply.etag) == (200, wanted, '"v2"')


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_null_empties_what_may_be_empty_and_is_refused_elsewhere(api: Api, method: str) -> None:
    await api.post("/tasks", {**FULL})
    path = "/api/v1/tasks/TASK-1"
    await api.call(method, path, {"result": {"x": 1}, "error": "odd"})
    empty = dict.fromkeys(("type", "feature_id", "parent_id", "assignee", "result", "error"))
    reply = await api.call(method, path, empty)
    assert reply.status == 200
    assert {name: reply.json[name] for name in empty} == empty
    never = ("title", "description", "priority", "depends_on", "metadata", "status", "progress")
    refused = await api.call(method, path, dict.fromkeys(never))
    assert (refused.status, sorted(refused.fields)) == (422, sorted(never))
    assert (await api.call("GET", path)).json == reply.json


async def test_what_may_not_be_changed(api: Api) -> None:
    task = await api.task()
    fixed = {
        "id": "X",
        "version": 9,
        "created_at": "2026-01-01",
        "source": "me",
        "links": [],
        "lease_expires_at": None,
    }
    reply = await api.patch(f"/tasks/{task['id']}", fixed)
    assert (reply.status, sorted(reply.fields)) == (422, sorted(fixed))
    for bad in (
        {"progress": 101},
        {"progress": -1},
        {"progress": 1.5},
        {"progress": True},
        {"status": "done"},
    ):
        assert (await api.patch(f"/tasks/{task['id']}", bad)).fields == list(bad)


async def test_nothing_changed_is_no_event_and_no_version(api: Api) -> None:
    task = await api.task("Same", priority="high")
    for body in ({}, {"title": "Same"}, {"title": "Same", "priority": "high", "status": "pending"}):
        assert (await api.patch(f"/tasks/{task['id']}", body)).json == task
    assert [event["type"] for event in await api.events()] == ["task_created"]


async def test_each_change_is_one_event(api: Api) -> None:
    task = await api.task()
    path = f"/tasks/{task['id']}"
    for body in ({"title": "B"}, {"progress": 10}, {"status": "blocked"}, {"status": "in_progress"}, {"status": "failed", "error": "no"}, {"status": "pending"}, {"status": "in_progress"}, {"status": "completed", "result": 1}):  # fmt: skip
        assert (await api.patch(path, body)).status == 200
    events = await api.events()
    assert [event["type"] for event in events] == [
        "task_created", "task_updated", "task_progress", "task_blocked", "task_started", "task_failed", "task_updated",
        "task_started", "task_completed",
    ]  # fmt: skip
    assert {event["task_id"] for event in events} == {task["id"]}
    assert events[5]["data"]["error"] == "no"
    assert events[-1]["data"]["result"] == 1


async def test_times_and_what_follows_from_a_status(api: Api, clock: SettableClock) -> None:
    task = await api.task()
    path = f"/tasks/{task['id']}"
    clock.advance(1)
    started = (await api.patch(path, {"status": "in_progress", "assignee": "ralf"})).json
    assert (started["started_at"], started["completed_at"]) == (clock.iso(), None)
    clock.advance(1)
    failed = (await api.patch(path, {"status": "failed", "error": "Out of memory"})).json
    assert (failed["error"], failed["assignee"]) == ("Out of memory", "ralf")
    again = (await api.patch(path, {"status": "pending"})).json
    assert again["assignee"] is None
    clock.advance(1)
    retried = (await api.patch(path, {"status": "in_progress"})).json
    assert (retried["started_at"], retried["error"]) == (started["started_at"], None)
    clock.advance(1)
    done = (await api.patch(path, {"status": "completed"})).json
    assert (done["completed_at"], done["progress"]) == (clock.iso(), 100)


async def test_delete_cancels_and_keeps(api: Api) -> None:
    task = await api.task()
    reply = await api.delete(f"/tasks/{task['id']}")
    assert (reply.status, reply.json["status"], reply.etag) == (200, "cancelled", '"v2"')
    again = await api.delete(f"/tasks/{task['id']}")
    assert (again.status, again.json) == (200, reply.json)
    assert (await api.get(f"/tasks/{task['id']}")).json == reply.json
    assert [event["type"] for event in await api.events()] == ["task_created", "task_cancelled"]


# --- progress -------------------------------------------------------------------------------------


async def test_progress_is_noted_with_a_word(api: Api) -> None:
    task = await api.task()
    reply = await api.post(f"/tasks/{task['id']}/progress", {"percent": 40, "note": "Half of it"})
    assert (reply.status, reply.json["progress"], reply.etag) == (200, 40, '"v2"')
    event = (await api.events())[-1]
    assert (event["type"], event["data"]["progress"], event["data"]["note"]) == (
        "task_progress",
        40,
        "Half of it",
    )
    for body in (
        {},
        {"percent": 101},
        {"percent": -1},
        {"percent": "40"},
        {"percent": 40.5},
        {"percent": None},
    ):
        assert (await api.post(f"/tasks/{task['id']}/progress", body)).fields == ["percent"]


async def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    path = f"/tasks/{(await api.task())['id']}"
    assert (await api.post(f"{path}/progress", {"percent": 40.0})).json["progress"] == 40
    reply = await api.call("PATCH", f"{V1}{path}", raw=b'{"progress": 5e1}')
    assert (reply.json["progress"], b'"progress":50,' in reply.body) == (50, True)


async def test_what_has_ended_makes_no_progress(api: Api) -> None:
    task = await api.task()
    await api.delete(f"/tasks/{task['id']}")
    reply = await api.post(f"/tasks/{task['id']}/progress", {"percent": 1})
    assert (reply.status, reply.code, reply.json["allowed"]) == (409, "invalid_transition", [])


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
async def test_a_change_of_progress_is_refused_as_progress_is(api: Api, status: str) -> None:
    path = f"/tasks/{(await api.task())['id']}"
    was = (await api.patch(path, {"status": status})).json
    for change in (api.patch, api.put):
        reply = await change(path, {"progress": 50, "title": "Other"})
        assert (reply.status, reply.code) == (409, "invalid_transition")
    assert (await api.get(path)).json == was
    assert (await api.patch(path, {"progress": was["progress"], "title": "Other"})).status == 200
    if status == "failed":  # it goes on, and may say how far it is
        assert (await api.patch(path, {"status": "in_progress", "progress": 50})).json["progress"] == 50


async def test_what_ends_now_may_say_how_far_it_came(api: Api) -> None:
    path = f"/tasks/{(await api.task())['id']}"
    assert (await api.patch(path, {"status": "failed", "progress": 70})).json["progress"] == 70


# --- the state machine ----------------------------------------------------------------------------

ROUTE = {
    "pending": [],
    "in_progress": ["in_progress"],
    "blocked": ["blocked"],
    "completed": ["completed"],
    "failed": ["failed"],
    "cancelled": ["cancelled"],
}


async def test_every_move_between_two_statuses(api: Api) -> None:
    for number, (start, end) in enumerate(itertools.product(TASK_STATUSES, TASK_STATUSES)):
        task = await api.task(id=f"T-{number}")
        path = f"/tasks/{task['id']}"
        for status in ROUTE[start]:
            assert (await api.patch(path, {"status": status})).status == 200
        seq = (await api.events())[-1]["seq"]
        reply = await api.patch(path, {"status": end})
        now = (await api.get(path)).json
        if start == end:
            assert (reply.status, now["status"]) == (200, start)
            assert await api.events(seq) == []
        elif end in TASK_TRANSITIONS[start]:
            assert (reply.status, now["status"]) == (200, end)
            assert len(await api.events(seq)) == 1
        else:
            assert (reply.status, reply.code, now["status"]) == (409, "invalid_transition", start)
            assert reply.json["current"] == start
            assert reply.json["requested"] == end
            assert reply.json["allowed"] == sorted(TASK_TRANSITIONS[start])
            assert (reply.json["allowed"] == []) is (start in FINAL_STATUSES)
            assert await api.events(seq) == []


async def test_a_refused_move_changes_no_other_field_either(api: Api) -> None:
    task = await api.task()
    await api.patch(f"/tasks/{task['id']}", {"status": "completed"})
    before = (await api.get(f"/tasks/{task['id']}")).json
    reply = await api.patch(f"/tasks/{task['id']}", {"title": "Sneaked in", "status": "pending"})
    assert reply.status == 409
    assert (await api.get(f"/tasks/{task['id']}")).json == before


# --- dependencies ---------------------------------------------------------------------------------


async def test_dependencies_nobody_knows_are_named_all_at_once(api: Api) -> None:
    await api.task(id="T-1")
    reply = await api.post("/tasks", {"title": "x", "depends_on": ["T-8", "T-1", "T-9"]})
    assert (reply.status, reply.fields) == (422, ["depends_on[0]", "depends_on[2]"])
    assert (await api.patch("/tasks/T-1", {"depends_on": ["T-9"]})).fields == ["depends_on[0]"]


async def test_cycles_are_refused_short_and_long(api: Api) -> None:
    for number in range(6):
        await api.task(id=f"T-{number}", depends_on=[f"T-{number - 1}"] if number else [])
    for body in ({"depends_on": ["T-5"]}, {"depends_on": ["T-1"]}, {"depends_on": ["T-0"]}):
        reply = await api.patch("/tasks/T-0", body)
        assert (reply.status, reply.code, reply.fields) == (422, "validation_failed", ["depends_on"])
        assert "cycle" in reply.json["errors"][0]["message"]
    assert (await api.post("/tasks", {"title": "x", "id": "T-9", "depends_on": ["T-9"]})).fields == [
        "depends_on"
    ]
    assert (await api.patch("/tasks/T-5", {"depends_on": ["T-0", "T-1", "T-0"]})).json["depends_on"] == [
        "T-0",
        "T-1",
    ]
    assert (await api.patch("/tasks/T-1", {"depends_on": []})).status == 200
    assert (await api.patch("/tasks/T-0", {"depends_on": ["T-5"]})).fields == ["depends_on"]
    assert (await api.patch("/tasks/T-0", {"depends_on": ["T-4"]})).status == 200


# --- features -------------------------------------------------------------------------------------


async def test_a_feature_comes_with_its_first_task_and_is_delivered_with_its_last(start: Start) -> None:
    api = await start()
    for number in range(3):
        await api.task(id=f"T-{number}", feature_id="Log in / out")
    for number, status in enumerate(("completed", "cancelled", "completed")):
        await api.patch(f"/tasks/T-{number}", {"status": status})
    feature = (await api.get("/features/Log%20in%20%2F%20out")).json
    assert feature["tasks"] == {"total": 3, "completed": 2}
    assert (feature["status"], feature["delivered_at"] is None) == ("completed", False)
    kinds = [event["type"] for event in await api.events()]
    assert (kinds.count("feature_created"), kinds.count("feature_delivered")) == (1, 1)
    assert kinds[-1] == "feature_delivered"
    assert (await api.get("/features?status=completed")).json["total"] == 1
    assert (await api.get("/features?status=planned")).json["features"] == []
    assert (await api.get("/features/F-none")).status == 404
