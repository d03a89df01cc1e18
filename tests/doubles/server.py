"""The ground of every double: an aiohttp server on loopback that records what it gets and fails on demand.

Faults are programmed in the test's own process (`double.faults.append(Fault(...))`) or, where the double runs as a
process, with `POST /_control/faults` (a JSON list of faults) and `POST /_control/refuse` (`{"seconds": 2}`).
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_BYTES_MAX = 1 << 20


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next *times* requests for *on* (a path's end, `*` for any), of *method* where given.

    With `drop="before"` the request is read and forgotten; with `drop="after"` it is worked on as always, and the
    connection dies instead of the answer. A `status` answers instead of the double's own work. `method` and what
    the body is `holding` narrow it down; the first `skip` such requests go through.
    """

    on: str = "*"
    times: int = 1
    status: int | None = None
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: str | None = None
    skip: int = 0
    method: str = "*"
    holding: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    raw_path: str = ""
    """The path with its percent signs: `group%2Fproject` is one part of it."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Double:
    """A server with faults. Subclasses add their routes in `routes`."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.violations: list[str] = []
        self.before_answering: Callable[[Seen], None] = lambda _: None
        """Called when the work is done and nobody has been told."""
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    def violation(self, seen: Seen) -> str | None:
        """Return what in *seen* breaks the service's contract; doubles with a contract override it.

        It is answered with 400, and leaving the double fails the test.
        """
        del seen

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def calls(self, path_end: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.endswith(path_end)]

    # --- life -------------------------------------------------------------------------------------

    async def start(self, port: int = 0) -> Self:
        app = web.Application(middlewares=[self._middleware], client_max_size=BODY_BYTES_MAX)
        app.add_routes(
            [
                web.post("/_control/faults", self._take_faults),
                web.post("/_control/refuse", self._take_refuse),
                *self.routes(),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.listen(port)
        return self

    async def listen(self, port: int = 0) -> None:
        """Accept connections, on the port of before where none is named."""
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", port or self.port)
        await self._site.start()
        self.port = int(self._runner.addresses[0][1])

    async def refuse(self) -> None:
        """Accept no more connections; `listen` ends it."""
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        assert self.violations == []

    # --- faults -----------------------------------------------------------------------------------

    def _fault(self, seen: Seen) -> Fault | None:
        for fault in self.faults:
            meant = fault.method in {"*", seen.method} and fault.holding.encode() in seen.body
            if meant and (fault.on == "*" or seen.path.endswith(fault.on)):
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_control/"):
            return await handler(request)
        body = await request.read()
        headers = {k.lower(): v for k, v in request.headers.items()}
        raw_path = request.raw_path.partition("?")[0]
        seen = Seen(request.method, request.path, dict(request.query), headers, body, raw_path)
        self.seen.append(seen)
        if (violation := self.violation(seen)) is not None:
            self.violations.append(violation)
            return web.Response(status=400, text=f"violates the description: {violation}")
        fault = self._fault(seen)
        answer = await (handler(request) if fault is None else _fail(fault, request, handler))
        self.before_answering(seen)
        return answer

    async def _take_faults(self, request: web.Request) -> web.Response:
        self.faults += [Fault(**fault) for fault in await request.json()]
        return web.json_response({"faults": len(self.faults)})

    async def _take_refuse(self, request: web.Request) -> web.Response:
        seconds = float((await request.json())["seconds"])
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []

        async def refuse_for_a_while() -> None:
            await self.refuse()
            await asyncio.sleep(seconds)
            await self.listen()

        # After the answer is out: closing the door must not close it on whoever asked for it.
        loop.call_later(0.01, lambda: tasks.append(asyncio.ensure_future(refuse_for_a_while())))
        return web.json_response({"refuses_for_s": seconds})


async def _fail(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Do to *request* what *fault* says."""
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.drop == "before":
        return _drop(request)
    if fault.drop == "after":
        await handler(request)
        return _drop(request)
    if fault.status is None:
        answer = await handler(request)
        answer.headers.update(fault.headers)
        return answer
    return web.Response(status=fault.status, text=fault.body, headers=fault.headers)


def _drop(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


class Log:
    """Appends one JSON line per record, on disk before the answer goes out."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path is not None else None

    def __call__(self, record: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; it is printed")
    parser.add_argument("--log", type=Path, help="one JSON line per accepted request")
    return parser


def serve(double: Double, port: int) -> None:
    """Run *double* until it is told to stop; its first line on standard output is its URL."""

    async def main() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await double.start(port)
        sys.stdout.write(f"{double.url}\n")
        sys.stdout.flush()
        await stopped.wait()
        await double.stop()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
