import io
import os
import pty
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.connectors.base import ConnectorEnv, Delivered, Rejected, Retry, SendContext
from ralf_hub.connectors.console import LINE_BYTES_MAX, ConsoleConnector, ConsoleSettings, console_line
from tests.connectors.helpers import CLOCK, TASK, fact, nowhere, planned

CONTEXT = SendContext(nowhere, CLOCK)


def console(stream: Any = None, **settings: Any) -> ConsoleConnector:
    return ConsoleConnector("console", ConsoleSettings(**settings), ConnectorEnv(), stream)


async def printed(about: Any, stream: Any = None, **settings: Any) -> str:
    stream = stream or io.StringIO()
    made = console(stream, **settings)
    assert await made.send(planned(made, about), CONTEXT) == Delivered()
    return str(stream.getvalue())


async def test_a_notice_is_one_line() -> None:
    line = await printed(fact(data={"result": "All\ntests pass."}))
    assert line == (
        "16:01:00 \u2714 Task completed: Fix the login  All tests pass.  "
        "TASK-7 \u00b7 high \u00b7 evt_0123456789abcdef\n"
    )


async def test_every_event_is_printed_by_default() -> None:
    assert console().default_events == ("*",)
    assert console().destinations() == console().destinations()


async def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    made = console()
    await made.send(planned(made, fact()), CONTEXT)
    assert "Task completed" in capsys.readouterr().out


async def test_outside_text_cannot_act_on_the_terminal() -> None:
    hostile = "\x1b[31mred\x1b]0;pwned\x07\r\nfake: 16:01:00 \u2714 \u202eabc\x9b2J"
    line = await printed(fact("task_failed", {"error": hostile}, replace(TASK, title=hostile)))
    assert line.count("\n") == 1
    assert not any(char < " " or "\x7f" <= char <= "\x9f" or char == "\u202e" for char in line[:-1])


async def test_a_template_replaces_the_words_and_its_output_is_neutralised_too() -> None:
    line = await printed(fact(data={"x": "\x1b[2Jz"}), template="<{{ event.data.x }}>\nsecond")
    assert "<z> second" in line
    assert "Task completed" not in line


async def test_a_template_that_fails_is_mentioned() -> None:
    line = await printed(fact(), template="{{ event.data.nope }}")
    assert "Task completed: Fix the login" in line
    assert "(template failed: " in line


class Writes(io.StringIO):
    """Counts writes."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def write(self, text: str) -> int:
        self.count += 1
        return super().write(text)


async def test_a_line_is_one_write() -> None:
    stream = Writes()
    await printed(fact(), stream)
    assert stream.count == 1


async def test_colour_only_where_a_person_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    made = console()
    row = planned(made, fact("task_failed"))
    leader, follower = pty.openpty()
    try:
        with os.fdopen(follower, "w", encoding="utf-8") as stream:
            on_terminal = console(stream)
            assert await on_terminal.send(row, CONTEXT) == Delivered()
            assert b"\x1b[31m" in os.read(leader, 4096)
            monkeypatch.setenv("NO_COLOR", "1")
            assert await on_terminal.send(row, CONTEXT) == Delivered()
            assert b"\x1b" not in os.read(leader, 4096)
    finally:
        os.close(leader)


async def test_a_reader_that_stopped_reading_is_waited_for_and_never_blocked_on() -> None:
    reading, writing = os.pipe()
    made = console(os.fdopen(writing, "w", encoding="utf-8"))
    row = planned(made, fact())
    sent = 0
    while isinstance(outcome := await made.send(row, CONTEXT), Delivered):
        sent += 1
        assert sent < 10_000
    assert outcome == Retry("the console is not being read", retry_after_s=1.0, counts=False)
    seen = os.read(reading, 1 << 20)
    assert await made.send(row, CONTEXT) == Delivered()
    seen += os.read(reading, 1 << 20)
    assert seen.count(b"\n") == sent + 1
    made._stream.close()
    os.close(reading)


async def test_a_closed_console_is_a_dead_letter_with_a_reason() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", encoding="utf-8")
    made = console(stream)
    outcome = await made.send(planned(made, fact()), CONTEXT)
    assert outcome == Rejected("the console is closed (BrokenPipeError)")
    with pytest.raises(BrokenPipeError):
        stream.close()
    assert await made.send(planned(made, fact()), CONTEXT) == Rejected("the console is closed (ValueError)")


async def test_a_terminal_that_knows_only_ascii_still_gets_a_line() -> None:
    raw = io.BytesIO()
    made = console(io.TextIOWrapper(raw, encoding="ascii"))
    assert await made.send(planned(made, fact()), CONTEXT) == Delivered()
    assert raw.getvalue().startswith(b"16:01:00 ? Task completed")


@given(st.text(max_size=4000), st.sampled_from(["task_failed", "odd"]))
def test_any_line_is_one_line_and_fits_one_write(text: str, kind: str) -> None:
    made = console()
    row = planned(made, fact(kind, {"error": text * 3, "message": text}, replace(TASK, title=text)))
    line = console_line(row, colour=True)
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert len(line.encode()) <= LINE_BYTES_MAX
