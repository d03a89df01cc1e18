"""The bar of the first import: on a real terminal, by the real process, and what it leaves to files."""

import asyncio
import os
import pty
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ralf_hub.cli.importbar import LABELS, ImportBar
from tests.journeys.hub import free_port
from tests.support import eventually
from tests.watcher.hub import make_workspace, write_task

CLEARED = "\x1b[2K"
"""What takes a line away from a terminal."""


@dataclass
class Terminal:
    """Both ends of a pseudo-terminal, and what was shown on it."""

    screen: int
    wire: int
    shown: bytes = b""

    def read(self) -> str:
        """Return all that was shown so far."""
        while True:
            try:
                piece = os.read(self.screen, 65536)
            except (BlockingIOError, OSError):
                break
            if not piece:
                break
            self.shown += piece
        return self.shown.decode("utf-8", "replace")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    screen, wire = pty.openpty()
    os.set_blocking(screen, False)
    try:
        yield Terminal(screen, wire)
    finally:
        os.close(screen)
        os.close(wire)


@contextmanager
def drawn_on(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let standard error be the terminal. Not a fixture: pytest puts its own in place when the test begins."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with os.fdopen(os.dup(terminal.wire), "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        yield


def test_the_bar_shows_how_far_it_is_and_is_gone_after(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with drawn_on(terminal, monkeypatch):
        bar = ImportBar()
        bar("tasks", 100, None)
        bar("tasks", 12_300, None)
        bar("events", 750, 1000)
        bar("done", 0, None)
    shown = terminal.read()
    assert LABELS["tasks"] in shown
    assert "12,300" in shown
    assert LABELS["events"] in shown
    assert "75%" in shown
    assert shown.rstrip().endswith(CLEARED), "nothing of it stays"


def test_it_is_told_from_threads_and_may_begin_again(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def told() -> None:
        bar = ImportBar()
        for _ in range(2):
            calls = [asyncio.to_thread(bar, "tasks", n, None) for n in range(50)]
            await asyncio.gather(*calls)
            await asyncio.to_thread(bar, "done", 0, None)
            bar("done", 0, None)

    with drawn_on(terminal, monkeypatch):
        asyncio.run(told())
    assert terminal.read().count(LABELS["tasks"]) >= 2


def test_what_goes_to_a_file_still_goes_there_while_the_bar_is_drawn(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with drawn_on(terminal, monkeypatch), (tmp_path / "output").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        bar = ImportBar()
        bar("tasks", 100, None)
        print("ralf-hub is running")
        bar("done", 0, None)
    assert (tmp_path / "output").read_text() == "ralf-hub is running\n"
    assert "running" not in terminal.read()


@pytest.mark.journey
@pytest.mark.parametrize("is_terminal", [True, False])
async def test_serve_shows_it_on_a_terminal_only(
    tmp_path: Path, terminal: Terminal, *, is_terminal: bool
) -> None:
    root = make_workspace(tmp_path / "ws")
    for number in range(400):
        write_task(root, f"TASK-{number}")
    settings = tmp_path / "ralf-hub.toml"
    settings.write_text(
        f'[api]\nport = {free_port()}\n[database]\npath = "hub.db"\n[workspace]\npath = "{root}"\n'
    )
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ralf_hub",
            "serve",
            "--config",
            str(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=terminal.wire if is_terminal else err,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
    try:
        said = _reader(terminal if is_terminal else tmp_path / "err")
        if is_terminal:
            await eventually(lambda: LABELS["tasks"] in said(), within_s=60)
            await eventually(lambda: said().rstrip().endswith(CLEARED), within_s=60)
            assert re.search(r"\b400\b", said())
        await eventually(lambda: "is running" in (tmp_path / "out").read_text(), within_s=60)
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert (CLEARED in said()) == is_terminal


def _reader(source: Terminal | Path) -> Callable[[], str]:
    return source.read if isinstance(source, Terminal) else source.read_text
