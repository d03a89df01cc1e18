"""Contract 1, the process: how it ends, whom it lets in, what it does with what was there when it starts."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.box import Box, Ground, until
from tests.contract.conftest import SETTINGS
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault

pytestmark = pytest.mark.journey


@pytest.fixture
def sink(ground: Ground) -> Iterator[Receiver]:
    made = ground.receiver()
    yield made
    ground.run(made.stop())


def to(sink: Receiver) -> str:
    return (
        f'{SETTINGS}\n[connectors.sink]\ntype = "webhook"\nurl = "{sink.url}/x"\nevents = ["task_created"]\n'
    )


def test_what_hangs_is_let_go_after_ten_seconds_and_goes_out_at_the_next_start(
    ground: Ground, tmp_path: Path, sink: Receiver
) -> None:
    box = Box.start(ground, tmp_path / "hub", to(sink))
    try:
        sink.faults.append(Fault(delay_s=60))
        task_id = box.task()["id"]
        until(lambda: sink.seen)
        started = time.monotonic()
        os.kill(box.hub.pid, signal.SIGINT)  # test_deliveries.py does it by SIGTERM, with what ends in time
        until(box.hub.is_dead, within_s=40)
        assert box.hub._process is not None
        assert box.hub._process.returncode == 0
        assert time.monotonic() - started < 25
        assert box.rows("SELECT state FROM outbox WHERE task_id = ?", task_id) == [("pending",)]
        box.again()
        until(lambda: sink.accepted)
        assert len({seen.headers["webhook-id"] for seen in sink.seen}) == 1
    finally:
        box.close()


def test_a_long_poll_and_a_stream_keep_nobody_from_stopping(box: Box) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.get, "/events?after=1000000&wait=60")
        started = time.monotonic()
        assert box.stop() == 0
        assert time.monotonic() - started < 15
        assert waiting.exception() is not None or waiting.result().status in {200, 503}
    box.again()


def test_keys_of_the_settings_in_every_form(ground: Ground, tmp_path: Path) -> None:
    plain, named, hashed = ("rh_" + letter * 40 for letter in "abc")
    digest = hashlib.sha256(hashed.encode()).hexdigest()
    api = (
        f'rate_limit.enabled = false\napi_keys = ["{plain}", {{ name = "reader", key = "{named}", scopes = ["tasks:read"] }}, '
        f'{{ name = "hashed", key_sha256 = "{digest}", scopes = ["queue:read"] }}]'
    )
    box = Box.start(ground, tmp_path / "hub", api=api)
    try:
        assert "rh_" not in box.hub.output.read_text(encoding="utf-8")  # there are keys: none is made
        opened = {
            key: [path for path in ("/tasks", "/queue", "/keys") if box.get(path, key=key).status == 200]
            for key in (plain, named, hashed)
        }
        assert list(opened.values()) == [["/tasks", "/queue", "/keys"], ["/tasks"], ["/queue"]]
        assert box.post("/tasks", {"title": "x"}, key=plain).json["source"].startswith("api:")
    finally:
        box.close()


def test_nobody_is_asked_on_loopback_where_the_settings_say_so(ground: Ground, tmp_path: Path) -> None:
    box = Box.start(ground, tmp_path / "hub", api='auth_type = "none"\ndebug = true')
    try:
        assert "rh_" not in box.hub.output.read_text(encoding="utf-8")
        assert box.post("/tasks", {"title": "x"}, key=None).status == 201
        assert box.get("/keys", key=None).status == 200
        assert box.get("/tasks", key="rh_whatever").status == 200
        assert b"Traceback" not in box.post("/tasks", raw=b"{", key=None).body
    finally:
        box.close()


def test_a_connector_that_left_keeps_its_deliveries_until_it_is_back(
    ground: Ground, tmp_path: Path, sink: Receiver
) -> None:
    box = Box.start(ground, tmp_path / "hub", to(sink))
    try:
        box.post("/connectors/sink/pause")
        delivery = until(lambda: box.task() and box.get("/deliveries").json["deliveries"][0])
        box.hub.write_settings(SETTINGS)
        until(lambda: box.get("/connectors").json["connectors"] == [])
        assert box.get(f"/deliveries/{delivery['id']}").json["explain"]
        assert box.post("/connectors/sink/resume").status == 404
        assert box.call("GET", "/health").status == 200
        box.hub.write_settings(to(sink))
        until(lambda: box.get("/connectors").json["connectors"])
        box.post("/connectors/sink/resume")
        until(lambda: sink.accepted)
        assert box.command("verify").returncode == 0
    finally:
        box.close()
