"""The unit and the container file name things that are there."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from ralf_hub.cli.commands import app
from tests.snippets import CHECKOUT

DEPLOY = CHECKOUT / "examples" / "deploy"


def options_of_serve() -> set[str]:
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    return {option for param in serve.params for option in param.opts}


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (DEPLOY / "ralf-hub.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=\S+/ralf-hub (.*)$", text, re.MULTILINE)
    assert command.split()[0] == "serve"
    assert {"Type=notify", "NotifyAccess=main", "WatchdogSec=60"} <= set(text.splitlines()), (
        "see ralf_hub/systemd.py"
    )
    assert set(re.findall(r"--[a-z-]+", command)) <= options_of_serve()
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    here = tmp_path / "ralf-hub.service"
    here.write_text(text.replace("/opt/ralf-hub/bin/ralf-hub", "/bin/true"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", here], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_container_file_copies_what_is_there_and_calls_what_exists() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert (CHECKOUT / source).exists(), source
    command = re.findall(r'^CMD \["(serve)", "(--config)", "([^"]+)"\]$', text, re.MULTILINE)
    assert command
    assert command[0][1] in options_of_serve()
    assert f" {command[0][2]}\n" in text, "the settings it names are those it copies"
    ignored = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "var"} <= set(ignored)
