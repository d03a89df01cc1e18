"""`top` against a real hub: on a terminal, into a pipe, while the hub goes away and comes back."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web
from rich.cells import cell_len

from ralf_hub.cli.top_feed import Overview
from ralf_hub.cli.top_view import bars, draw, span
from ralf_hub.model import TASK_STATUSES
from tests.cli.helpers import Place
from tests.journeys.hub import Hub
from tests.support import eventually

KEY = "rh_for_top_0123456789abcdef"
API = f'rate_limit.enabled = false\napi_keys = [{{ name = "top", key = "{KEY}", scopes = ["*"] }}]'
CONNECTORS = """
[connectors.quiet]
type = "console"

[connectors.broken]
type = "webhook"
url = "http://127.0.0.1:9/nobody"
events = ["task_*"]
"""
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][0-9A-B]?")
WITHIN_S = 30.0


class Screen:
    """A command on a terminal of its own, and all that was drawn on it."""

    def __init__(self, hub: Hub, *arguments: str, columns: int = 100, rows: int = 40) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        env = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ralf_hub", "top", "--config", str(hub.config), *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**env, "TERM": "xterm-256color", "HOME": str(hub.folder)},
            start_new_session=True,
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.drawn = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while chunk := os.read(self._ours, 65_536):
                self.drawn += chunk.decode("utf-8", "replace")

    @property
    def frame(self) -> list[str]:
        """The lines of the last whole picture."""
        self._read()
        pictures = self.drawn.split("\x1b[H")
        return [line.rstrip() for line in ANSI.sub("", pictures[-1]).split("\r\n")]

    async def shows(self, *texts: str) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.drawn[-2_000:]
            picture = "\n".join(self.frame)
            return all(text in picture for text in texts)

        try:
            await eventually(there, within_s=WITHIN_S)
        except AssertionError:
            raise AssertionError(f"{texts} not in:\n" + "\n".join(self.frame)) from None

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = await asyncio.to_thread(self.process.wait, WITHIN_S)
        self._read()
        return code


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with Hub(tmp_path, CONNECTORS, api=API) as started:
        started.key = KEY
        yield started


@pytest.mark.journey
async def test_it_follows_a_hub_that_is_killed_and_comes_back(hub: Hub) -> None:
    with Screen(hub) as screen:
        await screen.shows("● ok", "queue 0", "quiet", "broken", "Alerts  none")
        await hub.ok("POST", "/api/v1/tasks", {"id": "T-1", "title": "Sharpen the chisel"})
        await screen.shows("queue 1", "task_created       T-1 Sharpen the chisel")
        await hub.ok(
            "POST", "/api/v1/events", {"type": "system_alert", "data": {"message": "The ink is low"}}
        )
        await hub.ok("POST", "/api/v1/connectors/quiet/pause")
        await screen.shows("The ink is low", "paused", "1 pending")
        hub.kill()
        await screen.shows("● away", "trying again", "known last", "Sharpen the chisel")
        await hub.start()
        await hub.ok("POST", "/api/v1/tasks", {"id": "T-2", "title": "Oil the plane"})
        await screen.shows("● ok", "queue 2", "Oil the plane", "Sharpen the chisel")
        assert await screen.end(signal.SIGINT) == 0
        assert screen.drawn.count("\x1b[?1049h") == screen.drawn.count("\x1b[?1049l") == 1
        assert "Traceback" not in screen.drawn


@pytest.mark.journey
async def test_on_a_narrow_and_low_terminal_nothing_is_wrapped(hub: Hub) -> None:
    await hub.ok("POST", "/api/v1/tasks", {"title": "A title much longer than any narrow terminal " * 4})
    with Screen(hub, columns=32, rows=12) as screen:
        await screen.shows("● ok", "…")
        assert len(screen.frame) <= 12
        assert max(map(cell_len, screen.frame)) <= 32
        assert await screen.end(signal.SIGTERM) == 0


@pytest.mark.journey
async def test_into_a_pipe_it_is_shown_once(hub: Hub) -> None:
    await hub.ok("POST", "/api/v1/tasks", {"id": "T-1", "title": "Once " * 50})
    shown = await asyncio.to_thread(hub.command, "top")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\x1b" not in shown.stdout
    assert ("Once " * 50).strip() in shown.stdout
    told = json.loads((await asyncio.to_thread(hub.command, "top", "--once", "--json")).stdout)
    assert list(told) == ["url", "away", "health", "metrics", "alerts", "events"]
    assert (told["url"], told["away"], told["health"]["status"]) == (hub.url, None, "ok")
    assert told["metrics"]["tasks"]["by_status"]["pending"] == 1
    assert [event["type"] for event in told["events"]] == ["task_created"]


@pytest.mark.journey
async def test_json_goes_on_a_line_for_each_change(hub: Hub) -> None:
    command = [sys.executable, "-m", "ralf_hub", "top", "--json", "--config", str(hub.config)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    try:
        lines = [json.loads(await process.stdout.readline()) for _ in range(3)]
    finally:
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")
    ups = [line["metrics"]["process"]["uptime_s"] for line in lines]
    assert ups == sorted(ups)
    assert ups[0] < ups[-1]


@pytest.mark.journey
async def test_keys_that_do_not_do(hub: Hub) -> None:
    def said(key: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "ralf_hub", "top", "--once", "--config", str(hub.config)],
            capture_output=True,
            text=True,
            env={**os.environ, "RALF_KEY": key},
            check=False,
        )
        return done.returncode, done.stderr

    weak = await hub.ok("POST", "/api/v1/keys", {"name": "weak", "scopes": ["tasks:read"]})
    code, text = await asyncio.to_thread(said, weak["key"])
    assert (code, "metrics:read" in text, weak["key"] in text) == (1, True, False)
    code, text = await asyncio.to_thread(said, "rh_nobodys_0123456789abcdef")
    assert (code, "not valid" in text) == (1, True)
    with Screen(hub) as screen:  # while it runs
        await screen.shows("● ok")
        hub.write_settings(CONNECTORS, api="rate_limit.enabled = false\napi_keys = []")
        assert await asyncio.to_thread(screen.process.wait, WITHIN_S) == 1
        assert "not valid" in ANSI.sub("", "\n".join(screen.frame))


def test_without_a_hub(place: Place) -> None:
    place.env["RALF_KEY"] = KEY
    done = place.invoke("top", "--once", "--url", "http://127.0.0.1:9")
    assert (done.code, done.err) == (
        1,
        "ralf-hub: http://127.0.0.1:9: the hub cannot be asked: Connection refused\n",
    )
    assert place.invoke("top", "--url", "nowhere").code == 2


def test_without_a_key_it_says_how_to_get_one(place: Place) -> None:
    done = place.invoke("top", "--once")
    assert done.code == 1
    assert "ralf-hub keys create --name top --scopes metrics:read,events:read" in done.err
    assert "RALF_KEY" in done.err


async def test_something_else_at_that_address(place: Place) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    app = web.Application()
    app.router.add_get("/{path:.*}", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    place.env["RALF_KEY"] = KEY
    done = await asyncio.to_thread(place.run, "top", "--once", "--url", url)
    await runner.cleanup()
    assert (done.code, done.err) == (1, f"ralf-hub: {url} is no ralf-hub\n")


# --- the picture by itself ------------------------------------------------------------------------


def connector(**more: Any) -> dict[str, Any]:
    usual = {
        "pending": 0,
        "dead": 0,
        "oldest_pending_age_s": None,
        "p95_ms": None,
        "breaker": "closed",
        "paused": False,
    }
    return {**usual, **more}


def overview(**connectors: dict[str, Any]) -> Overview:
    metrics = {
        "tasks": {"by_status": dict.fromkeys(TASK_STATUSES, 0)},
        "queue": {"depth": 3, "oldest_pending_age_s": 75.0},
        "deliveries": connectors,
        "delivered_per_minute": [0] * 29 + [7],
        "process": {"uptime_s": 90_061.0},
    }
    return Overview("http://hub", health={"status": "ok", "version": "1", "checks": {}}, metrics=metrics)


def picture(found: Overview, width: int = 100, height: int = 50) -> str:
    return "\n".join(line.plain for line in draw(found, width, height))


def test_how_connectors_stand() -> None:
    text = picture(
        overview(
            a=connector(),
            b=connector(breaker="open", pending=12, oldest_pending_age_s=3_700.0),
            c=connector(breaker="disabled", dead=5),
            d=connector(paused=True, p95_ms=12.4),
            gone=connector(breaker=None),
        )
    )
    rows = {
        line.split()[0]: line.split()[1:] for line in text.splitlines() if line[:3].strip() in set("abcd")
    }
    assert rows == {
        "a": ["working", "0", "-", "0", "-"],
        "b": ["not", "working", "12", "1h", "1m", "0", "-"],
        "c": ["disabled", "0", "-", "5", "-"],
        "d": ["paused", "0", "-", "0", "12"],
    }
    assert "gone" not in text
    assert "none is enabled" in picture(overview())
    assert "up 1d 1h" in text
    assert "queue 3, the oldest waits 1m 15s" in text


def test_what_fails_is_named() -> None:
    found = overview()
    found.health = {"status": "failing", "checks": {"database": "the disk is full", "settings": "ok"}}
    assert "● failing\n  database: the disk is full" in picture(found)


def test_text_from_outside_steers_nothing() -> None:
    found = overview()
    found.take({"seq": 1, "type": "x\x1b[2J", "occurred_at": "2026-02-02T02:40:00.000Z", "task_id": None, "data": {"title": "[red]a\x1b]0;t\x07\r\nb"}})  # fmt: skip
    text = picture(found)
    assert "\x1b" not in text
    assert "[red]a b" in text


@pytest.mark.parametrize("width", [1, 8, 20, 40, 71, 72, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    found = overview(**{"a-connector-with-a-long-name-indeed": connector(), "日本": connector()})
    for seq in range(1, 30):
        found.take({"seq": seq, "type": "task_created", "occurred_at": "2026-02-02T02:40:00.000Z", "task_id": "T-1", "data": {"title": "日本語" * 40}})  # fmt: skip
    for height in (1, 5, 24, 100):
        lines = draw(found, width, height)
        assert len(lines) <= height
        assert all(line.cell_len <= width for line in lines)


def test_events_are_taken_once_and_in_order() -> None:
    found = overview()
    for seq in (1, 2, 2, 1, 3):
        found.take({"seq": seq, "type": "system_alert"})
    assert [event["seq"] for event in found.events] == [event["seq"] for event in found.alerts] == [3, 2, 1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (60, "1m"), (3_661, "1h 1m"), (90_000, "1d 1h"), (86_400, "1d")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_bars() -> None:
    assert bars([0, 1, 1_000, 500]) == "▁▂█▅"
    assert bars([0, 0]) == "▁▁"
    assert bars([]) == ""
