"""`serve` and `version`."""

import os
from typing import Annotated

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import AsJson, Config, Db


def serve(
    config: Config = None,
    db: Db = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on, in place of the settings'.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port to listen on, in place of the settings'.", show_default=False)
    ] = None,
    deliver_history: Annotated[
        bool,
        typer.Option("--deliver-history", help="Deliver what a first import of the workspace finds, too."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the hub. With --json its first line is `{"url","key","pid"}`."""
    from ralf_hub.config import load

    overrides = common.overrides(db, host, port)
    loaded = load(common.source(config), os.environ, overrides)
    from ralf_hub.cli import serving  # after the settings: what is wrong with them is told at once

    raise typer.Exit(serving.run(loaded, overrides, as_json=as_json, deliver_history=deliver_history))


def version(config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Print the version."""
    del config, db  # taken like everywhere, so that a script may pass them to every command
    from ralf_hub import __version__
    from ralf_hub.cli.output import print_json, say

    if as_json:
        import platform

        from ralf_hub.store.schema import SQLITE_VERSION, migrations

        print_json(
            {
                "version": __version__,
                "schema": migrations()[-1].number,
                "python": platform.python_version(),
                "sqlite": SQLITE_VERSION,
            }
        )
    else:
        say(__version__)


def openapi(config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Print the API as an OpenAPI 3.1 document; it is JSON either way."""
    del config, db, as_json  # taken like everywhere, so that a script may pass them to every command
    from ralf_hub.handlers.openapi import encoded
    from ralf_hub.handlers.table import ENDPOINTS

    typer.echo(encoded(ENDPOINTS), nl=False)
