"""The real `ralf-hub serve` as a process, for journeys: started, killed, started again on the same folder."""

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from tests.support import eventually

START_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 20.0
_KEY: Final = re.compile(r"rh_[A-Za-z0-9_-]{20,}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class HubEndedError(AssertionError):
    """The process ended before it answered."""


class Hub:
    """One hub in a folder of its own. `settings` is TOML without `[api]` and `[database]`, which are made here."""

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        api: str = "",
        env: Mapping[str, str] | None = None,
        scheme: str = "http",
    ) -> None:
        self.folder = folder
        self._scheme = scheme
        self.port = free_port()
        self.db = folder / "hub.db"
        self.output = folder / "output.txt"
        self.key = ""
        self._env = {**os.environ, "HOME": str(folder), **(env or {})}
        self._env.pop("RALF_HUB_CONFIG", None)
        self._process: subprocess.Popen[bytes] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._greeting_from = 0
        self.config = folder / "ralf-hub.toml"
        self.write_settings(settings, api=api)

    def write_settings(self, settings: str, *, api: str = "") -> None:
        text = (
            f'[api]\nport = {self.port}\n{api or "rate_limit.enabled = false"}\n\n[database]\npath = "hub.db"\n\n'
            f'[security]\nallowed_networks = ["127.0.0.0/8"]\n\n{settings}'
        )
        replacement = self.config.with_suffix(".new")
        replacement.write_text(text, encoding="utf-8")
        replacement.replace(self.config)

    # --- the process ------------------------------------------------------------------------------

    async def start(self, *arguments: str) -> Self:
        """Start the process and wait until it answers."""
        self._greeting_from = self.output.stat().st_size if self.output.exists() else 0
        self._process = self._spawn(arguments)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=False)
            )  # certificates of tests
        await eventually(self._answers, within_s=START_WITHIN_S)
        await eventually(self._has_greeted, within_s=START_WITHIN_S)
        if not self.key and (found := _KEY.search(self.output.read_text(encoding="utf-8"))):
            self.key = found[0]
        return self

    def _spawn(self, arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "ralf_hub", "serve", "--config", str(self.config), *arguments],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _has_greeted(self) -> bool:
        """The line with the address, and at the first start the key, comes when all is ready."""
        self._insist_alive()
        lines = self.output.read_bytes()[self._greeting_from :].decode("utf-8").splitlines()
        return any(self.url in line and ("is running" in line or '"url"' in line) for line in lines)

    def _insist_alive(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise HubEndedError(f"the hub ended:\n{self.output.read_text(encoding='utf-8')[-3000:]}")

    async def _answers(self) -> bool:
        self._insist_alive()
        assert self._session is not None
        try:
            async with self._session.get(f"{self.url}/health") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def is_dead(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL: nothing of the process has a chance to tidy up."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, STOP_WITHIN_S)

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    # --- its API ----------------------------------------------------------------------------------

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Make one request; returns the status and the JSON of the answer."""
        assert self._session is not None
        shown = {
            "Authorization": f"Bearer {self.key}",
            **{n.replace("_", "-"): v for n, v in headers.items()},
        }
        async with self._session.request(method, f"{self.url}{path}", json=body, headers=shown) as answer:
            raw = await answer.read()
            return answer.status, json.loads(raw) if raw else None

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request that must succeed."""
        status, answer = await self.call(method, path, body)
        assert status < 300, (status, answer)
        return answer

    # --- its file ---------------------------------------------------------------------------------

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read the database beside the hub, as a person with sqlite3 would."""
        conn = sqlite3.connect(self.db, isolation_level=None, timeout=10)
        try:
            return conn.execute(sql, values).fetchall()
        finally:
            conn.close()

    def value(self, sql: str, *values: object) -> Any:
        return self.rows(sql, *values)[0][0]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ralf-hub` beside the hub, on its settings and file."""
        return subprocess.run(
            [sys.executable, "-m", "ralf_hub", *arguments, "--config", str(self.config)],
            cwd=self.folder,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
