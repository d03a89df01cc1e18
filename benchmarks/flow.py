"""From a task posted to its delivery at the sink, as many at a time as were asked for."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.load import Connection
from benchmarks.sink import Sink


@dataclass(slots=True)
class Flow:
    """What went through: seconds from asked to delivered, and how long it all took."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tasks per second, from the first asked to the last delivered."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0


class ClosedLoop:
    """Posts the next task when one has been both answered and delivered: the rate that is sustained, end to end."""

    def __init__(
        self, sink: Sink, make: Callable[[str], bytes], prefix: str, statuses: tuple[int, ...]
    ) -> None:
        self.flow = Flow()
        self._sink = sink
        self._make = make
        self._prefix = prefix
        self._statuses = statuses
        self._number = 0
        self._until = 0.0
        self._open: dict[str, Connection] = {}
        self._halves: dict[str, int] = {}
        self._task_of: dict[Connection, str] = {}
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _next(self, connection: Connection) -> None:
        self._number += 1
        task = f"{self._prefix}-{self._number}"
        self._open[task] = connection
        self._task_of[connection] = task
        self._halves[task] = 0
        connection.ask(self._make(task))

    def _half(self, task: str) -> None:
        """Count an answer or a delivery; with the second of them the task is through."""
        if task not in self._halves:
            return
        self._halves[task] += 1
        if self._halves[task] < 2:
            return
        connection = self._open.pop(task)
        del self._halves[task]
        now = time.perf_counter()
        self.flow.latencies.append(self._sink.arrived[task] - connection.asked)
        if now < self._until:
            self._next(connection)
        elif not self._open and not self._done.done():
            self._done.set_result(None)

    def _answered(self, connection: Connection, status: int) -> None:
        if status not in self._statuses and not self._done.done():
            self._done.set_exception(AssertionError(f"answered {status}: {connection.answer[:300]!r}"))
            return
        self._half(self._task_of[connection])

    def _lost(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)

    async def run(self, port: int, in_flight: int, seconds: float, last_within_s: float = 60.0) -> Flow:
        """Go on for *seconds*, then wait for what is under way; all of it must arrive."""
        connections = [await Connection.open(port, self._answered, self._lost) for _ in range(in_flight)]
        self._sink.heard = self._half
        begun = time.perf_counter()
        self._until = begun + seconds
        for connection in connections:
            self._next(connection)
        try:
            await asyncio.wait_for(self._done, seconds + last_within_s)
        finally:
            self._sink.heard = lambda _: None
            for connection in connections:
                connection.close()
        self.flow.seconds = time.perf_counter() - begun
        return self.flow
