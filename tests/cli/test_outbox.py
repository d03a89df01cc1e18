"""`ralf-hub outbox` and `ralf-hub why`."""

import json

import pytest

from ralf_hub.cli.changing import CHUNK
from tests.cli.helpers import Place

MINUTE_AGO = "1m"


def ids(listed: dict[str, list[dict[str, int]]]) -> list[int]:
    return [delivery["id"] for delivery in listed["deliveries"]]


@pytest.fixture
def week(day: Place) -> Place:
    """One of each state; delivery 2 has been tried twice."""
    day.rows("UPDATE outbox SET state = 'dead', attempts = 2, last_error = 'HTTP 404' WHERE id = 2")
    day.rows("UPDATE outbox SET state = 'delivered', attempts = 1, delivered_at = created_at WHERE id = 3")
    day.rows("UPDATE outbox SET state = 'cancelled', last_error = 'no need' WHERE id = 4")
    for moment, outcome, status in (
        ("2026-02-01T10:00:00.000Z", "retry", 503),
        ("2026-02-01T10:05:00.000Z", "rejected", 404),
    ):
        day.rows(
            "INSERT INTO attempts (delivery_id, started_at, duration_ms, outcome, status_code, error, response) "
            "VALUES (2, ?, 120, ?, ?, 'HTTP ' || ?, '<p>no\x1b[2J</p>')",
            moment,
            outcome,
            status,
            status,
        )
    return day


# --- list, show, stats ----------------------------------------------------------------------------


def test_list_shows_the_newest_first(week: Place) -> None:
    listed = week.json("outbox", "list")
    assert (ids(listed), listed["total"], listed["next_cursor"]) == ([6, 5, 4, 3, 2, 1], 6, None)
    [dead] = [delivery for delivery in listed["deliveries"] if delivery["id"] == 2]
    assert (dead["state"], dead["last_error"], dead["connector"]) == ("dead", "HTTP 404", "shop")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--state", "dead"], [2]),
        (["--connector", "console"], [5, 3, 1]),
        (["--task", "T-3"], [6, 5]),
        (["--state", "pending", "--connector", "shop", "--task", "T-3"], [6]),
        (["--since", "1h"], [6, 5, 4, 3, 2, 1]),
        (["--until", "1h"], []),
        (["--since", "2001-01-01", "--until", "2002-01-01T00:00:00+02:00"], []),
        (["--connector", "nobody"], []),
    ],
)
def test_list_can_be_narrowed(week: Place, filters: list[str], expected: list[int]) -> None:
    week.rows("UPDATE outbox SET created_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')")
    listed = week.json("outbox", "list", *filters)
    assert (ids(listed), listed["total"]) == (expected, len(expected))


def test_list_goes_on_where_it_stopped(week: Place) -> None:
    first = week.json("outbox", "list", "--limit", "4")
    assert (ids(first), first["total"]) == ([6, 5, 4, 3], 6)
    rest = week.json("outbox", "list", "--limit", "4", "--cursor", first["next_cursor"])
    assert (ids(rest), rest["next_cursor"]) == ([2, 1], None)
    done = week.ok("outbox", "list", "--limit", "4")
    assert done.err == "4 of 6; --limit shows more\n"


def test_list_for_people_keeps_every_delivery_on_its_line(week: Place) -> None:
    week.rows("UPDATE outbox SET last_error = ? WHERE id = 2", "line one\nline two\x1b[31m " + "x" * 300)
    lines = week.ok("outbox", "list").out.splitlines()
    assert len(lines) == 7
    assert lines[0].split() == [
        "ID",
        "STATE",
        "CONNECTOR",
        "ACTION",
        "EVENT",
        "TASK",
        "TRIES",
        "WHEN",
        "ERROR",
    ]
    [dead] = [line for line in lines if " dead " in line]
    assert dead.split()[:7] == ["2", "dead", "shop", "notify", "task_completed", "T-1", "2"]
    assert dead.endswith("line one line two " + "x" * 300)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--state", "lost"], "'lost' is not one of"),
        (["--since", "yesterday"], "write a time as"),
        (["--limit", "0"], "--limit"),
        (["--limit", "10001"], "--limit"),
    ],
)
def test_filters_that_are_none(day: Place, arguments: list[str], said: str) -> None:
    done = day.invoke("outbox", "list", *arguments)
    assert done.code == 2
    assert said in done.error


