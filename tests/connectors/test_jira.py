from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.outside import outside
from tests.doubles.jira import EMAIL, PROJECT, TOKEN, Jira
from tests.doubles.server import Fault
from tests.support import SettableClock


@pytest.fixture
async def jira(clock: SettableClock) -> AsyncIterator[Jira]:
    async with Jira(now=lambda: clock.ms) as double:
        yield double


def settings(double: Jira, **more: Any) -> dict[str, Any]:
    given = {"base_url": double.url, "email": EMAIL, "api_token": TOKEN, "project_key": PROJECT}
    return {**given, **more}


async def test_a_task_has_one_issue_from_its_beginning_to_its_end(
    jira: Jira, db_path: Path, clock: SettableClock
) -> None:
    async with outside(db_path, clock, "jira", **settings(jira)) as out:
        for kind in ("task_created", "task_started", "task_completed"):
            await out.tell(kind)
        await out.settle()
    (issue,) = jira.issues.values()
    assert issue.status == "Done"


@pytest.mark.parametrize("on", ["/issue", "/comment", "/transitions", "*"])
async def test_lost(jira: Jira, db_path: Path, clock: SettableClock, on: str) -> None:
    jira.faults.append(Fault(on, drop="after", times=3))
    async with outside(db_path, clock, "jira", **settings(jira)) as out:
        await out.tell("task_completed")
        await out.settle()
    (issue,) = jira.issues.values()
    assert issue.status == "Done"
    assert len(issue.comments) == 1
