"""Puts in place what the peers need: a virtual environment of their own, Redis and PostgreSQL from the distribution."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
VENV: Final = HERE.parents[1] / "var" / "bench" / "peers-venv"
REQUIREMENTS: Final = HERE / "requirements.txt"


class MissingError(Exception):
    """Something a peer needs cannot be installed; the message says what to install by hand."""


def python() -> Path:
    """Return the interpreter of the peers' environment, made or renewed where need be."""
    found = VENV / "bin" / "python"
    stamp = VENV / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not (stamp.exists() and stamp.read_text(encoding="ascii") == wanted):
        print("installing the peers: a minute, once", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(found), "-m", "pip", "install", "-q", "-r", str(REQUIREMENTS)], check=True)
        stamp.write_text(wanted, encoding="ascii")
    return found


def _postgres() -> str | None:
    """Return the folder of the newest PostgreSQL's programs; Debian does not put `initdb` on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return str(found[-1].parent)
    initdb = shutil.which("initdb")
    return None if initdb is None else str(Path(initdb).parent)


def _apt(package: str) -> None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {package}", flush=True)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(["apt-get", "-qq", *command], check=False, env=env, stdout=subprocess.DEVNULL)


def redis() -> str:
    """Return the path of `redis-server`."""
    if shutil.which("redis-server") is None:
        _apt("redis-server")
    found = shutil.which("redis-server")
    if found is None:
        raise MissingError("redis-server is missing: apt-get install redis-server")
    return found


def postgres() -> str:
    """Return the folder with `initdb` and `postgres`."""
    if _postgres() is None:
        _apt("postgresql")
    found = _postgres()
    if found is None:
        raise MissingError("PostgreSQL is missing: apt-get install postgresql")
    return found
