"""`ralf-hub check`: settings, workspace, credentials."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.cli.helpers import Done, Place
from tests.doubles.slack import TOKEN, Slack
from tests.workspace.helpers import shared_workspace

EXAMPLE = Path(__file__).parents[2] / "examples" / "workspace"


def settings(place: Place, text: str) -> None:
    place.config.write_text(text, encoding="utf-8")
    place.config.chmod(0o600)


def test_good_settings(place: Place) -> None:
    done = place.ok("check")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{place.config}: the settings are valid (fingerprint ")
    assert lines[1:] == ["connector console (console): *", "connector shop (webhook): task_*"]
    told = place.json("check")
    assert (told["ok"], told["problems"], told["doubled"], told["workspace"], told["live"]) == (
        True,
        [],
        [],
        None,
        None,
    )
    assert told["connectors"]["shop"] == {"type": "webhook", "events": ["task_*"]}
    assert not place.db.exists()


def test_every_problem_at_once_with_what_to_write(place: Place) -> None:
    settings(place, '[api]\nprot = 1\nport = "x"\n[connectors.slack]\n[connectors.shop]\ntype = "webhok"\n')
    done = place.invoke("check")
    assert done.code == 2
    lines = done.out.splitlines()
    assert lines[-1] == f"{place.config}: 4 problems; the hub would not start"
    assert sum(line.startswith(f"error    {place.config}: ") for line in lines) == 4
    told = place.invoke("check", "--json")
    assert told.code == 2
    assert {problem["key"] for problem in told.json["problems"]} == {
        "api.prot",
        "api.port",
        "connectors.slack",
        "connectors.shop",
    }
    assert all(problem["fatal"] and problem["message"] for problem in told.json["problems"])


def test_warnings_stop_nothing(place: Place) -> None:
    settings(place, '[workspace]\npath = "nowhere"\n[[api.api_keys]]\nkey = "abc123"\n')
    done = place.ok("check")
    assert done.out.count("warning  ") == 2
    assert "workspace.path: there is no such folder" in done.out
    assert f"workspace {place.folder / 'nowhere'}: " in done.out
    assert place.json("check")["workspace"]["missing"]


def test_two_routes_to_one_place_are_said(place: Place) -> None:
    url = "https://hooks.slack.com/services/T00/B00/abcdefgh"
    settings(
        place,
        f'[connectors.slack]\nwebhook_url = "{url}"\n[[webhooks.outgoing]]\nevent = "task_completed"\nurl = "{url}"\n',
    )
    done = place.ok("check")
    assert (
        "leads to the same place as slack: what both ask for (task_completed) is delivered once" in done.out
    )
    [[first, second]] = place.json("check")["doubled"]
    assert first == "slack"
    assert second in done.out


def test_the_older_layout_names_the_way_out(place: Place) -> None:
    (place.folder / "old.yaml").write_text("server: {port: 1}\nauth: {}\n", encoding="utf-8")
    for command in (["check"], ["keys", "list"]):
        done = place.invoke(*command, "--config", "old.yaml")
        assert done.code == 2
        assert "ralf-hub init --from" in done.out + done.err


# --- the workspace --------------------------------------------------------------------------------


@pytest.fixture
def village(place: Place) -> Place:
    shutil.copytree(EXAMPLE, place.folder / "ralf")
    settings(place, '[workspace]\npath = "ralf"\n')
    return place


def test_what_the_workspace_holds(village: Place) -> None:
    told = village.json("check")["workspace"]
    assert told["layout"] == "modern"
    assert told["problems"] == []
    assert all(told["counts"][what] > 0 for what in ("tasks", "queue", "features", "events"))
    counts = ", ".join(f"{n} {what}" for what, n in told["counts"].items())
    assert (
        village.ok("check").out.splitlines()[-1] == f"workspace {village.folder / 'ralf'} (modern): {counts}"
    )


def test_what_cannot_be_read_is_told_with_file_and_line_and_stops_nothing(village: Place) -> None:
    here = village.folder / "ralf" / ".autonomous" / "agents" / "communications"
    events = here / "events.yaml"
    lines = events.read_text(encoding="utf-8").count("\n")
    with events.open("a", encoding="utf-8") as file:
        file.write("- timestamp: never\n  type: [unclosed\n")
    (village.folder / "ralf" / "tasks" / "active" / "TASK-BAD-001").mkdir()
    (village.folder / "ralf" / "tasks" / "active" / "TASK-BAD-001" / "task.md").write_bytes(b"# A\n\xff\n")
    done = village.ok("check")
    assert (
        "  tasks/active/TASK-BAD-001/task.md:2: bytes that are not UTF-8; replaced" in done.out.splitlines()
    )
    told = village.json("check")["workspace"]["problems"]
    broken = [problem for problem in told if problem["file"].endswith("events.yaml")]
    assert broken
    for problem in broken:
        assert problem["line"] in {lines + 1, lines + 2}
        assert f"  {problem['file']}:{problem['line']}: {problem['message']}" in done.out.splitlines()
    assert f"  {len(told)} problems; everything else is read all the same" in done.out


def test_an_events_file_that_is_none(village: Place) -> None:
    events = village.folder / "ralf" / ".autonomous" / "agents" / "communications" / "events.yaml"
    events.unlink()
    events.mkdir()
    told = village.json("check")["workspace"]
    assert [problem["line"] for problem in told["problems"] if "events" in problem["file"]] == [None]


def test_a_sample_that_is_still_to_come(place: Place) -> None:
    settings(place, '[workspace]\npath = "var/ralf"\nsample = true\n')
    assert "the hub puts the sample workspace there when it starts" in place.ok("check").out


@pytest.mark.shared
@pytest.mark.parametrize(("name", "tasks"), [("modern", 250), ("flat", 20)])
def test_a_real_workspace(place: Place, name: str, tasks: int) -> None:
    settings(place, f'[workspace]\npath = "{shared_workspace(name)}"\n')
    told = place.json("check")["workspace"]
    assert told["layout"] == name
    assert told["counts"]["tasks"] > tasks
    assert told["problems"]
    assert all(problem["file"] and problem["message"] for problem in told["problems"])


# --- credentials ----------------------------------------------------------------------------------


async def _live(place: Place, slack: Slack, *arguments: str) -> Done:
    settings(
        place,
        f'[connectors.console]\n[connectors.slack]\nbot_token = "{TOKEN}"\nchannel = "#ralf"\n'
        f'base_url = "{slack.api_url}"\n[security]\nallowed_networks = ["127.0.0.0/8"]\n',
    )
    return await asyncio.to_thread(place.run, "check", "--live", *arguments)


async def test_live_asks_every_connector(place: Place) -> None:
    async with Slack() as slack:
        done = await _live(place, slack)
        assert done.code == 0, done
        assert "live console: works: nothing to check" in done.out
        assert "live slack: works: the token works: " in done.out
        assert slack.messages == []


async def test_live_fails_where_a_token_does_not_work(place: Place) -> None:
    async with Slack() as slack:
        slack.workspace.revoked = True
        done = await _live(place, slack, "--json")
        assert done.code == 1
        assert done.json["ok"] is False
        assert {name: found["ok"] for name, found in done.json["live"].items()} == {
            "console": True,
            "slack": False,
        }
        assert TOKEN not in done.out


async def test_live_fails_where_nobody_answers(place: Place) -> None:
    async with Slack() as slack:
        await slack.refuse()
        done = await _live(place, slack)
        assert done.code == 1
        assert "live slack: does not work: 127.0.0.1: no connection" in done.out


def test_live_asks_nobody_with_settings_that_are_wrong(place: Place) -> None:
    settings(place, "[connectors.slack]\n")
    done = place.invoke("check", "--live")
    assert done.code == 2
    assert not [line for line in done.out.splitlines() if line.startswith("live ")]
