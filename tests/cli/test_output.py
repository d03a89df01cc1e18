"""Tables, colours and bars, on a terminal and elsewhere."""

import io
import os
import pty
import subprocess
import sys

import pytest

from ralf_hub.cli import output
from tests.cli.helpers import WITHIN_S, Place


def test_a_table_into_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME", ">N"), [("x" * 500, 1), ("[bold]y[/]", 22)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["NAME", "N"], ["x" * 500, "1"], ["[bold]y[/]", "22"]]
    assert lines[1].endswith("   1")


def test_text_from_outside_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME",), [("a\x1b[2J\x1b]0;title\x07b\r\nc\u202e",)])
    assert capsys.readouterr().out == "NAME\nab c\n"


def test_nothing_is_an_empty_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("NAME", "STATE"), [])
    assert capsys.readouterr().out == "NAME  STATE\n"


def test_bars_are_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("work", 3) as advance:
        advance(1, "")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("answer", "expected"), [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_a_question_at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str, expected: bool) -> None:  # noqa: FBT001
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", said := Terminal())
    assert output.confirmed("go on?", yes=False) is expected
    assert said.getvalue() == "go on? [y/N] "


def test_no_question_without_a_terminal_or_with_a_yes() -> None:
    assert output.confirmed("go on?", yes=True)


def on_a_terminal(place: Place, *arguments: str, **env: str) -> str:
    """Return what the command shows on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ralf_hub", *arguments],
        cwd=place.folder,
        env={**place.environment(), "TERM": "xterm-256color", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    assert process.wait(WITHIN_S) in {0, 1}
    return seen.decode()


def test_on_a_terminal_there_are_colours_and_bars(day: Place) -> None:
    shown = on_a_terminal(day, "verify")
    assert "\x1b[32mClean" in shown
    assert "verify \x1b[" in shown
    assert "\u2501" in shown


def test_who_wants_no_colours_gets_none(day: Place) -> None:
    assert "\x1b[32m" not in on_a_terminal(day, "verify", NO_COLOR="1")


def test_a_terminal_that_knows_no_unicode_is_no_error(day: Place) -> None:
    day.env |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    day.rows("UPDATE outbox SET last_error = 'gr\u00fc\u00dfe'")
    assert day.run("outbox", "list").out.count("gr\\xfc\\xdfe") == 6


def test_a_question_is_asked_before_many_are_changed(day: Place) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "ralf_hub", "outbox", "cancel", "--connector", "shop"],
        cwd=day.folder,
        env=day.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    out, _ = process.communicate(timeout=WITHIN_S)
    os.close(theirs)
    assert "cancel them? [y/N]" in os.read(ours, 65_536).decode()
    os.close(ours)
    assert (process.returncode, out) == (0, b"cancelled: 3 deliveries\n")
