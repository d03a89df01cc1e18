"""How the dispatcher stops, what a crash leaves behind, and what it does while the disk takes nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ralf_hub.connectors.base import Delivered, Link, Rejected
from ralf_hub.delivery import bookkeeper, dispatcher
from ralf_hub.delivery.backoff import Backoff
from tests.delivery.house import FAST, House, Keeper, Poster, Sink
from tests.doubles.server import Fault, Seen
from tests.support import eventually, rows


@pytest.fixture(autouse=True)
def quick_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookkeeper, "TRY_AGAIN_AFTER_S", 0.01)
    monkeypatch.setattr(dispatcher, "TRY_AGAIN_AFTER_S", 0.01)


async def disk(house: House, *, works: bool) -> None:
    """Make every write of the hub fail as on a read-only disk, or work again."""
    await house.db.run_alone(lambda conn: conn.execute(f"PRAGMA query_only = {'OFF' if works else 'ON'}"))


def waits_for(gates: dict[int, asyncio.Event]) -> Callable[[Seen], Any]:
    async def answer(seen: Seen) -> web.Response:
        await gates[seen.json["n"]].wait()
        return web.Response(status=204)

    return answer


# --- stopping -------------------------------------------------------------------------------------


async def test_stop_lets_all_that_is_out_end_and_records_it(house: House, sink: Sink) -> None:
    gates = {n: asyncio.Event() for n in range(3)}
    sink.answers["/a"] = waits_for(gates)
    house.add("a", f"{sink.url}/a", concurrency=2)
    await house.start()
    for n in range(3):
        await house.tell(n)
    await eventually(lambda: sink.open.get("/a") == 2)
    stopping = asyncio.create_task(house.stop(grace_s=5))
    gates[0].set()
    await eventually(lambda: house.states() == {"delivered": 1, "pending": 2})
    assert not stopping.done()
    assert sink.open["/a"] == 1
    gates[1].set()
    await stopping
    assert house.states() == {"delivered": 2, "pending": 1}
    assert sink.numbers("/a") == [0, 1]
    assert house.dispatcher.channels["a"].held == set()


async def test_what_does_not_end_in_time_stays_pending_and_goes_out_again(
    house: House, sink: Sink, db_path: Path
) -> None:
    gates = {0: asyncio.Event()}
    sink.answers["/a"] = waits_for(gates)
    house.add("a", f"{sink.url}/a")
    await house.start()
    await house.tell(0)
    await eventually(lambda: sink.open.get("/a") == 1)
    await house.stop(grace_s=0.05)
    assert rows(db_path, "SELECT state, attempts FROM outbox") == [("pending", 0)]
    assert rows(db_path, "SELECT count(*) FROM attempts") == [(0,)]
    gates[0].set()
    async with House(db_path) as second:
        second.add("a", f"{sink.url}/a")
        await second.start()
        await eventually(second.settled)
    assert [seen.json["delivery"] for seen in sink.seen] == [1, 1]


async def test_a_dispatcher_that_never_ran_stops_at_once(house: House) -> None:
    async with asyncio.timeout(1):
        await house.dispatcher.stop()
        await house.dispatcher.run()


async def test_stopping_leaves_no_task_behind(house: House, sink: Sink) -> None:
    before = asyncio.all_tasks()
    house.add("a", f"{sink.url}/a", rate_per_minute=1)
    await house.start()
    for n in range(3):
        await house.tell(n)
    await eventually(lambda: sink.numbers("/a") == [0])
    await house.stop()
    ours = {
        task
        for task in asyncio.all_tasks() - before
        if "ralf_hub" in str(task.get_coro().cr_code.co_filename)  # type: ignore[union-attr]
    }
    assert ours == set()


# --- a disk that takes nothing --------------------------------------------------------------------


async def test_verdicts_wait_for_the_disk_and_nothing_is_sent_twice_meanwhile(
    house: House, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    gates = {n: asyncio.Event() for n in range(30)}
    sink.answers["/a"] = waits_for(gates)
    house.add("a", f"{sink.url}/a")
    await house.start()
    for n in range(30):
        await house.tell(n)
    await eventually(lambda: sink.open.get("/a") == FAST.concurrency)
    await disk(house, works=False)
    for gate in gates.values():
        gate.set()
    await eventually(lambda: "wait for the disk" in caplog.text)
    await eventually(lambda: len(sink.taken) == 2 * FAST.concurrency)  # what was in hand, and no more
    house.dispatcher.wake()
    await eventually(lambda: caplog.text.count("wait for the disk") > 5)
    assert len(sink.taken) == 2 * FAST.concurrency
    await disk(house, works=True)
    await eventually(house.settled)
    assert sorted(sink.numbers("/a")) == list(range(30))
    assert house.states() == {"delivered": 30}


async def test_a_hub_that_stops_while_the_disk_takes_nothing_does_not_hang(
    house: House, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("a", f"{sink.url}/a")
    await house.start()
    gates = {0: asyncio.Event()}
    sink.answers["/a"] = waits_for(gates)
    await house.tell(0)
    await eventually(lambda: sink.open.get("/a") == 1)
    await disk(house, works=False)
    gates[0].set()
    await eventually(lambda: "wait for the disk" in caplog.text)
    async with asyncio.timeout(2):
        await house.stop()
    assert house.states() == {"pending": 1}


async def test_nothing_is_created_outside_before_the_intent_is_on_disk(
    house: House, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("k", f"{sink.url}/k", Keeper)
    await house.configure()
    await house.tell(1, "T-1")
    await disk(house, works=False)
    await house.start()
    await eventually(lambda: "could not be claimed" in caplog.text)
    assert sink.seen == []
    await disk(house, works=True)
    await eventually(house.settled)
    assert len(sink.seen) == 1


# --- a crash --------------------------------------------------------------------------------------


async def crash(house: House) -> None:
    """End the dispatcher as kill -9 would: nothing more is written, whatever it has in memory is gone."""
    await disk(house, works=False)
    assert house._running is not None
    house._running.cancel()
    await asyncio.wait({house._running})
    house._running = None


@pytest.mark.parametrize("before", [0, 3, 17])
async def test_after_a_crash_between_sending_and_recording_nothing_is_lost_and_little_is_sent_twice(
    db_path: Path, sink: Sink, before: int
) -> None:
    async with House(db_path) as first:
        first.add("a", f"{sink.url}/a")
        await first.configure()
        for n in range(40):
            await first.tell(n, f"T-{n % 8}")
        await first.start()
        await eventually(lambda: len(sink.taken) >= before)
        await disk(first, works=False)
        await eventually(lambda: len(first.dispatcher.channels["a"].held) == 2 * FAST.concurrency)
        await crash(first)
    async with House(db_path) as second:
        second.add("a", f"{sink.url}/a")
        await second.start()
        await eventually(second.settled)
    numbers = sink.numbers("/a")
    assert set(numbers) == set(range(40))
    assert 1 <= len(numbers) - 40 <= 2 * FAST.concurrency
    for task in range(8):
        firsts = list(dict.fromkeys(n for n in numbers if n % 8 == task))
        assert firsts == sorted(firsts)
    assert rows(db_path, "PRAGMA integrity_check") == [("ok",)]


async def test_a_create_that_may_have_happened_before_a_crash_says_so_when_it_is_tried_again(
    db_path: Path, sink: Sink
) -> None:
    async with House(db_path) as first:
        first.add("k", f"{sink.url}/k", Keeper)
        gates = {1: asyncio.Event()}
        sink.answers["/k"] = waits_for(gates)
        await first.start()
        await first.tell(1, "T-1")
        await eventually(lambda: sink.open.get("/k") == 1)
        await crash(first)
        gates[1].set()
    del sink.answers["/k"]
    async with House(db_path) as second:
        second.add("k", f"{sink.url}/k", Keeper)
        await second.start()
        await eventually(second.settled)
    assert [(seen.json["again"], seen.json["marker"]) for seen in sink.seen] == [
        (False, "ralf:T-1"),
        (True, "ralf:T-1"),
    ]


# --- verdicts that cannot be written --------------------------------------------------------------


class Strange(Poster):
    """Its outcomes are by turns fine and such as no database takes."""

    def judge(self, delivery: Any, response: Any) -> Any:
        del response
        return {
            1: Delivered(200, "\ud800 half a character", link=Link("", external_id=object())),  # type: ignore[arg-type]
            2: Rejected("it said \ud800\x00"),
            3: Delivered(200, link=Link("", external_id="X-1", state="no such state")),
        }.get(delivery.payload["n"], Delivered(204))


async def test_a_verdict_that_cannot_be_written_keeps_no_other_from_it(
    house: House, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("strange", f"{sink.url}/s", Strange)
    house.add("well", f"{sink.url}/w")
    await house.start()
    for n in range(6):
        await house.tell(n, f"T-{n}")
    await eventually(house.settled)
    assert rows(house.path, "SELECT event_seq, state, last_error FROM outbox WHERE state <> 'delivered'") == [
        (3, "dead", "it said ?\x00")
    ]
    await house.tell(7, "T-1")
    await eventually(house.settled)
    assert "recorded without detail" in caplog.text
    await eventually(lambda: house.dispatcher.channels["strange"].held == set())


class SameThing(Keeper):
    """Whatever it is told, it finds the same object outside."""

    def judge(self, delivery: Any, response: Any) -> Any:
        del delivery, response
        return Delivered(200, link=Link("", external_id="ONE-1", state="linked"))


async def test_an_object_that_stands_for_another_task_is_not_linked_twice_and_stops_nothing(
    house: House, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("k", f"{sink.url}/k", SameThing, concurrency=1)
    await house.start()
    for n in range(3):
        await house.tell(n, f"T-{n}")
    await eventually(house.settled)
    assert house.states() == {"delivered": 3}
    assert rows(house.path, "SELECT entity_id, external_id FROM links ORDER BY entity_id") == [
        ("T-0", "ONE-1"),
        ("T-1", None),
        ("T-2", None),
    ]
    assert "is not kept" in caplog.text


# --- links ----------------------------------------------------------------------------------------


async def test_what_a_create_made_is_known_to_the_next_delivery_of_its_task(house: House, sink: Sink) -> None:
    async def make(seen: Seen) -> web.Response:
        return web.Response(text=f"X-{seen.json['n']}" if seen.json["action"] == "create" else "")

    sink.answers["/k"] = make
    house.add("k", f"{sink.url}/k", Keeper)
    await house.start()
    await house.tell(1, "T-1")
    await eventually(house.settled)
    await house.tell(2, "T-1")
    await eventually(house.settled)
    assert [(b["action"], b["external_id"], b["again"]) for b in sink.bodies("/k")] == [
        ("create", None, False),
        ("update", "X-1", False),
    ]
    assert rows(house.path, "SELECT entity_type, entity_id, external_id, state, marker FROM links") == [
        ("task", "T-1", "X-1", "linked", "ralf:T-1")
    ]


async def test_updates_behind_a_create_wait_for_its_object(house: House, sink: Sink) -> None:
    house.policy = replace(FAST, backoff=Backoff(0.01, 0.01, 12))
    sink.answers["/k"] = lambda seen: _reply(f"X-{seen.json['n']}")
    sink.faults.append(Fault(times=2, drop="after"))
    house.add("k", f"{sink.url}/k", Keeper)
    await house.start()
    for n in range(4):
        await house.tell(n, "T-1")
    await eventually(house.settled)
    assert [(seen.json["n"], seen.json["again"]) for seen in sink.seen][:3] == [
        (0, False),
        (0, True),
        (0, True),
    ]
    later = [body["external_id"] for body in sink.bodies("/k") if body["n"] > 0]
    assert later == ["X-0"] * 3


async def _reply(text: str) -> web.Response:
    return web.Response(text=text)
