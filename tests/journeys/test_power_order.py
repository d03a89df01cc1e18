"""The kernel's own account: the log is on the disk before a 2xx leaves. What strace sees of the running process."""

import asyncio
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import orjson
import pytest

from tests.journeys.hub import Hub
from tests.support import eventually
from tests.webhooks.signing import SECRET, SIGN

WATCHED: Final = "read,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,fdatasync,fsync"
TOGETHER: Final = 24
SETTINGS: Final = f'[[webhooks.incoming]]\nservice = "github"\nsecret = "{SECRET}"\n'

_BEGUN: Final = re.compile(r"^(\d+) +(\w+)\((\d+)<([^>]*)>(.*)$")
_RESUMED: Final = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")


@dataclass(frozen=True, slots=True)
class Step:
    """One moment of a system call: `begins` or `ends`, with what strace shows of it."""

    ends: bool
    call: str
    fd: int
    path: str
    shown: str


def steps(lines: Iterable[str]) -> Iterator[Step]:
    """Return what happened, in order; a call that waits is two steps apart from each other."""
    waiting: dict[str, Step] = {}
    for line in lines:
        if begun := _BEGUN.match(line):
            thread, call, fd, path, rest = begun.groups()
            step = Step(ends=False, call=call, fd=int(fd), path=path, shown=rest)
            yield step
            if rest.endswith("<unfinished ...>"):
                waiting[thread] = step
            else:
                yield Step(ends=True, call=call, fd=int(fd), path=path, shown=rest)
        elif (resumed := _RESUMED.match(line)) and resumed[1] in waiting:
            step = waiting.pop(resumed[1])
            yield Step(ends=True, call=step.call, fd=step.fd, path=step.path, shown=step.shown + resumed[3])


def verdicts(trace: Iterable[Step]) -> list[bool]:
    """Return for each 2xx to a POST whether, since it was asked, the log was written and then synced to the end."""
    asked: dict[int, tuple[bool, bool, bool]] = {}
    """By connection: whether the log was written since, whether a sync began after that, whether that has ended."""
    found = []
    for step in trace:
        log = step.path.endswith("hub.db-wal")
        if step.ends and step.call in {"read", "recvfrom", "recvmsg"} and "POST /api/" in step.shown:
            asked[step.fd] = (False, False, False)
        elif log and step.call == "pwrite64" and step.ends:
            asked = {fd: (True, began, ended) for fd, (_, began, ended) in asked.items()}
        elif log and step.call in {"fdatasync", "fsync"} and not step.ends:
            asked = {fd: (wrote, wrote, ended) for fd, (wrote, _, ended) in asked.items()}
        elif log and step.call in {"fdatasync", "fsync"} and step.shown.endswith("= 0"):
            asked = {fd: (wrote, began, began) for fd, (wrote, began, _) in asked.items()}
        elif not step.ends and step.fd in asked and '"HTTP/1.1 20' in step.shown:
            found.append(asked.pop(step.fd)[2])
    return found


def _strace(hub: Hub, trace: Path) -> "subprocess.Popen[bytes]":
    """Attach strace to the hub."""
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "48",
        "-e",
        f"trace={WATCHED}",
        "-o",
        str(trace),
        "-p",
        str(hub.pid),
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


async def _traced(hub: Hub, trace: Path) -> "subprocess.Popen[bytes]":
    """Attach strace to the hub and wait until it watches every thread."""
    tracer = _strace(hub, trace)
    threads = Path(f"/proc/{hub.pid}/task")

    def attached() -> bool:
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            pytest.skip(f"strace may not look here: {tracer.stderr.read().decode().strip()}")
        states = [(thread / "status").read_text() for thread in threads.iterdir()]
        return all(f"TracerPid:\t{tracer.pid}\n" in state for state in states)

    await eventually(attached, within_s=20)
    return tracer


async def _work(hub: Hub) -> int:
    """Ask for things one after the other, then for many at once; return how many 2xx came."""
    answered = 0
    for number in range(5):
        await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": "alone"})
        body = orjson.dumps({"action": "opened", "issue": {"number": number, "title": "x"}})
        headers = SIGN.github(body, "issues", f"guid-{number}")
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{hub.url}/api/v1/webhooks/github", data=body, headers=headers) as reply,
        ):
            assert reply.status == 202
        answered += 2
    many = [hub.ok("POST", "/api/v1/tasks", {"id": f"M-{n}", "title": "together"}) for n in range(TOGETHER)]
    await asyncio.gather(*many)
    return answered + TOGETHER


@pytest.mark.journey
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
async def test_every_2xx_leaves_after_the_sync_of_its_commit(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with Hub(tmp_path, SETTINGS) as hub:
        tracer = await _traced(hub, trace)
        answered = await _work(hub)
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=20)
    lines = trace.read_text(encoding="utf-8").splitlines()
    found = verdicts(steps(lines))
    assert found == [True] * answered
    syncs = sum(step.call == "fdatasync" and step.ends and "hub.db-wal" in step.path for step in steps(lines))
    assert syncs < answered, "what came together shared its commit"
    careless = verdicts(step for step in steps(lines) if step.call not in {"fdatasync", "fsync"})
    assert careless == [False] * answered, "without the syncs the same trace must not pass"
    print(f"{answered} answers after {syncs} syncs of the log, each before its own")
