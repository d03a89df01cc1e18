"""Wires everything: settings in, a running aiohttp application out. The only room that knows all others."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

from aiohttp import web

from ralf_hub.admission import may_stay
from ralf_hub.clock import Clock, HighWater
from ralf_hub.clock_watch import LOOK_EVERY_S, ClockWatch
from ralf_hub.config import Loaded, Settings, hub_url, instances, secret_values
from ralf_hub.config.senders import senders
from ralf_hub.connectors.base import Connector, ConnectorEnv, Delivered
from ralf_hub.delivery.backoff import Backoff
from ralf_hub.delivery.breaker import BreakerPolicy
from ralf_hub.delivery.channel import Finished
from ralf_hub.delivery.dispatcher import Dispatcher, DispatchPolicy
from ralf_hub.delivery.expected import fingerprint
from ralf_hub.delivery.outlets import outlets
from ralf_hub.delivery.routing import Router
from ralf_hub.delivery.transport import Transport
from ralf_hub.endpoint import Endpoint
from ralf_hub.errors import SettingsError, SettingsProblem, StorageError
from ralf_hub.feed import Feed, Read
from ralf_hub.handlers.deliveries import delivery_json
from ralf_hub.handlers.health import metrics_document
from ralf_hub.handlers.table import ENDPOINTS
from ralf_hub.intake.ledger import Intake
from ralf_hub.keyring import Keyring
from ralf_hub.limits import RateLimiter
from ralf_hub.meters import Meters
from ralf_hub.middleware import WithoutRequests, access_log, door
from ralf_hub.model import Event
from ralf_hub.secrets import Redactor, sha256_hex
from ralf_hub.services import SERVICES, Services
from ralf_hub.store import events, keys, outbox
from ralf_hub.store.checkpoint import Checkpointer
from ralf_hub.store.database import Database
from ralf_hub.store.routes import put_in_force
from ralf_hub.stream.broadcast import Broadcaster
from ralf_hub.table_routes import add_all
from ralf_hub.upkeep import Chore, Upkeep, check_whole_file
from ralf_hub.watcher.desk import Desk
from ralf_hub.watcher.follower import Follower
from ralf_hub.watcher.progress import LoggedProgress, Progress
from ralf_hub.webhook_upkeep import webhook_chores

log = logging.getLogger(__name__)
logging.getLogger("aiohttp.server").addFilter(WithoutRequests())


def build_connectors(settings: Settings, clock: Clock, desk: Desk | None = None) -> dict[str, Connector]:
    """Return the enabled connectors of *settings* by name; *desk* is who writes into RALF's files."""
    env = ConnectorEnv(
        clock=clock,
        hub_url=hub_url(settings),
        timeout_s=settings.delivery.timeout_s,
        consoles=frozenset(sender.service for sender in senders(settings).values()),
        outlets=outlets([str(item) for item in settings.security.allowed_networks]),
        desk=desk,
    )
    return instances(settings, env)


def dispatch_policy(settings: Settings) -> DispatchPolicy:
    """Return `[delivery]` as the dispatcher takes it."""
    given = settings.delivery
    return DispatchPolicy(
        concurrency=given.concurrency,
        timeout_s=given.timeout_s,
        backoff=Backoff(given.backoff_first_s, given.backoff_max_s, given.max_attempts),
        breaker=BreakerPolicy(given.breaker_failures, given.breaker_probe_first_s, given.breaker_probe_max_s),
    )


