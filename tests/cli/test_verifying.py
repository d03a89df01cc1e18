"""`ralf-hub verify`: what it prints and how it ends; what it finds is tested beside the store."""

from tests.cli.helpers import Place


def test_a_clean_database(day: Place) -> None:
    done = day.ok("verify")
    lines = done.out.splitlines()
    assert lines[0].split()[:2] == ["events", "3"]
    assert lines[1].split()[:2] == ["routed", "6"]
    assert lines[2].split()[:2] == ["deliveries", "6"]
    assert lines[-1] == "Clean: every event has exactly the deliveries it was routed to."
    assert day.json("verify")["found"].keys() >= {"missing", "doubled", "orphaned", "misrouted", "damaged"}


def test_what_is_missing_is_a_table_and_exit_code_1(day: Place) -> None:
    day.rows("DELETE FROM outbox WHERE id IN (2, 4)")
    done = day.invoke("verify")
    assert done.code == 1
    lines = done.out.splitlines()
    assert "missing                2  deliveries that an event was routed to and that are not there" in lines
    header = next(i for i, line in enumerate(lines) if line.startswith("FOUND"))
    assert [line.split()[:2] for line in lines[header + 1 : header + 3]] == [
        ["missing", "1"],
        ["missing", "2"],
    ]
    assert lines[header + 1].endswith("task_completed: 0 of 1 delivery to shop")
    assert lines[-1] == "Not clean: 2 findings."
    told = day.invoke("verify", "--json")
    assert told.code == 1
    assert (told.json["clean"], told.json["found"]["missing"]) == (False, 2)
    assert [finding["seq"] for finding in told.json["findings"]] == [1, 2]


def test_it_changes_nothing(day: Place) -> None:
    before = day.db.read_bytes()
    day.ok("verify")
    assert day.db.read_bytes() == before


def test_without_settings_it_proves_what_needs_none(day: Place) -> None:
    day.config.write_text('[database]\npath = "hub.db"\n[connectors.slack]\n', encoding="utf-8")
    done = day.ok("verify")
    assert "note: the settings have problems here: `ralf-hub check` tells them" in done.out
