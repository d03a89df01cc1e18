"""Contract 1: every command, its JSON, its exit codes, beside a hub and without one."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.box import Box, Ground, quick, run, until

pytestmark = pytest.mark.journey

COMMANDS = (
    "serve", "init", "check", "keys create", "keys list", "keys revoke", "keys rotate", "emit", "tail", "outbox list",
    "outbox show", "outbox stats", "outbox replay", "outbox cancel", "why", "verify", "backup", "restore", "prune", "openapi",
    "send", "version",
)  # fmt: skip
SETTINGS = '[connectors.console]\nevents = ["*"]\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "ralf-hub.toml").write_text(f'[database]\npath = "hub.db"\n{SETTINGS}', encoding="utf-8")
    return tmp_path


def test_all_commands_tell_what_they_do(place: Path) -> None:
    top = run(place, "-h")
    assert top.returncode == 0
    for command in COMMANDS:
        assert command.split()[0] in top.stdout
        done = quick(place, *command.split(), "--help")
        assert done.returncode == 0, command
        for option in ("--config", "--db", "--json"):
            assert option in done.stdout, command


def test_version(place: Path) -> None:
    done = quick(place, "version")
    assert (done.returncode, quick(place, "--version").stdout) == (0, done.stdout)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)
    assert json.loads(quick(place, "version", "--json").stdout)["version"] == done.stdout.strip()


@pytest.mark.parametrize(
    "arguments",
    ["nonsense", "serve --port x", "serve --port 70000", "emit", "emit a/b", "emit x --data nonsense", "emit x --data []",
     "emit x --task a/b", "tail --since x", "why", "why x", "outbox list --state x", "outbox list --limit 0", "outbox replay",
     "outbox show x", "keys create", "keys create --name x", "keys create --name x --scopes nonsense",
     "keys create --name x --scopes ,", "keys rotate", "send", "send console", "send nobody --event x", "backup", "restore",
     "check --config none.toml", "serve --config none.toml", "outbox stats --nonsense", "keys", "outbox"],
)  # fmt: skip
def test_wrong_usage_is_2_and_one_word_about_it(place: Path, arguments: str) -> None:
    done = quick(place, *arguments.split())
    assert done.returncode == 2, done.stdout
    assert done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (place / "hub.db").exists()


def test_a_database_that_is_not_there_is_1(place: Path) -> None:
    for arguments in (
        "keys list",
        "outbox list",
        "outbox show 1",
        "why 1",
        "verify",
        "backup x.db",
        "tail",
        "prune",
    ):
        done = quick(place, *arguments.split())
        assert done.returncode == 1, arguments
        assert "hub.db" in done.stderr
    assert not (place / "hub.db").exists()


def test_a_day_without_a_hub(place: Path) -> None:
    made = quick(place, "keys", "create", "--name", "ci", "--scopes", "tasks:read,events:read", "--json")
    key = json.loads(made.stdout)
    assert {"id", "name", "key", "scopes"} <= set(key)
    assert (key["name"], key["scopes"]) == ("ci", ["tasks:read", "events:read"])
    assert re.fullmatch(r"rh_[A-Za-z0-9_-]{20,}", key["key"])
    listed = json.loads(quick(place, "keys", "list", "--json").stdout)
    assert key["key"] not in json.dumps(listed)
    assert [item["id"] for item in listed["keys"]] == [key["id"]]
    rotated = json.loads(quick(place, "keys", "rotate", key["id"], "--json").stdout)
    assert rotated["key"] != key["key"]
    assert rotated["scopes"] == key["scopes"]
    assert quick(place, "keys", "revoke", rotated["id"], "--json").returncode == 0
    assert quick(place, "keys", "revoke", "none").returncode == 1

    event = json.loads(
        quick(place, "emit", "task_completed", "--task", "T-1", "--data", '{"title":"x"}', "--json").stdout
    )
    assert event["seq"] >= 1
    listed = json.loads(quick(place, "outbox", "list", "--json").stdout)
    assert {"deliveries", "total", "next_cursor"} <= set(listed)
    (delivery,) = listed["deliveries"]
    assert (delivery["state"], delivery["connector"]) == ("pending", "console")
    shown = json.loads(quick(place, "outbox", "show", str(delivery["id"]), "--json").stdout)
    assert shown["attempts"] == []
    assert json.loads(quick(place, "outbox", "stats", "--json").stdout)
    why = quick(place, "why", str(delivery["id"]))
    assert why.returncode == 0
    assert why.stdout.strip()
    assert json.loads(quick(place, "why", str(delivery["id"]), "--json").stdout)["explain"]
    assert quick(place, "outbox", "cancel", str(delivery["id"]), "--json").returncode == 0
    assert quick(place, "outbox", "replay", str(delivery["id"]), "--json").returncode == 0
    verified = json.loads(quick(place, "verify", "--json").stdout)
    assert verified["clean"] is True
    assert quick(place, "prune", "--json").returncode == 0
    assert json.loads(quick(place, "openapi").stdout)["openapi"].startswith("3.1")
    sent = quick(place, "send", "console", "--event", "task_completed")
    assert sent.returncode == 0
    assert json.loads(quick(place, "check", "--json").stdout)["ok"] is True
    assert quick(place, "check", "--live").returncode == 0


def test_a_backup_goes_back(place: Path) -> None:
    quick(place, "emit", "note", "--task", "KEPT")
    assert quick(place, "backup", "good.db", "--json").returncode == 0
    assert quick(place, "backup", "good.db").returncode == 1  # never over another
    quick(place, "emit", "note", "--task", "LATER")
    assert quick(place, "restore", "good.db", "--json").returncode == 0
    tasks = [d["task_id"] for d in json.loads(quick(place, "outbox", "list", "--json").stdout)["deliveries"]]
    assert tasks == ["KEPT"]
    (place / "junk.db").write_bytes(b"junk" * 500)
    assert quick(place, "restore", "junk.db").returncode == 1
    assert quick(place, "restore", "none.db").returncode == 1
    assert quick(place, "verify").returncode == 0


@pytest.mark.parametrize("how", ["junk", "cut", "folder", "read-only", "newer", "someone else's"])
def test_a_database_that_cannot_be_used_is_refused_with_a_way_out(place: Path, how: str) -> None:
    quick(place, "emit", "note")
    db = place / "hub.db"
    if how == "junk":
        db.write_bytes(b"junk" * 5000)
    elif how == "cut":
        db.write_bytes(db.read_bytes()[: db.stat().st_size // 2])
    elif how == "folder":
        db.unlink()
        db.mkdir()
    elif how == "newer":
        sql(db, "PRAGMA user_version = 999")
    elif how == "someone else's":
        db.unlink()
        sql(db, "CREATE TABLE theirs (a)")
    elif how == "read-only":
        pytest.skip("root may write everything") if not _denied(db) else None
    done = run(place, "serve", "--port", "1")
    assert done.returncode == 1
    assert "hub.db" in done.stderr
    assert "Traceback" not in done.stderr
    if how in {"junk", "cut"}:
        assert "restore" in done.stderr


def _denied(db: Path) -> bool:
    db.chmod(0o400)
    try:
        db.open("ab").close()
    except PermissionError:
        return True
    return False


def sql(db: Path, statement: str) -> None:
    with closing(sqlite3.connect(db)) as conn:
        conn.execute(statement)
        conn.commit()


def test_init_makes_what_check_takes(place: Path) -> None:
    (place / "ralf-hub.toml").unlink()
    assert quick(place, "init").returncode == 0
    assert quick(place, "check").returncode == 0
    assert quick(place, "init").returncode == 1
    assert json.loads(quick(place, "init", "other.toml", "--json").stdout)["path"].endswith("other.toml")
    assert quick(place, "init", "x.toml", "--from", "none.yaml").returncode == 2


# --- beside a hub ---------------------------------------------------------------------------------


def test_beside_a_hub(box: Box) -> None:
    hub = box.hub
    second = box.command("serve")
    assert second.returncode == 1
    assert str(hub.pid) in second.stderr
    assert str(hub.port) in second.stderr
    other = subprocess.run(
        [sys.executable, "-m", "ralf_hub", "serve", "--port", str(hub.port), "--db", hub.folder / "other.db"],
        cwd=hub.folder, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert other.returncode == 1
    assert str(hub.port) in other.stderr
    assert "--port" in other.stderr
    assert box.command("restore", "whatever.db").returncode == 1
    for arguments in ("keys list", "outbox list", "outbox stats", "verify", "prune", "check"):
        done = box.command(*arguments.split(), "--json")
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        json.loads(done.stdout)
    event = json.loads(box.command("emit", "seen_at_once", "--json").stdout)
    until(lambda: box.get("/events?type=seen_at_once").json["events"], within_s=3)
    assert box.get("/events?type=seen_at_once").json["events"][0]["seq"] == event["seq"]


def test_tail_follows_in_order_and_ends_when_told(box: Box) -> None:
    since = box.get("/events?limit=1").json["last_seq"]
    with subprocess.Popen(
        [sys.executable, "-m", "ralf_hub", "tail", "--since", str(since), "--json", "--config", str(box.hub.config)],
        cwd=box.hub.folder, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for n in range(5):
            box.post("/events", {"type": "tailed", "data": {"n": n}})
        lines = [json.loads(process.stdout.readline()) for _ in range(5)]
        assert [line["seq"] for line in lines] == list(range(since + 1, since + 6))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0


def test_serve_as_json_begins_with_one_line_and_ends_with_0(ground: Ground, tmp_path: Path) -> None:
    made = Box.start(ground, tmp_path / "hub", arguments=("--json",))
    try:
        first = json.loads(made.hub.output.read_text(encoding="utf-8").splitlines()[0])
        assert first == {"url": made.hub.url, "key": made.hub.key, "pid": made.hub.pid}
        assert made.get("/tasks").status == 200
        assert made.stop() == 0
        made.again()  # the key was shown once
        assert made.hub.output.read_text(encoding="utf-8").count(made.hub.key) == 1
        assert made.get("/tasks").status == 200
    finally:
        made.close()


def test_the_first_start_prints_one_line_to_click_with_the_key(ground: Ground, tmp_path: Path) -> None:
    made = Box.start(ground, tmp_path / "hub")
    try:
        lines = [line for line in made.hub.output.read_text(encoding="utf-8").splitlines() if "rh_" in line]
        assert len(lines) == 1
        assert f"{made.hub.url}/#key={made.hub.key}" in lines[0]
        assert made.call("GET", "/", key=None).status == 200
    finally:
        made.close()


def test_the_installed_command_is_there() -> None:
    found = shutil.which("ralf-hub", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("ralf-hub is not installed beside this Python")
    assert subprocess.run([found, "version"], capture_output=True, check=True).stdout
