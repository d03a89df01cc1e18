"""GitLab, Jira, Trello and PagerDuty through the real app."""

import json
from typing import Any

import pytest

from tests.api.conftest import Start
from tests.api.helpers import Api, Reply
from tests.webhooks.signing import CALLBACK, JSON, SIGN, incoming, needs_shared, packed, receipts, send


async def task(api: Api, task_id: str) -> dict[str, Any]:
    return dict((await api.get(f"/tasks/{task_id}")).json)


# --- GitLab ---------------------------------------------------------------------------------------

PROJECT = {"id": 15, "path_with_namespace": "acme/mill", "web_url": "https://gitlab.com/acme/mill"}


def gitlab_issue(action: str, **more: Any) -> dict[str, Any]:
    attributes = {
        "iid": 3,
        "title": "It leaks",
        "description": "Under the roof.",
        "action": action,
        "state": "closed" if action == "close" else "opened",
        "url": "https://gitlab.com/acme/mill/-/issues/3",
        **more,
    }
    return {
        "object_kind": "issue",
        "user": {"username": "kai", "id": 9},
        "project": PROJECT,
        "object_attributes": attributes,
    }


async def gitlab(api: Api, payload: Any, key: str = "g-1") -> Reply:
    return await send(api, "gitlab", packed(payload), SIGN.gitlab(key))


async def test_gitlab_s_issue_lives_as_a_task(door: Api) -> None:
    opened = await gitlab(door, gitlab_issue("open"), "a")
    made = await task(door, opened.json["task_id"])
    assert (made["title"], made["description"]) == ("It leaks", "Under the roof.")
    assert made["links"][0]["external_key"] == "acme/mill#3"
    again = await gitlab(door, gitlab_issue("open"), "a")
    assert (again.status, again.json) == (200, {**opened.json, "status": "duplicate"})
    await gitlab(door, gitlab_issue("close"), "b")
    assert (await task(door, made["id"]))["status"] == "completed"


