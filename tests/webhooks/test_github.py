"""GitHub through the real app: its own example payloads, and what they do to tasks."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.api.conftest import Start
from tests.api.helpers import Api
from tests.support import eventually
from tests.webhooks.signing import SIGN, github, incoming, needs_shared, packed, receipts, send

REPOSITORY = {"full_name": "acme/mill", "html_url": "https://github.com/acme/mill"}


def issue(action: str, number: int = 7, **more: Any) -> dict[str, Any]:
    fields = {
        "number": number,
        "title": "The wheel squeaks",
        "body": "Since Monday.",
        "html_url": f"https://github.com/acme/mill/issues/{number}",
        "state": "closed" if action == "closed" else "open",
        **more,
    }
    return {"action": action, "issue": fields, "repository": REPOSITORY, "sender": {"login": "kai", "id": 5}}


def run(conclusion: str, number: int = 1, branch: str = "main", name: str = "tests") -> dict[str, Any]:
    fields = {
        "name": name,
        "head_branch": branch,
        "conclusion": conclusion,
        "run_number": number,
        "html_url": f"https://github.com/acme/mill/actions/runs/{number}",
    }
    return {
        "action": "completed",
        "workflow_run": fields,
        "repository": REPOSITORY,
        "sender": {"login": "kai"},
    }


def merged(title: str = "Oil the wheel", branch: str = "oil", body: str = "") -> dict[str, Any]:
    fields = {
        "number": 9,
        "title": title,
        "body": body,
        "merged": True,
        "state": "closed",
        "head": {"ref": branch},
        "html_url": "https://github.com/acme/mill/pull/9",
    }
    return {"action": "closed", "pull_request": fields, "repository": REPOSITORY, "sender": {"login": "kai"}}


@pytest.mark.shared
async def test_every_example_payload_is_taken_once(door: Api) -> None:
    files = sorted(needs_shared("specs/github/webhook-payloads").glob("*.json"))
    assert len(files) == 21
    for number, file in enumerate(files):
        body, event = file.read_bytes(), file.name.split(".")[0]
        headers = SIGN.github(body, event, f"guid-{number}")
        first = await send(door, "github", body, headers)
        assert first.status == 202, (file.name, first.body)
        assert first.json["status"] == "accepted"
        assert first.json["event_id"]
        again = await send(door, "github", body, headers)
        assert (again.status, again.json) == (200, {**first.json, "status": "duplicate"})
        tampered = await send(door, "github", body + b" ", headers)
        assert (tampered.status, tampered.code) == (401, "invalid_signature")
    numbers = (await door.get("/metrics")).json["webhooks"]
    assert numbers == {"accepted": 21, "duplicate": 21, "rejected": {"mismatch": 21}}
    received = [event for event in await door.events() if event["type"] == "webhook_received"]
    assert len(received) == 21


async def test_an_opened_issue_is_a_task_and_a_closed_one_completes_it(door: Api) -> None:
    reply = await github(door, issue("opened"))
    task = (await door.get(f"/tasks/{reply.json['task_id']}")).json
    assert (task["title"], task["description"], task["status"]) == (
        "The wheel squeaks",
        "Since Monday.",
        "pending",
    )
    assert task["source"] == "webhook:github"
    assert task["metadata"]["url"] == "https://github.com/acme/mill/issues/7"
    assert task["metadata"]["external_id"] == "acme/mill#7"
    (link,) = task["links"]
    assert link["external_key"] == "acme/mill#7"
    closed = await github(door, issue("closed", state_reason="completed"), delivery="d-2")
    assert closed.json["task_id"] == task["id"]
    assert (await door.get(f"/tasks/{task['id']}")).json["status"] == "completed"
    event = next(e for e in await door.events() if e["id"] == closed.json["event_id"])
    assert event["type"] == "webhook_received"
    assert event["task_id"] == task["id"]
    assert event["data"]["by"] == "kai"
    assert event["data"]["event"] == "issues.closed"


async def test_an_issue_closed_as_not_planned_cancels(door: Api) -> None:
    task_id = (await github(door, issue("opened"))).json["task_id"]
    await github(door, issue("closed", state_reason="not_planned"), delivery="d-2")
    assert (await door.get(f"/tasks/{task_id}")).json["status"] == "cancelled"


async def test_opened_twice_by_two_hooks_is_one_task(door: Api) -> None:
    first = await github(door, issue("opened"), delivery="a")
    second = await github(door, issue("opened"), delivery="b")
    assert second.status == 202
    assert second.json["id"] != first.json["id"]
    assert second.json["task_id"] == first.json["task_id"]
    assert (await door.get("/tasks")).json["total"] == 1


async def test_a_reopened_issue_gets_a_new_task_once_the_old_one_has_ended(door: Api) -> None:
    first = (await github(door, issue("opened"), delivery="a")).json["task_id"]
    same = (await github(door, issue("reopened"), delivery="b")).json["task_id"]
    assert same == first
    await github(door, issue("closed"), delivery="c")
    renewed = (await github(door, issue("reopened"), delivery="d")).json["task_id"]
    assert renewed != first
    assert (await door.get(f"/tasks/{first}")).json["status"] == "completed"
    await github(door, issue("closed"), delivery="e")
    assert (await door.get(f"/tasks/{renewed}")).json["status"] == "completed"


async def test_a_failed_task_is_completed_when_its_issue_is_closed(door: Api) -> None:
    task_id = (await github(door, issue("opened"))).json["task_id"]
    for status in ("in_progress", "failed"):
        await door.patch(f"/tasks/{task_id}", {"status": status})
    await github(door, issue("closed"), delivery="d-2")
    assert (await door.get(f"/tasks/{task_id}")).json["status"] == "completed"


async def test_a_failing_workflow_is_one_task_per_branch_and_workflow(door: Api) -> None:
    first = (await github(door, run("failure"), "workflow_run", "a")).json["task_id"]
    task = (await door.get(f"/tasks/{first}")).json
    assert task["title"] == "Fix CI: tests on main (acme/mill)"
    assert (task["priority"], task["type"]) == ("high", "fix")
    second = (await github(door, run("failure", 2), "workflow_run", "b")).json["task_id"]
    assert second == first
    notes = [e["data"]["note"] for e in await door.events() if e["type"] == "task_progress"]
    assert notes == ["Failed again, run 2: https://github.com/acme/mill/actions/runs/2"]
    for payload in (run("failure", branch="next"), run("timed_out", name="docs")):
        other = (await github(door, payload, "workflow_run", json.dumps(payload))).json["task_id"]
        assert other not in {None, first}
    green = await github(door, run("success", 3), "workflow_run", "c")
    assert green.json["task_id"] == first
    assert (await door.get(f"/tasks/{first}")).json["status"] == "completed"
    later = (await github(door, run("failure", 4), "workflow_run", "d")).json["task_id"]
    assert later not in {None, first}


async def test_a_success_nobody_waited_for_makes_nothing(door: Api) -> None:
    reply = await github(door, run("success"), "workflow_run")
    assert (reply.status, reply.json["task_id"]) == (202, None)
    assert (await door.get("/tasks")).json["total"] == 0


@pytest.mark.parametrize("where", ["branch", "title", "body"])
async def test_a_merged_pull_request_completes_the_task_it_names(door: Api, where: str) -> None:
    task = await door.task(id="TASK-17-abc")
    named = {
        "branch": "ralf/TASK-17-abc-oil-the-wheel",
        "title": "TASK-17-abc: oil it",
        "body": "Done. ralf:TASK-17-abc",
    }[where]
    reply = await github(door, merged(**{where: named}), "pull_request")
    assert reply.json["task_id"] == task["id"]
    assert (await door.get(f"/tasks/{task['id']}")).json["status"] == "completed"


async def test_a_pull_request_closed_without_a_merge_completes_nothing(door: Api) -> None:
    task = await door.task(id="TASK-17-abc")
    payload = merged(title="TASK-17-abc")
    payload["pull_request"]["merged"] = False
    await github(door, payload, "pull_request")
    assert (await door.get(f"/tasks/{task['id']}")).json["status"] == "pending"


async def test_a_comment_is_an_event_of_its_task(door: Api) -> None:
    task_id = (await github(door, issue("opened"))).json["task_id"]
    payload = {**issue("created"), "comment": {"body": "It rained.", "html_url": "https://github.com/c/1"}}
    reply = await github(door, payload, "issue_comment", "d-2")
    assert reply.json["task_id"] == task_id
    event = next(e for e in await door.events() if e["id"] == reply.json["event_id"])
    assert event["data"]["comment"] == "It rained."
    assert (await door.get(f"/tasks/{task_id}")).json["status"] == "pending"


async def test_what_the_hub_itself_did_is_not_acted_on(start: Start) -> None:
    door = await start(webhooks=incoming(github={"own_identity": ["Ralf-Bot"]}))
    own = {**issue("opened"), "sender": {"login": "ralf-bot"}}
    marked = issue("opened", 8, body="Made by the hub. ralf:evt_0199")
    for number, (payload, reason) in enumerate([(own, "own_identity"), (marked, "own_marker")]):
        reply = await github(door, payload, delivery=f"d-{number}")
        assert reply.status == 202
        assert (reply.json["status"], reply.json["reason"], reply.json["event_id"]) == (
            "ignored",
            reason,
            None,
        )
        again = await github(door, payload, delivery=f"d-{number}")
        assert (again.status, again.json["status"]) == (200, "duplicate")
    assert (await door.get("/tasks")).json["total"] == 0
    assert [r["reason"] for r in await receipts(door, "?status=ignored")] == ["own_marker", "own_identity"]


async def test_the_label_an_issue_of_the_hub_s_was_made_with_is_no_order_for_work(start: Start) -> None:
    """It can come before the connector knows the number of its own issue; a label set later is somebody's wish."""
    rule = {"when": "issues.labeled", "if": {"label.name": "ralf"}, "do": "create_task"}
    door = await start(webhooks=incoming(github={"actions": [rule]}))
    times = {"created_at": "2026-02-01T16:01:00Z", "updated_at": "2026-02-01T16:01:00Z"}
    own = {**issue("labeled", 8, body="Made by the hub. ralf:evt_0199", **times), "label": {"name": "ralf"}}
    at_once = await github(door, own, delivery="a")
    assert (at_once.json["status"], at_once.json["reason"]) == ("ignored", "own_marker")
    own["issue"]["updated_at"] = "2026-02-01T17:00:00Z"
    assert (await github(door, own, delivery="b")).json["task_id"] is not None
    theirs = {**issue("labeled", 9, **times), "label": {"name": "ralf"}}
    assert (await github(door, theirs, delivery="c")).json["task_id"] is not None


