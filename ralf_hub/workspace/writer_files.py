"""Writing into a folder that others write too: never outside the workspace, never half a file.

Every folder is opened step by step from the workspace's root without following links, and everything in it is done
by its descriptor: a folder that is replaced by a link meanwhile leads nowhere else.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from ralf_hub.workspace.wishes import ForbiddenError

TEMPORARY: Final = ".ralf-hub.tmp"
"""What ends the name of a file or folder that is not finished; hidden, and replaced by the next try."""
FILE_MODE: Final = 0o644
FOLDER_MODE: Final = 0o755
BLOCK_BYTES: Final = 1024 * 1024

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LINK: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems without hard links answer."""


def parts_of(place: str) -> tuple[str, ...]:
    """Return the names in *place*, a path relative to the workspace. ForbiddenError where it could lead out of it."""
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts or "\0" in place:
        raise ForbiddenError(f"{place!r} leads out of the workspace; nothing is written there")
    return tuple(part for part in path.parts if part != ".")


@contextlib.contextmanager
def folder(root: int, place: str, *, create: bool = False) -> Iterator[int]:
    """Open the folder *place* below the open folder *root*; with *create*, make what is missing.

    ForbiddenError where a link stands in the way, OSError (FileNotFoundError, ENOSPC, ...) as the system says.
    """
    descriptor = os.dup(root)
    try:
        for name in parts_of(place):
            below = _step(descriptor, name, place, create=create)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _step(parent: int, name: str, place: str, *, create: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
        os.fsync(parent)
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in _LINK:
            raise ForbiddenError(f"{place}: {name} is no folder, or a symbolic link; not followed") from error
        raise


def kind(parent: int, name: str) -> str:
    """Return what *name* is: `file`, `folder`, `other` (a link, a FIFO, ...) or nothing at all, as an empty text."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return ""
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


@contextlib.contextmanager
def reading(parent: int, name: str) -> Iterator[tuple[BinaryIO, os.stat_result] | None]:
    """Open a regular file for reading; None where there is none. ForbiddenError for anything else."""
    try:
        descriptor = os.open(name, _READ, dir_fd=parent)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _refused(error, name) from error
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        _must_be_regular(status, name)
        yield stream, status


def _refused(error: OSError, name: str) -> Exception:
    """Return *error*, or, where a link or a FIFO nobody reads is in the way, that it is not written through."""
    if error.errno in _LINK:
        return ForbiddenError(f"{name} is a symbolic link; not followed")
    return ForbiddenError(f"{name} is not a regular file") if error.errno == errno.ENXIO else error


def _must_be_regular(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ForbiddenError(f"{name} is not a regular file")


def read(parent: int, name: str, bytes_max: int) -> tuple[bytes, os.stat_result] | None:
    """Return the bytes of a regular file and its state; None where there is none. ForbiddenError for anything else."""
    with reading(parent, name) as found:
        if found is None:
            return None
        data = found[0].read(bytes_max + 1)
    if len(data) > bytes_max:
        raise ForbiddenError(f"{name} is larger than {bytes_max} bytes; not changed")
    return data, found[1]


def is_same(parent: int, name: str, was: os.stat_result | None) -> bool:
    """Return whether *name* is still the file that was read, unchanged."""
    try:
        now = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return was is None
    return was is not None and identity(now) == identity(was)


def identity(status: os.stat_result) -> tuple[int, int, int]:
    """Return what tells two states of a file apart."""
    return status.st_mtime_ns, status.st_size, status.st_ino


def replace(parent: int, name: str, data: bytes, was: os.stat_result | None = None) -> None:
    """Put *data* in place of *name*, all of it or nothing, on disk before this returns."""
    temporary = f".{name}{TEMPORARY}"
    try:
        _write_new(parent, temporary, data, FILE_MODE if was is None else stat.S_IMODE(was.st_mode))
        os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    os.fsync(parent)


def _write_new(parent: int, name: str, data: bytes, mode: int) -> None:
    descriptor = os.open(name, _NEW, mode, dir_fd=parent)
    try:
        os.fchmod(descriptor, mode)
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def create_folder(parent: int, name: str, file: str, data: bytes) -> None:
    """Make folder *name* with one *file* in it: it appears finished, or not at all. FileExistsError where it exists."""
    temporary = f".{name}{TEMPORARY}"
    with contextlib.suppress(FileExistsError):  # left by a try that was killed
        os.mkdir(temporary, FOLDER_MODE, dir_fd=parent)
    try:
        inner = os.open(temporary, _FOLDER, dir_fd=parent)
        try:
            _write_new(inner, file, data, FILE_MODE)
            os.fsync(inner)
        finally:
            os.close(inner)
        if kind(parent, name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        _remove(parent, temporary, file)
        raise
    os.fsync(parent)


def _remove(parent: int, name: str, file: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(f"{name}/{file}", dir_fd=parent)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=parent)


def create_file(parent: int, name: str, data: bytes) -> None:
    """Make file *name*: it appears finished, or not at all. FileExistsError where it exists."""
    temporary = f".{name}{TEMPORARY}"
    try:
        _write_new(parent, temporary, data, FILE_MODE)
        try:
            os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS or kind(parent, name):
                raise
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent)
    os.fsync(parent)


def move(source: int, name: str, target: int) -> None:
    """Move *name* to the folder *target*. FileExistsError where something stands there already."""
    if kind(target, name):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    os.fsync(target)
    os.fsync(source)


def append(parent: int, name: str, data: bytes) -> None:
    """Append *data* in one write and see it on disk; made where it is missing. What only half fits is taken back."""
    try:
        descriptor = os.open(name, _APPEND, FILE_MODE, dir_fd=parent)
    except OSError as error:
        raise _refused(error, name) from error
    try:
        before = os.fstat(descriptor)
        _must_be_regular(before, name)
        written = os.write(descriptor, data)
        if written < len(data):
            if os.fstat(descriptor).st_size == before.st_size + written:
                os.ftruncate(descriptor, before.st_size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tail(parent: int, name: str, bytes_max: int) -> bytes:
    """Return the last *bytes_max* bytes of a file; none where there is no file."""
    with reading(parent, name) as found:
        if found is None:
            return b""
        stream, status = found
        stream.seek(max(0, status.st_size - bytes_max))
        return stream.read(bytes_max)


def holds(parent: int, name: str, needle: bytes) -> bool:
    """Return whether *needle* stands anywhere in a file, which is read block by block."""
    with reading(parent, name) as found:
        kept = b""
        while found is not None and (block := found[0].read(BLOCK_BYTES)):
            if needle in kept + block:
                return True
            kept = block[-len(needle) :]
    return False
