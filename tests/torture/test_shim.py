"""The library that makes a disk and a clock fail does what it says, to the files it is about and to no others."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture import shim

pytestmark = pytest.mark.skipif(shim.why_not() is not None, reason=str(shim.why_not()))


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[shim.Shim]:
    with shim.Shim(tmp_path, tmp_path / "hub.db") as made:
        yield made


def run(faults: shim.Shim, code: str) -> str:
    """Run Python with the library inside; return what it prints, or the errno it fails with."""
    command = [
        sys.executable,
        "-c",
        f"import os, sys, time\ntry:\n {code}\nexcept OSError as e: print(e.errno)",
    ]
    done = subprocess.run(
        command, env={**os.environ, **faults.env}, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def opened(path: Path) -> str:
    return f"fd = os.open({str(path)!r}, os.O_CREAT | os.O_RDWR)"


def test_without_faults_all_is_as_always(faults: shim.Shim, tmp_path: Path) -> None:
    code = f"{opened(tmp_path / 'hub.db')}; os.pwrite(fd, b'x' * 9, 0); os.fsync(fd); print('well')"
    assert run(faults, code) == "well"
    assert (tmp_path / "hub.db").read_bytes() == b"x" * 9
    assert faults.refused == 0


def test_writes_fail_after_half_of_them(faults: shim.Shim, tmp_path: Path) -> None:
    faults.fail_writes(errno.EIO)
    assert run(faults, f"{opened(tmp_path / 'hub.db-wal')}; os.pwrite(fd, b'x' * 8, 0)") == str(errno.EIO)
    assert (tmp_path / "hub.db-wal").read_bytes() == b"x" * 4
    assert faults.refused == 1


def test_other_files_are_spared(faults: shim.Shim, tmp_path: Path) -> None:
    faults.fail_writes(errno.EIO)
    faults.fail_syncs(errno.EIO)
    assert (
        run(faults, f"{opened(tmp_path / 'other')}; os.pwrite(fd, b'x', 0); os.fsync(fd); print('well')")
        == "well"
    )


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_syncs_fail(faults: shim.Shim, tmp_path: Path, call: str) -> None:
    faults.fail_syncs(errno.ENOSPC)
    assert run(faults, f"{opened(tmp_path / 'hub.db')}; os.{call}(fd)") == str(errno.ENOSPC)


def test_one_in_so_many_fails(faults: shim.Shim, tmp_path: Path) -> None:
    faults.fail_syncs(errno.EIO, one_in=3)
    code = (
        f"{opened(tmp_path / 'hub.db')}\n for n in range(7):\n  try: os.fsync(fd); print('.', end='')\n"
        "  except OSError: print('E', end='')"
    )
    assert run(faults, code) == "..E..E."


def test_a_full_disk_takes_what_fits_and_what_lies_inside(faults: shim.Shim, tmp_path: Path) -> None:
    faults.limit(6)
    code = (
        f"{opened(tmp_path / 'hub.db')}; print(os.pwrite(fd, b'x' * 4, 0), os.pwrite(fd, b'y' * 4, 4), "
        "os.pwrite(fd, b'z' * 6, 0)); os.pwrite(fd, b'w', 6)"
    )
    assert run(faults, code).split() == ["4", "2", "6", str(errno.ENOSPC)]
    assert (tmp_path / "hub.db").read_bytes() == b"z" * 6


def test_a_full_disk_is_not_lengthened(faults: shim.Shim, tmp_path: Path) -> None:
    faults.limit(10)
    code = f"{opened(tmp_path / 'hub.db')}; os.ftruncate(fd, 10); os.ftruncate(fd, 4); os.ftruncate(fd, 11)"
    assert run(faults, code) == str(errno.ENOSPC)
    assert (tmp_path / "hub.db").stat().st_size == 4


def test_the_wall_clock_moves_and_the_other_does_not(faults: shim.Shim) -> None:
    faults.move_clock(-7200.5)
    told, monotonic = map(float, run(faults, "print(time.time(), time.monotonic())").split())
    assert told == pytest.approx(time.time() - 7200.5, abs=5)
    assert monotonic == pytest.approx(time.monotonic(), abs=5)
