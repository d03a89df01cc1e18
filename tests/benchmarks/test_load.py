"""The tools that measure: what they count must be what happened."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable

import pytest

from benchmarks.cpu import Others, Spent, family, process_s
from benchmarks.flow import ClosedLoop
from benchmarks.load import Result, amount, pace, percentile, request, saturate
from benchmarks.sink import Sink, listening
from tests.support import eventually


class Answering:
    """A server that answers by hand, in pieces if asked to."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[bytes] = []
        self.answer: Callable[[int], list[bytes]] = lambda _: [b"HTTP/1.1 204 No Content\r\n\r\n"]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionResetError):
                writer.close()
                return
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
            body = await reader.readexactly(int(length or 0))
            self.asked.append(head + body)
            for piece in self.answer(len(self.asked)):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[Answering]:
    made = Answering()
    listener = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    listener.close()


def test_a_request_is_what_a_server_reads() -> None:
    made = request("POST", "/tasks", b"{}", key="rh_x", headers={"X-A": "b"})
    assert made.startswith(b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert (
        b"Authorization: Bearer rh_x\r\nContent-Type: application/json\r\nContent-Length: 2\r\nX-A: b\r\n\r\n{}"
        in made
    )


async def test_as_many_as_wanted_are_asked_and_each_answer_is_counted(server: Answering) -> None:
    server.answer = lambda n: [b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % (500 if n == 7 else 201)]
    result = await amount(server.port, lambda n: request("GET", f"/{n}"), clients=4, n=20)
    assert result.statuses == {201: 19, 500: 1}
    assert len(result.latencies) == len(server.asked) == 20
    with pytest.raises(AssertionError, match=r"\{500: 1\}"):
        result.check(201)


async def test_answers_that_come_in_pieces_are_whole_before_they_count(server: Answering) -> None:
    server.answer = lambda _: [b"HTTP/1.1 200 O", b"K\r\ncontent-length: 6\r\n\r", b"\n{ab", b"cd}"]
    result = await amount(server.port, lambda _: request("GET", "/"), clients=2, n=10)
    assert result.statuses == {200: 10}


async def test_saturating_ends_in_time(server: Answering) -> None:
    result = await saturate(server.port, lambda _: request("GET", "/"), clients=3, seconds=0.2)
    result.check(204)
    assert result.seconds >= 0.2
    assert len(result.latencies) == len(server.asked)


async def test_a_pace_is_kept_and_waiting_counts(server: Answering) -> None:
    due: dict[int, float] = {}
    result = await pace(
        server.port, lambda n: request("GET", f"/{n}"), per_second=200, seconds=0.25, clients=1, due=due
    )
    assert sorted(due) == list(range(50))
    assert due[49] - due[0] == pytest.approx(49 / 200)
    assert len(result.latencies) == 50
    assert result.seconds >= 49 / 200


async def test_a_server_that_closes_is_an_error(server: Answering) -> None:
    listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(amount(port, lambda _: request("GET", "/"), clients=1, n=1), 10)
    listener.close()


def test_nothing_answered_is_no_success() -> None:
    with pytest.raises(AssertionError, match="none at all"):
        Result().check(200)


def test_percentiles() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 51, 100, 100]


# --- the sink -------------------------------------------------------------------------------------


def post(task: str) -> bytes:
    return request("POST", "/hook", f'{{"data": {{"task_id": "{task}"}}}}'.encode())


async def test_a_sink_knows_what_came_first_and_what_came_again() -> None:
    async with listening() as sink:
        result = await amount(sink.port, lambda n: post(f"T-{n % 5}"), clients=3, n=20)
        result.check(204)
        assert sink.posts == 20
        assert sorted(sink.arrived) == [f"T-{n}" for n in range(5)]


async def test_a_sink_that_holds_answers_nobody() -> None:
    async with listening() as sink:
        sink.holds = True
        asking = asyncio.create_task(amount(sink.port, lambda _: post("T-1"), clients=1, n=1))
        await eventually(lambda: sink.held)
        assert not asking.done()
        assert sink.posts == 0
        asking.cancel()


async def test_a_closed_loop_counts_a_task_once_it_is_answered_and_delivered(server: Answering) -> None:
    sink = Sink()
    waiting: list[str] = []

    def make(task: str) -> bytes:
        waiting.append(task)
        return post(task)

    async def deliver() -> None:
        while True:
            while waiting:
                sink.take(waiting.pop())
            await asyncio.sleep(0.002)

    delivering = asyncio.create_task(deliver())
    flow = await ClosedLoop(sink, make, "L", (204,)).run(server.port, 4, 0.2)
    delivering.cancel()
    assert len(flow.latencies) == len(server.asked) == len(sink.arrived) >= 4


async def test_a_closed_loop_does_not_take_a_refusal_for_done(server: Answering) -> None:
    server.answer = lambda _: [b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"]
    with pytest.raises(AssertionError, match="answered 503"):
        await ClosedLoop(Sink(), post, "L", (204,)).run(server.port, 2, 0.1)


# --- CPU time -------------------------------------------------------------------------------------


def test_cpu_time_of_a_process_is_what_it_burns() -> None:
    me = os.getpid()
    before, ours = process_s(me), time.process_time()
    with Spent(me) as spent:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
    assert spent.seconds >= 0.05
    assert process_s(me) - before == pytest.approx(time.process_time() - ours, abs=0.02)


def test_what_this_process_burns_is_not_others() -> None:
    with Others() as others:
        until = time.thread_time() + 0.3
        while time.thread_time() < until:
            pass
    assert others.seconds >= 0.3
    assert 0 <= others.share <= 1 - 0.25 / (others.seconds * (os.cpu_count() or 1))


async def test_children_belong_to_the_family() -> None:
    child = await asyncio.create_subprocess_exec("sleep", "60")
    assert child.pid in family(os.getpid())
    child.kill()
    await child.wait()