async def test_gitlab_signs_with_its_signing_token(door: Api) -> None:
    body = packed(gitlab_issue("open"))
    first = await send(door, "gitlab", body, SIGN.standard(body, "msg_7"))
    again = await send(door, "gitlab", body, SIGN.standard(body, "msg_7"))
    assert (first.status, again.status) == (202, 200)
    forged = {**SIGN.gitlab(), "webhook-id": "m", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    assert (await send(door, "gitlab", body, forged)).status == 401, (
        "a token does not make up for a signature"
    )


async def test_gitlab_s_merge_completes_the_task_it_names(door: Api) -> None:
    await door.task(id="TASK-5")
    attributes = {
        "iid": 3,
        "action": "merge",
        "state": "merged",
        "source_branch": "TASK-5-fix",
        "title": "Fix",
    }
    payload = {"object_kind": "merge_request", "project": PROJECT, "object_attributes": attributes}
    attributes["title"] = "Fix TASK-5"
    reply = await gitlab(door, payload)
    assert reply.json["task_id"] == "TASK-5"
    assert (await task(door, "TASK-5"))["status"] == "completed"


async def test_gitlab_s_merge_request_is_not_the_issue_of_its_number(door: Api) -> None:
    issue = (await gitlab(door, gitlab_issue("open"), "a")).json["task_id"]
    attributes = {"iid": 3, "action": "merge", "state": "merged", "title": "Other"}
    await gitlab(
        door, {"object_kind": "merge_request", "project": PROJECT, "object_attributes": attributes}, "b"
    )
    assert (await task(door, issue))["status"] == "pending"


async def test_gitlab_s_pipeline_that_fails_is_one_task(door: Api) -> None:
    def pipeline(status: str, number: int) -> dict[str, Any]:
        attributes = {"id": number, "ref": "main", "status": status}
        return {"object_kind": "pipeline", "project": PROJECT, "object_attributes": attributes}

    first = (await gitlab(door, pipeline("failed", 1), "a")).json["task_id"]
    second = (await gitlab(door, pipeline("failed", 2), "b")).json["task_id"]
    assert first == second
    assert (await task(door, first))["title"] == "Fix CI: pipeline on main (acme/mill)"
    await gitlab(door, pipeline("success", 3), "c")
    assert (await task(door, first))["status"] == "completed"


async def test_gitlab_s_comment_and_what_is_unknown_are_events(door: Api) -> None:
    issue = (await gitlab(door, gitlab_issue("open"), "a")).json["task_id"]
    note = {
        "object_kind": "note",
        "project": PROJECT,
        "object_attributes": {"note": "Still wet.", "action": "create"},
        "issue": {"iid": 3, "title": "It leaks"},
    }
    assert (await gitlab(door, note, "b")).json["task_id"] == issue
    assert (await gitlab(door, {"object_kind": "emoji"}, "c")).status == 202
    assert (await gitlab(door, {}, "d")).status == 202


# --- Jira -----------------------------------------------------------------------------------------


def jira_issue(event: str, *, status: str = "To Do", category: str = "new", **more: Any) -> dict[str, Any]:
    fields = {
        "summary": "Mend the sail",
        "description": "Torn in the storm.",
        "labels": [],
        "project": {"key": "MILL"},
        "status": {"name": status, "statusCategory": {"key": category}},
        **more,
    }
    payload: dict[str, Any] = {
        "webhookEvent": f"jira:{event}",
        "user": {"accountId": "5b10", "displayName": "Kai"},
        "issue": {
            "id": "10001",
            "key": "MILL-4",
            "self": "https://acme.atlassian.net/rest/api/2/issue/10001",
            "fields": fields,
        },
    }
    if event == "issue_updated":
        payload["changelog"] = {"items": [{"field": "status", "toString": status}]}
    return payload


async def jira(api: Api, payload: Any, key: str = "j-1") -> Reply:
    body = packed(payload)
    return await send(api, "jira", body, SIGN.jira(body, key))


async def test_jira_s_issue_lives_as_a_task(door: Api) -> None:
    made = await jira(door, jira_issue("issue_created"), "a")
    found = await task(door, made.json["task_id"])
    assert (found["title"], found["description"]) == ("Mend the sail", "Torn in the storm.")
    (link,) = found["links"]
    assert (link["external_id"], link["external_key"]) == ("10001", "MILL-4")
    assert link["url"] == "https://acme.atlassian.net/browse/MILL-4"
    await jira(door, jira_issue("issue_updated", status="Doing", category="indeterminate"), "b")
    assert (await task(door, found["id"]))["status"] == "pending"
    await jira(door, jira_issue("issue_updated", status="Released", category="done"), "c")
    assert (await task(door, found["id"]))["status"] == "completed"


async def test_jira_s_issue_made_by_the_hub_is_known_by_its_label(door: Api) -> None:
    reply = await jira(door, jira_issue("issue_created", labels=["ralf", "ralf-t-0a1b2c"]))
    assert (reply.json["status"], reply.json["reason"]) == ("ignored", "own_marker")
    assert (await door.get("/tasks")).json["total"] == 0


async def test_jira_s_comments_are_events_of_their_task_and_the_hub_s_own_are_not(door: Api) -> None:
    task_id = (await jira(door, jira_issue("issue_created"), "a")).json["task_id"]
    payload = {**jira_issue("issue_created"), "webhookEvent": "comment_created"}
    payload["comment"] = {"body": "Sewn.", "author": {"accountId": "5b10", "displayName": "Kai"}}
    assert (await jira(door, payload, "b")).json["task_id"] == task_id
    payload["comment"]["body"] = "Task started. ralf:evt_0199"
    assert (await jira(door, payload, "c")).json["reason"] == "own_marker"


async def test_an_edit_at_jira_moves_nothing(door: Api) -> None:
    task_id = (await jira(door, jira_issue("issue_created"), "a")).json["task_id"]
    payload = jira_issue("issue_updated", status="Released", category="done")
    payload["changelog"] = {"items": [{"field": "summary"}]}
    await jira(door, payload, "b")
    assert (await task(door, task_id))["status"] == "pending"


async def test_a_connector_s_own_issue_is_found_by_its_link(start: Start) -> None:
    site = {
        "enabled": True,
        "base_url": "http://127.0.0.1:9",
        "email": "a@b.c",
        "api_token": "jira-token-0123456789",
        "project_key": "MILL",
        "events": ["task_created"],
    }
    door = await start(webhooks=incoming(), connectors={"jira": site})
    await door.task(id="T-1")
    await door.hub.db.write(
        lambda conn: conn.execute(
            "UPDATE links SET external_id = '10001', external_key = 'MILL-4', state = 'linked', last_state = 'To Do'"
        )
    )
    echo = await jira(door, jira_issue("issue_updated"), "a")
    assert (echo.json["status"], echo.json["reason"], echo.json["task_id"]) == (
        "ignored",
        "state_known",
        "T-1",
    )
    done = await jira(door, jira_issue("issue_updated", status="Released", category="done"), "b")
    assert done.json["task_id"] == "T-1"
    assert (await task(door, "T-1"))["status"] == "completed"


async def test_a_new_issue_is_linked_to_the_connector_of_its_project_and_makes_no_second_one(
    start: Start,
) -> None:
    site = {
        "enabled": True,
        "base_url": "http://127.0.0.1:9",
        "email": "a@b.c",
        "api_token": "jira-token-0123456789",
        "project_key": "MILL",
        "events": ["task_created", "task_completed"],
    }
    door = await start(webhooks=incoming(), connectors={"jira": site})
    task_id = (await jira(door, jira_issue("issue_created"))).json["task_id"]
    (link,) = (await task(door, task_id))["links"]
    assert (link["connector"], link["external_id"]) == ("jira", "10001")
    deliveries = (await door.get(f"/deliveries?task_id={task_id}")).json["deliveries"]
    assert "create" not in [delivery["action"] for delivery in deliveries]


# --- Trello ---------------------------------------------------------------------------------------


def moved(to: str, action_id: str = "a1", member: str = "m1") -> dict[str, Any]:
    return {
        "model": {"id": "b1"},
        "action": {
            "id": action_id,
            "type": "updateCard",
            "idMemberCreator": member,
            "memberCreator": {"username": "kai"},
            "data": {
                "card": {"id": "5f0000000000000000000001", "shortLink": "AbC123", "name": "Paint"},
                "board": {"id": "b1"},
                "listBefore": {"id": "l1", "name": "Doing"},
                "listAfter": {"id": "l9", "name": to},
            },
        },
    }


async def trello(api: Api, payload: Any) -> Reply:
    body = packed(payload)
    return await send(api, "trello", body, SIGN.trello(body))


async def linked_card(api: Api) -> None:
    await api.task(id="T-1")
    await api.hub.db.write(
        lambda conn: conn.execute(
            "INSERT INTO links VALUES ('webhook:trello', 'task', 'T-1', '5f0000000000000000000001', 'AbC123', NULL, "
            "'linked', NULL, '', '', '')"
        )
    )


@pytest.mark.parametrize(
    ("to", "status"), [("Done", "completed"), ("DONE", "completed"), ("Doing", "pending")]
)
async def test_a_card_moved_to_a_done_list_completes_its_task(door: Api, to: str, status: str) -> None:
    await linked_card(door)
    reply = await trello(door, moved(to))
    assert (reply.status, reply.json["task_id"]) == (202, "T-1")
    assert (await task(door, "T-1"))["status"] == status
    again = await trello(door, moved(to))
    assert (again.status, again.json["status"]) == (200, "duplicate")


async def test_trello_signs_the_callback_url_of_the_settings(start: Start) -> None:
    door = await start(webhooks=incoming(trello={"callback_url": CALLBACK + "/"}))
    assert (await trello(door, moved("Done"))).status == 401
    (receipt,) = await receipts(door)
    assert CALLBACK in receipt["hint"]


async def test_lists_of_one_s_own(start: Start) -> None:
    rules = [
        {
            "when": "updateCard.list",
            "if": {"action.data.listAfter.name": "In Arbeit"},
            "do": "update_task",
            "status": "in_progress",
        },
        {"when": "createCard", "if": {"action.data.list.name": "RALF"}, "do": "create_task"},
    ]
    door = await start(webhooks=incoming(trello={"actions": rules}))
    await linked_card(door)
    await trello(door, moved("In Arbeit"))
    assert (await task(door, "T-1"))["status"] == "in_progress"
    payload = moved("x", "a2")
    payload["action"] |= {"type": "createCard"}
    payload["action"]["data"] = {
        "card": {"id": "5f0000000000000000000002", "shortLink": "Xyz", "name": "New one"},
        "list": {"id": "l1", "name": "RALF"},
        "board": {"id": "b1"},
    }
    made = await trello(door, payload)
    assert (await task(door, made.json["task_id"]))["title"] == "New one"


# --- PagerDuty ------------------------------------------------------------------------------------


async def pagerduty(api: Api, payload: Any) -> Reply:
    body = packed(payload)
    return await send(api, "pagerduty", body, SIGN.pagerduty(body))


@pytest.mark.shared
async def test_pagerduty_s_example_payloads_are_taken_once(door: Api) -> None:
    files = sorted(needs_shared("specs/pagerduty/webhook-payloads").glob("*.json"))
    assert len(files) == 15
    for number, file in enumerate(files):
        example = json.loads(file.read_bytes())
        event = {
            "id": f"E{number}",
            "event_type": "incident.annotated",
            "resource_type": "incident",
            "data": example,
        }
        for payload in (example, example if "event" in example else {"event": event}):
            body = packed(payload)
            first = await send(door, "pagerduty", body, SIGN.pagerduty(body))
            assert first.status in {200, 202}, file.name
            again = await send(door, "pagerduty", body, SIGN.pagerduty(body))
            assert (again.status, again.json) == (200, {**first.json, "status": "duplicate"})
            tampered = await send(door, "pagerduty", body + b"\n", SIGN.pagerduty(body))
            assert tampered.status == 401


def incident(kind: str, event_id: str, key: str = "") -> dict[str, Any]:
    data = {
        "id": "PX1",
        "type": "incident",
        "title": "Fire",
        "status": kind,
        "incident_key": key,
        "html_url": "https://a.pagerduty.com/incidents/PX1",
    }
    return {
        "event": {
            "id": event_id,
            "event_type": f"incident.{kind}",
            "resource_type": "incident",
            "agent": {"id": "PU1", "summary": "Kai"},
            "data": data,
        }
    }


async def test_an_incident_of_the_hub_s_own_is_an_event_of_its_task(door: Api) -> None:
    await door.task(id="T-1")
    for number, kind in enumerate(("acknowledged", "resolved")):
        reply = await pagerduty(door, incident(kind, f"e{number}", "ralf/ralf-hub/task/T-1"))
        assert reply.json["task_id"] == "T-1"
        event = next(e for e in await door.events() if e["id"] == reply.json["event_id"])
        assert (event["task_id"], event["data"]["by"]) == ("T-1", "Kai")
    assert (await task(door, "T-1"))["status"] == "pending"


async def test_an_incident_can_be_work(start: Start) -> None:
    rules = [{"when": "incident.triggered", "do": "create_task", "priority": "critical"}]
    door = await start(webhooks=incoming(pagerduty={"actions": rules}))
    task_id = (await pagerduty(door, incident("triggered", "e1"))).json["task_id"]
    assert ((await task(door, task_id))["title"], (await task(door, task_id))["priority"]) == (
        "Fire",
        "critical",
    )
    await pagerduty(door, incident("resolved", "e2"))
    assert (await task(door, task_id))["status"] == "completed"


async def test_pagerduty_s_ping_is_taken(door: Api) -> None:
    reply = await pagerduty(
        door, {"event": {"id": "p", "event_type": "pagey.ping", "data": {"message": "Hi"}}}
    )
    assert reply.status == 202


async def test_several_signatures_are_a_rotation(door: Api) -> None:
    body = packed(incident("triggered", "e1"))
    headers = SIGN.pagerduty(body)
    both = {
        "X-PagerDuty-Signature": f"v1={'00' * 32},{headers['X-PagerDuty-Signature']}",
        "Content-Type": JSON,
    }
    assert (await send(door, "pagerduty", body, both)).status == 202
