"""Telling the service manager how the hub does, where one started it and wants to know.

The protocol is a datagram of `NAME=value` lines to the socket in `$NOTIFY_SOCKET`
(https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html).
"""

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Final

from ralf_hub.clock import Clock

US_PER_S: Final = 1_000_000
STATUS_LENGTH_MAX: Final = 200
SIGNS_PER_WATCHDOG: Final = 3
"""Signs of life in the time within which the manager wants one: two may come late before it restarts the hub."""


class ServiceManager:
    """Who started the hub. Where nobody listens, nothing is sent, and what cannot be sent stops nothing."""

    def __init__(self, environment: Mapping[str, str], pid: int, clock: Clock) -> None:
        self._clock = clock
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._watchdog_s = _watchdog_s(environment, pid) if self._address else 0.0

    @property
    def sign_every_s(self) -> float:
        """How often it wants a sign of life, in seconds; 0: never."""
        return self._watchdog_s / SIGNS_PER_WATCHDOG

    def ready(self, status: str) -> None:
        """Say that the hub serves, and in *status* where."""
        self._tell("READY=1", _status(status))

    def alive(self) -> None:
        """Give a sign of life."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the hub has begun to stop."""
        self._tell("STOPPING=1", _status("finishing what is on its way"))

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the settings are being read, and that the hub is ready again afterwards, taken or not."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={round(self._clock.monotonic() * US_PER_S)}")
        try:
            yield
        finally:
            self._tell("READY=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # Suppressed: a manager that is gone, or whose queue is full.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), self._address)


def _address(given: str) -> str:
    """Return the socket's address: a path, or with a leading `@` a name without a file. Empty: none that is known."""
    if given.startswith("@") and len(given) > 1:
        return "\0" + given[1:]
    return given if given.startswith("/") else ""


def _watchdog_s(environment: Mapping[str, str], pid: int) -> float:
    """Return within how many seconds a sign of life is wanted of process *pid*; 0: none is."""
    wanted, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not (wanted.isascii() and wanted.isdigit()) or whose not in {"", str(pid)}:
        return 0.0
    return int(wanted) / US_PER_S


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:STATUS_LENGTH_MAX]
