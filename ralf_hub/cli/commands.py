"""The commands of `ralf-hub`, as typer reads them."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ralf_hub import __version__
from ralf_hub.config import load, locate
from ralf_hub.errors import SettingsError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """ralf-hub: the door between RALF and the outside world."""


@app.command()
def serve(
    config: Annotated[Path | None, typer.Option(help="The settings file.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on.")] = None,
    db: Annotated[Path | None, typer.Option(help="The database file.")] = None,
) -> None:
    """Run the hub."""
    from ralf_hub.cli import serving

    overrides: dict[str, Any] = {}
    if host is not None:
        overrides["api.host"] = host
    if port is not None:
        overrides["api.port"] = port
    if db is not None:
        overrides["database.path"] = str(db.absolute())
    try:
        source = locate(config, os.environ, Path.cwd(), Path.home())
        loaded = load(source, os.environ, overrides)
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(serving.run(loaded, overrides))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
