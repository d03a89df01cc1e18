"""What every command refuses in the same way: wrong usage, wrong settings, a database that cannot be used."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import typer

from ralf_hub.cli.commands import app
from ralf_hub.store import schema
from tests.cli.helpers import Place

ON_THE_DATABASE = (
    ["keys", "list"],
    ["keys", "revoke", "key_1"],
    ["keys", "rotate", "key_1"],
    ["tail"],
    ["outbox", "list"],
    ["outbox", "show", "1"],
    ["outbox", "stats"],
    ["outbox", "replay", "1"],
    ["outbox", "cancel", "1"],
    ["why", "1"],
    ["verify"],
    ["backup", "copy.db"],
    ["prune"],
)
ALL = (
    *ON_THE_DATABASE,
    ["keys", "create", "--name", "n", "--scopes", "*"],
    ["emit", "x"],
    ["restore", "copy.db"],
    ["serve"],
    ["check"],
    ["send", "console", "--event", "task_completed"],
)


def named(command: list[str]) -> str:
    return " ".join(command[:2])


def test_every_command_takes_the_common_options() -> None:
    groups, seen = [typer.main.get_command(app)], 0
    while groups:
        for command in groups.pop().commands.values():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                groups.append(command)
                continue
            seen += 1
            options = {option for parameter in command.params for option in parameter.opts}
            assert options >= {"--config", "--db", "--json"}, command.name
    assert seen >= len(ALL)


@pytest.mark.parametrize("command", ALL, ids=named)
def test_a_wrong_option_is_wrong_usage(place: Place, command: list[str]) -> None:
    done = place.invoke(*command, "--nonsense")
    assert done.code == 2
    assert "No such option: --nonsense" in done.error
    assert done.out == ""


@pytest.mark.parametrize("command", ALL, ids=named)
def test_a_settings_file_that_is_not_there_is_named(place: Place, command: list[str]) -> None:
    done = place.invoke(*command, "--config", "elsewhere.toml")
    assert done.code == 2
    said = done.out if command == ["check"] else done.err
    assert f"{place.folder / 'elsewhere.toml'}: --config: there is no such file" in said


@pytest.mark.parametrize(
    "command", [["serve"], ["emit", "x"], ["send", "console", "--event", "x"]], ids=named
)
def test_every_problem_of_the_settings_is_told_at_once(place: Place, command: list[str]) -> None:
    place.config.write_text(
        'api = {prot = 1, host = ""}\n[connectors.slack]\n[database]\npath = 7\n', encoding="utf-8"
    )
    done = place.invoke(*command)
    assert done.code == 2
    told = done.err.splitlines()
    assert len(told) == 4, told
    for key in ("api.prot", "api.host", "connectors.slack", "database.path"):
        assert any(line.startswith(f"ralf-hub: {place.config}: {key}: ") for line in told), key


@pytest.mark.parametrize("command", ON_THE_DATABASE, ids=named)
def test_a_database_that_is_not_there_is_said_and_not_made(place: Place, command: list[str]) -> None:
    done = place.invoke(*command)
    assert done.code == 1
    assert done.err.splitlines() == [
        f"ralf-hub: {place.db}: there is no such database; `ralf-hub serve` makes it, or name another with --db"
    ]
    assert not place.db.exists()


@pytest.mark.parametrize("command", ON_THE_DATABASE, ids=named)
def test_a_file_that_is_no_database_is_one_line(place: Place, command: list[str]) -> None:
    place.db.write_text("this is not a database, whatever it is called\n" * 50, encoding="utf-8")
    done = place.invoke(*command)
    assert done.code == 1
    [line] = done.err.splitlines()
    assert line.startswith(f"ralf-hub: {place.db}: the database is damaged (file is not a database)")
    assert "ralf-hub restore BACKUP" in line


@pytest.mark.parametrize("command", ON_THE_DATABASE, ids=named)
def test_a_newer_database_is_left_alone(place: Place, command: list[str]) -> None:
    schema.prepare(place.db)
    place.rows("PRAGMA user_version = 999")
    before = place.db.read_bytes()
    done = place.invoke(*command)
    assert done.code == 1, done
    assert "newer ralf-hub (schema 999" in done.err
    assert place.db.read_bytes() == before


def test_another_programs_database_is_refused(place: Place) -> None:
    with closing(sqlite3.connect(place.db)) as conn:
        conn.execute("CREATE TABLE recipes (name TEXT)")
    done = place.invoke("outbox", "list")
    assert done.code == 1
    assert "is another program's SQLite database" in done.err


def test_a_folder_for_a_database_is_refused(place: Place) -> None:
    done = place.invoke("outbox", "list", "--db", ".")
    assert (done.code, done.err) == (1, f"ralf-hub: {place.folder}: is not a regular file\n")


def test_an_older_database_is_upgraded_on_the_way(place: Place) -> None:
    place.db.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(place.db, isolation_level=None)) as conn:
        conn.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        conn.execute("PRAGMA journal_mode = WAL")
        schema.migrate(conn, place.db, schema.migrations()[:1])
    assert place.json("keys", "list")["total"] == 0
    assert place.value("PRAGMA user_version") == schema.migrations()[-1].number


def test_db_wins_over_the_settings(place: Place) -> None:
    place.ok("keys", "create", "--name", "n", "--scopes", "*", "--db", "other.db")
    assert not place.db.exists()
    assert place.json("keys", "list", "--db", "other.db")["total"] == 1


def test_commands_on_the_database_need_no_token_in_this_shell(place: Place) -> None:
    place.config.write_text(
        '[database]\npath = "hub.db"\n[connectors.slack]\nwebhook_url = "${SLACK_WEBHOOK_URL}"\n',
        encoding="utf-8",
    )
    place.ok("keys", "create", "--name", "n", "--scopes", "*")
    assert place.json("outbox", "list")["total"] == 0
    assert "the settings have problems here" in place.json("verify")["notes"][-1]
    done = place.invoke("emit", "task_completed")
    assert done.code == 2
    assert "set SLACK_WEBHOOK_URL in the environment" in done.err


def test_the_settings_are_found_where_the_variable_says(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "etc" / "hub.toml"
    elsewhere.parent.mkdir()
    elsewhere.write_text('[database]\npath = "there.db"\n', encoding="utf-8")
    place.env["RALF_HUB_CONFIG"] = str(elsewhere)
    place.ok("keys", "create", "--name", "n", "--scopes", "*")
    assert (elsewhere.parent / "there.db").exists()
