"""The table in docs/connectors.md is that of the connectors and actions there are, and a run of the tests wrote it."""

import subprocess
import sys

import pytest

from ralf_hub.connectors.registry import BUILT_IN
from tests.connectors import table
from tests.connectors.services import SERVICES
from tests.snippets import CHECKOUT


def test_the_committed_table_is_what_the_tests_of_today_show() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert page == table.written(page, table.owed()), "run: make connector-table"


def test_every_connector_that_leads_outside_has_a_row() -> None:
    inside = {"console", "workspace"}
    assert {service.kind for service in SERVICES} == set(BUILT_IN) - inside


def test_a_cell_nobody_has_shown_is_empty() -> None:
    shown = table.owed() - {("jira", "create", "lost")}
    (row,) = [line for line in table.lines(shown) if line.startswith("| jira | create")]
    assert row.split(" | ")[4] == "-"


def test_a_page_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="connector-table"):
        table.written("# Connectors\n", set())


def test_a_run_that_shows_less_than_is_owed_fails_and_writes_nothing() -> None:
    before = table.PAGE.read_bytes()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n0", "-q", "-p", "tests.connectors.table"),
            "tests/connectors/test_every_action.py::test_every_action_is_tried_again[pagerduty-change]",
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "1 passed" in done.stdout
    assert "not written" in done.stdout
    assert table.PAGE.read_bytes() == before
