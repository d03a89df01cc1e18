"""Runs the real command in a folder of its own."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from typer.testing import CliRunner

from ralf_hub.cli.commands import app

SETTINGS: Final = """\
[database]
path = "hub.db"

[connectors.console]

[connectors.shop]
type = "webhook"
url = "http://127.0.0.1:9/hooks/very-secret-path"
secret = "a-signing-secret"
events = ["task_*"]
"""
WITHIN_S: Final = 60
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """What it said, as one line without the frames and colours typer draws."""
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", _ANSI.sub("", self.err)).split())


@dataclass
class Place:
    """A folder with settings and, once there is one, a database."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def db(self) -> Path:
        return self.folder / "hub.db"

    @property
    def config(self) -> Path:
        return self.folder / "ralf-hub.toml"

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RALF_HUB_")}
        return {**kept, "HOME": str(self.folder), "COLUMNS": "100", **self.env}

    def spawn(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        """Start `ralf-hub` as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "ralf_hub", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(),
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def run(self, *arguments: object, stdin: str = "") -> Done:
        """Run `ralf-hub` to its end."""
        process = self.spawn(*arguments, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=WITHIN_S)
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)

    def invoke(self, *arguments: object, stdin: str = "") -> Done:
        """Run the command in this process: the same code on the same files, without a start of Python."""
        kept = {key: None for key in os.environ if key.startswith("RALF_HUB_")}
        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(
                app, [*map(str, arguments)], input=stdin, env={**kept, "HOME": str(self.folder), **self.env}
            )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def ok(self, *arguments: object, stdin: str = "") -> Done:
        """Do what must succeed."""
        done = self.invoke(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done

    def json(self, *arguments: object) -> Any:
        """Return the JSON of what must succeed."""
        return self.ok(*arguments, "--json").json

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read or change the database as a person with sqlite3 would."""
        with contextlib.closing(sqlite3.connect(self.db, isolation_level=None)) as conn:
            return conn.execute(sql, values).fetchall()

    def value(self, sql: str, *values: object) -> Any:
        return self.rows(sql, *values)[0][0]


@contextlib.contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End *process* whatever happens."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> Done:
    """Send a signal and return what the process came to."""
    process.send_signal(number)
    out, err = process.communicate(timeout=WITHIN_S)
    return Done(process.returncode, out, err)