def test_a_cursor_of_another_list(day: Place) -> None:
    done = day.invoke("outbox", "list", "--cursor", "nonsense")
    assert (done.code, done.err) == (1, "ralf-hub: This cursor was not given out by this list.\n")


def test_show_has_everything_of_one_delivery(week: Place) -> None:
    shown = week.json("outbox", "show", "2")
    assert shown["payload"]["type"] == "task_completed"
    assert [attempt["status_code"] for attempt in shown["attempts"]] == [503, 404]
    text = week.ok("outbox", "show", "2").out
    assert "state            dead\n" in text
    assert '    "event_id": ' in text
    assert "rejected" in text
    assert "\x1b" not in text


def test_show_of_a_payload_with_control_characters_shows_none(day: Place) -> None:
    day.rows("UPDATE outbox SET payload = ? WHERE id = 1", json.dumps({"text": "a\x1b[2Jb\x9b"}))
    text = day.ok("outbox", "show", "1").out
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert day.json("outbox", "show", "1")["payload"] == {"text": "a\x1b[2Jb\x9b"}


@pytest.mark.parametrize("command", [["outbox", "show"], ["why"]])
def test_a_delivery_that_is_not_there(day: Place, command: list[str]) -> None:
    done = day.invoke(*command, "99")
    assert done.code == 1
    assert done.err == "ralf-hub: there is no delivery 99; `ralf-hub outbox list` shows which there are\n"


@pytest.mark.parametrize("delivery_id", ["0", "-1", "x", "9" * 30])
def test_an_id_that_is_none(day: Place, delivery_id: str) -> None:
    assert day.invoke("outbox", "show", "--", delivery_id).code == 2


def test_stats_counts_by_connector(week: Place) -> None:
    week.rows(
        "INSERT INTO connectors (name, breaker, reason, updated_at) VALUES ('shop', 'open', 'HTTP 401', '2026-02-01')"
    )
    numbers = week.json("outbox", "stats")["connectors"]
    assert {
        key: numbers["shop"][key] for key in ("pending", "delivered", "dead", "cancelled", "breaker")
    } == {
        "pending": 1,
        "delivered": 0,
        "dead": 1,
        "cancelled": 1,
        "breaker": "open",
    }
    assert numbers["console"]["delivered"] == 1
    assert numbers["console"]["oldest_pending_age_s"] > 0
    lines = week.ok("outbox", "stats").out.splitlines()
    assert lines[0].split()[:5] == ["CONNECTOR", "PENDING", "DELIVERED", "DEAD", "CANCELLED"]
    assert lines[2].split()[:5] == ["shop", "1", "0", "1", "1"]
    assert lines[2].endswith("open     HTTP 401")


# --- replay and cancel ----------------------------------------------------------------------------


def test_replay_by_id_makes_due_again(week: Place) -> None:
    assert week.ok("outbox", "replay", "2", "4", "2").out == "replayed: 2, 4\n"
    assert (
        week.rows("SELECT state, attempts, delivered_at FROM outbox WHERE id IN (2, 4)")
        == [("pending", 0, None)] * 2
    )
    assert week.json("verify")["clean"]


def test_replay_of_a_pending_delivery_hurries_it(week: Place) -> None:
    week.rows("UPDATE outbox SET next_attempt_at = '2999-01-01T00:00:00.000Z' WHERE id = 5")
    week.ok("outbox", "replay", "5")
    assert week.value("SELECT next_attempt_at < '2999' FROM outbox WHERE id = 5") == 1


def test_cancel_by_id_gives_up(week: Place) -> None:
    assert week.json("outbox", "cancel", "1", "2", "4") == {"cancelled": 3, "ids": [1, 2, 4]}
    states = week.rows("SELECT state, last_error FROM outbox WHERE id IN (1, 2, 4) ORDER BY id")
    assert [state for state, _ in states] == ["cancelled"] * 3
    assert states[0][1].startswith("cancelled by ")
    assert states[2][1] == "no need"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "2", "99"], "there is no delivery 99"),
        (["cancel", "1", "99"], "there is no delivery 99"),
        (["cancel", "1", "3"], "delivery 3 is delivered: it cannot be cancelled any more"),
    ],
)
def test_all_that_were_named_or_none(week: Place, arguments: list[str], said: str) -> None:
    before = week.rows("SELECT id, state FROM outbox")
    done = week.invoke("outbox", *arguments)
    assert done.code == 1
    assert said in done.err
    assert week.rows("SELECT id, state FROM outbox") == before


