"""The peers as processes: started, asked whether they are ready, ended, with all that belongs to them."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.peers import install
from benchmarks.setting import listens
from tests.journeys.hub import free_port
from tests.support import eventually

ROOT: Final = Path(__file__).parents[2]
CORES: Final = os.cpu_count() or 1
STARTED_WITHIN_S: Final = 40.0


@dataclass(slots=True)
class Stack:
    """One peer that runs: where to post tasks, and its processes."""

    name: str
    port: int
    folder: Path
    env: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        """The processes that were started; their children belong to them."""
        return [process.pid for process in self.processes]

    def start(self, *command: str | Path, user: str | None = None) -> None:
        """Start one of its programs; what it says is kept in the folder."""
        said = self.folder / f"{len(self.processes)}.log"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env={**os.environ, **self.env, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                group=user,
            )
        self.processes.append(process)

    def once(self, *command: str | Path, user: str | None = None) -> None:
        """Run something that prepares it and ends."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd="/" if user else ROOT,
            env={**os.environ, **self.env, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            user=user,
            group=user,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-1500:]}")

    def logs(self) -> str:
        """Return the end of what its programs said."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}"
            for log in sorted(self.folder.glob("*.log"))
        )

    async def ready(self, port: int | None = None) -> None:
        """Wait until something listens on *port*, its own where left out."""
        try:
            await eventually(lambda: listens(port or self.port), within_s=STARTED_WITHIN_S)
        except AssertionError:
            raise AssertionError(f"{self.name} does not start\n{self.logs()}") from None

    def stop(self) -> None:
        """End everything, the newest first: each is a session of its own, so its children end with it."""
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _uvicorn(stack: Stack, python: Path, app: str) -> None:
    """Serve as FastAPI's "Server Workers" page says: uvloop and httptools, a worker per core; the access log is off."""
    stack.start(
        *(python, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(stack.port)),
        *("--workers", str(CORES), "--no-access-log", "--log-level", "warning"),
    )


async def celery(stack: Stack, python: Path) -> None:
    """FastAPI + Celery (prefork, a process per core, its default) + Redis with its log written every second."""
    port = free_port()
    stack.start(
        *(install.redis(), "--port", str(port), "--bind", "127.0.0.1", "--dir", stack.folder),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    )
    await stack.ready(port)
    stack.env["PEER_REDIS"] = f"redis://127.0.0.1:{port}/0"
    stack.start(
        python, "-m", "celery", "-A", "benchmarks.peers.celery_app:celery", "worker", "--loglevel", "WARNING"
    )
    _uvicorn(stack, python, "benchmarks.peers.celery_app:app")
    await stack.ready()


async def huey(stack: Stack, python: Path) -> None:
    """FastAPI + Huey on SQLite, with eight threads, which is for tasks that wait for others."""
    stack.env["PEER_HUEY"] = str(stack.folder / "huey.db")
    consumer = python.with_name("huey_consumer")
    if not consumer.exists():
        consumer = python.with_name("huey_consumer.py")
    stack.start(python, consumer, "benchmarks.peers.huey_app.huey", "-k", "thread", "-w", "8", "-q")
    _uvicorn(stack, python, "benchmarks.peers.huey_app:app")
    await stack.ready()


async def procrastinate(stack: Stack, python: Path) -> None:
    """FastAPI + procrastinate + PostgreSQL as Debian sets it up (`synchronous_commit` on); 30 jobs at a time."""
    programs, port = Path(install.postgres()), free_port()
    user = "postgres" if os.geteuid() == 0 else None
    data = stack.folder / "data"
    data.mkdir()
    if user is not None:
        stack.folder.chmod(0o755)
        shutil.chown(data, user, user)
    await asyncio.to_thread(
        stack.once,
        programs / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "--auth",
        "trust",
        "-E",
        "UTF8",
        user=user,
    )
    stack.start(
        *(programs / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1"),
        *("-c", "unix_socket_directories="),
        user=user,
    )
    await stack.ready(port)
    stack.env["PEER_POSTGRES"] = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
    app = "benchmarks.peers.procrastinate_app.queue"
    await asyncio.to_thread(stack.once, python, "-m", "procrastinate", "--app", app, "schema", "--apply")
    stack.start(python, "-m", "procrastinate", "--app", app, "worker", "--concurrency", "30")
    _uvicorn(stack, python, "benchmarks.peers.procrastinate_app:app")
    await stack.ready()


async def flask(stack: Stack, python: Path) -> None:
    """Flask under gunicorn: 2 x cores + 1 workers, four threads each, since they wait for the sink."""
    stack.start(
        *(python, "-m", "gunicorn", "benchmarks.peers.flask_app:app", "--bind", f"127.0.0.1:{stack.port}"),
        *("--workers", str(2 * CORES + 1), "--threads", "4", "--log-level", "warning"),
    )
    await stack.ready()


STACKS: Final = {
    "FastAPI + Celery + Redis": celery,
    "FastAPI + Huey on SQLite": huey,
    "FastAPI + procrastinate + PostgreSQL": procrastinate,
    "Flask posting in the request": flask,
}


@contextlib.asynccontextmanager
async def running(folder: Path, sink_url: str, names: Sequence[str]) -> AsyncIterator[dict[str, Stack]]:
    """Run these peers, each in a folder of its own."""
    python = await asyncio.to_thread(install.python)
    stacks: dict[str, Stack] = {}
    try:
        for number, name in enumerate(names):
            own = folder / str(number)
            own.mkdir()
            stacks[name] = Stack(name, free_port(), own, {"PEER_SINK": sink_url})
            await STACKS[name](stacks[name], python)
        yield stacks
    finally:
        for stack in stacks.values():
            stack.stop()
