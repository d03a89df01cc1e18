from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.outside import outside
from tests.doubles.server import Fault
from tests.doubles.trello import BOARD, KEY, TOKEN, Trello
from tests.support import SettableClock


@pytest.fixture
async def trello(clock: SettableClock) -> AsyncIterator[Trello]:
    async with Trello(now=lambda: clock.ms) as double:
        yield double


def settings(double: Trello, **more: Any) -> dict[str, Any]:
    return {"base_url": f"{double.url}/1", "api_key": KEY, "token": TOKEN, "board_id": BOARD, **more}


@pytest.mark.parametrize("auth", ["header", "query"])
async def test_a_task_has_one_card_from_its_beginning_to_its_end(
    trello: Trello, db_path: Path, clock: SettableClock, auth: str
) -> None:
    async with outside(db_path, clock, "trello", **settings(trello, auth=auth)) as out:
        for kind in ("task_created", "task_started", "task_completed"):
            await out.tell(kind)
        await out.settle()
    (card,) = trello.cards.values()
    assert trello.list_of(card) == "Done"
    assert len(card.comments) == 1


@pytest.mark.parametrize("on", ["/cards", "/comments", "/lists", "/actions", "*"])
async def test_lost_answers(trello: Trello, db_path: Path, clock: SettableClock, on: str) -> None:
    trello.faults.append(Fault(on, drop="after", times=3))
    async with outside(db_path, clock, "trello", **settings(trello)) as out:
        await out.tell("task_completed")
        await out.settle()
    (card,) = trello.cards.values()
    assert trello.list_of(card) == "Done"
    assert len(card.comments) == 1
