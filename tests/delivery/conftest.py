from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.delivery.house import House, Sink


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with Sink() as double:
        yield double


@pytest.fixture
async def house(db_path: Path) -> AsyncIterator[House]:
    async with House(db_path) as built:
        yield built
