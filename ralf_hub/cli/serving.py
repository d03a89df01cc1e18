"""`ralf-hub serve`: the hub as a process, its signals, its first key, settings that change while it runs."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ralf_hub import app as wiring
from ralf_hub.cli.certificate import Certificate, CertificateError
from ralf_hub.cli.importbar import ImportBar
from ralf_hub.cli.logs import set_up
from ralf_hub.clock import Clock
from ralf_hub.config import Loaded, Settings, hub_url, load, secret_values
from ralf_hub.errors import DatabaseRefusedError, SettingsError, StorageError
from ralf_hub.keyring import new_key
from ralf_hub.model import Json
from ralf_hub.runner import HEADER_BYTES_MAX, HubRunner
from ralf_hub.secrets import Redactor
from ralf_hub.services import SERVICES, Services
from ralf_hub.store import keys
from ralf_hub.store.schema import FileLock
from ralf_hub.systemd import ServiceManager

log = logging.getLogger(__name__)

STOP_GRACE_S: Final = 10.0
LOOK_AT_SETTINGS_EVERY_S: Final = 1.0
BACKLOG: Final = 1024
SWITCH_INTERVAL_S: Final = 0.001
"""How long a thread that reads a large workspace may keep Python's lock while the event loop waits for it."""


class ServeError(Exception):
    """The hub cannot serve; the message says why and what to do."""


def copy_sample(settings: Settings) -> None:
    """Put the sample workspace where the settings want one and nothing is yet."""
    target = settings.workspace.path
    if target is None or not settings.workspace.sample or target.exists():
        return
    packaged = resources.files("ralf_hub") / "_data" / "examples" / "workspace"
    source = packaged if packaged.is_dir() else Path(__file__).parents[2] / "examples" / "workspace"
    if source.is_dir():
        with resources.as_file(source) as folder:
            shutil.copytree(folder, target)


async def first_key(hub: Services) -> str | None:
    """Make a key where nobody could get in otherwise, and return it to be shown once."""
    if hub.settings.api.auth_type != "api_key" or not hub.keyring.is_empty:
        return None
    key, stored = new_key(hub.clock, "first start", ["*"])
    await hub.db.write(lambda conn: keys.insert(conn, stored))
    hub.keyring.load_stored(await hub.db.read(keys.everyone))
    return key