def settings_keys(settings: Settings) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return the keys of the settings as the keyring takes them: name, SHA-256, scopes."""
    return [
        (
            key.name or "",
            key.key_sha256 or sha256_hex(key.key.get_secret_value() if key.key else ""),
            key.scopes,
        )
        for key in settings.api.api_keys
    ]


async def apply(hub: Services, loaded: Loaded) -> None:
    """Put *loaded* in force. Address, database and workspace stay those of the start."""
    settings = loaded.settings
    hub.redact.learn(secret_values(settings))
    connectors = build_connectors(settings, hub.clock, hub.desk)
    access_log.setLevel(logging.DEBUG if settings.api.debug else logging.NOTSET)
    hub.keyring.load_settings(settings_keys(settings))
    hub.limits.per_minute = settings.api.rate_limit.requests_per_minute
    hub.auth_limits.per_minute = settings.api.rate_limit.failed_auth_per_minute
    hub.transport.allow(
        [str(item) for item in settings.security.allowed_networks], settings.delivery.timeout_s
    )
    router = Router(connectors)
    hub.intake.router = router
    try:
        await hub.db.write(lambda conn: put_in_force(conn, fingerprint(router)))
    except StorageError as error:  # a hub whose disk is full still answers; only `verify` then knows less
        log.warning("the routes in force could not be noted: %s", error)
    hub.senders = senders(settings)
    hub.loaded = loaded
    await hub.use_provider()
    hub.settings_problem = None
    await hub.dispatcher.configure(connectors, dispatch_policy(settings))


@contextlib.asynccontextmanager
async def running(
    loaded: Loaded,
    clock: Clock,
    *,
    redact: Redactor | None = None,
    deliver_history: bool = False,
    progress: Progress | None = None,
) -> AsyncIterator[Services]:
    """Start one hub on its database and stop it again: what is on its way is finished and recorded."""
    settings = loaded.settings
    shown = HighWater(clock.now)
    clock = replace(clock, now=shown)
    async with contextlib.AsyncExitStack() as stack:
        db = await Database.open(settings.database.path)
        stack.push_async_callback(db.close)
        redact = redact or Redactor()
        redact.learn(secret_values(settings))
        transport = await stack.enter_async_context(Transport(timeout_s=settings.delivery.timeout_s))
        intake = Intake(db, clock, Router({}), hub_url(settings))
        dispatcher = Dispatcher(
            db=db,
            accept=intake.accept,
            http=transport,
            clock=clock,
            random=random.random,
            redact=redact,
            policy=dispatch_policy(settings),
            recorded=lambda item: _tell_recorded(hub, item),
        )

        async def read_events(after: int, limit: int) -> list[Event]:
            return await db.read(lambda conn: events.after(conn, after, limit=limit))

        feed = Feed((await db.read(events.bounds))[1], read_events)
        stack.push_async_callback(feed.close)
        hub = Services(
            loaded=loaded,
            clock=clock,
            db=db,
            intake=intake,
            dispatcher=dispatcher,
            transport=transport,
            keyring=Keyring(),
            meters=Meters(started_ms=clock.now()),
            redact=redact,
            feed=feed,
            stream=_broadcaster(feed, read_events, db, clock, lambda: hub),
            limits=RateLimiter(settings.api.rate_limit.requests_per_minute),
            auth_limits=RateLimiter(settings.api.rate_limit.failed_auth_per_minute),
        )
        stack.push_async_callback(hub.close_provider)
        hub.keyring.load_stored(await db.read(keys.everyone))
        _keep_traces(hub, stack)
        _follow_workspace(hub, progress or LoggedProgress(clock.monotonic), deliver_history=deliver_history)
        await apply(hub, loaded)
        intake.listeners.append(lambda appended, _: hub.feed.publish(appended))
        intake.listeners.append(lambda _, connectors: hub.dispatcher.wake(connectors) if connectors else None)
        async with _background(hub, shown):
            yield hub


def _broadcaster(
    feed: Feed, read: Read, db: Database, clock: Clock, hub: Callable[[], Services]
) -> Broadcaster:
    """Return who tells live readers; *hub* returns the hub once it is made."""
    return Broadcaster(
        feed,
        read,
        partial(db.read, events.bounds),
        lambda: metrics_document(hub()),
        clock,
        lambda principal, now: may_stay(hub(), principal, now),
    )


def _keep_traces(hub: Services, stack: contextlib.AsyncExitStack) -> None:
    """Keep traces where the settings ask for them. SettingsError where OpenTelemetry is not installed."""
    given = hub.settings.tracing
    if not given.enabled:
        return
    try:
        from ralf_hub import otel  # noqa: PLC0415 - an extra, and some megabytes, for those who want it
    except ImportError:
        problem = SettingsProblem(
            str(hub.loaded.source.path),
            "tracing.enabled",
            "OpenTelemetry is not installed",
            "pip install 'ralf-hub[otel]'",
        )
        raise SettingsError([problem]) from None
    tracing = otel.start(given.service_name, given.endpoint)
    stack.push_async_callback(asyncio.to_thread, tracing.close)
    hub.tracing = hub.intake.tracing = tracing
    hub.dispatcher.trace = lambda delivery: tracing.delivery(
        delivery, hub.db.peek(lambda conn: events.trace_of(conn, delivery.event_id))
    )


def _follow_workspace(hub: Services, progress: Progress, *, deliver_history: bool) -> None:
    """Make what reads and what writes RALF's files, where the settings name a workspace."""
    given = hub.settings.workspace
    if given.path is None:
        return
    hub.workspace = follower = Follower(
        settings=given,
        path=given.path,
        db=hub.db,
        intake=hub.intake,
        clock=hub.clock,
        deliver_history=deliver_history,
        progress=progress,
    )
    hub.desk = Desk(follower, hub.db, hub.clock)


