"""PagerDuty: which incidents open and close, in what order, and what the answers come to."""

from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Fact,
    Http,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.pagerduty import SUMMARY_LENGTH_MAX, PagerDutySettings, judge
from ralf_hub.model import Feature, Link
from tests.connectors.helpers import CLOCK, HUB, NOW_MS, TASK, Sender, connector, fact, nowhere, planned
from tests.connectors.outside import outside
from tests.doubles.contract import needs_specs
from tests.doubles.pagerduty import CONTRACT, ROUTING_KEY, PagerDuty
from tests.doubles.server import Fault, Seen
from tests.support import SettableClock, connect, rows

KEY = "ralf/ralf-hub/task/TASK-7"
LINK = Link("pagerduty", KEY, KEY, state="linked", entity_id=TASK.id)
ALERT = {"code": "connector_down", "connector": "slack", "severity": "error", "message": "Slack is down"}
OVER = {**ALERT, "code": "connector_recovered", "severity": "info", "message": "Slack works again"}


@pytest.fixture
async def pagerduty() -> AsyncIterator[PagerDuty]:
    async with PagerDuty() as double:
        yield double


def made(base_url: str = "https://events.pagerduty.com/v2", **more: Any) -> Any:
    return connector("pagerduty", **{"routing_key": ROUTING_KEY, "base_url": base_url, **more})


def alert(data: dict[str, Any], **more: Any) -> Fact:
    return fact("system_alert", data, task=None, **more)


# --- what is planned ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("about", "without", "with_one"),
    [
        (fact("task_failed"), ["trigger"], ["trigger"]),
        (fact("task_completed"), [], ["resolve"]),
        (fact("task_cancelled"), [], ["resolve"]),
        (fact("task_started"), [], []),
        (fact("feature_delivered", task=None, feature=Feature("F-1", "Login")), ["change"], ["change"]),
        (alert(ALERT), ["trigger"], ["trigger"]),
        (alert(OVER), [], ["resolve"]),
        (alert({"code": "disk_full", "resolved": True}), [], ["resolve"]),
        (alert({"code": "disk_full", "severity": "ok"}), [], ["resolve"]),
        (alert({"message": "something"}), ["trigger"], ["trigger"]),
    ],
)
def test_what_an_event_asks_for(about: Fact, without: list[str], with_one: list[str]) -> None:
    assert [action.name for action in made().plan(about)] == without
    assert [action.name for action in made().plan(replace(about, link=LINK))] == with_one


def test_one_key_for_all_that_a_task_or_an_alert_has_to_tell() -> None:
    failed, completed = fact("task_failed"), fact("task_completed", link=LINK)
    keys = [made().plan(about)[0].payload["dedup_key"] for about in (failed, completed)]
    assert keys == [KEY, KEY]
    down, up = alert(ALERT), alert(OVER, link=LINK)
    keys = [made().plan(about)[0].payload["dedup_key"] for about in (down, up)]
    assert keys == ["ralf/ralf-hub/alert/connector/slack"] * 2
    assert made(instance="b").plan(failed)[0].payload["dedup_key"] == "ralf/b/task/TASK-7"
    (alone,) = made().plan(alert({"message": "x"}))
    assert (alone.payload["dedup_key"], alone.marker) == ("ralf/ralf-hub/event/evt_0123456789abcdef", None)


def test_a_key_that_is_too_long_is_hashed_and_stays_the_same() -> None:
    about = alert({"code": "c" * 400})
    first, second = (made().plan(about)[0].payload["dedup_key"] for _ in range(2))
    assert first == second
    assert len(first) <= 255


@pytest.mark.parametrize(
    ("about", "severity"),
    [
        (fact("task_failed"), "error"),
        (alert({"code": "x", "severity": "critical"}), "critical"),
        (alert({"code": "x", "severity": "warning"}), "warning"),
        (alert({"code": "x", "severity": "info"}), "info"),
        (alert({"code": "x", "severity": "strange"}), "warning"),
    ],
)
def test_severities(about: Fact, severity: str) -> None:
    assert made().plan(about)[0].payload["payload"]["severity"] == severity


def test_a_long_or_acting_text_is_cut_and_leads_to_the_task() -> None:
    about = fact("task_failed", {"error": "x" * 9000 + "\x1b[31m\nred"}, replace(TASK, title="T\n" * 4000))
    (action,) = made(template="{{ task.title }}{{ event.data.error }}").plan(about)
    assert len(action.payload["payload"]["summary"]) == SUMMARY_LENGTH_MAX
    assert "\n" not in action.payload["payload"]["summary"]
    assert "\x1b" not in orjson.dumps(action.payload).decode()
    assert action.payload["links"] == [{"href": f"{HUB}/#/tasks/TASK-7", "text": "Open in ralf-hub"}]


