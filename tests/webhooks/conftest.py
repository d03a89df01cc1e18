"""A hub that takes webhooks of every service."""

import pytest

from tests.api.conftest import Start, start
from tests.api.helpers import Api
from tests.webhooks.signing import incoming

__all__ = ["start"]


@pytest.fixture
async def door(start: Start) -> Api:
    return await start(webhooks=incoming())
