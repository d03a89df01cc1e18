import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ralf_hub.delivery import dispatcher
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.routing import Router
from ralf_hub.errors import NotFoundError
from ralf_hub.store import connectors as connector_states
from tests.delivery.house import FAST, House, Keeper, Sink, always
from tests.doubles.server import Fault, Seen
from tests.support import SettableClock, eventually, rows

STEADY = replace(FAST, backoff=Backoff(0.001, 0.001, 12), breaker=BreakerPolicy(5, 10.0, 300.0))
"""For a clock that stands still: what is retried is due at the next look, probes only when time is moved."""


# --- delivering -----------------------------------------------------------------------------------


async def test_what_was_accepted_is_delivered_once_and_written_down(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a")
    await house.start()
    event = await house.tell(1, "T-1")
    await eventually(house.settled)
    assert sink.bodies("/a") == [{"delivery": 1, "again": False, "type": "note", "task": "T-1", "n": 1}]
    found = rows(house.path, "SELECT event_id, state, attempts, last_error, last_outcome FROM outbox")
    assert found == [(event.id, "delivered", 1, None, "delivered")]
    tries = rows(house.path, "SELECT delivery_id, outcome, status_code, error FROM attempts")
    assert tries == [(1, "delivered", 204, None)]


async def test_what_is_pending_at_the_start_goes_out(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a")
    await house.configure()
    for n in range(100):
        await house.tell(n)
    await house.start()
    await eventually(house.settled)
    assert sorted(sink.numbers("/a")) == list(range(100))


async def test_the_deliveries_of_one_task_go_in_order_whatever_fails(house: House, sink: Sink) -> None:
    chance = random.Random(4)

    async def flaky(seen: Seen) -> web.Response:
        await asyncio.sleep(chance.random() / 500)
        if chance.random() < 0.4:
            return web.Response(status=chance.choice([500, 503, 502, 408]))
        return web.Response(status=204)

    house.policy = replace(FAST, backoff=Backoff(0.01, 0.05, 1000))
    house.add("a", f"{sink.url}/a")
    house.add("b", f"{sink.url}/b")
    sink.answers = {"/a": flaky, "/b": flaky}
    await house.start()
    await asyncio.gather(*(tell_in_order(house, f"T-{task}", 12) for task in range(12)))
    await eventually(house.settled, within_s=20)
    assert house.states() == {"delivered": 2 * 12 * 12}
    for path in ("/a", "/b"):
        assert sink.most_open[path] > 1
        for task in range(12):
            mine = [body["n"] for body in sink.bodies(path) if body["task"] == f"T-{task}"]
            assert mine == list(range(12))


async def tell_in_order(house: House, task_id: str, count: int) -> None:
    for n in range(count):
        await house.tell(n, task_id)


async def test_a_failing_task_does_not_hold_up_the_others(house: House, sink: Sink) -> None:
    async def refuse_one(seen: Seen) -> web.Response:
        bad = seen.json["task"] == "T-bad"
        return web.Response(status=500 if bad else 204, headers={"Retry-After": "60"})

    sink.answers["/a"] = refuse_one
    house.add("a", f"{sink.url}/a")
    await house.start()
    for n in range(20):
        await house.tell(n, "T-bad")
        await house.tell(n, "T-good")
    await eventually(lambda: len(sink.bodies("/a")) == 20)
    assert {body["task"] for body in sink.bodies("/a")} == {"T-good"}
    assert len([seen for seen in sink.seen if seen.json["task"] == "T-bad"]) == 1


async def test_a_connector_that_never_answers_slows_no_other(house: House, sink: Sink) -> None:
    release = asyncio.Event()

    async def never(_: Seen) -> web.Response:
        await release.wait()
        return web.Response(status=204)

    sink.answers["/stuck"] = never
    house.add("stuck", f"{sink.url}/stuck")
    house.add("well", f"{sink.url}/well")
    await house.start()
    for n in range(100):
        await house.tell(n, f"T-{n}")
    await eventually(lambda: len(sink.bodies("/well")) == 100)
    assert sink.bodies("/stuck") == []
    assert sink.most_open["/stuck"] == FAST.concurrency
    release.set()
    await eventually(house.settled)


async def test_no_connector_gets_more_calls_at_once_than_allowed(house: House, sink: Sink) -> None:
    house.add("one", f"{sink.url}/one", concurrency=1)
    house.add("four", f"{sink.url}/four")
    gate = asyncio.Event()

    async def wait(_: Seen) -> web.Response:
        await gate.wait()
        return web.Response(status=204)

    sink.answers = {"/one": wait, "/four": wait}
    await house.start()
    for n in range(60):
        await house.tell(n)
    await eventually(lambda: sink.open == {"/one": 1, "/four": 4})
    gate.set()
    await eventually(house.settled)
    assert sink.most_open == {"/one": 1, "/four": 4}


async def test_a_backlog_is_never_taken_into_memory(house: House, sink: Sink) -> None:
    most = 0

    async def measure(_: Seen) -> web.Response:
        nonlocal most
        most = max(most, len(house.dispatcher.channels["a"].held))
        return web.Response(status=204)

    sink.answers["/a"] = measure
    house.add("a", f"{sink.url}/a")
    await house.configure()
    for n in range(150):
        await house.tell(n)
    await house.start()
    await eventually(house.settled, within_s=10)
    assert 1 < most <= 2 * FAST.concurrency


async def test_a_rate_is_kept(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a", rate_per_minute=600)  # ten a second, and no more than ten at once
    await house.start()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for n in range(14):
        await house.tell(n)
    await eventually(house.settled)
    assert loop.time() - begun >= 0.3


async def test_what_waits_for_its_turn_can_still_be_cancelled_and_paused(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a", rate_per_minute=1)
    await house.start()
    for n in range(4):
        await house.tell(n)
    await eventually(lambda: sink.numbers("/a") == [0])
    rows(house.path, "UPDATE outbox SET state = 'cancelled' WHERE state = 'pending'")
    await house.dispatcher.refresh()
    channel = house.dispatcher.channels["a"]
    await eventually(lambda: (list(channel.ready), channel.sending, channel.held) == ([], 0, set()))


# --- failures -------------------------------------------------------------------------------------


async def test_a_delivery_is_given_up_after_its_last_attempt_and_says_why(house: House, sink: Sink) -> None:
    sink.answers["/a"] = always(500, text="no room for rh_abcdefghijklmnop1234")
    house.policy = replace(FAST, backoff=Backoff(0.001, 0.002, 3))
    house.add("a", f"{sink.url}/a")
    await house.start()
    await house.tell(1, "T-1")
    await house.tell(2, "T-1")
    await eventually(house.settled)
    found = rows(house.path, "SELECT state, attempts, last_error FROM outbox ORDER BY id")
    assert found == [("dead", 3, "gave up after 3 attempts; the last: the service failed (500)")] * 2
    assert len(sink.seen) == 6
    answers = rows(house.path, "SELECT DISTINCT outcome, status_code, response FROM attempts")
    assert answers == [("retry", 500, "no room for rh_***")]


async def test_what_is_rejected_is_dead_at_once_and_its_lane_goes_on(house: House, sink: Sink) -> None:
    sink.faults.append(Fault(status=422))
    house.add("a", f"{sink.url}/a")
    await house.start()
    for n in range(3):
        await house.tell(n, "T-1")
    await eventually(house.settled)
    assert rows(house.path, "SELECT state, attempts FROM outbox ORDER BY id") == [
        ("dead", 1),
        ("delivered", 1),
        ("delivered", 1),
    ]
    assert sink.numbers("/a") == [1, 2]


async def test_a_dropped_answer_is_sent_again(house: House, sink: Sink) -> None:
    sink.faults.append(Fault(drop="after"))
    house.add("a", f"{sink.url}/a")
    await house.start()
    await house.tell(1)
    await eventually(house.settled)
    assert [body["again"] for body in sink.bodies("/a")] == [False, True]
    assert rows(house.path, "SELECT outcome FROM attempts ORDER BY id") == [("ambiguous",), ("delivered",)]


async def test_nobody_listening_is_tried_until_somebody_does(house: House, sink: Sink) -> None:
    await sink.refuse()
    house.policy = replace(FAST, backoff=Backoff(0.001, 0.01, 1000))
    house.add("a", f"{sink.url}/a")
    await house.start()
    await house.tell(1)
    await eventually(lambda: rows(house.path, "SELECT count(*) FROM attempts")[0] > (2,))
    await sink.listen()
    await eventually(house.settled)
    assert sink.numbers("/a") == [1]
    first = rows(house.path, "SELECT outcome, error FROM attempts ORDER BY id LIMIT 1")[0]
    assert first[0] == "retry"
    assert "127.0.0.1: no connection" in str(first[1])


async def test_a_retry_that_falls_due_while_the_hub_looks_is_not_overlooked(house: House, sink: Sink) -> None:
    """With jitter a wait can be a millisecond: it must not turn into the five seconds of the next look at all."""
    sink.answers["/a"] = always(500)
    house.policy = replace(FAST, backoff=Backoff(0.002, 0.002, 60))
    house.add("a", f"{sink.url}/a", concurrency=1)
    await house.start()
    await house.tell(1)
    await eventually(house.settled, within_s=3)
    assert house.states() == {"dead": 1}


async def test_whatever_happens_at_once_no_wake_up_is_lost(house: House, sink: Sink) -> None:
    """All that wakes the dispatcher happens at random; after every burst everything goes out at once."""
    chance = random.Random(7)

    async def fickle(_: Seen) -> web.Response:
        return web.Response(status=chance.choice([204, 204, 204, 500, 503]))

    sink.answers = {"/a": fickle, "/b": fickle}
    house.policy = replace(FAST, backoff=Backoff(0.001, 0.004, 1000), breaker=BreakerPolicy(6, 0.002, 0.01))
    house.add("a", f"{sink.url}/a", concurrency=2)
    house.add("b", f"{sink.url}/b", rate_per_minute=60_000)
    await house.start()

    async def something(n: int) -> None:
        match chance.randrange(8):
            case 0:
                await house.dispatcher.refresh()
            case 1:
                await house.configure()
            case 2:
                await house.dispatcher.reset("a")
            case 3:
                await pause(house, "a")
                await house.dispatcher.reset("a")
            case _:
                await house.tell(n, f"T-{n % 5}")

    for burst in range(25):
        await asyncio.gather(*(something(burst * 10 + n) for n in range(10)))
        await eventually(house.settled, within_s=4)
    assert set(house.states()) == {"delivered"}


async def test_a_wake_up_that_never_came_costs_one_look(
    house: House, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LOOK_AT_LEAST_EVERY_S", 0.05)
    house.add("a", f"{sink.url}/a")
    house.add("busy", f"{sink.url}/busy")
    await house.start()
    house.intake.listeners.clear()  # nobody tells the dispatcher any more
    await house.tell(1)
    await eventually(house.settled, within_s=2)
    assert sink.numbers("/a") == [1]


class Faulty(Keeper):
    """Its code has a fault."""

    def judge(self, *_: Any) -> Any:
        raise KeyError("ts")


async def test_a_fault_in_a_connector_is_a_retry_not_the_end_of_the_loop(
    house: House, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    house.policy = replace(FAST, backoff=Backoff(0.001, 0.001, 2))
    house.add("faulty", f"{sink.url}/a", Faulty)
    house.add("well", f"{sink.url}/b")
    await house.start()
    await house.tell(1, "T-1")
    await eventually(house.settled)
    found = rows(house.path, "SELECT connector, state, last_error FROM outbox ORDER BY connector")
    assert found == [
        ("faulty", "dead", "gave up after 2 attempts; the last: the connector failed: KeyError: 'ts'"),
        ("well", "delivered", None),
    ]
    assert "connector faulty failed on delivery 1" in caplog.text


# --- rate limits, credentials, the breaker --------------------------------------------------------


async def test_a_rate_limit_holds_the_connector_and_burns_no_attempt(
    db_path: Path, sink: Sink, clock: SettableClock
) -> None:
    async with House(db_path, clock.clock, STEADY) as house:
        house.add("a", f"{sink.url}/a", concurrency=1)
        house.add("b", f"{sink.url}/b")
        sink.faults.append(Fault(on="/a", status=429, headers={"Retry-After": "30"}))
        await house.start()
        for n in range(10):
            await house.tell(n, f"T-{n}")
        await eventually(lambda: len(sink.bodies("/b")) == 10)
        await eventually(lambda: house.state_of("a") == ("closed", 0, clock.iso(30)))
        assert len([seen for seen in sink.seen if seen.path == "/a"]) == 1
        assert rows(db_path, "SELECT DISTINCT attempts FROM outbox WHERE connector = 'a'") == [(0,)]
        clock.advance(29.9)
        house.dispatcher.wake()
        await settle_down(house)
        assert len([seen for seen in sink.seen if seen.path == "/a"]) == 1
        clock.advance(0.2)
        house.dispatcher.wake()
        await eventually(house.settled)
        assert len(sink.bodies("/a")) == 10
        assert rows(db_path, "SELECT DISTINCT state, attempts FROM outbox") == [("delivered", 1)]


async def test_what_was_under_way_does_not_end_a_rate_limit(
    db_path: Path, sink: Sink, clock: SettableClock
) -> None:
    slow = asyncio.Event()

    async def answer(seen: Seen) -> web.Response:
        if seen.json["n"] == 0:
            await slow.wait()
            return web.Response(status=204)
        return web.Response(status=429, headers={"Retry-After": "60"})

    async with House(db_path, clock.clock, STEADY) as house:
        house.add("a", f"{sink.url}/a", concurrency=2)
        sink.answers["/a"] = answer
        await house.start()
        for n in range(6):
            await house.tell(n)
        await eventually(lambda: house.state_of("a")[2] == clock.iso(60))
        slow.set()
        await eventually(lambda: sink.numbers("/a") == [0])
        await eventually(lambda: house.states().get("delivered") == 1)
        house.dispatcher.wake()
        await settle_down(house)
        assert house.state_of("a")[2] == clock.iso(60)
        assert len(sink.seen) == 2


async def test_broken_credentials_open_the_breaker_tell_the_others_and_a_probe_closes_it(
    db_path: Path, sink: Sink, clock: SettableClock
) -> None:
    async with House(db_path, clock.clock, STEADY) as house:
        house.add("a", f"{sink.url}/a", concurrency=1)
        house.add("b", f"{sink.url}/b", events=["system_alert"])
        sink.answers["/a"] = always(401, text="token has expired")
        await house.start()
        for n in range(5):
            await house.tell(n, "T-1")
        await eventually(lambda: [body["code"] for body in sink.bodies("/b")] == ["connector_down"])
        assert sink.bodies("/b")[0]["connector"] == "a"
        assert rows(db_path, "SELECT connector FROM outbox WHERE event_type = 'system_alert'") == [("b",)]
        calls = len(sink.calls("/a"))
        assert calls == 1
        found = rows(db_path, "SELECT DISTINCT state, attempts FROM outbox WHERE connector = 'a'")
        assert found == [("pending", 0)]

        await probe(house, clock, 20.1)  # the first probe after credentials broke comes twice as late
        assert len(sink.calls("/a")) == 2
        assert house.state_of("a")[:2] == ("open", 1)

        del sink.answers["/a"]
        await probe(house, clock, 40.1)
        await eventually(house.settled)
        assert sink.numbers("/a") == [0, 1, 2, 3, 4]
        assert [body["code"] for body in sink.bodies("/b")] == ["connector_down", "connector_recovered"]
        assert house.state_of("a")[0] == "closed"


async def probe(house: House, clock: SettableClock, after_s: float) -> None:
    """Move time on and wait until one more try of connector a is written down."""
    tries = "SELECT count(*) FROM attempts JOIN outbox ON outbox.id = delivery_id WHERE connector = 'a'"
    before = rows(house.path, tries)
    clock.advance(after_s)
    house.dispatcher.wake()
    await eventually(lambda: rows(house.path, tries) > before)


async def settle_down(house: House) -> None:
    """Wait until the dispatcher has looked at everything and found nothing to do."""
    now = house.clock.iso()
    await eventually(
        lambda: (
            not any(
                channel.wants(now) or channel.sending or channel.troubles
                for channel in house.dispatcher.channels.values()
            )
        )
    )


async def test_failures_in_a_row_open_the_breaker_and_what_was_under_way_is_no_probe(
    db_path: Path, sink: Sink, clock: SettableClock
) -> None:
    gate = asyncio.Event()

    async def fail(_: Seen) -> web.Response:
        await gate.wait()
        return web.Response(status=500)

    policy = replace(STEADY, concurrency=8)
    async with House(db_path, clock.clock, policy) as house:
        house.add("a", f"{sink.url}/a")
        sink.answers["/a"] = fail
        await house.start()
        for n in range(20):
            await house.tell(n, f"T-{n}")
        await eventually(lambda: sink.open.get("/a") == 8)
        gate.set()
        await eventually(lambda: house.state_of("a")[0] == "open")
        await settle_down(house)
        assert len(sink.seen) == 8
        assert house.state_of("a")[1] == 0
        probe_at = rows(db_path, "SELECT probe_at FROM connectors")[0][0]
        assert probe_at == clock.iso(10)
        for after_s, probes in ((10.1, 1), (20.1, 2), (40.1, 3)):
            await probe(house, clock, after_s)
            await eventually(lambda probes=probes: house.state_of("a")[1] == probes)  # type: ignore[misc]
        assert len(sink.seen) == 11
        assert rows(db_path, "SELECT max(attempts) FROM outbox") == [(1,)]


async def test_a_failing_probe_keeps_the_attempts_it_had(
    db_path: Path, sink: Sink, clock: SettableClock
) -> None:
    async with House(db_path, clock.clock, replace(STEADY, backoff=Backoff(0.001, 0.001, 3))) as house:
        house.add("a", f"{sink.url}/a", concurrency=1)
        sink.answers["/a"] = always(401)
        await house.start()
        await house.tell(1)
        await eventually(lambda: house.state_of("a")[0] == "open")
        sink.answers["/a"] = always(500)
        for after_s in (20.1, 20.1, 40.1, 80.1, 160.1, 300.1):
            await probe(house, clock, after_s)
            await settle_down(house)
        assert rows(db_path, "SELECT state, attempts FROM outbox") == [("pending", 0)]


async def test_410_disables_the_connector_until_it_is_resumed(house: House, sink: Sink) -> None:
    sink.faults.append(Fault(on="/a", status=410))
    house.add("a", f"{sink.url}/a", concurrency=1)
    house.add("b", f"{sink.url}/b", events=["system_alert"])
    await house.start()
    for n in range(3):
        await house.tell(n)
    await eventually(lambda: [body["code"] for body in sink.bodies("/b")] == ["connector_disabled"])
    await settle_down(house)
    assert len(sink.calls("/a")) == 1
    await eventually(lambda: house.states() == {"dead": 1, "pending": 2, "delivered": 1})
    await house.dispatcher.reset("a")
    await eventually(house.settled)
    assert sink.numbers("/a") == [1, 2]


async def test_a_paused_connector_sends_nothing_until_it_is_resumed(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a")
    await house.start()
    await pause(house, "a")
    for n in range(5):
        await house.tell(n)
    await settle_down(house)
    assert sink.seen == []
    await house.dispatcher.reset("a")
    await eventually(house.settled)
    assert rows(house.path, "SELECT paused FROM connectors") == [(0,)]
    await house.dispatcher.refresh()
    await house.tell(5)
    await eventually(lambda: len(sink.numbers("/a")) == 6)


async def pause(house: House, name: str) -> None:
    now = house.clock.iso()
    await house.db.write(
        lambda conn: connector_states.set_paused(conn, name, paused=True, by="someone", now=now)
    )
    await house.dispatcher.refresh()


async def test_a_pause_set_while_a_delivery_is_recorded_is_not_lost(house: House, sink: Sink) -> None:
    gate = asyncio.Event()

    async def wait(_: Seen) -> web.Response:
        await gate.wait()
        return web.Response(status=204)

    sink.answers["/a"] = wait
    house.add("a", f"{sink.url}/a", concurrency=1)
    await house.start()
    for n in range(3):
        await house.tell(n)
    await eventually(lambda: sink.open.get("/a") == 1)
    await pause(house, "a")
    gate.set()
    await eventually(lambda: house.states().get("delivered") == 1)
    await settle_down(house)
    assert house.dispatcher.channels["a"].state.paused
    assert rows(house.path, "SELECT paused, paused_by FROM connectors") == [(1, "someone")]
    assert len(sink.seen) == 1


async def test_only_a_connector_there_is_can_be_reset(house: House) -> None:
    with pytest.raises(NotFoundError):
        await house.dispatcher.reset("nobody")


# --- settings that change -------------------------------------------------------------------------


async def test_a_changed_connector_starts_closed_and_stays_so(house: House, sink: Sink) -> None:
    sink.answers["/old"] = always(401)
    house.policy = replace(FAST, breaker=BreakerPolicy(5, 1000, 1000))
    house.add("a", f"{sink.url}/old")
    await house.start()
    await house.tell(1)
    await eventually(lambda: house.state_of("a")[0] == "open")
    house.add("a", f"{sink.url}/new")
    await house.configure()
    await house.dispatcher.refresh()  # reads the states anew: the reset must be on disk
    await eventually(house.settled)
    assert sink.numbers("/new") == [1]


async def test_a_connector_that_leaves_and_comes_back_sends_nothing_twice(house: House, sink: Sink) -> None:
    gate = asyncio.Event()

    async def wait(_: Seen) -> web.Response:
        await gate.wait()
        return web.Response(status=204)

    sink.answers["/a"] = wait
    house.add("a", f"{sink.url}/a")
    await house.start()
    for n in range(3):
        await house.tell(n)
    await eventually(lambda: sink.open.get("/a") == 3)
    connectors = dict(house.connectors)
    house.connectors = {}
    await house.configure()
    house.connectors = connectors
    await house.configure()
    await house.tell(3)
    await eventually(lambda: sink.open.get("/a") == 4)
    gate.set()
    await eventually(house.settled)
    assert sorted(sink.numbers("/a")) == [0, 1, 2, 3]


async def test_what_is_out_when_its_connector_leaves_is_recorded_and_the_rest_waits(
    house: House, sink: Sink
) -> None:
    gate = asyncio.Event()

    async def wait(_: Seen) -> web.Response:
        await gate.wait()
        return web.Response(status=204)

    sink.answers["/a"] = wait
    house.add("a", f"{sink.url}/a", concurrency=1)
    house.add("b", f"{sink.url}/b")
    await house.start()
    for n in range(3):
        await house.tell(n)
    await eventually(lambda: sink.open.get("/a") == 1 and len(sink.bodies("/b")) == 3)
    gone = house.connectors.pop("a")
    await house.configure()
    gate.set()
    await eventually(lambda: house.states() == {"delivered": 4, "pending": 2})
    house.connectors["a"] = gone
    await house.configure()
    await eventually(house.settled)
    assert sink.numbers("/a") == [0, 1, 2]


# --- SQL by hand ----------------------------------------------------------------------------------


async def test_a_replay_by_hand_goes_out_with_all_its_attempts(house: House, sink: Sink) -> None:
    sink.answers["/a"] = always(500)
    house.policy = replace(FAST, backoff=Backoff(0.001, 0.001, 3))
    house.add("a", f"{sink.url}/a")
    await house.start()
    await house.tell(1, "T-1")
    await eventually(house.settled)
    assert house.states() == {"dead": 1}
    for when in ("strftime('%Y-%m-%dT%H:%M:%fZ','now')", "datetime('now')", "'now'"):
        rows(
            house.path, f"UPDATE outbox SET state = 'pending', next_attempt_at = {when} WHERE state = 'dead'"
        )
        await house.dispatcher.refresh()
        await eventually(house.settled)
    tries = rows(house.path, "SELECT count(*), (SELECT attempts FROM outbox) FROM attempts")
    assert tries == [(12, 3)]
    del sink.answers["/a"]
    rows(house.path, "UPDATE outbox SET state = 'pending' WHERE state = 'dead'")
    await house.dispatcher.refresh()
    await eventually(house.settled)
    assert house.states() == {"delivered": 1}


async def test_cancelling_the_first_of_a_lane_by_hand_lets_the_next_go_at_once(
    house: House, sink: Sink
) -> None:
    house.policy = replace(FAST, backoff=Backoff(3000, 3000, 12))
    sink.faults.append(Fault(status=500, headers={"Retry-After": "3000"}))
    house.add("a", f"{sink.url}/a")
    await house.start()
    for n in range(3):
        await house.tell(n, "T-1")
    await eventually(lambda: rows(house.path, "SELECT attempts FROM outbox WHERE id = 1") == [(1,)])
    rows(house.path, "UPDATE outbox SET state = 'cancelled' WHERE id = 1")
    await house.dispatcher.refresh()
    await eventually(house.settled)
    assert sink.numbers("/a") == [1, 2]


async def test_a_pause_by_hand_is_obeyed(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a")
    await house.start()
    await house.tell(0)
    await eventually(house.settled)
    rows(house.path, "UPDATE connectors SET paused = 1")
    await house.dispatcher.refresh()
    await house.tell(1)
    await settle_down(house)
    assert sink.numbers("/a") == [0]
    rows(house.path, "UPDATE connectors SET paused = 0")
    await house.dispatcher.refresh()
    await eventually(house.settled)


async def test_moments_that_are_none_end_no_loop(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a")
    await house.start()
    await house.tell(0)
    await eventually(house.settled)
    rows(
        house.path,
        "INSERT INTO outbox (event_id, event_seq, event_type, connector, action, payload, next_attempt_at, created_at) "
        "VALUES ('by hand', 0, 'note', 'a', 'post', '{\"n\": 7}', 'when it suits', 'x')",
    )
    rows(house.path, "UPDATE connectors SET held_until = 'whenever'")
    await house.dispatcher.refresh()
    await settle_down(house)
    rows(house.path, "UPDATE connectors SET held_until = NULL")
    rows(house.path, "UPDATE outbox SET next_attempt_at = datetime('now') WHERE event_id = 'by hand'")
    await house.dispatcher.refresh()
    await eventually(house.settled)
    assert sink.numbers("/a") == [0, 7]


async def test_events_go_on_being_routed_while_connectors_change(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a")
    await house.start()

    async def reload() -> None:
        for n in range(20):
            house.add("a", f"{sink.url}/a", concurrency=1 + n % 3)
            await house.configure()
            await asyncio.sleep(0)

    await asyncio.gather(reload(), *(house.tell(n, f"T-{n % 7}") for n in range(100)))
    await eventually(house.settled)
    assert sorted(sink.numbers("/a")) == list(range(100))


async def test_what_nobody_serves_any_more_waits(house: House, sink: Sink) -> None:
    house.add("a", f"{sink.url}/a")
    await house.start()
    house.intake.router = Router(house.connectors)
    house.connectors = {}
    await house.dispatcher.configure({}, house.policy)
    await house.tell(1)
    assert house.states() == {"pending": 1}
    assert sink.seen == []
