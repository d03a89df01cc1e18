"""The command `ralf-hub`."""

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line."""
    from ralf_hub.cli.commands import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what the terminal's encoding lacks is shown as \u....
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="ralf-hub")
