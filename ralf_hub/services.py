"""What the handlers work with: everything one running hub consists of, made in `app.py`."""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from aiohttp import web

from ralf_hub.clock import Clock
from ralf_hub.config import Loaded, Settings
from ralf_hub.context import Tracing
from ralf_hub.delivery.dispatcher import Dispatcher
from ralf_hub.delivery.transport import Transport
from ralf_hub.errors import DatabaseRefusedError
from ralf_hub.feed import Feed
from ralf_hub.identity.provider import Provider
from ralf_hub.intake.ledger import Intake
from ralf_hub.keyring import Keyring
from ralf_hub.limits import RateLimiter
from ralf_hub.meters import Meters
from ralf_hub.model import Json
from ralf_hub.secrets import Redactor
from ralf_hub.store import keys, usage
from ralf_hub.store.database import Database
from ralf_hub.store.room import Room
from ralf_hub.store.write_check import WriteCheck
from ralf_hub.stream.broadcast import Broadcaster
from ralf_hub.stream.tickets import Tickets
from ralf_hub.webhooks.senders import Sender

LARGE_WEBHOOKS_MAX: Final = 4
"""Webhooks of many megabytes held in memory at once; more of them wait."""


class WorkspaceFollower(Protocol):
    """What the API shows of the workspace that is followed."""

    def status(self) -> dict[str, Json]:
        """Return path, layout, last scan and whether one is running."""

    async def run(self) -> None:
        """Follow the workspace until cancelled."""


@dataclass(slots=True)
class Services:
    """One hub's parts. `loaded` changes when the settings are read again; the rest stays."""

    loaded: Loaded
    clock: Clock
    db: Database
    intake: Intake
    dispatcher: Dispatcher
    transport: Transport
    keyring: Keyring
    meters: Meters
    redact: Redactor
    feed: Feed
    stream: Broadcaster
    limits: RateLimiter
    auth_limits: RateLimiter
    tickets: Tickets = field(default_factory=Tickets)
    write_check: WriteCheck = field(default_factory=WriteCheck)
    workspace: WorkspaceFollower | None = None
    desk: Any = None
    """Who writes into RALF's files, for the connector that plans it; None where none are followed."""
    identity: Provider | None = None
    """Whose access tokens count besides keys, where `auth_type` is `oauth`."""
    tracing: Tracing | None = None
    """Where traces are kept, that is if the settings asked for them when the hub started."""
    senders: Mapping[str, Sender] = field(default_factory=dict)
    """Who may call with webhooks, by the last part of the path."""
    large_webhooks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_WEBHOOKS_MAX))
    """Taken while a large body is held in memory."""
    settings_problem: str | None = None
    """Why the settings file was not taken when it last changed; None when it was."""
    damage: DatabaseRefusedError | None = None
    """What was found wrong with the database while the hub serves; it ends then."""
    end: Callable[[], None] = field(default=lambda: None)
    """Asks whoever runs the hub to stop it."""
    room: Room | None = None
    """How much is left of the disk, when that was last looked at."""
    table_bytes: Mapping[str, int] = field(default_factory=dict)
    """How large each table is with its indexes, when that was last looked at."""
    stopping: bool = False
    background: dict[str, Callable[[], bool]] = field(default_factory=dict)
    """The loops that must be running: name -> whether it is."""

    _reloading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reload_keys(self) -> None:
        """Take the stored keys anew, so that a change counts at once. One after the other: an older view never wins."""
        async with self._reloading:
            self.keyring.load_stored(await self.db.read(keys.everyone))

    async def use_provider(self) -> None:
        """Take the OpenID provider of the settings in force; one that stays the same keeps the keys it knows."""
        api = self.settings.api
        wanted = api.oauth if api.auth_type == "oauth" else None
        known = self.identity
        if wanted == (known.settings if known else None):
            return
        self.identity = Provider(wanted, self.transport, self.clock) if wanted else None
        if known is not None:
            await known.close()

    async def close_provider(self) -> None:
        """Stop asking the provider."""
        if self.identity is not None:
            await self.identity.close()

    async def write_usage(self) -> None:
        """Write down what was counted since the last time. StorageError: it stays counted."""
        counted, used = self.meters.take_usage(), self.keyring.take_used()
        if not counted and not used:
            return

        def write(conn: sqlite3.Connection) -> None:
            usage.add(conn, counted)
            keys.touch(conn, used)

        try:
            await self.db.write(write, bulk=True)
        except Exception:
            self.meters.give_back(counted)
            self.keyring.give_back(used)
            raise

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.loaded.settings


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
