"""The commands of `ralf-hub`: which there are. What they do is beside this file, one file per family."""

from typing import Annotated

import typer

from ralf_hub.cli import changing, events, hub, keeping, keys, outbox
from ralf_hub.cli.checking import check
from ralf_hub.cli.common import Commands
from ralf_hub.cli.sending import send
from ralf_hub.cli.starting import init
from ralf_hub.cli.top import top
from ralf_hub.cli.verifying import verify
from ralf_hub.cli.why import why

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        hub.version()
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version.")
    ] = False,
) -> None:
    """ralf-hub: the door between RALF and the outside world."""
    del version  # its callback has done it


app.command()(hub.serve)
app.command()(init)
app.command()(check)

of_keys = typer.Typer(no_args_is_help=True, help="API keys: who may call.")
of_keys.command("create")(keys.create)
of_keys.command("list")(keys.list_)
of_keys.command("revoke")(keys.revoke)
of_keys.command("rotate")(keys.rotate)
app.add_typer(of_keys, name="keys")

app.command()(events.emit)
app.command()(events.tail)
app.command()(top)

of_outbox = typer.Typer(no_args_is_help=True, help="Deliveries: what leaves, what has left, what is stuck.")
of_outbox.command("list")(outbox.list_)
of_outbox.command("show")(outbox.show)
of_outbox.command("stats")(outbox.stats)
of_outbox.command("replay")(changing.replay)
of_outbox.command("cancel")(changing.cancel)
app.add_typer(of_outbox, name="outbox")
app.command()(why)
app.command()(verify)
app.command()(send)
app.command()(keeping.backup)
app.command()(keeping.restore)
app.command()(keeping.prune)

app.command()(hub.openapi)
app.command()(hub.version)
