"""The command `ralf-hub`."""


def main() -> None:
    """Run the command line."""
    from ralf_hub.cli.commands import app

    app(prog_name="ralf-hub")
