from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ralf_hub.delivery import dispatcher
from tests.delivery.house import House, Sink


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the look at everything every few seconds: every wake-up must come when it is due."""
    monkeypatch.setattr(dispatcher, "LOOK_AT_LEAST_EVERY_S", 3600.0)


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as double:
        yield double


@pytest.fixture
async def house(db_path: Path) -> AsyncIterator[House]:
    async with House(db_path) as built:
        yield built
