"""Fixtures of the API tests: a hub on a real database file, asked through a real socket."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pytest_aiohttp.plugin import AiohttpClient

from ralf_hub.app import build_app
from ralf_hub.clock import Clock
from ralf_hub.endpoint import Endpoint
from ralf_hub.handlers.table import ENDPOINTS
from ralf_hub.runner import HubRunner
from tests.api.helpers import Api, settings
from tests.support import SettableClock


class HubServer(TestServer):
    """Serves as `ralf-hub serve` does: a client that leaves does not end what it has begun."""

    async def _make_runner(self, **given: Any) -> web.BaseRunner:
        return HubRunner(self.app, **{**given, "handler_cancellation": False, "access_log": None})


Start = Callable[..., Awaitable[Api]]


@pytest.fixture
def start(aiohttp_client: AiohttpClient, db_path: Path, clock: SettableClock) -> Start:
    """Start a hub with these sections of settings over the usual ones; a second call starts it anew."""
    running: list[Api] = []

    async def start(
        *, own_clock: Clock | None = None, more: tuple[Endpoint, ...] = (), **sections: Any
    ) -> Api:
        while running:
            await running.pop().client.close()
        app = build_app(
            settings(db_path, **sections), own_clock or clock.clock, endpoints=(*more, *ENDPOINTS)
        )
        api = Api(await aiohttp_client(HubServer(app)))
        running.append(api)
        return api

    return start


@pytest.fixture
async def api(start: Start) -> Api:
    """A hub without connectors whose clock stands still."""
    return await start()