async def test_the_state_the_link_was_left_in_is_no_news(door: Api) -> None:
    await github(door, issue("opened"), delivery="a")
    await github(door, issue("closed"), delivery="b")
    echo = await github(door, issue("closed"), delivery="c")
    assert (echo.json["status"], echo.json["reason"]) == ("ignored", "state_known")


async def test_a_form_is_read_as_well(door: Api) -> None:
    body = urlencode({"payload": json.dumps(issue("opened"))}).encode()
    headers = {**SIGN.github(body), "Content-Type": "application/x-www-form-urlencoded"}
    reply = await send(door, "github", body, headers)
    assert reply.status == 202
    assert reply.json["task_id"]


async def test_own_rules_take_the_place_of_the_defaults(start: Start) -> None:
    rules = [
        {
            "when": "issues.*",
            "if": {"issue.labels.name": "ralf", "action": ["opened", "labeled"]},
            "do": "create_task",
            "title": "{{ repository.full_name }}: {{ issue.title }}",
            "priority": "{% if 'urgent' in issue.labels | map(attribute='name') %}critical{% else %}low{% endif %}",
            "feature_id": "F-mill",
        },
        {"when": "push", "do": "event", "event": "code_pushed"},
    ]
    door = await start(webhooks=incoming(github={"actions": rules}))
    assert (await github(door, issue("opened"), delivery="a")).json["task_id"] is None
    labels = [{"name": "ralf"}, {"name": "urgent"}]
    reply = await github(door, issue("labeled", labels=labels), delivery="b")
    task = (await door.get(f"/tasks/{reply.json['task_id']}")).json
    assert (task["title"], task["priority"], task["feature_id"]) == (
        "acme/mill: The wheel squeaks",
        "critical",
        "F-mill",
    )
    assert (
        await github(door, {"ref": "refs/heads/main", "repository": REPOSITORY}, "push", "c")
    ).status == 202
    assert "code_pushed" in [event["type"] for event in await door.events()]