class SettingsWatch:
    """Reads the settings again on SIGHUP or when their files change; a faulty file changes nothing and is reported.

    The certificate and its key are such files too.
    """

    def __init__(
        self, hub: Services, launch: "Launch", manager: ServiceManager, certificate: Certificate | None = None
    ) -> None:
        self._hub = hub
        self._launch = launch
        self._manager = manager
        self._certificate = certificate
        self._seen = self._stamps()
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Read them again soon, changed or not."""
        self._asked.set()

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        tls = self._hub.settings.api.tls
        stamps = []
        for path in (*self._hub.loaded.files, *((tls.cert, tls.key) if tls else ())):
            with contextlib.suppress(OSError):
                found = path.stat()
                stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return tuple(stamps)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AT_SETTINGS_EVERY_S):
                    await self._asked.wait()
            stamps = await asyncio.to_thread(self._stamps)
            if not self._asked.is_set() and stamps == self._seen:
                continue
            self._asked.clear()
            self._seen = stamps
            with self._manager.reloading():
                await self.reload()

    async def reload(self) -> None:
        """Read and apply the settings and the certificate, or say why not."""
        hub = self._hub
        before = hub.loaded
        try:
            loaded = await asyncio.to_thread(
                load, hub.loaded.source, self._launch.env, self._launch.overrides
            )
            if self._certificate is not None and loaded.settings.api.tls is not None:
                self._certificate.renew(loaded.settings.api.tls)
            if loaded.fingerprint != hub.loaded.fingerprint:
                await wiring.apply(hub, loaded)
                log.info("settings %s are in force", loaded.fingerprint)
        except (SettingsError, CertificateError) as error:
            hub.settings_problem = hub.redact(f"the changed settings were not taken: {error}")
            log.error("%s", hub.settings_problem)  # noqa: TRY400 - told whole; a traceback says no more
        except Exception:  # the next change must be seen all the same, and these be tried again when asked
            hub.loaded = before
            hub.settings_problem = (
                "the changed settings were not taken: the hub failed over them; its log says where"
            )
            log.exception("%s", hub.settings_problem)
        else:
            hub.settings_problem = None


def listen(settings: Settings) -> socket.socket:
    """Take the address before anything else starts: a hub that cannot be reached must not begin to deliver."""
    host, port = settings.api.host, settings.api.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServeError(
            f"cannot listen on {host} port {port}: {reason}; stop what uses it, or choose another with --port"
        ) from None


def _certificate(settings: Settings) -> Certificate | None:
    try:
        return None if settings.api.tls is None else Certificate(settings.api.tls)
    except CertificateError as error:
        raise ServeError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Launch:
    """How a hub was started: the environment, what the command line overrides, and where it speaks."""

    env: Mapping[str, str]
    overrides: Mapping[str, Json]
    say: Callable[[str], None]
    redact: Redactor
    as_json: bool = False
    deliver_history: bool = False


async def serve(loaded: Loaded, launch: Launch) -> None:
    """Serve until SIGTERM or SIGINT. ServeError or DatabaseRefusedError when that is not possible."""
    settings = loaded.settings
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        copy_sample(settings)
        settings.database.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServeError(f"{error.filename}: cannot be written: {error.strerror}") from None
    lock = FileLock(settings.database.path)
    lock.acquire(address=hub_url(settings))
    try:
        await _serve(loaded, launch, stop)
    finally:
        lock.release()


async def _serve(loaded: Loaded, launch: Launch, stop: asyncio.Event) -> None:
    settings = loaded.settings
    progress = None if launch.as_json or not sys.stderr.isatty() else ImportBar()
    clock = Clock()
    manager = ServiceManager(launch.env, os.getpid(), clock)
    certificate = _certificate(settings)
    app = wiring.build_app(
        loaded, clock, redact=launch.redact, deliver_history=launch.deliver_history, progress=progress
    )
    listener = listen(settings)
    runner = HubRunner(
        app,
        access_log=None,
        shutdown_timeout=STOP_GRACE_S,
        max_line_size=HEADER_BYTES_MAX,
        max_field_size=HEADER_BYTES_MAX,
    )
    try:
        await runner.setup()
        site = web.SockSite(runner, listener, ssl_context=certificate.context if certificate else None)
        await site.start()
        hub = app[SERVICES]
        hub.end = stop.set
        gc.collect()
        gc.freeze()  # what is here now stays: the collector need not walk it, and hold up the loop, again and again
        gc.set_threshold(10_000, 20, 20)
        _greet(launch, hub_url(settings), await first_key(hub))
        manager.ready(f"serving at {hub_url(settings)}")
        await _until_stopped(stop, SettingsWatch(hub, launch, manager, certificate), _signs(hub, manager))
        manager.stopping()
        if not launch.as_json:
            launch.say("ralf-hub is stopping: what is on its way is finished first")
        hub.stopping = True
        await site.stop()
        if hub.damage is not None:
            raise hub.damage
    finally:
        await runner.cleanup()
        listener.close()


def _greet(launch: Launch, url: str, key: str | None) -> None:
    if launch.as_json:
        launch.say(json.dumps({"url": url, "key": key, "pid": os.getpid()}))
    elif key is None:
        launch.say(f"ralf-hub is running: {url}/")
    else:
        launch.say(f"ralf-hub is running: {url}/#key={key}  (API key of this first start, shown once: {key})")


async def _until_stopped(stop: asyncio.Event, watch: SettingsWatch, signs: Coroutine[Any, Any, None]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, watch.ask)
    beside = [asyncio.create_task(watch.run(), name="settings"), asyncio.create_task(signs, name="watchdog")]
    await stop.wait()
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


async def _signs(hub: Services, manager: ServiceManager) -> None:
    """Give signs of life while every loop of the hub runs. A disk that is full is no reason to be started anew."""
    while manager.sign_every_s:
        if all(is_running() for is_running in hub.background.values()):
            manager.alive()
        await asyncio.sleep(manager.sign_every_s)


def say_line(line: str) -> None:
    """Print *line* at once. A hub goes on where nobody reads what it says."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def run(
    loaded: Loaded, overrides: Mapping[str, Json], *, as_json: bool = False, deliver_history: bool = False
) -> int:
    """Serve in this process and return the exit code."""
    redact = Redactor(secret_values(loaded.settings))
    set_up(loaded.settings.logging, redact)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    for warning in loaded.warnings:
        log.warning("%s", warning)
    launch = Launch(os.environ, overrides, say_line, redact, as_json, deliver_history)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(loaded, launch))
    except (ServeError, DatabaseRefusedError, StorageError) as error:
        sys.stderr.write(f"ralf-hub: {error}\n")
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
