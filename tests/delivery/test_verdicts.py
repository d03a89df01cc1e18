"""From what a connector says to what is written down: sending, judging a connector's standing, recording, explaining."""

import asyncio
from dataclasses import replace
from sqlite3 import Connection
from typing import Any

import pytest

from ralf_hub.clock import iso
from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Delivered,
    Gone,
    HttpRequest,
    HttpResponse,
    Link,
    NotSentError,
    Outcome,
    Rejected,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.delivery import sending
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.bookkeeper import Bookkeeper, DispatchPolicy
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.channel import Channel, Claimed, Finished, Standing
from ralf_hub.delivery.explain import Circumstances, explain
from ralf_hub.delivery.recording import record, standing_after
from ralf_hub.delivery.routing import Router
from ralf_hub.intake.ledger import Ledger
from ralf_hub.model import CANCELLED, DEAD, DELIVERED, LANE_WAITS, Delivery
from ralf_hub.secrets import Redactor
from ralf_hub.store import connectors as connector_states
from ralf_hub.store import links, outbox
from ralf_hub.store.connectors import ConnectorState
from ralf_hub.store.outbox import Draft
from tests.delivery.house import House, Keeper, Poster, Sink
from tests.intake.conftest import poster
from tests.support import START_MS, SettableClock, eventually, rows

NOW = iso(START_MS)
POLICY = DispatchPolicy(4, 5.0, Backoff(5, 60, 3), BreakerPolicy(3, 10, 300))
ROW = Delivery(
    1, "evt_1", "note", "a", "post", "{}", task_id="T-1", lane="T-1", next_attempt_at=NOW, created_at=NOW
)
SECRET = "hunter2-hunter2"
CLOCK = SettableClock()


def finished(outcome: Outcome, row: Delivery = ROW, *, probing: bool = False) -> Finished:
    return Finished(Claimed(row, probing=probing), outcome, NOW, 12)


# --- one try --------------------------------------------------------------------------------------


class Says(Poster):
    """Raises or returns what it is told to."""

    what: Any = None

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        del delivery, context
        if isinstance(self.what, BaseException):
            raise self.what
        if self.what == "sleep":
            await asyncio.sleep(30)
        return self.what  # type: ignore[no-any-return]


async def no_network(_: HttpRequest) -> HttpResponse:
    raise NotSentError("there is none")


async def outcome_of(what: object) -> Outcome:
    connector = poster("a", Says)
    connector.what = what  # type: ignore[attr-defined]
    clock = SettableClock().clock
    return await sending.send(connector, Claimed(ROW), http=no_network, clock=clock, timeout_s=0.0)