async def test_a_template_that_fails_falls_back_and_says_so(start: Start) -> None:
    rules = [{"when": "issues.opened", "do": "create_task", "title": "{{ issue.titel }}"}]
    door = await start(webhooks=incoming(github={"actions": rules}))
    reply = await github(door, issue("opened"))
    assert (await door.get(f"/tasks/{reply.json['task_id']}")).json["title"] == "The wheel squeaks"
    (receipt,) = await receipts(door)
    assert "template failed" in receipt["reason"]
    assert receipt["status"] == "accepted"


async def test_so_many_tasks_at_once_and_no_more(start: Start) -> None:
    door = await start(webhooks=incoming(github={"max_concurrent": 2}))
    ids = [
        (await github(door, issue("opened", number), delivery=str(number))).json["task_id"]
        for number in range(1, 5)
    ]
    states = [(await door.get(f"/tasks/{task_id}")).json for task_id in ids]
    assert [task["status"] for task in states] == ["pending", "pending", "blocked", "blocked"]
    assert "waits: github may have 2 open at once" in states[2]["error"]
    body = packed(issue("closed", 1))
    await send(door, "github", body, SIGN.github(body, delivery="close"))

    async def moved_on() -> bool:
        return [(await door.get(f"/tasks/{task_id}")).json["status"] for task_id in ids[1:]] == [
            "pending",
            "pending",
            "blocked",
        ]

    await eventually(moved_on)
    assert (await door.get(f"/tasks/{ids[2]}")).json["error"] is None


