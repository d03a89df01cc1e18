"""A hub whose disk and clock fail on demand: `faults.c`, loaded into its process with LD_PRELOAD."""

import mmap
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

SOURCE: Final = Path(__file__).with_name("faults.c")
RECORDER: Final = Path(__file__).with_name("recorder.c")
CONTROL_BYTES: Final = 64
NO_LIMIT: Final = -1
_CLOCK_NS, _ROOM, _WRITE_ERRNO, _SYNC_ERRNO, _ONE_IN, _REFUSED = 0, 8, 16, 20, 24, 32


def why_not() -> str | None:
    """Return why no such library can be used here; None where it can."""
    if sys.platform != "linux":
        return "LD_PRELOAD of this form is Linux's"
    return None if shutil.which("cc") else "there is no C compiler (cc) to build it with"


def built(source: Path, folder: Path) -> Path:
    """Compile *source* into *folder* and return the library."""
    library = folder / f"{source.stem}.so"
    command = [
        "cc",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(source),
    ]
    subprocess.run([*command, "-ldl"], check=True, timeout=120)
    return library


class Shim:
    """The faults of one hub. `files` is how the paths begin that they are about."""

    def __init__(self, folder: Path, files: Path) -> None:
        self._path = folder / "control"
        self._path.write_bytes(bytes(CONTROL_BYTES))
        with self._path.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), CONTROL_BYTES)
        self.env: Mapping[str, str] = {
            "LD_PRELOAD": str(built(SOURCE, folder)),
            "TORTURE_CONTROL": str(self._path),
            "TORTURE_FILES": str(files),
        }
        self.heal()
        self.move_clock(0)

    def heal(self) -> None:
        """End all faults of the disk."""
        self._put("<q", _ROOM, NO_LIMIT)
        for place in (_WRITE_ERRNO, _SYNC_ERRNO, _ONE_IN):
            self._put("<i", place, 0)

    def limit(self, room_bytes: int) -> None:
        """Let the files grow by so much and no further."""
        self._put("<q", _ROOM, room_bytes)

    def fail_writes(self, number: int, *, one_in: int = 1) -> None:
        """Let one in so many writes fail with this errno."""
        self._put("<i", _ONE_IN, one_in)
        self._put("<i", _WRITE_ERRNO, number)

    def fail_syncs(self, number: int, *, one_in: int = 1) -> None:
        """Let one in so many syncs fail with this errno."""
        self._put("<i", _ONE_IN, one_in)
        self._put("<i", _SYNC_ERRNO, number)

    def move_clock(self, seconds: float) -> None:
        """Set the wall clock so many seconds off; the monotonic one goes on."""
        self._put("<q", _CLOCK_NS, round(seconds * 1e9))

    @property
    def refused(self) -> int:
        """How many calls were made to fail."""
        return int(struct.unpack_from("<q", self._memory, _REFUSED)[0])

    def _put(self, form: str, place: int, value: int) -> None:
        struct.pack_into(form, self._memory, place, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memory.close()
