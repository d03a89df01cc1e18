from collections.abc import AsyncIterator

import pytest

from ralf_hub.connectors.base import Http
from tests.connectors.helpers import network


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with network() as transport:
        yield transport
