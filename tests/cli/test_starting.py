"""`ralf-hub init`."""

import stat
from pathlib import Path

import pytest

from ralf_hub.config import at, load
from ralf_hub.config.sources import embedded
from tests.cli.helpers import Place
from tests.config.test_specification import SPECIFICATION

OLD = """\
server:
  host: 127.0.0.1
  port: 5000
  workers: 4
auth:
  api_keys:
    - {name: ci, key: "${CI_KEY}", scopes: ["read:tasks"]}
connectors:
  slack: {enabled: true, webhook_url: "${SLACK_WEBHOOK_URL}"}
"""


@pytest.fixture
def empty(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_commented_default_is_written_for_its_owner_alone(empty: Place) -> None:
    done = empty.ok("init")
    assert empty.config.read_bytes() == embedded().read_bytes()
    assert stat.S_IMODE(empty.config.stat().st_mode) == 0o600
    assert done.out.splitlines() == [
        f"{empty.config} is made",
        "Look through it, then: ralf-hub check",
        "and to start the hub:  ralf-hub serve",
    ]
    assert empty.ok("check").code == 0


def test_nothing_is_written_over(empty: Place) -> None:
    empty.config.write_text("mine", encoding="utf-8")
    done = empty.invoke("init")
    assert (done.code, done.out) == (1, "")
    assert f"{empty.config}: is there already and was left as it is" in done.err
    assert empty.config.read_text(encoding="utf-8") == "mine"


def test_a_link_to_nowhere_is_something_too(empty: Place) -> None:
    empty.config.symlink_to(empty.folder / "nowhere")
    assert empty.invoke("init").code == 1
    assert not (empty.folder / "nowhere").exists()


@pytest.mark.parametrize(
    ("given", "made"),
    [("mine.toml", "mine.toml"), ("deep/er/mine.toml", "deep/er/mine.toml"), (".", "ralf-hub.toml")],
)
def test_a_file_or_folder_can_be_named(empty: Place, given: str, made: str) -> None:
    told = empty.json("init", given)
    assert told == {"path": str(empty.folder / made), "left_out": []}
    assert (empty.folder / made).is_file()


def test_config_names_it_as_well(empty: Place) -> None:
    done = empty.ok("init", "--config", "other.toml")
    assert (empty.folder / "other.toml").is_file()
    assert f"ralf-hub check --config {empty.folder / 'other.toml'}" in done.out


def test_db_becomes_the_settings(empty: Place) -> None:
    empty.ok("init", "--db", 'a "strange" ${NAME}.db')
    loaded = load(at(empty.config), {})
    assert loaded.settings.database.path == empty.folder / 'a "strange" ${NAME}.db'


def test_a_place_that_cannot_be_written(empty: Place) -> None:
    (empty.folder / "file").write_text("", encoding="utf-8")
    done = empty.invoke("init", "file/hub.toml")
    assert done.code == 1
    assert len(done.err.splitlines()) == 1
    assert "cannot be made" in done.err


# --- from an older file ---------------------------------------------------------------------------


def test_an_older_file_is_converted(empty: Place) -> None:
    (empty.folder / "old.yaml").write_text(OLD, encoding="utf-8")
    done = empty.ok("init", "--from", "old.yaml")
    assert "  not carried over: server.workers: " in done.out
    env = {
        "CI_KEY": "0123456789abcdefghijklmn",
        "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x",
    }
    settings = load(at(empty.config), env).settings
    assert settings.api.port == 5000
    assert settings.connectors["slack"].enabled
    assert stat.S_IMODE(empty.config.stat().st_mode) == 0o600
    assert empty.json("init", "--from", "old.yaml", "second.toml")["left_out"]


def test_db_with_an_older_file(empty: Place) -> None:
    (empty.folder / "old.yaml").write_text("api: {port: 5000}\n", encoding="utf-8")
    empty.ok("init", "--from", "old.yaml", "--db", "hub.db")
    assert load(at(empty.config), {}).settings.database.path == empty.db
    (empty.folder / "old.yaml").write_text("database: {path: there.db}\n", encoding="utf-8")
    done = empty.invoke("init", "--from", "old.yaml", "--db", "hub.db", "third.toml")
    assert done.code == 1
    assert "has a database path of its own" in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "old.yaml: --from: does not exist"),
        ("a: [1, 2\n", "old.yaml:"),
        ("- 1\n", "must be a table of sections"),
        ("a: 1\na: 2\n", "old.yaml:2:"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_what_cannot_be_converted_is_said_and_nothing_made(
    empty: Place, text: str | bytes | None, said: str
) -> None:
    if text is not None:
        (empty.folder / "old.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = empty.invoke("init", "--from", "old.yaml")
    assert done.code == 2
    assert said in done.err
    assert not empty.config.exists()


@pytest.mark.shared
def test_the_specifications_file_is_converted(empty: Place) -> None:
    if not SPECIFICATION.exists():
        pytest.skip("../shared is not here")
    empty.ok("init", "--from", SPECIFICATION)
    empty.env["SLACK_WEBHOOK_URL"] = "https://hooks.slack.com/services/T00/B00/abcdefgh"
    empty.env["RALF_API_KEY"] = "rh_0123456789abcdefghijklmnop"
    empty.env["GITHUB_WEBHOOK_SECRET"] = "0123456789abcdef"
    assert empty.json("check")["ok"]
