"""What a running hub does for its webhooks by the clock: let held tasks go on, catch up on what failed meanwhile."""

import logging
from collections.abc import Iterator
from typing import Final

from ralf_hub.clock import MS_PER_S, iso, parse_iso
from ralf_hub.config.webhook_models import CatchUpSettings
from ralf_hub.connectors.base import Connector, HttpResponse, NotSentError, UnknownAnswerError
from ralf_hub.connectors.identities import identity
from ralf_hub.intake.webhooks import release_held
from ralf_hub.services import Services
from ralf_hub.store import receipts
from ralf_hub.upkeep import Chore
from ralf_hub.webhooks import catch_up
from ralf_hub.webhooks.catch_up import Hook, Logged

log = logging.getLogger(__name__)

RELEASE_EVERY_S: Final = 1.0
LOOK_EVERY_S: Final = 2.0
CATCH_UP_EVERY_S: Final = 3_600.0
ASK_AGAIN_S: Final = 300.0
OVERLAP_MS: Final = 3_600 * MS_PER_S
"""How far before the last look the next one begins: a delivery may be logged late."""
KEPT_MS: Final = 3 * 86_400 * MS_PER_S
"""GitHub keeps deliveries for three days."""
_ACCEPTED: Final = 202


class CatchUpError(Exception):
    """GitHub's answer was none to go on with; the message says which."""


def webhook_chores(hub: Services) -> tuple[Chore, ...]:
    """Return the chores of the webhooks."""

    async def release() -> None:
        if await hub.db.read(receipts.has_limited_tasks):
            limits = {route: sender.max_concurrent for route, sender in hub.senders.items()}
            await hub.intake.accept(lambda ledger: release_held(ledger, limits))

    return (
        Chore("held tasks", RELEASE_EVERY_S, release),
        Chore("webhook catch-up", LOOK_EVERY_S, CatchUp(hub).step),
        Chore("own identities", LOOK_EVERY_S, OwnIdentities(hub).step, at_once=True),
    )


class OwnIdentities:
    """Learns who the hub is at the services that call it: what its own bot does there is no news.

    Only of bots: where a token is a person's, that person does things by hand as well, and those count.
    """

    def __init__(self, hub: Services) -> None:
        self._hub = hub
        self._asked: dict[str, tuple[Connector, float]] = {}

    async def step(self) -> None:
        """Ask where it is not known yet, and let the senders know."""
        names = {name for sender in self._hub.senders.values() for name in sender.connectors}
        for name in sorted(names):
            await self._ask(name)
        known = {name: channel.identity for name, channel in self._hub.dispatcher.channels.items()}
        self._hub.senders = {
            route: sender.who_is_also(filter(None, (known.get(name) for name in sender.connectors)))
            for route, sender in self._hub.senders.items()
        }

    async def _ask(self, name: str) -> None:
        """Ask the service of one connector, unless it has answered or was asked a moment ago."""
        hub = self._hub
        channel = hub.dispatcher.channels.get(name)
        if channel is None or channel.identity is not None:
            return
        connector, now = channel.connector, hub.clock.monotonic()
        asked, due = self._asked.get(name, (None, 0.0))
        if asked is connector and now < due:
            return
        self._asked[name] = (connector, now + ASK_AGAIN_S)
        try:
            found = await identity(connector, hub.transport)
        except (NotSentError, UnknownAnswerError) as error:
            log.info("who the hub is for %s is not known yet: %s", name, hub.redact(str(error)))
            return
        if channel.connector is connector:  # else its settings have changed meanwhile
            channel.identity = found


class CatchUp:
    """Asks GitHub for failed deliveries, soon after the start and then hourly."""

    def __init__(self, hub: Services) -> None:
        self._hub = hub
        self._due: dict[str, float] = {}

    async def step(self) -> None:
        """Look after every webhook whose time has come."""
        now = self._hub.clock.monotonic()
        for route, settings in self._wanted():
            if now < self._due.get(route, 0.0):
                continue
            self._due[route] = now + CATCH_UP_EVERY_S
            try:
                asked = await self.look(route, settings)
            except (CatchUpError, NotSentError, UnknownAnswerError) as error:
                log.warning(
                    "catch-up of webhook %s: %s; it is tried again in an hour",
                    route,
                    self._hub.redact(str(error)),
                )
                continue
            if asked:
                log.info("catch-up of webhook %s: asked for %d failed deliveries again", route, asked)

    def _wanted(self) -> Iterator[tuple[str, CatchUpSettings]]:
        for entry in self._hub.settings.webhooks.incoming:
            if entry.catch_up is not None and entry.route in self._hub.senders:
                yield entry.route, entry.catch_up

    async def look(self, route: str, settings: CatchUpSettings) -> int:
        """Ask for what failed since the last look and has not come since; returns how many were asked for."""
        hub, begun_ms = self._hub, self._hub.clock.now()
        place = f"repos/{settings.repo}" if settings.repo else f"orgs/{settings.org}"
        hook = Hook(place, settings.hook_id, settings.token.get_secret_value(), settings.base_url)
        since = await self._since(route, begun_ms)
        missed = catch_up.failed(await self._log(hook, since))
        known = await hub.db.read(
            lambda conn: receipts.known_keys(conn, route, [logged.guid for logged in missed])
        )
        missed = [logged for logged in missed if logged.guid not in known]
        for logged in missed[: catch_up.ASKED_MAX]:
            answer = await hub.transport(hook.redeliver(logged.id))
            if answer.status != _ACCEPTED:
                raise CatchUpError(_said(answer))
        if len(missed) <= catch_up.ASKED_MAX:
            await hub.db.write(lambda conn: receipts.note_caught_up(conn, route, iso(begun_ms)))
        return min(len(missed), catch_up.ASKED_MAX)

    async def _since(self, route: str, now_ms: int) -> str:
        """Return from when on deliveries may have failed: the last look, or before the first the last that came."""
        known = await self._hub.db.read(
            lambda conn: receipts.caught_up(conn, route) or receipts.last_received(conn, route)
        )
        start = parse_iso(known) if known else now_ms
        return iso(max(start - OVERLAP_MS, now_ms - KEPT_MS))

    async def _log(self, hook: Hook, since: str) -> list[Logged]:
        """Return GitHub's log back to *since*."""
        found: list[Logged] = []
        cursor = ""
        for _ in range(catch_up.PAGES_MAX):
            response = await self._hub.transport(hook.list(cursor))
            page = catch_up.read_page(response)
            if page is None:
                raise CatchUpError(_said(response))
            found += [logged for logged in page if logged.delivered_at >= since]
            cursor = catch_up.next_cursor(response.headers)
            if not cursor or not page or page[-1].delivered_at < since:
                break
        return found


def _said(response: HttpResponse) -> str:
    answer = response.json()
    message = answer.get("message") if isinstance(answer, dict) else None
    return f"GitHub answered {response.status}" + (f" ({str(message)[:200]})" if message else "")
