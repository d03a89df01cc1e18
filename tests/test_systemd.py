"""What a service manager hears, at a real socket of its kind."""

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ralf_hub.systemd import STATUS_LENGTH_MAX, ServiceManager
from tests.journeys.hub import Hub
from tests.support import SettableClock, eventually


class Listener:
    """The socket a service manager makes for one service."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self.heard: list[dict[str, str]] = []

    def listen(self) -> list[dict[str, str]]:
        """Return everything said so far."""
        while True:
            try:
                message = self._socket.recv(65_536).decode()
            except BlockingIOError:
                return self.heard
            self.heard.append(dict(line.split("=", 1) for line in message.split("\n")))

    def count(self, name: str) -> int:
        return sum(name in message for message in self.listen())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # the address of such a socket has room for 107 bytes
    return tmp_path


@pytest.fixture
def listener(folder: Path) -> Iterator[Listener]:
    made = Listener("notify")
    yield made
    made.close()


def address(folder: Path) -> str:
    return f"/proc/self/cwd/{(folder / 'notify').name}"


def manager(environment: dict[str, str], clock: SettableClock, *, monotonic: float = 0.0) -> ServiceManager:
    return ServiceManager(environment, os.getpid(), replace(clock.clock, monotonic=lambda: monotonic))


def test_every_state_in_the_words_of_the_protocol(
    folder: Path, listener: Listener, clock: SettableClock
) -> None:
    told = manager({"NOTIFY_SOCKET": address(folder)}, clock, monotonic=12.5)
    told.ready("serving at\nhttp://127.0.0.1:8080\nMAINPID=1")
    told.alive()
    with told.reloading():
        pass
    with pytest.raises(ZeroDivisionError), told.reloading():
        raise ZeroDivisionError
    told.stopping()
    reloading = {"RELOADING": "1", "MONOTONIC_USEC": "12500000"}
    assert listener.listen() == [
        {"READY": "1", "STATUS": "serving at http://127.0.0.1:8080 MAINPID=1"},
        {"WATCHDOG": "1"},
        *[reloading, {"READY": "1"}],
        *[reloading, {"READY": "1"}],
        {"STOPPING": "1", "STATUS": "finishing what is on its way"},
    ]


def test_a_long_status_is_cut(folder: Path, listener: Listener, clock: SettableClock) -> None:
    manager({"NOTIFY_SOCKET": address(folder)}, clock).ready("x" * 10_000)
    assert len(listener.listen()[0]["STATUS"]) == STATUS_LENGTH_MAX


def test_a_name_without_a_file(clock: SettableClock) -> None:
    name = f"ralf-hub-test-{os.getpid()}-{time.monotonic_ns()}"
    listener = Listener(f"\0{name}")
    manager({"NOTIFY_SOCKET": f"@{name}"}, clock).alive()
    assert listener.listen() == [{"WATCHDOG": "1"}]
    listener.close()


@pytest.mark.parametrize(
    "given", ["", "@", "relative/path", "vsock:2:1234", "/no/such/socket", "/" + "x" * 300]
)
def test_who_does_not_listen_is_no_error(clock: SettableClock, given: str) -> None:
    nobody = manager({"NOTIFY_SOCKET": given}, clock)
    nobody.ready("x")
    nobody.alive()
    nobody.stopping()


def test_a_manager_whose_queue_is_full_is_not_waited_for(
    folder: Path, listener: Listener, clock: SettableClock
) -> None:
    told = manager({"NOTIFY_SOCKET": address(folder)}, clock)
    for _ in range(5_000):
        told.alive()
    assert 0 < len(listener.listen()) < 5_000


@pytest.mark.parametrize(
    ("environment", "every_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-1"}, 0.0),
        ({}, 0.0),
    ],
)
def test_signs_of_life_come_three_times_as_often_as_they_are_wanted(
    clock: SettableClock, environment: dict[str, str], every_s: float
) -> None:
    assert manager({"NOTIFY_SOCKET": "/run/x", **environment}, clock).sign_every_s == every_s
    assert manager(environment, clock).sign_every_s == 0, "nobody listens"


@pytest.mark.journey
async def test_a_hub_tells_its_manager_from_its_start_to_its_end(folder: Path, listener: Listener) -> None:
    environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "300000"}
    if len(environment["NOTIFY_SOCKET"]) > 107:
        pytest.skip("the temporary folder's path is too long for the address of a socket")
    async with Hub(folder, "", env=environment) as hub:
        await eventually(lambda: listener.count("READY") == 1)
        assert listener.heard[0] == {"READY": "1", "STATUS": f"serving at {hub.url}"}
        await eventually(lambda: listener.count("WATCHDOG") >= 3)
        hub.write_settings('[connectors.console]\nevents = ["*"]\n')
        await eventually(lambda: listener.count("RELOADING") == 1)
        await eventually(lambda: listener.count("READY") == 2)
        assert not listener.count("STOPPING")
        assert await hub.stop() == 0
        assert listener.count("STOPPING") == 1