def _tell_recorded(hub: Services, item: Finished) -> None:
    """Count one recorded try and tell live readers of it."""
    delivery, outcome = item.claimed.delivery, item.outcome
    if isinstance(outcome, Delivered):
        hub.meters.delivered(delivery.connector, item.duration_ms, hub.clock.now())
    if hub.stream.wants_deliveries:
        now = hub.db.peek(lambda conn: outbox.get(conn, delivery.id)) or delivery
        tried = {"outcome": outcome.name, "duration_ms": item.duration_ms, "at": item.started_at}
        hub.stream.tell_delivery({**delivery_json(now), **tried})


@contextlib.asynccontextmanager
async def _background(hub: Services, shown: HighWater) -> AsyncIterator[None]:
    """Run the dispatcher and the chores; end them in order."""
    checkpointer = await Checkpointer.open(hub.db)
    upkeep = Upkeep(hub, checkpointer)
    watch = ClockWatch(hub, shown)
    await watch.begin()
    watching = Chore("clock", LOOK_EVERY_S, watch.look)
    tasks: dict[str, asyncio.Task[None]] = {
        "dispatcher": asyncio.create_task(hub.dispatcher.run(), name="dispatcher")
    }
    tasks["stream"] = asyncio.create_task(hub.stream.run(), name="stream")
    if hub.workspace is not None:
        tasks["workspace"] = asyncio.create_task(hub.workspace.run(), name="workspace")
    for chore in (*upkeep.chores, watching, *webhook_chores(hub)):
        tasks[chore.name] = asyncio.create_task(upkeep.repeat(chore), name=chore.name)
    hub.background.update({name: _alive(task) for name, task in tasks.items()})
    if not hub.db.whole:  # ends some day, so its end is nothing to be told of
        tasks["file check"] = asyncio.create_task(check_whole_file(hub), name="file check")
    try:
        yield
    finally:
        hub.stopping = True
        if "workspace" in tasks:
            tasks["workspace"].cancel()
            await asyncio.wait({tasks["workspace"]})
        await hub.dispatcher.stop()
        await asyncio.wait({tasks["dispatcher"]})
        if hub.desk is not None:
            await hub.desk.close()
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        with contextlib.suppress(Exception):
            await hub.write_usage()
        await checkpointer.close()


def _alive(task: asyncio.Task[None]) -> Callable[[], bool]:
    return lambda: not task.done()


def build_app(
    loaded: Loaded,
    clock: Clock | None = None,
    *,
    redact: Redactor | None = None,
    deliver_history: bool = False,
    progress: Progress | None = None,
    endpoints: tuple[Endpoint, ...] = ENDPOINTS,
) -> web.Application:
    """Return the application: every endpoint of the table behind the one door."""
    settings = loaded.settings
    app = web.Application(middlewares=[door], client_max_size=settings.api.body_bytes_max)

    async def hub_context(app: web.Application) -> AsyncIterator[None]:
        async with running(
            loaded, clock or Clock(), redact=redact, deliver_history=deliver_history, progress=progress
        ) as hub:
            app[SERVICES] = hub
            yield

    app.cleanup_ctx.append(hub_context)
    cors = settings.api.cors
    add_all(app, endpoints, [str(origin) for origin in cors.origins] if cors.enabled else [])
    return app