def test_a_template_that_fails_is_told() -> None:
    (action,) = made(template="{{ event.data.missing }}").plan(fact("task_failed"))
    assert action.payload["payload"]["summary"] == "Task failed: Fix the login"
    assert any("template failed" in name for name in action.payload["payload"]["custom_details"])


# --- what is sent ---------------------------------------------------------------------------------


async def test_an_incident_opens_is_repeated_and_closes(pagerduty: PagerDuty, http: Http) -> None:
    sender = Sender(made(pagerduty.api_url), http)
    sender.link = Link("pagerduty", marker=KEY, entity_id=TASK.id)
    failed = planned(sender.made, fact("task_failed", {"error": "exit 1"}), 1)
    assert ROUTING_KEY not in str(failed.payload)
    for again in (False, True):
        outcome = await sender.send(failed, again=again)
        assert isinstance(outcome, Delivered)
    (incident,) = pagerduty.incidents
    assert incident.payload == {
        "summary": "Task failed: Fix the login",
        "source": "ralf-hub",
        "timestamp": "2026-02-01T16:01:00.000Z",
        "severity": "error",
        "class": "task_failed",
        "custom_details": {
            "Task": "TASK-7", "Priority": "high", "Event": "evt_0123456789abcdef", "Text": "exit 1",
        },
    }  # fmt: skip
    assert len(incident.repeats) == 1
    assert (incident.given["client"], incident.given["client_url"]) == ("ralf-hub", HUB)
    assert sender.link == replace(LINK, marker=KEY, last_state="trigger:1")
    await sender.send(planned(sender.made, fact("task_completed", link=sender.link), 2))
    assert incident.status == "resolved"
    assert sender.link.last_state == "resolve:2"


async def test_a_delivered_feature_is_a_change(pagerduty: PagerDuty, http: Http) -> None:
    about = fact("feature_delivered", task=None, feature=Feature("F-1", "Login"))
    outcome = await Sender(made(pagerduty.api_url), http).send(planned(made(), about))
    assert isinstance(outcome, Delivered)
    assert outcome.link is None
    (change,) = pagerduty.changes
    assert change["payload"]["summary"] == "Feature delivered: Login"
    assert pagerduty.incidents == []


@pytest.mark.parametrize(
    ("kind", "number", "last", "sent"),
    [
        ("task_failed", 3, "resolve:7", False),
        ("task_failed", 9, "resolve:7", True),
        ("task_failed", 3, "trigger:7", True),
        ("task_completed", 3, "trigger:7", False),
        ("task_completed", 9, "trigger:7", True),
        ("task_completed", 3, "resolve:7", True),
        ("task_failed", 3, None, True),
        ("task_failed", 3, "by hand", True),
    ],
)
async def test_what_has_been_overtaken_is_not_sent(
    pagerduty: PagerDuty, http: Http, kind: str, number: int, last: str | None, *, sent: bool
) -> None:
    one = made(pagerduty.api_url)
    row = planned(one, fact(kind, link=LINK), number)
    link = replace(LINK, last_state=last)
    outcome: Outcome = await one.send(row, SendContext(http, CLOCK, link))
    assert isinstance(outcome, Delivered if sent else Rejected)
    assert len(pagerduty.seen) == sent
    if isinstance(outcome, Rejected):
        assert outcome.reason.startswith(
            f"not sent: the {str(last).partition(':')[0]} of delivery 7 is newer"
        )


# --- on real inner rooms --------------------------------------------------------------------------


def settings(double: PagerDuty) -> dict[str, Any]:
    return {"routing_key": ROUTING_KEY, "base_url": double.api_url}


async def test_a_dead_trigger_replayed_after_the_task_was_done_wakes_nobody(
    pagerduty: PagerDuty, db_path: Path, clock: SettableClock
) -> None:
    pagerduty.faults.append(Fault(status=400, body='{"message":"never"}'))
    async with outside(db_path, clock, "pagerduty", **settings(pagerduty)) as out:
        await out.tell("task_failed")
        await out.tell("task_completed")
        await out.settle()
        assert out.states() == [("trigger", "dead"), ("resolve", "delivered")]
        assert pagerduty.dropped == [KEY]
        await out.replay()
        assert out.states() == [("trigger", "dead"), ("resolve", "delivered")]
        assert "not sent" in str(out.rows()[0][2])
        await out.tell("task_failed")
        await out.settle()
        assert [incident.status for incident in pagerduty.incidents] == ["triggered"]
        link = await out.link()
        assert link is not None
        assert (link.external_id, link.last_state) == (KEY, "trigger:3")


