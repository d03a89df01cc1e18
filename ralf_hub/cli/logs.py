"""What a hub logs: lines for people, or one JSON object per line for programs (`[logging] format`)."""

import json
import logging
from collections.abc import Callable
from typing import Final

from ralf_hub import context
from ralf_hub.clock import MS_PER_S, iso
from ralf_hub.config.models import LoggingSettings

_FOR_PEOPLE: Final = "%(asctime)s %(levelname)s %(message)s"


class JsonLines(logging.Formatter):
    """One object per line: `at`, `level`, `logger`, `message`; where there is one, what was worked on and `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one line."""
        line = {
            "at": iso(round(record.created * MS_PER_S)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **worked_on(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class PlainLines(logging.Formatter):
    """A line with the time, the level, the message, and what was worked on."""

    def __init__(self) -> None:
        super().__init__(_FOR_PEOPLE)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return *record* without its traceback, which follows."""
        marks = "".join(f" [{name.removesuffix('_id')} {value}]" for name, value in worked_on().items())
        return super().formatMessage(record) + marks


def worked_on() -> dict[str, str | int]:
    """Return the ids of the request and the delivery that is worked on, and of the trace, where there are."""
    trace = context.traceparent.get()
    found = {
        "request_id": context.request_id.get(),
        "delivery_id": context.delivery_id.get(),
        "trace_id": trace.split("-")[1] if trace else None,
    }
    return {name: value for name, value in found.items() if value is not None}


class RedactedLines(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines to standard error without secrets, whoever logs them: a library's traceback may quote one."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as one entry, as it may be shown."""
        return self._redact(super().format(record))


def set_up(settings: LoggingSettings, redact: Callable[[str], str]) -> None:
    """Log to standard error as *settings* say; every line goes through *redact*."""
    handler = RedactedLines(redact)
    handler.setFormatter(JsonLines() if settings.format == "json" else PlainLines())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # two lines for every statement would bury the rest
