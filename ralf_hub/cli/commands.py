"""The commands of `ralf-hub`: which there are. What they do is beside this file, one file per family."""

import typer

from ralf_hub.cli import events, hub, keys
from ralf_hub.cli.common import Commands

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """ralf-hub: the door between RALF and the outside world."""


app.command()(hub.serve)

of_keys = typer.Typer(no_args_is_help=True, help="API keys: who may call.")
of_keys.command("create")(keys.create)
of_keys.command("list")(keys.list_)
of_keys.command("revoke")(keys.revoke)
of_keys.command("rotate")(keys.rotate)
app.add_typer(of_keys, name="keys")

app.command()(events.emit)
app.command()(events.tail)

app.command()(hub.version)
