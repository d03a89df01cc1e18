"""Where benchmarks run: the real hub as a process with its normal protections on, and servers beside it."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.journeys.hub import Hub, free_port

API = "rate_limit.requests_per_minute = 10000000\nrate_limit.failed_auth_per_minute = 1000000"
"""The rate limiter stays on, with a limit no benchmark reaches."""


@dataclass(frozen=True, slots=True)
class Bench:
    """How thorough to be: runs per figure, and a factor on every duration."""

    runs: int = 5
    pace: float = 1.0

    def seconds(self, wanted: float) -> float:
        """Return how long to measure."""
        return wanted * self.pace

    def hub(self, folder: Path, settings: str = "") -> Hub:
        """Return a hub in *folder*, not started."""
        return Hub(folder, settings, api=API)

    @contextlib.asynccontextmanager
    async def server(self, *arguments: str) -> AsyncIterator[int]:
        """Run a server of `benchmarks.servers`; its port."""
        port = free_port()
        kind, *rest = arguments
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "benchmarks.servers", kind, str(port), *rest], stdin=subprocess.DEVNULL
        )
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
            yield port
        finally:
            process.kill()
            process.wait()

    async def raw(self, hub: Hub, path: str) -> bytes:
        """Return the bytes of an answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{hub.url}{path}", headers={"Authorization": f"Bearer {hub.key}"}) as answer,
        ):
            return await answer.read()

    async def fetch(self, port: int, path: str) -> dict[str, object]:
        """Return the JSON a server answers with."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            found: dict[str, object] = await answer.json(content_type=None)
            return found