@pytest.mark.parametrize("command", ["replay", "cancel"])
@pytest.mark.parametrize("arguments", [[], ["--yes"], ["1", "--connector", "shop"]])
def test_ids_or_filters_but_one_of_them(week: Place, command: str, arguments: list[str]) -> None:
    done = week.invoke("outbox", command, *arguments)
    assert done.code == 2
    assert "name deliveries by their ids, or choose them by --state" in done.error


@pytest.mark.parametrize(
    ("command", "state"), [("replay", "pending"), ("cancel", "delivered"), ("cancel", "cancelled")]
)
def test_states_in_which_that_makes_no_sense(week: Place, command: str, state: str) -> None:
    assert week.invoke("outbox", command, "--state", state, "--yes").code == 2


def test_by_filter_the_count_is_shown_and_nothing_done_without_a_yes(week: Place) -> None:
    before = week.rows("SELECT id, state FROM outbox")
    done = week.invoke("outbox", "replay", "--state", "dead")
    assert done.code == 1
    assert done.err == "1 dead deliveries match\nralf-hub: nothing was changed; --yes goes ahead\n"
    assert week.rows("SELECT id, state FROM outbox") == before


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["replay", "--connector", "shop"], {2: "pending"}),
        (["replay", "--state", "cancelled"], {4: "pending"}),
        (["replay", "--state", "delivered", "--task", "T-2"], {3: "pending"}),
        (["replay", "--task", "T-3"], {}),
        (["cancel", "--connector", "console"], {1: "cancelled", 5: "cancelled"}),
        (["cancel", "--state", "dead"], {2: "cancelled"}),
        (["cancel", "--since", "2999-01-01"], {}),
        (["cancel", "--until", "2999-01-01", "--task", "T-1"], {1: "cancelled"}),
    ],
)
def test_by_filter_all_that_match(week: Place, arguments: list[str], changed: dict[int, str]) -> None:
    before = dict(week.rows("SELECT id, state FROM outbox"))
    done = week.ok("outbox", *arguments, "--yes", "--json")
    assert done.json == {"replayed" if arguments[0] == "replay" else "cancelled": len(changed), "ids": None}
    assert dict(week.rows("SELECT id, state FROM outbox")) == before | changed


def test_many_are_changed_a_chunk_at_a_time(day: Place) -> None:
    columns = "event_id, event_seq, event_type, connector, payload, next_attempt_at, created_at"
    day.rows(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CHUNK * 2}) "
        f"INSERT INTO outbox ({columns}, action, state) SELECT {columns}, 'a' || i, 'dead' FROM outbox, n WHERE id = 1"
    )
    assert day.ok("outbox", "replay", "--state", "dead", "--yes").out == f"replayed: {CHUNK * 2} deliveries\n"
    assert day.value("SELECT count(*) FROM outbox WHERE state = 'pending'") == 6 + CHUNK * 2


# --- why ------------------------------------------------------------------------------------------


def test_why_says_it_in_words_with_what_was_tried(week: Place) -> None:
    text = week.ok("why", "2").out.splitlines()
    assert text[0] == "Delivery 2: task_completed about T-1 to shop (notify)"
    assert text[1] == (
        "Dead: HTTP 404. Nothing more happens until someone replays it (ralf-hub outbox replay 2)."
    )
    assert [line.split()[1:4] for line in text[3:]] == [["120", "retry", "503"], ["120", "rejected", "404"]]
    assert "\x1b" not in "".join(text)
    told = week.json("why", "2")
    assert told["explain"] == text[1]
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["retry", "rejected"]


def test_why_knows_what_is_ahead(day: Place) -> None:
    day.ok("emit", "task_failed", "--task", "T-1")
    assert "it waits for delivery 1 of the same task" in day.ok("why", "7").out
    assert day.ok("why", "7").out.endswith("It was not tried yet.\n")


def test_why_knows_a_connector_that_left_the_settings(day: Place) -> None:
    day.config.write_text('[database]\npath = "hub.db"\n[connectors.console]\n', encoding="utf-8")
    assert "there is no connector shop in the settings" in day.ok("why", "2").out


def test_why_without_the_settings_secrets_says_what_it_knows(day: Place) -> None:
    day.config.write_text(
        '[database]\npath = "hub.db"\n[connectors.slack]\nbot_token = "${T}"\n', encoding="utf-8"
    )
    assert "Pending: it is due" in day.ok("why", "2").out
