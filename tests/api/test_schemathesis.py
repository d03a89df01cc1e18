"""Schemathesis, all checks and phases, on every operation of the document; `make fuzz-api` is the long form."""

from pathlib import Path

import pytest

from ralf_hub.handlers.table import ENDPOINTS
from tests.api import fuzzing

pytestmark = pytest.mark.journey


def test_nothing_is_found_in_a_minute(tmp_path: Path) -> None:
    with fuzzing.hub_beside(tmp_path) as target:
        found = fuzzing.run(
            target,
            tmp_path,
            ["--seed", "1", "--max-examples", "15", "--checks", "all", "--no-color"],
            capture_output=True,
        )
    assert found.code == 0, found.text[-8_000:]
    report = found.report
    print(fuzzing.summary(report))
    assert report["complete"]
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}
    shown = [endpoint for endpoint in ENDPOINTS if endpoint.tag != "web"]
    assert report["operations"]["tested"] == report["operations"]["total"] == len(shown)
    assert report["test_cases"]["generated"] > 1_500
    assert report["test_cases"]["unique_failures"] == report["test_cases"]["errored"] == 0
