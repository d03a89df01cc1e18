"""Where benchmarks run: the real hub as a process with its normal protections on, and servers beside it."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.journeys.hub import Hub, free_port
from tests.support import eventually

KEY: Final = "rh_a-key-that-only-benchmarks-use-on-this-machine"
API: Final = (
    "rate_limit.requests_per_minute = 10000000\nrate_limit.failed_auth_per_minute = 1000000\n"
    f'api_keys = [{{ name = "benchmark", key = "{KEY}", scopes = ["*"] }}]'
)
"""The rate limiter stays on, with a limit no benchmark reaches."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process beside the hub."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Bench:
    """How thorough to be: runs per figure, a factor on durations and amounts, minutes of the long load."""

    runs: int = 5
    pace: float = 1.0
    minutes: float = 6.0

    def seconds(self, wanted: float) -> float:
        """Return how long to measure."""
        return wanted * self.pace

    def amount(self, wanted: int, least: int = 1) -> int:
        """Return how many to measure with."""
        return max(least, int(wanted * self.pace))

    def hub(self, folder: Path, settings: str = "") -> Hub:
        """Return a hub on `hub.db` in *folder*, not started."""
        hub = Hub(folder, settings, api=API)
        hub.key = KEY
        return hub

    @contextlib.asynccontextmanager
    async def server(self, *arguments: str) -> AsyncIterator[Server]:
        """Run a server of `benchmarks.servers`."""
        port = free_port()
        kind, *rest = arguments
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-m", "benchmarks.servers", kind, str(port), *rest], stdin=subprocess.DEVNULL
        )
        try:
            await eventually(lambda: listens(port), within_s=20)
            yield Server(port, process.pid)
        finally:
            process.kill()
            process.wait()

    @contextlib.asynccontextmanager
    async def bare(self, folder: Path, status: int, body: bytes) -> AsyncIterator[Server]:
        """Run aiohttp with nothing around it, answering *body* to everything: the ceiling of the API."""
        answer = folder / f"answer-{status}-{len(body)}"
        answer.write_bytes(body)
        async with self.server("bare", str(status), str(answer)) as server:
            yield server


async def listens(port: int) -> bool:
    """Return whether something listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def raw(hub: Hub, path: str) -> bytes:
    """Return the bytes of an answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{hub.url}{path}", headers={"Authorization": f"Bearer {hub.key}"}) as answer,
    ):
        return await answer.read()


async def bare_client(url: str, body: bytes, n: int) -> dict[str, Any]:
    """Post *body* to *url* *n* times with the bare aiohttp client in a process of its own: the ceiling of what goes out."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.servers", "client", "0", url, str(n)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate(body)
    if process.returncode:
        raise AssertionError("the bare client failed")
    found: dict[str, Any] = json.loads(out)
    return found


def webhook(port: int, name: str = "sink", extra: str = "concurrency = 64") -> str:
    """Return the settings of a signed webhook to a sink of this machine."""
    return (
        f'[connectors.{name}]\ntype = "webhook"\nurl = "http://127.0.0.1:{port}/hook"\n'
        f'secret = "whsec_YmVuY2htYXJrLXNlY3JldC1vbmx5"\nevents = ["*"]\n{extra}\n'
    )
