"""`ralf-hub emit` and `ralf-hub tail`."""

import contextlib
import json
import queue
import signal
import threading

import pytest

from ralf_hub.cli.events import DATA_BYTES_MAX
from tests.cli.helpers import WITHIN_S, Place, interrupt, running


def test_an_event_is_recorded_with_its_deliveries(place: Place) -> None:
    event = place.json(
        "emit", "task_completed", "--task", "T-1", "--data", '{"title": "Tides", "n": [1, null]}'
    )
    assert (event["seq"], event["type"], event["source"], event["task_id"]) == (
        1,
        "task_completed",
        "cli",
        "T-1",
    )
    assert event["data"] == {"title": "Tides", "n": [1, None]}
    assert event["connectors"] == ["console", "shop"]
    assert place.rows("SELECT event_id, event_seq, connector, state FROM outbox ORDER BY id") == [
        (event["id"], 1, "console", "pending"),
        (event["id"], 1, "shop", "pending"),
    ]
    assert place.value("SELECT routed FROM events") == '["console","shop"]'
    assert place.json("verify")["clean"]


def test_for_people_it_says_where_the_event_goes(place: Place) -> None:
    done = place.ok("emit", "agent_start")
    assert done.out.startswith("event 1 (evt_")
    assert done.out.endswith(") is recorded; it goes to console\n")


def test_an_event_that_no_route_wants_is_recorded_all_the_same(place: Place) -> None:
    place.config.write_text('[database]\npath = "hub.db"\n', encoding="utf-8")
    assert place.ok("emit", "agent_start").out.endswith("it goes to nobody\n")
    assert place.value("SELECT count(*) FROM events") == 1


def test_data_can_come_from_standard_input(place: Place) -> None:
    done = place.ok("emit", "agent_start", "--data", "-", "--json", stdin='{"a": "\\u0000 ü"}')
    assert done.json["data"] == {"a": "\x00 ü"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["9lives"], "a type is letters, digits"),
        (["a b"], "a type is letters, digits"),
        (["a\x00b".replace("\x00", "\x01")], "a type is letters, digits"),
        (["a" * 101], "a type is letters, digits"),
        (["x", "--task", ".hidden"], "a task's id is letters, digits"),
        (["x", "--task", "T" * 129], "a task's id is letters, digits"),
        (["x", "--data", "{"], "is not JSON"),
        (["x", "--data", ""], "is not JSON"),
        (["x", "--data", "NaN"], "is not JSON"),
        (["x", "--data", '{"a": "\\ud800"}'], "is not JSON"),
        (["x", "--data", "[" * 5000 + "]" * 5000], "is not JSON"),
        (["x", "--data", "[1]"], "must be a JSON object"),
        (["x", "--data", "null"], "must be a JSON object"),
        (
            ["x", "--data", json.dumps(dict.fromkeys(map(str, range(201))))],
            "must be a JSON object of at most 200",
        ),
        ([], "Missing argument"),
    ],
)
def test_what_is_no_event_is_wrong_usage_and_changes_nothing(
    place: Place, arguments: list[str], said: str
) -> None:
    done = place.invoke("emit", *arguments)
    assert done.code == 2
    assert said in done.error
    assert not place.db.exists()


def test_too_much_data_is_refused(place: Place) -> None:
    done = place.invoke("emit", "x", "--data", "-", stdin='{"a": "' + "b" * DATA_BYTES_MAX + '"}')
    assert done.code == 2
    assert "is larger than 1024 KiB" in done.error


def test_bytes_that_are_no_text_are_refused(place: Place) -> None:
    done = place.run("emit", "x", "--data", '{"a": "\udcff"}')
    assert done.code == 2
    assert "is not JSON" in done.error


# --- tail -----------------------------------------------------------------------------------------


def followed(place: Place, *arguments: str, lines: int) -> list[str]:
    """Return the first *lines* that `tail` prints."""
    with running(place.spawn("tail", *arguments)) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline().rstrip("\n") for _ in range(lines)]
        done = interrupt(process)
        assert (done.code, done.err, done.out) == (0, "", "")
    return seen


def test_tail_shows_what_is_stored_after_a_place(day: Place) -> None:
    shown = [json.loads(line) for line in followed(day, "--since", "1", "--json", lines=2)]
    assert [event["seq"] for event in shown] == [2, 3]
    assert shown[0]["data"]["title"] == "Title of T-2"


def test_tail_goes_on_with_what_comes(day: Place) -> None:
    with running(day.spawn("tail", "--since", "3", "--json")) as process:
        assert process.stdout is not None
        for expected in (4, 5):
            assert day.json("emit", "agent_start")["seq"] == expected
            assert json.loads(process.stdout.readline())["seq"] == expected
        assert interrupt(process).code == 0


def test_tail_alone_begins_with_the_next_event(day: Place) -> None:
    lines: queue.Queue[str] = queue.Queue()
    with running(day.spawn("tail", "--json")) as process:
        assert process.stdout is not None
        reading = threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
        reading.start()
        emitted: list[int] = []
        line = ""
        while not line:  # the first may come before tail is there
            emitted.append(day.json("emit", "agent_start")["seq"])
            assert len(emitted) < 50
            with contextlib.suppress(queue.Empty):
                line = lines.get(timeout=1)
        assert json.loads(line)["seq"] in emitted
        reading.join()
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0


def test_tail_can_be_narrowed(day: Place) -> None:
    day.ok("emit", "agent_start", "--task", "T-2")
    day.ok("emit", "task_failed", "--task", "T-1")
    by_task = followed(day, "--since", "0", "--task", "T-2", "--json", lines=2)
    assert [json.loads(line)["type"] for line in by_task] == ["task_completed", "agent_start"]
    by_type = followed(
        day, "--since", "0", "--type", "agent_start", "--type", "task_failed", "--json", lines=2
    )
    assert [json.loads(line)["seq"] for line in by_type] == [4, 5]


def test_tail_for_people_is_one_clean_line_per_event(day: Place) -> None:
    day.ok(
        "emit",
        "task_progress",
        "--task",
        "T-9",
        "--data",
        json.dumps({"note": "half\x1b[2J\nway", "progress": 50}),
    )
    [line] = followed(day, "--since", "3", lines=1)
    assert line.split() == ["4", line.split()[1], "task_progress", "T-9", "half", "way", "-", "50", "%"]


def test_tail_says_which_events_are_gone(day: Place) -> None:
    day.rows("DELETE FROM outbox")
    day.rows("DELETE FROM events WHERE seq < 3")
    with running(day.spawn("tail", "--since", "0", "--json")) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["seq"] == 3
        done = interrupt(process)
    assert (done.code, done.err) == (0, "ralf-hub: events 1 to 2 are no longer kept\n")


@pytest.mark.parametrize("since", ["-1", "x"])
def test_tail_from_a_place_that_is_none(day: Place, since: str) -> None:
    assert day.invoke("tail", f"--since={since}").code == 2