async def test_nothing_goes_out_of_order_while_pagerduty_is_away(
    pagerduty: PagerDuty, db_path: Path, clock: SettableClock
) -> None:
    pagerduty.faults.append(Fault(status=503, times=4))
    async with outside(db_path, clock, "pagerduty", **settings(pagerduty)) as out:
        for kind in ("task_failed", "task_completed", "task_failed", "task_completed"):
            await out.tell(kind)
        await out.settle()
        assert {state for _, state in out.states()} == {"delivered"}
    assert [incident.status for incident in pagerduty.incidents] == ["resolved", "resolved"]
    assert pagerduty.dropped == []
    sent = [seen.json["event_action"] for seen in pagerduty.seen]
    assert sent[4:] == ["trigger", "resolve", "trigger", "resolve"]


async def test_an_alert_of_another_connector_opens_and_closes_its_incident(
    pagerduty: PagerDuty, db_path: Path, clock: SettableClock
) -> None:
    async with outside(db_path, clock, "pagerduty", **settings(pagerduty)) as out:
        for data in (ALERT, ALERT, OVER):
            await out.tell("system_alert", data, task=None)
        await out.settle()
    (incident,) = pagerduty.incidents
    assert (incident.status, len(incident.repeats)) == ("resolved", 1)
    with closing(connect(db_path)):
        lanes = rows(db_path, "SELECT DISTINCT lane FROM outbox")
    assert lanes == [("alert:connector:slack",)]


# --- what the answers come to ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (202, '{"status":"success"}', Delivered, ""),
        (200, "<html>sign in</html>", Retry, "not PagerDuty's"),
        (
            400,
            '{"message":"Event object is invalid","errors":["bad"]}',
            Rejected,
            "Event object is invalid; bad",
        ),
        (400, '{"errors":"bad"}', Rejected, "bad"),
        (400, "[]", Rejected, "says no"),
        (400, '{"errors":["Invalid routing key"]}', CredentialsBroken, "copy the integration key again"),
        (400, '{"errors":["\'routing_key\' is missing"]}', CredentialsBroken, "copy the integration key"),
        (403, "", CredentialsBroken, "(403)"),
        (404, "", Rejected, "(404)"),
        (500, "", Retry, "(500)"),
        (502, "", Ambiguous, "gateway"),
    ],
)
def test_answers(status: int, body: str, kind: type, words: str) -> None:
    outcome = judge(HttpResponse(status, {}, body.encode()), NOW_MS)
    assert type(outcome) is kind
    assert words in getattr(outcome, "reason", "")


@pytest.mark.parametrize(("headers", "wait"), [({}, 60.0), ({"retry-after": "7"}, 7.0)])
def test_limits_hold_the_connector(headers: dict[str, str], wait: float) -> None:
    outcome = judge(HttpResponse(429, headers, b""), NOW_MS)
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (wait, False, True)


# --- settings and checks --------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "short", f"{ROUTING_KEY}x", f"{ROUTING_KEY[:-1]}-"])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValidationError, match="32 letters and digits") as caught:
        PagerDutySettings(routing_key=key)  # type: ignore[arg-type]
    assert not key or key not in str(caught.value)


async def test_the_check_notifies_nobody(pagerduty: PagerDuty, http: Http) -> None:
    assert (await made(pagerduty.api_url).validate(http)).ok
    wrong = await made(pagerduty.api_url, routing_key="x" * 32).validate(http)
    assert (wrong.ok, "copy the integration key again" in wrong.message) == (False, True)
    assert pagerduty.incidents == []


def test_a_dry_run_and_nothing_of_the_key_in_sight() -> None:
    one = made()
    request = one.prepare(planned(one, fact("task_failed")), SendContext(nowhere, CLOCK))
    assert request.url == "https://events.pagerduty.com/v2/enqueue"
    assert orjson.loads(request.body)["routing_key"] == ROUTING_KEY
    assert ROUTING_KEY not in repr(request) + repr(one.settings) + str(one.destinations())


@needs_specs
@pytest.mark.shared
@pytest.mark.parametrize(
    "more", [{"severity": "fatal"}, {"source": 5}, {"summary": None}, {"severity": None}]
)
def test_the_double_refuses_what_pagerdutys_own_description_does_not_know(more: dict[str, Any]) -> None:
    payload = {"summary": "x", "source": "y", "severity": "error"}
    headers = {"content-type": "application/json"}

    def violation(payload: Any) -> str | None:
        body = {"routing_key": ROUTING_KEY, "event_action": "trigger", "payload": payload}
        return CONTRACT.violation(Seen("POST", "/v2/enqueue", {}, headers, orjson.dumps(body)))

    assert violation(payload) is None
    assert violation(payload | more) is not None
