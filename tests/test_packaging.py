"""The wheel carries everything the hub needs, and runs from an empty folder."""

import os
import re
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.parser import Parser
from pathlib import Path

import aiohttp
import pytest

from ralf_hub import __version__
from tests.journeys.hub import free_port
from tests.snippets import CHECKOUT
from tests.support import eventually


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            folder,
            CHECKOUT,
        ],
        check=True,
        stderr=subprocess.PIPE,
    )
    (built,) = folder.glob("*.whl")
    return built


def files_below(folder: str) -> set[str]:
    return {
        path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / folder).rglob("*") if path.is_file()
    }


def test_migrations_settings_and_examples_are_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = {name.removeprefix("ralf_hub/_data/") for name in names if name.startswith("ralf_hub/_data/")}
    assert carried == {"ralf-hub.toml", *files_below("migrations"), *files_below("examples")}
    assert "examples/workspace/.autonomous/agents/communications/events.yaml" in carried


def test_all_of_the_package_is_inside_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in files_below("ralf_hub") if "__pycache__" not in name}
    assert "ralf_hub/py.typed" in package
    others = {n for n in names if not n.startswith(("ralf_hub/_data/", f"ralf_hub-{__version__}.dist-info/"))}
    assert others == package


def test_the_metadata_is_what_people_and_pip_read(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    about = Parser().parsestr(archive.read(f"ralf_hub-{__version__}.dist-info/METADATA").decode())
    assert (about["Name"], about["Version"], about["License-Expression"]) == ("ralf-hub", __version__, "MIT")
    assert about["Requires-Python"] == ">=3.11"
    assert about.get_payload().startswith("# ralf-hub")
    needed = about.get_all("Requires-Dist")
    assert all(re.search(r"[<>=]", each) for each in needed), "a range for users"
    assert not any("==" in each.partition(";")[0] for each in needed), "a range, not a pin"
    assert "MIT License" in archive.read(f"ralf_hub-{__version__}.dist-info/licenses/LICENSE").decode()


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")


def test_every_dependency_has_a_pinned_version_for_the_tests() -> None:
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = declared["project"]["optional-dependencies"].values()
    wanted = [declared["project"]["dependencies"], *extras, *declared["dependency-groups"].values()]
    # A group may take in another, which is no name.
    named = [each for group in wanted for each in group if isinstance(each, str)]
    lacking = {name_of(each) for each in named} - {name_of(line) for line in lines if "==" in line}
    assert lacking == set(), "run: make lock"


@contextmanager
def running(command: list[str], folder: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* with *folder* as its home; what it started has ended with it when this returns."""
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session, so nobody else's processes
        process.wait()


def environment(home: Path) -> dict[str, str]:
    """A stranger's machine: an empty home, no variables of ours; pip keeps its cache so that the test is quick."""
    cache = subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], check=True, capture_output=True, text=True
    )
    kept = {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "PATH", "LANG", "SSL_"))
    }
    return {**kept, "HOME": str(home), "PIP_CACHE_DIR": cache.stdout.strip()}


def installed(wheel: Path, venv: Path, folder: Path) -> str:
    """Install the wheel into a new environment and return its command, tried once."""
    env = environment(folder)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [
        venv / "bin/python",
        "-m",
        "pip",
        "--quiet",
        "install",
        "--constraint",
        CHECKOUT / "constraints.txt",
        wheel,
    ]
    subprocess.run(pip, check=True, env=env, cwd=folder)
    command = str(venv / "bin/ralf-hub")
    said = subprocess.run(
        [command, "version"], check=True, env=env, cwd=folder, capture_output=True, text=True
    )
    assert __version__ in said.stdout
    return command


@pytest.mark.journey
async def test_the_wheel_runs_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "empty", tmp_path / "output.txt"
    folder.mkdir()
    hub = installed(wheel, tmp_path / "venv", folder)
    port = free_port()
    with running([hub, "serve", "--port", str(port)], folder, output) as process:
        await eventually(
            lambda: "is running" in output.read_text() or process.poll() is not None, within_s=30
        )
        key = re.search(r"rh_[\w-]{20,}", output.read_text())
        assert key, output.read_text()
        async with aiohttp.ClientSession(headers={"X-API-Key": key[0]}) as session:

            async def imported() -> bool:
                async with session.get(f"http://127.0.0.1:{port}/api/v1/workspace") as answer:
                    counts = (await answer.json())["counts"]
                return counts["tasks"] == 12 and counts["events"] == 16 and counts["features"] == 3

            await eventually(imported, within_s=15)
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert (answer.status, answer.content_type) == (200, "text/html")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert (folder / ".blackbox5" / "var" / "ralf-hub.db").exists()
