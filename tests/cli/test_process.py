"""The command as a process: signals, pipes, exit codes, what `serve` refuses."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from ralf_hub import __version__
from ralf_hub.store import schema
from tests.cli.helpers import WITHIN_S, Place, interrupt, running


def test_version(place: Place) -> None:
    assert place.ok("version").out == f"{__version__}\n"
    told = place.json("version", "--config", "nowhere.toml", "--db", "nowhere.db")
    assert told["version"] == __version__
    assert told["schema"] == schema.migrations()[-1].number
    assert not place.db.exists()


def test_the_installed_script_is_the_same_command(place: Place) -> None:
    script = shutil.which("ralf-hub")
    if script is None:
        pytest.skip("the package is not installed")
    done = subprocess.run([script, "version"], cwd=place.folder, capture_output=True, text=True, check=True)
    assert done.stdout == f"{__version__}\n"


def test_exit_codes_of_the_process(place: Place) -> None:
    assert place.run("keys", "list").code == 1
    assert place.run("keys", "lisst").code == 2
    done = place.run("keys", "create", "--name", "n", "--scopes", "*")
    assert (done.code, done.out[:3]) == (0, "rh_")
    assert place.run("check", "--config", "elsewhere.toml").code == 2


def test_no_command_shows_which_there_are(place: Place) -> None:
    done = place.run()
    assert "verify" in done.out + done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        ("version", "aiohttp rich asyncio jinja2 sqlite3"),
        ("keys list", "aiohttp asyncio jinja2 slack_sdk"),
        ("outbox list", "aiohttp asyncio jinja2 slack_sdk"),
        ("why 1", "aiohttp jinja2 slack_sdk"),
    ],
)
def test_a_command_imports_no_more_than_it_needs(day: Place, arguments: str, unneeded: str) -> None:
    """Commands start fast because of this; times would only measure the machine."""
    code = (
        "import sys\nfrom ralf_hub.cli import main\ntry:\n main()\nfinally:\n"
        f" print(sorted(set({unneeded.split()!r}) & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()],
        cwd=day.folder,
        env=day.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "[]"


# --- pipes and signals ----------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_reader_that_has_read_enough_is_no_error(day: Place, extra: list[str]) -> None:
    with closing(sqlite3.connect(day.db)) as conn, conn:
        columns = "event_id, event_seq, event_type, connector, payload, next_attempt_at, created_at"
        conn.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
            f"INSERT INTO outbox ({columns}, action) SELECT {columns}, 'a' || i FROM outbox, n WHERE id = 1"
        )
    with running(day.spawn("outbox", "list", "--limit", "10000", *extra)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(WITHIN_S) == 0
        assert process.stderr.read() == ""


def test_output_that_nobody_ever_reads_is_no_error(day: Place) -> None:
    read, write = os.pipe()
    os.close(read)
    with running(day.spawn("outbox", "list", stdout=write)) as process:
        os.close(write)
        assert process.wait(WITHIN_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_ends_well_when_it_is_told_to(day: Place, number: int) -> None:
    with running(day.spawn("tail", "--since", "0", "--json")) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        done = interrupt(process, number)
    assert (done.code, done.err) == (0, "")


def test_ctrl_c_in_a_command_leaves_no_traceback(day: Place) -> None:
    """The write waits for a lock that another program holds."""
    with closing(sqlite3.connect(day.db, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        with running(day.spawn("emit", "task_completed", "--data", "-", stdin=subprocess.PIPE)) as process:
            # It reads standard input, so it has started; nothing comes, so it is still there.
            assert process.stdin is not None
            process.stdin.write("{")
            process.stdin.flush()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            done = interrupt(process)
    assert done.code == 130
    assert "Traceback" not in done.err


# --- serve ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["0", "70000", "-1"])
def test_a_port_that_is_none(place: Place, port: str) -> None:
    done = place.run("serve", f"--port={port}")
    assert done.code == 2
    assert "ralf-hub: command line: api.port: " in done.err


def test_a_port_that_is_no_number(place: Place) -> None:
    done = place.run("serve", "--port", "http")
    assert done.code == 2
    assert "--port" in done.error


def test_a_port_in_use_is_named_with_what_to_do(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = place.run("serve", "--port", port)
    assert done.code == 1
    assert f"cannot listen on 127.0.0.1 port {port}: " in done.err
    assert "--port" in done.err


def test_a_database_in_a_place_that_cannot_be_made(place: Place) -> None:
    (place.folder / "file").write_text("", encoding="utf-8")
    done = place.run("serve", "--db", "file/hub.db", "--port", "1")
    assert done.code == 1
    [line] = done.err.splitlines()
    assert line.startswith(f"ralf-hub: {place.folder / 'file'}")