@pytest.mark.parametrize(
    ("what", "outcome"),
    [
        (Delivered(201), Delivered(201)),
        (NotSentError("no connection"), Retry("no connection")),
        (UnknownAnswerError("no answer"), Ambiguous("no answer")),
        (TimeoutError("its own"), Ambiguous("no verdict in time")),
        (ValueError("a fault"), Retry("the connector failed: ValueError: a fault")),
        ("sleep", Ambiguous("no verdict in time")),
    ],
    ids=str,
)
async def test_whatever_a_connector_does_is_an_outcome(
    what: object, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_GRACE_S", 0.05)
    assert await outcome_of(what) == outcome


async def test_being_cancelled_is_no_outcome() -> None:
    with pytest.raises(asyncio.CancelledError):
        await outcome_of(asyncio.CancelledError())


@pytest.mark.parametrize(
    ("outcome", "plain"),
    [
        (Delivered(200, "x", Link("", external_id="1")), Delivered(200)),
        (Rejected("x", 422, "y"), Rejected("its outcome could not be recorded (TypeError)")),
        (Retry("x", 500), Retry("its outcome could not be recorded (TypeError)")),
        (Gone("x"), Retry("its outcome could not be recorded (TypeError)")),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_an_outcome_without_detail_means_the_same_or_less(outcome: Outcome, plain: Outcome) -> None:
    assert sending.without_detail(finished(outcome), TypeError("x")).outcome == plain


# --- a connector's standing -----------------------------------------------------------------------


def after(standing: Standing, *outcomes: Outcome, probing: bool = False) -> Standing:
    for number, outcome in enumerate(outcomes, 1):
        item = finished(outcome, replace(ROW, id=number), probing=probing)
        standing = standing_after(
            standing, item, now_ms=START_MS, policy=POLICY.breaker, redact=Redactor([SECRET])
        )
    return standing


FRESH = Standing(ConnectorState("a"))
DOWN = Retry("down")


def test_failures_of_different_deliveries_add_up() -> None:
    standing = after(FRESH, DOWN, Ambiguous("no answer"), DOWN)
    assert standing.state.breaker == "open"
    assert standing.failed_ids == {1, 2, 3}


def test_what_says_nothing_of_the_service_changes_nothing() -> None:
    failing = after(FRESH, DOWN, DOWN)
    assert after(failing, Retry("look-up not possible yet", counts=False)) == failing


def test_a_delivery_and_a_refusal_both_show_that_the_service_works() -> None:
    failing = after(FRESH, DOWN, DOWN)
    assert after(failing, Delivered()) == Standing(replace(failing.state, failures=0, last_delivered_at=NOW))
    refused = after(failing, Rejected(f"no, {SECRET}"))
    assert refused.failed_ids == frozenset()
    assert (refused.state.failures, refused.state.last_delivered_at) == (0, None)
    assert (refused.state.last_error, refused.state.last_error_at) == ("no, ***", NOW)


def test_credentials_limits_and_410_do_what_they_say() -> None:
    broken = after(FRESH, CredentialsBroken(f"{SECRET} expired")).state
    assert (broken.breaker, broken.reason) == ("open", "*** expired")
    limited = after(FRESH, Retry("429", retry_after_s=7, counts=False, holds_connector=True)).state
    assert (limited.breaker, limited.held_until) == ("closed", iso(START_MS + 7000))
    gone = after(FRESH, Gone("410")).state
    assert (gone.breaker, gone.reason) == ("disabled", "410")


# --- recording ------------------------------------------------------------------------------------


def put(conn: Connection, count: int = 3, connector: str = "a") -> list[Delivery]:
    made = []
    for n in range(1, count + 1):
        outbox.insert(
            conn,
            Draft(f"evt_{connector}{n}", n, "note", connector, "post", "{}", f"T-{n}", f"T-{n}"),
            now=NOW,
        )
        found = outbox.get(conn, int(conn.execute("SELECT max(id) FROM outbox").fetchone()[0]))
        assert found is not None
        made.append(found)
    return made


def recorded(conn: Connection, *items: Finished, known: tuple[str, ...] = ("a",)) -> dict[str, Standing]:
    clock = CLOCK
    hearer = poster("hearer", events=["system_alert"])
    return record(
        Ledger(conn, clock.clock, Router({"hearer": hearer})),
        items,
        failed_ids=dict.fromkeys(known, frozenset()),
        policy=POLICY,
        clock=clock.clock,
        random=lambda: 0.5,
        redact=Redactor([SECRET]),
    )


def alerts(conn: Connection) -> list[str]:
    found = conn.execute("SELECT data ->> 'code' FROM events WHERE type = 'system_alert' ORDER BY seq")
    return [code for (code,) in found]


def test_no_secret_and_nothing_endless_is_written_down(conn: Connection) -> None:
    (row, *_) = put(conn)
    long = f"{SECRET} " * 5000
    recorded(conn, finished(Retry(long, 500, long), row))
    found = conn.execute("SELECT error, response FROM attempts").fetchone()
    kept = conn.execute("SELECT last_error FROM outbox WHERE id = 1").fetchone()[0]
    state = conn.execute("SELECT last_error FROM connectors").fetchone()[0]
    assert [len(text) for text in (*found, kept, state)] == [1000, 2000, 1000, 2000]
    assert all(SECRET not in text for text in (*found, kept, state))


def test_a_breaker_that_moves_is_announced_once(conn: Connection) -> None:
    items = put(conn)
    recorded(conn, *(finished(CredentialsBroken("401"), row) for row in items))
    assert alerts(conn) == ["connector_down"]
    recorded(conn, finished(CredentialsBroken("401"), items[0], probing=True))
    assert alerts(conn) == ["connector_down"]
    recorded(conn, finished(Delivered(), items[0], probing=True))
    recorded(conn, finished(Gone("410"), items[1]))
    assert alerts(conn) == ["connector_down", "connector_recovered", "connector_disabled"]
    lanes = conn.execute("SELECT DISTINCT lane FROM outbox WHERE connector = 'hearer'").fetchall()
    assert lanes == [("alert:connector:a",)]


def test_what_opened_and_closed_within_one_batch_is_not_worth_a_word(conn: Connection) -> None:
    first, second, _ = put(conn)
    standing = recorded(conn, finished(CredentialsBroken("401"), first), finished(Delivered(), second))["a"]
    assert standing.state.breaker == "closed"
    assert alerts(conn) == []


def test_what_someone_else_decided_meanwhile_is_built_upon(conn: Connection) -> None:
    (row, *_) = put(conn)
    connector_states.set_paused(conn, "a", paused=True, by="me", now=NOW)
    state = recorded(conn, finished(Delivered(), row))["a"].state
    assert (state.paused, state.paused_by, state.last_delivered_at) == (True, "me", NOW)
    assert connector_states.get(conn, "a") == state


def test_a_connector_that_left_gets_its_verdict_and_no_state(conn: Connection) -> None:
    (row, *_) = put(conn)
    assert recorded(conn, finished(CredentialsBroken("401"), row), known=("b",)) == {}
    assert conn.execute("SELECT last_outcome FROM outbox WHERE id = 1").fetchone() == ("credentials_broken",)
    assert conn.execute("SELECT count(*) FROM connectors").fetchone() == (0,)
    assert alerts(conn) == []


def test_what_was_made_is_linked_to_what_it_stands_for(conn: Connection) -> None:
    task, feature, alert, other = put(conn, 4)
    feature = replace(feature, task_id=None, lane="feature:F-1")
    alert = replace(alert, task_id=None, lane="alert:connector:x")
    other = replace(other, task_id=None, lane="room:12")
    for n, row in enumerate((task, feature, alert, other)):
        recorded(conn, finished(Delivered(200, link=Link("", external_id=f"X-{n}", state="linked")), row))
    found = conn.execute(
        "SELECT connector, entity_type, entity_id, external_id FROM links ORDER BY external_id"
    )
    assert found.fetchall() == [
        ("a", "task", "T-1", "X-0"),
        ("a", "feature", "F-1", "X-1"),
        ("a", "alert", "connector:x", "X-2"),
    ]


def test_what_is_gone_outside_is_told_once(conn: Connection) -> None:
    (row, *_) = put(conn)
    gone = finished(Rejected("404", link=Link("", external_key="RALF-1", state="broken")), row)
    recorded(conn, gone)
    recorded(conn, gone)
    assert alerts(conn) == ["link_broken"]
    link = links.get(conn, "a", "task", "T-1")
    assert link is not None
    assert link.state == "broken"


async def test_a_verdict_no_database_takes_stays_held_and_the_others_are_recorded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = SettableClock()
    taken: list[int] = []

    async def accept(change: Any, *, after: Any = None) -> Any:
        del change
        if 2 in pending:
            raise TypeError("not this one")
        taken.extend(pending)
        if after is not None:
            after({})

    pending: set[int] = set()

    class Watched(Bookkeeper):
        def _write_down(self, taken: Any) -> Any:
            pending.clear()
            pending.update(item.claimed.delivery.id for _, item in taken)
            return super()._write_down(taken)

    made = Watched(
        accept,
        clock=clock.clock,
        random=lambda: 0.5,
        redact=str,
        recorded=lambda _: None,
        policy=POLICY,
        wake=lambda: None,
    )
    channel = Channel(poster("a"), 4, FRESH, held={1, 2, 3})
    for number in (1, 2, 3):
        made.add(channel, finished(Delivered(), replace(ROW, id=number)))
    made.close()
    await made.run()
    assert taken == [1, 3]
    assert channel.held == {2}
    assert "the verdict on delivery 2 cannot be recorded" in caplog.text


async def test_what_was_found_for_a_connector_that_was_paused_meanwhile_is_not_sent(
    house: House, sink: Sink
) -> None:
    house.add("k", f"{sink.url}/k", Keeper)
    await house.configure()
    await house.tell(1, "T-1")
    go_on = asyncio.Event()
    write = house.db.write

    async def slow_write(*given: Any, **more: Any) -> Any:
        await go_on.wait()
        return await write(*given, **more)

    house.db.write = slow_write  # type: ignore[method-assign]
    await house.start()
    await eventually(lambda: not house.dispatcher.channels["k"].woken)
    house.dispatcher.hold("k")
    go_on.set()
    await eventually(lambda: rows(house.path, "SELECT first_attempt_at FROM outbox") != [(None,)])
    await eventually(lambda: house.dispatcher.channels["k"].woken)
    assert sink.seen == []
    await house.dispatcher.refresh()
    await eventually(house.settled)
    assert len(sink.seen) == 1


# --- in words -------------------------------------------------------------------------------------

AROUND = Circumstances(ConnectorState("a"), known=True, ahead=None, now=NOW, max_attempts=12)
LATER = iso(START_MS + 60_000)


@pytest.mark.parametrize(
    ("row", "around", "said"),
    [
        (
            replace(ROW, state=DELIVERED, delivered_at=NOW, attempts=2),
            AROUND,
            f"Delivered at {NOW} with attempt 2.",
        ),
        (
            replace(ROW, state=DEAD, last_error="422"),
            AROUND,
            "Dead: 422. Nothing more happens until someone replays",
        ),
        (replace(ROW, state=DEAD), AROUND, "Dead: no reason was recorded."),
        (replace(ROW, state=CANCELLED), AROUND, "Cancelled: someone decided so."),
        (
            ROW,
            AROUND,
            "Pending: it is due and goes as soon as a hand is free; 0 of 12 attempts have counted.",
        ),
        (
            replace(ROW, last_error="500", attempts=1),
            AROUND,
            "1 of 12 attempts have counted. The last error was: 500",
        ),
        (replace(ROW, next_attempt_at=LATER), AROUND, f"the next attempt is due at {LATER}"),
        (ROW, replace(AROUND, known=False), "there is no connector a in the settings"),
        (ROW, replace(AROUND, in_hand=True), "it is being sent right now"),
        (
            replace(ROW, next_attempt_at=LANE_WAITS),
            replace(AROUND, ahead=7),
            "it waits for delivery 7 of the same task, which goes first",
        ),
        (ROW, replace(AROUND, state=ConnectorState("a", paused=True, paused_by="me")), "was paused by me"),
        (ROW, replace(AROUND, state=ConnectorState("a", paused=True)), "was paused by someone"),
        (
            ROW,
            replace(AROUND, state=ConnectorState("a", breaker="disabled", reason="410")),
            "is disabled (410) until someone resumes it",
        ),
        (
            ROW,
            replace(AROUND, state=ConnectorState("a", breaker="open", reason="401", probe_at=LATER)),
            f"the breaker of a is open (401); the next probe goes at {LATER}",
        ),
        (
            ROW,
            replace(AROUND, state=ConnectorState("a", held_until=LATER)),
            f"a asked the hub to keep quiet until {LATER}",
        ),
        (
            ROW,
            replace(AROUND, state=ConnectorState("a", held_until="2020")),
            "goes as soon as a hand is free",
        ),
    ],
)
def test_a_person_is_told_why_it_is_where_it_is(row: Delivery, around: Circumstances, said: str) -> None:
    assert said in explain(row, around)
