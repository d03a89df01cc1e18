"""Versions of tasks over HTTP: `ETag`, `If-Match`, `If-None-Match`."""

import asyncio
from typing import Any

from ralf_hub.model import Link
from ralf_hub.store import links
from tests.api.helpers import Api
from tests.support import SettableClock


async def changed(api: Api, path: str, match: str, body: dict[str, Any]) -> int:
    return (await api.patch(path, body, headers={"If-Match": match})).status


async def test_a_stale_version_is_412_and_changes_nothing(api: Api) -> None:
    task = await api.task()
    path = f"/tasks/{task['id']}"
    await api.patch(path, {"title": "Second"})
    stale = {"If-Match": '"v1"'}
    for reply in (
        await api.patch(path, {"title": "Lost"}, headers=stale),
        await api.put(path, {"title": "Lost"}, headers=stale),
        await api.post(f"{path}/progress", {"percent": 5}, headers=stale),
        await api.delete(path, headers=stale),
    ):
        assert (reply.status, reply.code, reply.json["version"]) == (412, "version_mismatch", 2)
    now = (await api.get(path)).json
    assert (now["title"], now["version"], now["status"], now["progress"]) == ("Second", 2, "pending", 0)
    assert len(await api.events()) == 2


async def test_the_present_version_is_taken_in_every_way_it_can_be_written(api: Api) -> None:
    task = await api.task()
    path = f"/tasks/{task['id']}"
    for number, match in enumerate(
        ('"v1"', 'W/"v2"', "*", ' "v4" ', '"x", "v5" , W/"v9"', '"v9","v6"', " * ")
    ):
        assert await changed(api, path, match, {"title": f"T{number}"}) == 200, match
    for match in ('"v1"', "v8", '"8"', '"v8', "", '"x"', "v8, v7", '"v9", "v7"', '""', '"v٨"', '"v8-zz"'):
        assert await changed(api, path, match, {"title": "No"}) == 412, match
    assert (await api.post(f"{path}/progress", {"percent": 5}, headers={"If-Match": '"v8"'})).status == 200
    assert (await api.delete(path, headers={"If-Match": '"v9"'})).status == 200


async def test_a_version_of_a_task_that_is_not_there(api: Api) -> None:
    for match in ('"v1"', '"v1", "v2"', "*"):
        assert await changed(api, "/tasks/T-none", match, {}) == 404


async def test_two_that_change_one_version_at_once(api: Api) -> None:
    task = await api.task()
    path = f"/tasks/{task['id']}"
    statuses = await asyncio.gather(*(changed(api, path, '"v1"', {"title": f"T{n}"}) for n in range(10)))
    assert sorted(statuses) == [200] + [412] * 9
    assert (await api.get(path)).json["version"] == 2


async def test_what_the_caller_has_is_not_sent_again(api: Api) -> None:
    task = await api.task()
    path = f"/tasks/{task['id']}"
    for known in ('"v1"', 'W/"v1"', '"x", "v1"', "*"):
        reply = await api.get(path, headers={"If-None-Match": known})
        assert (reply.status, reply.body, reply.etag) == (304, b"", '"v1"'), known
    for other in ('"v2"', "v1", '"V1"', ""):
        assert (await api.get(path, headers={"If-None-Match": other})).status == 200, other
    await api.patch(path, {"title": "New"})
    assert (await api.get(path, headers={"If-None-Match": '"v1"'})).status == 200
    assert (await api.get("/tasks/T-none", headers={"If-None-Match": "*"})).status == 404


async def test_a_link_that_came_changes_the_tag_but_not_the_version(api: Api, clock: SettableClock) -> None:
    task = await api.task(id="T-1")
    link = Link("jira", external_id="10001", external_key="RALF-1", url="https://x/RALF-1", state="linked", marker="m", entity_id="T-1")  # fmt: skip
    await api.hub.db.write(lambda conn: links.save(conn, link, now=clock.iso()))
    reply = await api.get("/tasks/T-1", headers={"If-None-Match": '"v1"'})
    assert reply.status == 200
    assert reply.json["links"] == [
        {"connector": "jira", "external_id": "10001", "external_key": "RALF-1", "url": "https://x/RALF-1"}
    ]
    assert reply.json["version"] == task["version"]
    assert reply.etag != '"v1"'
    assert (await api.get("/tasks/T-1", headers={"If-None-Match": reply.etag})).status == 304
    assert await changed(api, "/tasks/T-1", reply.etag, {"title": "Mine"}) == 200
    assert await changed(api, "/tasks/T-1", reply.etag, {"title": "Late"}) == 412
    (listed,) = (await api.get("/tasks")).json["tasks"]
    assert listed["links"] == reply.json["links"]
