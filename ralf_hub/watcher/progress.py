"""How far the reading of a workspace is, for people: lines in the log, or whatever is handed in."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

log = logging.getLogger(__name__)

SAY_EVERY_S: Final = 5.0


class Progress(Protocol):
    """Called from threads as well."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Take note: *what* is `tasks` (files), `events` (bytes) or `done`; *total* None where nobody knows yet."""


def no_progress(what: str, done: int, total: int | None) -> None:
    """Tell nobody."""


class LoggedProgress:
    """A line in the log every few seconds, so that a long first import is seen to go on."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._said_at = monotonic()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Say how far it is, unless that was just said."""
        now = self._monotonic()
        if what == "done" or now - self._said_at < SAY_EVERY_S:
            return
        self._said_at = now
        if what == "tasks":
            log.info("workspace: %s task files read", f"{done:,}")
        elif total:
            log.info("workspace: %d %% of %s read", 100 * done // total, what)
