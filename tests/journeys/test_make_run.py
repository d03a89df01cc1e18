"""`make run` on a checkout with an empty home, and the README's tour, word for word."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.journeys.hub import free_port
from tests.snippets import CHECKOUT, of
from tests.support import eventually
from tests.test_packaging import environment, running

pytestmark = pytest.mark.journey

INSTALL_WITHIN_S = 180.0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository of its own with the files of this one as they are now, committed."""
    folder = tmp_path_factory.mktemp("checkout") / "ralf-hub"
    listed = git(CHECKOUT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(
        folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message", "all"
    )
    yield folder
    shutil.rmtree(folder)


def git(folder: Path, *arguments: str) -> str:
    if shutil.which("git") is None or not (CHECKOUT / ".git").exists():
        pytest.skip("this needs git and a checkout")
    done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def shell(script: str, folder: Path) -> str:
    """Run *script* as a person would type it; curl fails where the hub refuses."""
    for tool in ("curl", "sqlite3"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    careful = f'set -euo pipefail\ncurl() {{ command curl --fail-with-body "$@"; }}\n{script}'
    done = subprocess.run(
        ["bash", "-c", careful],
        check=False,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dry_run(folder: Path) -> str:
    """Return what `make run` would do now."""
    done = subprocess.run(
        ["make", "-C", folder, "--dry-run", "run"], check=True, capture_output=True, text=True
    )
    return done.stdout


async def test_make_run_and_the_tour_of_the_readme(checkout: Path, tmp_path: Path) -> None:
    port, output, home = free_port(), tmp_path / "output.txt", tmp_path / "home"
    home.mkdir()
    tour = [snippet.text for snippet in of("sh", "README.md")]
    _, *notices = [snippet.text for snippet in of("text", "README.md")]
    assert len(tour) == 3
    assert len(notices) == 2
    command = ["make", "-C", str(checkout), "run", f"ARGS=--port {port}"]
    with running(command, home, output) as make:
        await eventually(
            lambda: "is running" in output.read_text() or make.poll() is not None, within_s=INSTALL_WITHIN_S
        )
        greeting = re.findall(r"^ralf-hub is running: (\S+) .*$", output.read_text(), re.MULTILINE)
        assert len(greeting) == 1, output.read_text()
        url, _, key = greeting[0].partition("#key=")
        assert url == f"http://127.0.0.1:{port}/"
        assert "<html" in shell(f"curl -s {url}", checkout)

        said = []
        for step, notice in zip_longest(tour, notices, fillvalue=""):
            said.append(shell(step.replace("rh_...", key).replace(":8080", f":{port}"), checkout))
            for line in notice.splitlines():
                await eventually(lambda line=line: line in output.read_text(), within_s=15)
        assert '"status":"completed"' in said[0]
        assert "TASK-TIDE-003" in said[2]
        assert "|delivered|console|task_completed|TASK-LENS-001" in said[2]

        make.send_signal(signal.SIGTERM)
        await eventually(lambda: "is stopping" in output.read_text(), within_s=15)
        await eventually(lambda: make.poll() is not None, within_s=15)
    assert git(checkout, "status", "--porcelain") == ""
    assert "pip" not in dry_run(checkout), "a second run must install nothing"


@pytest.mark.parametrize(
    ("python", "said"), [("no-such-python", "found: none"), ("false", "false (does not run)")]
)
def test_without_a_python_that_is_new_enough_it_says_so(tmp_path: Path, python: str, said: str) -> None:
    done = subprocess.run(
        [CHECKOUT / ".ci" / "venv", tmp_path / "venv", python], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "venv").exists()
