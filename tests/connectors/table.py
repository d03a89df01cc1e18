"""The table of `docs/connectors.md`: which action was shown to survive what, written down by a run of the tests.

    python -m pytest -p tests.connectors.table tests/connectors/test_every_action.py tests/journeys/test_one_object.py

A test that stands for cells says so with `record_property("shows", (service, action, column))`. Only what has passed is
written, and nothing at all where something that is owed has not. `make connector-table` runs it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.connectors.services import SERVICES, Service
from tests.snippets import CHECKOUT

PAGE: Final = CHECKOUT / "docs" / "connectors.md"
BEGIN, END = "<!-- made by `make connector-table` -->", "<!-- end of what it made -->"

COLUMNS: Final[Mapping[str, str]] = {
    "contract": "held to",
    "retried": "429, 5xx, no answer",
    "lost": "answer lost",
    "killed": "kill -9 after the answer",
    "permanent": "permanent error",
    "credentials": "credentials refused",
}

Cell = tuple[str, str, str]


def keeps_one(service: Service) -> bool:
    """Return whether the real program is killed on it: the services where a second object would be seen."""
    return service.one_object or service.name in {"slack bot", "pagerduty"}


def owed() -> set[Cell]:
    """Return every cell that a test must have shown."""
    return {
        (service.name, action, column)
        for service in SERVICES
        for action in service.actions
        for column in COLUMNS
        if (column != "credentials" or service.parks) and (column != "killed" or keeps_one(service))
    }


def word(service: Service, action: str, column: str) -> str:
    """Return what stands in a cell that was shown."""
    match column:
        case "contract":
            return service.oracle
        case "retried":
            return "tried again"
        case "lost":
            return service.actions[action].lost
        case "killed":
            return "1 object"
        case "permanent":
            return "dead" if service.permanent == "yes" else f"dead {service.permanent}"
    return "parked, nothing burnt"


def lines(shown: set[Cell]) -> Iterator[str]:
    """Yield the table; a dash stands where nothing is owed."""
    yield f"| connector | action | {' | '.join(COLUMNS.values())} |"
    yield "|---" * (2 + len(COLUMNS)) + "|"
    for service in SERVICES:
        for action in service.actions:
            cells = [
                word(service, action, column) if (service.name, action, column) in shown else "-"
                for column in COLUMNS
            ]
            yield f"| {service.name} | {action.partition(':')[0]} | {' | '.join(cells)} |"


def written(page: str, shown: set[Cell]) -> str:
    """Return *page* with the table of *shown* between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n" + "\n".join(lines(shown)) + f"\n{END}{after}"


# --- as a plugin of pytest ------------------------------------------------------------------------


class Collector:
    """Takes up what passed, and writes the page when nothing that is owed is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shown: set[Cell] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            found: list[Any] = [value for name, value in report.user_properties if name == "shows"]
            self._shown |= {tuple(value) for value in found}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        missing = owed() - self._shown
        if missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        missing = sorted(owed() - self._shown)
        if missing:
            terminalreporter.write_line(f"not written, for these were not shown: {missing}", red=True)
            return
        page = self._path.read_text(encoding="utf-8")
        self._path.write_text(written(page, self._shown), encoding="utf-8")
        terminalreporter.write_line(f"{len(self._shown)} cells shown and written to {self._path.name}")


def pytest_configure(config: pytest.Config) -> None:
    """Collect in the process that has all reports."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(PAGE), "connector-table")
