"""`top`: what a running hub is doing, on one screen of a terminal."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import AsJson, CommandError, Config, Db

if TYPE_CHECKING:
    import ssl

    from ralf_hub.cli.top_feed import Overview
    from ralf_hub.config import Settings

REDRAW_S: Final = 0.25
"""However much happens, the screen is drawn this often at most."""
KEY_VARIABLE: Final = "RALF_KEY"
SCOPES: Final = "metrics:read,events:read"


def top(
    url: Annotated[
        str | None,
        typer.Option(
            envvar="RALF_HUB", help="The hub's address, in place of the settings'.", show_default=False
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Show a running hub at a glance, live, until Ctrl-C: health, queue, tasks, deliveries, connectors, alerts, events.

    It needs a key with the scopes metrics:read and events:read, in the variable RALF_KEY or among the settings'. Into a
    pipe it shows everything once; with --json each change is one line.
    """
    import asyncio

    from ralf_hub.config import hub_url

    settings = common.settings(config, db).settings
    address = (url or hub_url(settings)).rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise typer.BadParameter("an address begins with http:// or https://", param_hint="--url")
    key = _key(settings)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(address, key, _trusted(settings), as_json=as_json, once=once))


def _key(settings: "Settings") -> str:
    """Return a key that may see what is shown. CommandError."""
    from ralf_hub.keyring import Principal

    if given := os.environ.get(KEY_VARIABLE, "").strip():
        return given
    if settings.api.auth_type == "none":
        return ""
    for known in settings.api.api_keys:
        owner = Principal("", known.name or "", frozenset(known.scopes))
        if known.key is not None and all(owner.may(scope) for scope in SCOPES.split(",")):
            return known.key.get_secret_value()
    raise CommandError(
        f"a key is needed: ralf-hub keys create --name top --scopes {SCOPES}, then export {KEY_VARIABLE}=rh_..."
    )


def _trusted(settings: "Settings") -> "ssl.SSLContext | None":
    """Return what to believe of TLS: the usual authorities, and the hub's own certificate where it has one."""
    if settings.api.tls is None:
        return None
    import ssl

    context = ssl.create_default_context()
    with contextlib.suppress(OSError, ssl.SSLError):
        context.load_verify_locations(settings.api.tls.cert)
    return context


async def _run(
    address: str, key: str, trusted: "ssl.SSLContext | None", *, as_json: bool, once: bool
) -> None:
    import asyncio

    from ralf_hub.cli.top_feed import HubAwayError, HubFeed, Overview, session

    overview, news = Overview(address), asyncio.Event()
    async with session(address, key, trusted) as opened:
        feed = HubFeed(opened, overview, news.set)
        if once or not (as_json or sys.stdout.isatty()):
            try:
                await feed.ask()
            except HubAwayError as error:
                raise CommandError(f"{address}: the hub cannot be asked: {error}") from None
            _print(overview, as_json=as_json)
            return
        following = asyncio.create_task(feed.follow())
        with _screen(as_json=as_json) as show:
            following.add_done_callback(lambda _: news.set())
            while not following.done():
                await news.wait()
                news.clear()
                show(overview)
                await asyncio.sleep(REDRAW_S)
        await following


def _print(overview: "Overview", *, as_json: bool) -> None:
    from rich.console import Console

    from ralf_hub.cli import output
    from ralf_hub.cli.top_view import draw

    if as_json:
        output.print_json(overview.as_json())
        return
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, no_color=not output.takes_colour())
    width = console.width if terminal else output.WIDE
    for line in draw(overview, width, output.WIDE):
        console.print(line, soft_wrap=True)


@contextlib.contextmanager
def _screen(*, as_json: bool) -> "Iterator[Callable[[Overview], None]]":
    """Yield what shows an overview: on the whole screen, or as a line of JSON."""
    from rich.console import Console, Group
    from rich.live import Live

    from ralf_hub.cli import output
    from ralf_hub.cli.top_view import draw

    if as_json:
        yield lambda overview: output.print_json_line(overview.as_json())
        return
    console = Console(highlight=False, no_color=not output.takes_colour())
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:

        def show(overview: "Overview") -> None:
            live.update(Group(*draw(overview, *console.size)), refresh=True)

        yield show
