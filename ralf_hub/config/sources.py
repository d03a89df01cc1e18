"""Where the settings file is, and its text as a tree."""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ralf_hub
from ralf_hub.config.markup import MarkupError, parse_toml
from ralf_hub.errors import SettingsError, SettingsProblem
from ralf_hub.model import Json

FILE_NAME: Final = "ralf-hub.toml"
HOME_FOLDER: Final = ".blackbox5"
HOME_NAMES: Final = ("ralf-hub.toml", "api-config.yaml")
VARIABLE: Final = "RALF_HUB_CONFIG"
FILE_BYTES_MAX: Final = 256 * 1024
SECRET_BYTES_MAX: Final = 64 * 1024

_REASONS: Final = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.EACCES: "may not be read by this user",
    errno.EISDIR: "is a folder",
    errno.ELOOP: "is a loop of symbolic links",
    errno.ENXIO: "is not a regular file",
}
YAML_SUFFIXES: Final = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class Source:
    """A settings file: where it is, and the folder that its relative paths start from."""

    path: Path
    base: Path
    embedded: bool = False
    """True for the default that comes with the program."""

    @property
    def is_yaml(self) -> bool:
        """Whether the file is YAML by its name; any other is TOML."""
        return self.path.suffix.lower() in YAML_SUFFIXES


def at(path: Path) -> Source:
    """Return the file at *path* as a source."""
    absolute = path.absolute()
    return Source(absolute, absolute.parent)


def locate(explicit: str | Path | None, env: Mapping[str, str], cwd: Path, home: Path) -> Source:
    """Return the first settings file there is.

    In order: *explicit* (`--config`), `$RALF_HUB_CONFIG`, `./ralf-hub.toml`, `~/.blackbox5/ralf-hub.toml`,
    `~/.blackbox5/api-config.yaml`, and the default inside the program, whose relative paths start at
    `~/.blackbox5`. SettingsError when a file that was named is not there.
    """
    named = explicit or env.get(VARIABLE)
    if named:
        path = cwd / _with_home(Path(named), home)
        if not os.path.lexists(path):
            raise SettingsError(
                [
                    SettingsProblem(
                        str(path),
                        "--config" if explicit else f"${VARIABLE}",
                        "there is no such file",
                        "name a settings file, or make one: ralf-hub init",
                    )
                ]
            )
        return at(path)
    for path in (cwd / FILE_NAME, *(home / HOME_FOLDER / name for name in HOME_NAMES)):
        if os.path.lexists(path):
            return at(path)
    return Source(embedded(), home / HOME_FOLDER, embedded=True)


def _with_home(path: Path, home: Path) -> Path:
    return home.joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def embedded() -> Path:
    """Return the settings file inside the program, with which it runs when there is no other."""
    package = Path(ralf_hub.__file__).parent
    packaged = package / "_data" / FILE_NAME
    return packaged if packaged.exists() else package.parent / FILE_NAME


def read_text(path: Path, bytes_max: int) -> tuple[str, int]:
    """Return the UTF-8 text of the regular file *path* and its permission bits.

    ValueError says in words why it cannot be read.
    """
    if "\0" in str(path):
        raise ValueError("has a name with NUL in it")
    try:
        # Non-blocking, so that a pipe someone put here cannot hold the hub up.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - by number
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file")
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise ValueError(_REASONS.get(error.errno or 0, f"cannot be read: {error.strerror}")) from None
    if len(content) > bytes_max:
        raise ValueError(f"is larger than {bytes_max // 1024} KiB")
    try:
        return content.decode("utf-8-sig"), stat.S_IMODE(status.st_mode)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    raise ValueError(f"is not UTF-8 text (line {line})")


def read_tree(source: Source) -> tuple[dict[str, Json], int]:
    """Return the settings file as a tree (an empty one is an empty tree) and its permission bits.

    SettingsError when it is none.
    """
    problems: list[SettingsProblem] = []
    tree: Json = None
    mode = 0
    try:
        text, mode = read_text(source.path, FILE_BYTES_MAX)
        tree = _parse_yaml(text) if source.is_yaml else parse_toml(text)
    except MarkupError as error:
        for flaw in error.flaws:
            place = ":".join(str(part) for part in (source.path, flaw.line, flaw.column) if part)
            problems.append(SettingsProblem(place, "file", flaw.message))
    except ValueError as error:
        problems.append(SettingsProblem(str(source.path), "file", str(error)))
    if not problems and not isinstance(tree, dict | None):
        problems.append(
            SettingsProblem(str(source.path), "file", "must be a table of sections", "begin with api:")
        )
    if problems:
        raise SettingsError(problems)
    return tree or {}, mode


def _parse_yaml(text: str) -> Json:
    from ralf_hub.config.yaml_tree import parse_yaml  # noqa: PLC0415 - a hub with a TOML file never needs PyYAML

    return parse_yaml(text)
