"""Prints every notice as one line: the connector a new hub starts with."""

import os
import select
import sys
from collections.abc import Sequence
from typing import ClassVar, Final, TextIO

from ralf_hub.connectors.base import (
    Action,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.wording import Wording
from ralf_hub.model import Delivery
from ralf_hub.notices import Severity
from ralf_hub.texts import cut, one_line

LINE_BYTES_MAX: Final = 4096
"""POSIX's `PIPE_BUF` on Linux: a write of at most so many bytes is atomic, and fits where `poll` says writable."""
BUSY_RETRY_S: Final = 1.0

_SIGNS: Final[dict[Severity, tuple[str, str]]] = {
    "info": ("\u2022", "36"),
    "success": ("\u2714", "32"),
    "warning": ("!", "33"),
    "error": ("\u2718", "31"),
}
"""Per severity the sign in front and the ANSI colour."""


class ConsoleSettings(ConnectorSettings):
    """`[connectors.console]`: it needs nothing."""


class ConsoleConnector(Connector):
    """Writes notices to a text stream, standard output unless another is handed in."""

    service: ClassVar[str] = "console"
    settings_model: ClassVar[type[ConnectorSettings]] = ConsoleSettings
    default_events: ClassVar[tuple[str, ...]] = ("*",)
    tells_people: ClassVar[bool] = True

    def __init__(
        self, name: str, settings: ConsoleSettings, env: ConnectorEnv, stream: TextIO | None = None
    ) -> None:
        super().__init__(name, settings, env)
        self._stream = stream
        self._wording = Wording(settings.template, one_line)

    def destinations(self) -> frozenset[str]:
        """Return the one place there is: a process has one console."""
        return frozenset({"console"})

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return the one line this event is worth."""
        worded = self._wording(fact)
        notice = worded.notice
        details = [*(value for _, value in notice.fields), notice.event_id]
        payload = {
            "severity": notice.severity,
            "at": notice.occurred_at,
            "text": one_line(worded.text if worded.text is not None else notice.title),
            "details": details,
        }
        if worded.text is None and notice.lines:
            payload["said"] = one_line(notice.text)
        if worded.template_error is not None:
            payload["template_error"] = worded.template_error
        return [Action("print", payload)]

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Write the line at once and whole. A reader that has stopped reading is waited for, never blocked on."""
        del context
        stream = self._stream or sys.stdout
        try:
            if not _writable(stream):
                return Retry("the console is not being read", retry_after_s=BUSY_RETRY_S, counts=False)
            line = console_line(delivery, colour=_takes_colour(stream))
            encoding = stream.encoding or "utf-8"
            stream.write(line.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except (OSError, ValueError) as error:
            return Rejected(f"the console is closed ({type(error).__name__})")
        return Delivered()


def console_line(delivery: Delivery, *, colour: bool) -> str:
    """Return the line for *delivery* with its line end, in at most `LINE_BYTES_MAX` bytes of UTF-8."""
    payload = delivery.payload
    sign, code = _SIGNS.get(payload["severity"], _SIGNS["info"])
    moment = payload["at"][11:19]
    parts = [payload["text"], cut(payload.get("said", ""), 300), " \u00b7 ".join(payload["details"])]
    if "template_error" in payload:
        parts.append(f"(template failed: {payload['template_error']})")
    # A code point is at most 4 bytes: a quarter of the room is always enough, and far more than a line of a screen.
    text = cut("  ".join(one_line(part) for part in parts if part), LINE_BYTES_MAX // 4 - 40)
    if colour:
        return f"\x1b[2m{moment}\x1b[0m \x1b[{code}m{sign}\x1b[0m {text}\n"
    return f"{moment} {sign} {text}\n"


def _takes_colour(stream: TextIO) -> bool:
    """Whether a person looks at *stream* and has not asked for plain text (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _writable(stream: TextIO) -> bool:
    """Whether a short write to *stream* returns at once; True for streams that are no file."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return True
    return bool(select.select([], [number], [], 0)[1])
