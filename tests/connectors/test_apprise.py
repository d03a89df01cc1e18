"""Apprise: the real library against a service on loopback; what is planned, tried a few times, and guarded."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ralf_hub.connectors.apprise import ATTEMPTS_MAX, AppriseConnector, AppriseSettings
from ralf_hub.connectors.base import (
    Ambiguous,
    ConnectorEnv,
    Delivered,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.outlets import Outlets
from ralf_hub.delivery.notifier import Notifier
from ralf_hub.model import Delivery
from tests.connectors.helpers import CLOCK, HUB, TASK, delivery, fact, nowhere
from tests.delivery.house import FAST, House, Sink
from tests.doubles.server import Fault
from tests.support import eventually, rows

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""Apprise imports it when its services are loaded."""

CONTEXT = SendContext(nowhere, CLOCK)
LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as double:
        yield double


def url(sink: Sink, path: str = "a", options: str = "") -> str:
    return f"json://127.0.0.1:{sink.port}/{path}{options}"


def made(
    *urls: str, notifier: Notifier | None = None, timeout_s: float = 2.0, **more: Any
) -> AppriseConnector:
    settings = AppriseSettings(urls=urls, **more)  # type: ignore[arg-type]
    outlets = Outlets(notify=notifier or Notifier(LOOPBACK))
    return AppriseConnector(
        "apprise", settings, ConnectorEnv(CLOCK, HUB, timeout_s=timeout_s, outlets=outlets)
    )


def row(one: AppriseConnector, number: int = 0, **more: Any) -> Delivery:
    about = fact("task_failed", {"error": "exit 1 @channel"})
    return replace(delivery(one.plan(about)[number], about), **more)


async def sent(one: AppriseConnector, **more: Any) -> Outcome:
    return await one.send(row(one, **more), CONTEXT)


def test_one_delivery_per_url_in_lanes_of_their_own_and_no_url_in_it() -> None:
    one = made("ntfy://topic-secret", "json://example.org/x")
    actions = one.plan(fact("task_failed"))
    keys = [action.payload["to"] for action in actions]
    assert [action.name for action in actions] == [f"notify:{key}" for key in keys]
    assert [action.lane for action in actions] == [f"TASK-7>{key}" for key in keys]
    assert len(set(keys)) == 2
    assert "topic-secret" not in str(actions) + repr(one.settings) + str(one.destinations())
    assert "ntfy://topic-secret" in one.settings.secret_values()


async def test_a_notice_as_it_arrives(sink: Sink) -> None:
    outcome = await sent(made(url(sink)))
    assert outcome == Delivered(response="JSON took it")
    (body,) = sink.bodies("/a")
    assert (body["title"], body["type"]) == ("Task failed: Fix the login", "failure")
    assert body["message"] == (
        f"exit 1 @\u200bchannel\nTask: TASK-7 \u00b7 Priority: high\n{HUB}/#/tasks/TASK-7\nevt_0123456789abcdef"
    )


async def test_a_failure_is_tried_again_a_few_times_and_then_given_up(sink: Sink) -> None:
    sink.faults.append(Fault(status=400, times=99))
    one = made(url(sink))
    for attempts in range(ATTEMPTS_MAX - 1):
        outcome = await sent(one, attempts=attempts)
        assert isinstance(outcome, Retry)
        assert outcome.reason == "JSON did not take it; the log says what Apprise saw"
    last = await sent(one, attempts=ATTEMPTS_MAX - 1)
    assert isinstance(last, Rejected)
    assert last.reason.startswith("given up after 5 attempts; the last: JSON did not take it")
    assert len(sink.seen) == ATTEMPTS_MAX
    assert isinstance(await sent(one, attempts=ATTEMPTS_MAX), Rejected)
    assert len(sink.seen) == ATTEMPTS_MAX


async def test_apprises_own_retries_and_redirects_are_off(sink: Sink) -> None:
    sink.faults.append(Fault("/a", status=302, headers={"Location": f"{sink.url}/b"}))
    outcome = await sent(made(url(sink, options="?retry=3&wait=0&redirect=yes")))
    assert isinstance(outcome, Retry)
    assert [seen.path for seen in sink.seen] == ["/a"]


async def test_a_service_that_hangs_leaves_it_open(sink: Sink) -> None:
    sink.faults.append(Fault(delay_s=1.5))
    one = made(url(sink), timeout_s=0.2)
    assert isinstance(await sent(one), Ambiguous)
    await eventually(lambda: len(sink.seen) == 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]"])
async def test_private_hosts_are_not_reached_unless_allowed(sink: Sink, host: str) -> None:
    outcome = await sent(made(f"json://{host}:{sink.port}/a", notifier=Notifier()))
    assert isinstance(outcome, Retry)
    assert "private or reserved network" in outcome.reason
    assert sink.seen == []


async def test_a_url_of_no_service_and_one_that_left_the_settings(sink: Sink) -> None:
    unknown = made("nosuchservice://x")
    assert isinstance(await sent(unknown), Retry)
    check = await unknown.validate(nowhere)
    assert (check.ok, check.message) == (False, "Apprise knows no service by URL 1")
    gone = await made(url(sink)).send(row(made(url(sink, "b"))), CONTEXT)
    assert gone == Rejected("its URL is in the settings no more")


async def test_the_check_sends_nothing(sink: Sink) -> None:
    check = await made(url(sink), "ntfy://topic").validate(nowhere)
    assert (check.ok, check.message) == (True, "the URLs are of JSON, ntfy; nothing was sent")
    assert sink.seen == []


async def test_without_a_way_out_nothing_is_lost(sink: Sink) -> None:
    blind = AppriseConnector("apprise", made(url(sink)).settings, ConnectorEnv(CLOCK))
    assert isinstance(await sent(blind), Retry)
    assert not (await blind.validate(nowhere)).ok


def test_templates_and_long_texts() -> None:
    (action,) = made("ntfy://t", template="{{ event.data.error }}").plan(
        fact("task_failed", {"error": "x" * 90_000})
    )
    assert len(action.payload["body"]) < 3200
    assert f"{HUB}/#/tasks/TASK-7" in action.payload["body"]
    (action,) = made("ntfy://t", template="{{ event.data.missing }}").plan(fact("task_failed"))
    assert "The template failed" in action.payload["body"]


@pytest.mark.parametrize("urls", [[], ["ntfy"], ["ntfy://a b"], ["ntfy://ok", "//no-scheme-secret"]])
def test_settings_that_cannot_work(urls: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        AppriseSettings(urls=urls)  # type: ignore[arg-type]
    assert "no-scheme-secret" not in str(caught.value)


async def test_one_service_that_is_down_holds_up_no_other(sink: Sink, db_path: Path) -> None:
    sink.faults.append(Fault("/down", status=500, times=99))
    async with House(db_path, policy=FAST) as house:
        house.connectors["apprise"] = made(url(sink, "down"), url(sink, "up"))
        await house.start()
        for _ in range(2):
            await house.intake.accept(lambda ledger: ledger.record("task_failed", source="t", task=TASK))
        await eventually(lambda: house.states() == {"delivered": 2, "dead": 2}, within_s=20)
        dead = rows(db_path, "SELECT attempts, last_error FROM outbox WHERE state = 'dead'")
    assert {attempts for attempts, _ in dead} == {ATTEMPTS_MAX}
    assert all("given up after 5 attempts" in str(error) for _, error in dead)
    assert len(sink.bodies("/up")) == 2
