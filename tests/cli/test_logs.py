"""`[logging] format`: lines for people or for programs."""

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from ralf_hub import context
from ralf_hub.cli.logs import JsonLines, set_up
from ralf_hub.clock import parse_iso
from ralf_hub.config.models import LoggingSettings
from ralf_hub.secrets import Redactor


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    found = logging.getLogger()
    handlers, level = found.handlers[:], found.level
    yield found
    found.handlers[:] = handlers
    found.setLevel(level)


def test_json_lines_are_whole_however_many_lines_a_message_has() -> None:
    record = logging.LogRecord("ralf_hub.x", logging.WARNING, __file__, 1, "two\nlines %s", ("ü",), None)
    line = JsonLines().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert {key: told[key] for key in ("level", "logger", "message")} == {
        "level": "warning",
        "logger": "ralf_hub.x",
        "message": "two\nlines ü",
    }
    assert abs(parse_iso(told["at"]) - record.created * 1000) <= 1
    assert "error" not in told


def test_an_error_carries_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(LoggingSettings(level="info", format="json"), Redactor())
    try:
        int("broken")
    except ValueError:
        logging.getLogger("ralf_hub").exception("it failed")
    told = json.loads(capsys.readouterr().err)
    assert (told["level"], told["message"]) == ("error", "it failed")
    assert told["error"].splitlines()[-1].startswith("ValueError: ")


def test_for_people_it_is_a_line(capsys: pytest.CaptureFixture[str], root: logging.Logger) -> None:
    set_up(LoggingSettings(level="warning", format="console"), Redactor())
    logging.getLogger("ralf_hub").info("not this")
    logging.getLogger("ralf_hub").warning("but %s", "this")
    assert capsys.readouterr().err.endswith(" WARNING but this\n")
    assert len(root.handlers) == 1


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_must_not_be_shown_is_in_no_line_and_no_traceback(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    redact = Redactor(['known "secret"'])
    set_up(LoggingSettings.model_validate({"format": form}), redact)
    redact.learn(["learnt-later"])
    try:
        int('known "secret" in a library')
    except ValueError:
        logging.getLogger("some.library").exception("with %s", "learnt-later")
    shown = capsys.readouterr().err
    assert "secret" not in shown
    assert "learnt" not in shown
    assert shown.count("***") >= 2


def test_a_line_names_what_was_worked_on(capsys: pytest.CaptureFixture[str]) -> None:
    def speak(settings: LoggingSettings) -> str:
        set_up(settings, str)
        context.request_id.set("req-1")
        context.delivery_id.set(7)
        context.traceparent.set("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        try:
            int("broken")
        except ValueError:
            logging.getLogger("ralf_hub").exception("it failed")
        return capsys.readouterr().err

    told = json.loads(copy_context().run(speak, LoggingSettings(format="json")))
    ids = {name: value for name, value in told.items() if name.endswith("_id")}
    assert ids == {"request_id": "req-1", "delivery_id": 7, "trace_id": "0af7651916cd43dd8448eb211c80319c"}
    plain = copy_context().run(speak, LoggingSettings(format="console"))
    first, _, rest = plain.partition("\n")
    assert first.endswith(
        " ERROR it failed [request req-1] [delivery 7] [trace 0af7651916cd43dd8448eb211c80319c]"
    )
    assert rest.startswith("Traceback")
    set_up(LoggingSettings(format="json"), str)
    logging.getLogger("ralf_hub").warning("by itself")
    assert not [name for name in json.loads(capsys.readouterr().err) if name.endswith("_id")]
