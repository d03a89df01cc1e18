"""What every command shares: its options, its settings, and how errors become one line and an exit code."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from ralf_hub.config import Loaded, Source

FAILED: Final = 1
WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130

Config = Annotated[Path | None, typer.Option("--config", help="The settings file.", show_default=False)]
Db = Annotated[
    Path | None,
    typer.Option("--db", help="The database file, in place of the settings'.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

DATABASE_SECTIONS: Final = frozenset({"database", "delivery", "retention"})
"""All that a command needs which only works on the database: it runs although a token is not set in this shell."""


class CommandError(Exception):
    """The command cannot do what was asked; the message is one line and says what to do."""


class Commands(TyperGroup):
    """A group whose commands end with one line and an exit code, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with told():
            return super().invoke(ctx)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what a user may meet into a message and an exit code: 1 failed, 2 wrong settings."""
    from ralf_hub.errors import DatabaseRefusedError, HubError, SettingsError

    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        raise typer.Exit from None  # whoever read our output has read enough
    except SettingsError as error:
        for problem in error.problems:
            complain(str(problem))
        raise typer.Exit(WRONG_USAGE) from None
    except (CommandError, DatabaseRefusedError, HubError) as error:
        complain(str(error))
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        complain("interrupted")
        raise typer.Exit(INTERRUPTED) from None


def _forget_output() -> None:
    """Let nothing more be written where nobody reads, also not when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Say what went wrong on standard error."""
    sys.stderr.write(f"ralf-hub: {text}\n")


# --- settings -------------------------------------------------------------------------------------


def source(config: Path | None) -> "Source":
    """Return the settings file to use. SettingsError where one was named that is not there."""
    from ralf_hub.config import locate

    return locate(config, os.environ, Path.cwd(), Path.home())


def overrides(db: Path | None, host: str | None = None, port: int | None = None) -> dict[str, Any]:
    """Return what the command line says in place of the file."""
    given = {"api.host": host, "api.port": port, "database.path": None if db is None else str(db.absolute())}
    return {key: value for key, value in given.items() if value is not None}


def settings(config: Path | None, db: Path | None) -> "Loaded":
    """Return all settings. SettingsError has every problem."""
    from ralf_hub.config import load

    return load(source(config), os.environ, overrides(db))


def database_settings(config: Path | None, db: Path | None) -> "Loaded":
    """Return the settings of the database alone. SettingsError has every problem of these sections."""
    from ralf_hub.config import load_tree
    from ralf_hub.config.sources import read_tree

    found = source(config)
    tree, _ = read_tree(found)
    if DATABASE_SECTIONS.isdisjoint(tree) and "server" in tree:
        return load_tree(found, tree, os.environ, overrides(db))  # says how to convert an older file
    part = {key: value for key, value in tree.items() if key in DATABASE_SECTIONS}
    return load_tree(found, part, os.environ, overrides(db))


def tell_if_new(database: Path) -> None:
    """Say that the command is about to make a database: its path may be a slip of the pen."""
    if not database.exists():
        complain(f"there was no database at {database}; it is made now")


# --- moments --------------------------------------------------------------------------------------

_SPAN: Final = re.compile(r"(\d{1,6})\s*(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment(text: str) -> str:
    """Return a time as the database writes it, from ISO-8601 or how long ago (`30m`, `2h`, `7d`). BadParameter."""
    return _moment(text, -1)


def moment_ahead(text: str) -> str:
    """Return a time as the database writes it, from ISO-8601 or how long from now (`30d`). BadParameter."""
    return _moment(text, 1)


def _moment(text: str, direction: int) -> str:
    from ralf_hub.clock import MS_PER_S, iso, parse_iso, system_now

    span = _SPAN.fullmatch(text.strip())
    if span:
        return iso(system_now() + direction * int(span[1]) * _SECONDS[span[2]] * MS_PER_S)
    try:
        return iso(parse_iso(text.strip()))
    except (ValueError, OverflowError):
        raise typer.BadParameter("write a time as 2026-02-01T16:00:00Z, or a span: 30m, 2h, 7d") from None
