"""Schemathesis against a real hub: every operation of `openapi.json`, every check, single calls and chains of them.

`make fuzz-api` runs this file for as long as one likes; the test beside it runs a minute's worth.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ralf_hub.app import build_app
from ralf_hub.clock import Clock
from ralf_hub.keyring import new_key
from ralf_hub.runner import HubRunner
from ralf_hub.services import SERVICES, Services
from ralf_hub.store import keys
from tests.api.helpers import EVERYTHING, settings, webhook
from tests.doubles.receiver import Receiver

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "openapi.json"
CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
STREAMS_LAST_S: Final = 0.2
"""A live stream never ends by itself, and schemathesis reads an answer to its end."""
START_WITHIN_S: Final = 60
STOP_WITHIN_S: Final = 60


@dataclass(frozen=True, slots=True)
class Target:
    """Where a hub listens, and how an OAuth client of it proves itself."""

    url: str
    client: str


@dataclass(frozen=True, slots=True)
class Found:
    """What schemathesis did and found."""

    code: int
    report: dict[str, Any]
    text: str


async def _end_streams(hub: Services) -> None:
    """Let go of every live reader after a while, as if it read too slowly."""
    while True:
        seen = set(hub.stream.clients)
        await asyncio.sleep(STREAMS_LAST_S)
        for client in seen & hub.stream.clients:
            client.drop()


async def _client_of(hub: Services) -> str:
    secret, stored = new_key(hub.clock, "fuzz", ["*"], kind="oauth")
    await hub.db.write(lambda conn: keys.insert(conn, stored))
    return "Basic " + base64.b64encode(f"{stored.id}:{secret}".encode()).decode()


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[Target]:
    github = {"service": "github", "path": "/api/v1/webhooks/github", "secret": "a secret of github's"}
    async with Receiver() as sink:
        loaded = settings(
            folder / "hub.db", connectors={"sink": webhook(sink.url)}, webhooks={"incoming": [github]}
        )
        app = build_app(loaded, Clock())
        runner = HubRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hub = app[SERVICES]
        ending = asyncio.create_task(_end_streams(hub))
        try:
            yield Target(f"http://127.0.0.1:{runner.addresses[0][1]}", await _client_of(hub))
        finally:
            ending.cancel()
            await runner.cleanup()


@contextmanager
def hub_beside(folder: Path) -> Iterator[Target]:
    """Run a hub in a thread of its own."""
    ready, stop = threading.Event(), threading.Event()
    found: list[Target] = []

    async def run() -> None:
        async with _running(folder) as target:
            found.append(target)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(START_WITHIN_S), "the hub did not start"
        yield found[0]
    finally:
        stop.set()
        thread.join(STOP_WITHIN_S)


def run(target: Target, folder: Path, options: Sequence[str], **streams: Any) -> Found:
    """Run `schemathesis run` with *options* against *target*."""
    report = folder / "report.json"
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, "--config-file", CONFIG, "run", DOCUMENT, "--report-json-path", report, *options]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HUB_URL": target.url,
        "HUB_KEY": EVERYTHING,
        "HUB_CLIENT": target.client,
    }
    done = subprocess.run(command, env=env, cwd=folder, text=True, check=False, **streams)
    told = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    return Found(done.returncode, told, f"{done.stdout or ''}{done.stderr or ''}")


def summary(report: dict[str, Any]) -> str:
    """Return what was done, in one line."""
    operations, cases = report["operations"], report["test_cases"]
    return (
        f"{operations['tested']} of {operations['total']} operations, {cases['generated']:,} requests and chains "
        f"in {report['running_time']:.0f} s, seed {report['seed']}: {cases['unique_failures']} failures, "
        f"{cases['errored']} errors"
    )


def main() -> int:
    """Run with the options of the command line and print what was found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with hub_beside(folder) as target:
            found = run(target, folder, sys.argv[1:])
    print(summary(found.report) if found.report else "schemathesis did not run")
    return found.code


if __name__ == "__main__":
    sys.exit(main())
