"""Webhooks and connectors of the same service speak of the same things."""

from typing import Any

import pytest

from tests.api.conftest import Start
from tests.api.helpers import Api
from tests.webhooks.signing import SIGN, github, incoming, packed, send
from tests.webhooks.test_github import issue
from tests.webhooks.test_trackers import PROJECT, gitlab, gitlab_issue


def tracker(**more: Any) -> dict[str, Any]:
    return {
        "token": "ghp_0123456789abcdef",
        "base_url": "http://127.0.0.1:9",
        "events": ["task_created", "task_completed"],
        **more,
    }


async def links_of(api: Api, task_id: str) -> list[tuple[str, str, str]]:
    found = (await api.get(f"/tasks/{task_id}")).json["links"]
    return [(link["connector"], link["external_id"], link["external_key"]) for link in found]


async def actions_of(api: Api, task_id: str) -> list[str]:
    rows = (await api.get(f"/deliveries?task_id={task_id}")).json["deliveries"]
    return sorted(row["action"] for row in rows)


async def test_an_issue_of_the_connector_s_repository_is_the_connector_s_and_no_second_is_made(
    start: Start,
) -> None:
    door = await start(webhooks=incoming(), connectors={"github": tracker(repository="Acme/Mill")})
    task_id = (await github(door, issue("opened"))).json["task_id"]
    assert await links_of(door, task_id) == [("github", "7", "acme/mill#7")]
    assert "create" not in await actions_of(door, task_id)


async def test_an_issue_of_another_repository_never_becomes_the_connector_s(start: Start) -> None:
    door = await start(webhooks=incoming(), connectors={"github": tracker(repository="acme/sieve")})
    task_id = (await github(door, issue("opened"))).json["task_id"]
    assert ("webhook:github", "acme/mill#7", "acme/mill#7") in await links_of(door, task_id)
    assert ("github", "7", "acme/mill#7") not in await links_of(door, task_id)
    await github(door, issue("closed"), delivery="d-2")
    assert (await door.get(f"/tasks/{task_id}")).json["status"] == "completed"


@pytest.mark.parametrize(("state", "status"), [("open", "completed"), ("closed", "pending")])
async def test_the_issue_a_connector_has_made_is_found_by_its_key(
    start: Start, state: str, status: str
) -> None:
    door = await start(webhooks=incoming(), connectors={"github": tracker(repository="acme/mill")})
    await door.task(id="T-1")
    await door.hub.db.write(
        lambda conn: conn.execute(
            "UPDATE links SET external_id = '7', external_key = 'acme/mill#7', state = 'linked', last_state = ?",
            (state,),
        )
    )
    reply = await github(door, issue("closed"))
    assert reply.json["task_id"] == "T-1"
    assert (await door.get("/tasks/T-1")).json["status"] == status, (
        "a state the hub itself has set is no news"
    )


async def test_the_same_number_elsewhere_is_not_it(start: Start) -> None:
    door = await start(webhooks=incoming(), connectors={"github": tracker(repository="acme/sieve")})
    await door.task(id="T-1")
    await door.hub.db.write(
        lambda conn: conn.execute(
            "UPDATE links SET external_id = '7', external_key = 'acme/sieve#7', state = 'linked'"
        )
    )
    assert (await github(door, issue("closed"))).json["task_id"] is None
    assert (await door.get("/tasks/T-1")).json["status"] == "pending"


async def test_gitlab_s_project_by_name_or_number(start: Start) -> None:
    for number, project in enumerate(("acme/mill", "15")):
        settings = {"gitlab": tracker(project=project)}
        door = await start(webhooks=incoming(), connectors=settings)
        payload = gitlab_issue(
            "open", iid=number + 30, url=f"https://gitlab.com/acme/mill/-/issues/{number + 30}"
        )
        task_id = (await gitlab(door, payload, f"k-{number}")).json["task_id"]
        assert await links_of(door, task_id) == [("gitlab", str(number + 30), f"acme/mill#{number + 30}")]


async def test_a_merge_request_never_stands_for_an_issue(start: Start) -> None:
    rules = [{"when": "merge_request.open", "do": "create_task"}]
    settings = {"gitlab": tracker(project="acme/mill")}
    door = await start(webhooks=incoming(gitlab={"actions": rules}), connectors=settings)
    attributes = {"iid": 3, "action": "open", "title": "A change"}
    payload = {"object_kind": "merge_request", "project": PROJECT, "object_attributes": attributes}
    task_id = (await gitlab(door, payload)).json["task_id"]
    assert ("webhook:gitlab", "acme/mill!3", "acme/mill!3") in await links_of(door, task_id)


async def test_a_reopened_issue_takes_the_connector_s_link_along(start: Start) -> None:
    door = await start(webhooks=incoming(), connectors={"github": tracker(repository="acme/mill")})
    first = (await github(door, issue("opened"), delivery="a")).json["task_id"]
    await github(door, issue("closed"), delivery="b")
    second = (await github(door, issue("reopened"), delivery="c")).json["task_id"]
    assert await links_of(door, first) == []
    assert await links_of(door, second) == [("github", "7", "acme/mill#7")]


async def test_a_link_to_a_task_that_is_gone_is_no_obstacle(start: Start) -> None:
    door = await start(webhooks=incoming())
    first = (await github(door, issue("opened"), delivery="a")).json["task_id"]
    await door.hub.db.write(lambda conn: conn.execute("DELETE FROM tasks WHERE id = ?", (first,)))
    second = (await github(door, issue("opened"), delivery="b")).json["task_id"]
    assert second not in {None, first}
    body = packed(issue("closed"))
    await send(door, "github", body, SIGN.github(body, delivery="c"))
    assert (await door.get(f"/tasks/{second}")).json["status"] == "completed"
