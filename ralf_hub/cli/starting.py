"""`init`: a settings file to begin with."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from ralf_hub.cli.common import AsJson, CommandError, Config, Db

_DEFAULT_DATABASE: Final = 'path = "var/ralf-hub.db"'


def init(
    path: Annotated[
        Path | None, typer.Argument(help="The file to make; ralf-hub.toml in this folder where left out.")
    ] = None,
    old: Annotated[
        Path | None, typer.Option("--from", metavar="OLD_YAML", help="Convert this older YAML file.")
    ] = None,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Make a settings file, commented, and say what to do next. Never writes over one."""
    from ralf_hub.cli.output import print_json, say
    from ralf_hub.config.sources import FILE_NAME

    target = (path or config or Path(FILE_NAME)).absolute()
    target = target / FILE_NAME if target.is_dir() else target
    text, left_out = _converted(old) if old is not None else (_default(), ())
    if db is not None:
        text = _with_database(text, db.absolute())
    _create(target, text)
    if as_json:
        print_json({"path": str(target), "left_out": list(left_out)})
        return
    say(f"{target} is made" + (f" from {old}" if old is not None else ""))
    for line in left_out:
        say(f"  not carried over: {line}")
    where = "" if target == Path(FILE_NAME).absolute() else f" --config {target}"
    say(f"Look through it, then: ralf-hub check{where}")
    say(f"and to start the hub:  ralf-hub serve{where}")


def _default() -> str:
    from ralf_hub.config.sources import embedded

    return embedded().read_text(encoding="utf-8")


def _converted(old: Path) -> tuple[str, tuple[str, ...]]:
    """Return the TOML for an older YAML file, and what is not in it. SettingsError when it is none."""
    from ralf_hub.config.convert import convert
    from ralf_hub.config.sources import FILE_BYTES_MAX, read_text
    from ralf_hub.errors import SettingsError, SettingsProblem

    try:
        text, _ = read_text(old, FILE_BYTES_MAX)
    except ValueError as error:
        raise SettingsError(
            [SettingsProblem(str(old), "--from", str(error), "name the YAML file to convert")]
        ) from None
    done = convert(text, str(old))
    return done.toml, done.left_out


def _with_database(text: str, db: Path) -> str:
    """Return the settings with `[database] path` as given."""
    import tomllib

    from ralf_hub.config.toml_text import to_toml

    line = to_toml({"path": str(db).replace("${", "$${")}).strip()
    if _DEFAULT_DATABASE in text:
        return text.replace(_DEFAULT_DATABASE, line, 1)
    tree = tomllib.loads(text)
    if "database" in tree:
        raise CommandError(
            "the converted file has a database path of its own; leave --db out and change it there"
        )
    return f"{text.rstrip()}\n\n[database]\n{line}\n"


def _create(target: Path, text: str) -> None:
    """Write a file that only its owner can read, since it may hold secrets, where there is none yet."""
    if os.path.lexists(target):
        raise CommandError(f"{target}: is there already and was left as it is; name another file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{target}: cannot be made: {error.strerror}") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