async def test_a_comment_can_be_a_note_whatever_state_its_task_is_in(start: Start) -> None:
    rules = [
        {"when": "issue_comment.created", "do": "note", "note": "{{ sender.login }}: {{ comment.body }}"},
        {"when": "issues.opened", "do": "create_task", "priority": "{{ 'soonish' }}", "type": "bug"},
    ]
    door = await start(webhooks=incoming(github={"actions": rules}))
    task_id = (await github(door, issue("opened"), delivery="a")).json["task_id"]
    task = (await door.get(f"/tasks/{task_id}")).json
    assert (task["priority"], task["type"]) == ("medium", "bug")
    assert (await receipts(door))[0]["reason"] == "there is no priority soonish"
    payload = {**issue("created"), "comment": {"body": "Still\x1b[31m there."}}
    await github(door, payload, "issue_comment", "b")
    await door.patch(f"/tasks/{task_id}", {"status": "completed"})
    reply = await github(door, payload, "issue_comment", "c")
    assert reply.json["task_id"] == task_id
    noted = [(e["type"], e["data"]["note"]) for e in await door.events() if "note" in e["data"]]
    assert noted == [("task_progress", "kai: Still there."), ("task_updated", "kai: Still there.")]
    other = {**payload, "issue": {**payload["issue"], "number": 99, "html_url": "https://github.com/x"}}
    assert (await github(door, other, "issue_comment", "d")).json["task_id"] is None


async def test_a_closed_issue_of_a_task_that_has_ended_otherwise_changes_nothing(door: Api) -> None:
    task_id = (await github(door, issue("opened"), delivery="a")).json["task_id"]
    await door.delete(f"/tasks/{task_id}")
    reply = await github(door, issue("closed"), delivery="b")
    assert (reply.status, reply.json["task_id"]) == (202, task_id)
    assert (await door.get(f"/tasks/{task_id}")).json["status"] == "cancelled"
    assert (await receipts(door))[0]["reason"] == f"{task_id} is cancelled and stays so"


async def test_a_fix_that_failed_is_tried_again_when_ci_fails_again(door: Api) -> None:
    task_id = (await github(door, run("failure"), "workflow_run", "a")).json["task_id"]
    for status in ("in_progress", "failed"):
        await door.patch(f"/tasks/{task_id}", {"status": status})
    assert (await github(door, run("failure", 2), "workflow_run", "b")).json["task_id"] == task_id
    assert (await door.get(f"/tasks/{task_id}")).json["status"] == "pending"


async def test_very_long_texts_are_cut(door: Api) -> None:
    payload = issue("opened", title="T" * 3_000_000, body="B" * 3_000_000)
    task_id = (await github(door, payload)).json["task_id"]
    task = (await door.get(f"/tasks/{task_id}")).json
    assert (len(task["title"]), len(task["description"])) == (500, 20_000)
