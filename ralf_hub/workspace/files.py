"""Opening files that anybody may have put there: only regular ones, only inside the workspace, only so large."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from ralf_hub.workspace.records import Problem

SKIPPED_DIRS: Final = frozenset({"runs", "runs.migrated", "timeline", "node_modules", "__pycache__"})


class RefusedError(Exception):
    """A file the readers will not read; the message says why."""


def reason(error: OSError) -> str:
    """Return what went wrong, without the path (it is told beside it)."""
    return error.strerror or type(error).__name__


def relative(path: Path, root: Path) -> str:
    """Return *path* as problems and records name it: relative to *root*, with `/`."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def inside(path: Path, root: Path) -> Path:
    """Return where *path* really leads; RefusedError when that is outside *root*, or nowhere."""
    try:
        real = path.resolve(strict=True)
    except (RuntimeError, OSError):  # a loop is RuntimeError up to 3.12, OSError after
        if path.is_symlink():
            raise RefusedError("a symbolic link that leads nowhere or in a circle; not followed") from None
        raise
    if not real.is_relative_to(root):
        raise RefusedError("a symbolic link that leads out of the workspace; not followed")
    return real


def open_regular(path: Path, root: Path, bytes_max: int, limit: str) -> BinaryIO:
    """Open *path* for reading if it is a regular file inside *root* of at most *bytes_max* bytes.

    A FIFO, device or socket is refused without being opened, so that nothing blocks. Raises
    RefusedError, which names the *limit*, or OSError.
    """
    real = inside(path, root)
    _check(real.lstat(), bytes_max, limit)
    descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        _check(os.fstat(descriptor), bytes_max, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check(status: os.stat_result, bytes_max: int, limit: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError("not a regular file; not opened")
    if status.st_size > bytes_max:
        raise RefusedError(f"{status.st_size} bytes is more than {limit} ({bytes_max}); not read")


def read_regular(path: Path, root: Path, bytes_max: int, limit: str) -> bytes:
    """Return the bytes of *path*, under the conditions of `open_regular`, also if it grows meanwhile."""
    with open_regular(path, root, bytes_max, limit) as stream:
        data = stream.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise RefusedError(f"more than {limit} ({bytes_max} bytes); not read")
    return data


@dataclass(slots=True)
class Walk:
    """A walk over the folders below `top`, which must be inside `root`: what was met, what was refused.

    Hidden folders and RALF's run logs are passed over. A symbolic link to a folder is followed only
    where it stays inside the root, and no real folder is entered twice.
    """

    root: Path
    depth_max: int
    problems: list[Problem] = field(default_factory=list)
    _entered: set[Path] = field(default_factory=set)

    def folders(self, top: Path, depth: int = 0) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Yield (folder, names of its folders, names of its files), parents first, sorted by name."""
        try:
            real = inside(top, self.root)
            if real in self._entered:
                return
            self._entered.add(real)
            folders, files = self._list(top)
        except RefusedError as error:
            self.report(top, str(error))
            return
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.report(top, f"cannot be listed: {reason(error)}")
            return
        yield top, folders, files
        if depth >= self.depth_max and folders:
            self.report(top, f"folders deeper than depth_max ({self.depth_max}) are not read")
            return
        for name in folders:
            yield from self.folders(top / name, depth + 1)

    def report(self, path: Path, message: str) -> None:
        """Keep a problem about *path* as a whole."""
        self.problems.append(Problem(relative(path, self.root), None, message))

    def _list(self, folder: Path) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in SKIPPED_DIRS:
                    continue
                try:
                    (folders if self._is_folder(entry) else files).append(entry.name)
                except RefusedError as error:
                    self.report(Path(entry.path), str(error))
                except OSError as error:
                    self.report(Path(entry.path), f"cannot be read: {reason(error)}")
        return sorted(folders), sorted(files)

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return entry.is_dir(follow_symlinks=False)
        return inside(Path(entry.path), self.root).is_dir()
