"""One hub under torture: its process with the shim inside, its sink, its database, and the faults done to them."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, Self

from tests.journeys.hub import Hub, HubEndedError
from tests.support import eventually
from tests.torture import shim
from tests.torture.checks import ROUTES, Arrival, Duty, End, Row, events_of, read_arrivals
from tests.torture.load import WEBHOOK_SECRET
from tests.torture.plan import DISK, Fault
from tests.torture.sink import SECRET

REPOSITORY: Final = Path(__file__).parents[2]
CONCURRENCY: Final = 16
START_TRIES: Final = 20
STILL_LOOKS: Final = 20
ASKED_EVERY_S: Final = 0.03
KEPT_OPEN_MAX: Final = 2
"""SQLite closes a file for good when its process has no lock on it any more: https://www.sqlite.org/src/file/src/os_unix.c."""
OTHER_SECRET: Final = "another-secret-of-the-rotation"
EXECUTOR_THREADS_MAX: Final = min(32, (os.cpu_count() or 1) + 4)
"""Python makes the threads of its default executor as they are needed, and keeps them."""


def settings(port: int, workspace: Path, variant: str = "plain") -> str:
    """Return the settings of the hub; *variant* is what a reload brings."""
    secret = f'["{OTHER_SECRET}", "{SECRET}"]' if variant == "rotated" else f'"{SECRET}"'
    concurrency = CONCURRENCY // 2 if variant == "other" else CONCURRENCY
    connectors = [
        f'[connectors.{name}]\ntype = "webhook"\nurl = "http://127.0.0.1:{port}/{name}"\nsecret = {secret}\n'
        f"concurrency = {concurrency}\nevents = {json.dumps(sorted(types))}\n"
        for name, types in ROUTES.items()
    ]
    return "\n".join(
        [
            "[delivery]\nbackoff_first_s = 0.05\nbackoff_max_s = 0.5\nmax_attempts = 6\ntimeout_s = 15",
            "breaker_probe_first_s = 0.1\nbreaker_probe_max_s = 0.5\n",
            *(["no_such_key = true\n"] if variant == "invalid" else []),
            f'[workspace]\npath = "{workspace}"\nwrite_back = "off"\npoll_s = 0.5\n',
            f'[[webhooks.incoming]]\nservice = "github"\nsecret = "{WEBHOOK_SECRET}"\n',
            *connectors,
        ]
    )


class PatientHub(Hub):
    """A hub that is asked less often whether it is there yet: asking takes from what it needs to start."""

    async def _answers(self) -> bool:
        await asyncio.sleep(ASKED_EVERY_S)
        return await super()._answers()


class Rig:
    """Everything of one database. Use as an async context manager."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.workspace = folder / "workspace"
        shutil.copytree(REPOSITORY / "examples" / "workspace", self.workspace)
        self.events_file = next(self.workspace.rglob("events.yaml"))
        self.shim = shim.Shim(folder, folder / "hub.db")
        self._log = folder / "sink.log"
        self._log.touch()
        self._sink = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.sink", "--log", str(self._log), "--seed", str(seed)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._tell(None))
        self.hub = PatientHub(folder, settings(self.port, self.workspace), env=self.shim.env)
        self.ends: list[End] = []
        self.done: Counter[str] = Counter()
        self._journal = (folder / "faults.log").open("a", buffering=1)
        self._read_up_to = 0
        self._seq = 0
        self._delivery = 0
        self._baseline: Counter[str] = Counter()
        self._threads = 0
        self._disk_fails = self._disk_failed = False

    async def __aenter__(self) -> Self:
        await self.start()
        await eventually(self._has_imported, within_s=60)
        self._seq = self.hub.value("SELECT coalesce(max(seq), 0) FROM events")
        await self.hub.stop()  # a first start does less than those that follow
        await self.start()
        await self._settle()
        return self

    async def _settle(self) -> None:
        """Note what the hub holds when nothing has happened yet, once that no longer changes."""
        seen: list[tuple[Counter[str], int]] = []

        async def stays() -> bool:
            await asyncio.sleep(0.1)
            seen.append((self._open_files(), self._thread_count()))
            return len(seen) > STILL_LOOKS and all(one == seen[-1] for one in seen[-STILL_LOOKS:])

        await eventually(stays, within_s=30)
        self._baseline, self._threads = seen[-1]

    async def __aexit__(self, *_: object) -> None:
        await self.hub.__aexit__(None, None, None)
        self._sink.terminate()
        self._sink.communicate()
        self._journal.close()
        self.shim.__exit__(None, None, None)

    async def _has_imported(self) -> bool:
        found = await self.hub.ok("GET", "/api/v1/workspace")
        return found["last_scan_at"] is not None and not found["scanning"]

    def _tell(self, wrong: dict[str, Any] | None) -> str:
        assert self._sink.stdin is not None
        assert self._sink.stdout is not None
        if wrong is not None:
            self._sink.stdin.write(json.dumps(wrong) + "\n")
            self._sink.stdin.flush()
        return self._sink.stdout.readline()

    # --- the process ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the hub; one that says it cannot, on a disk that fails, is started again."""
        for _ in range(START_TRIES):
            self.hub.write_settings(settings(self.port, self.workspace))
            try:
                await self.hub.start()
                self._write_down(f"started as {self.hub.pid}")
            except HubEndedError:
                self.done["start refused"] += 1
                await asyncio.sleep(0.2)
            else:
                return
        raise AssertionError(f"the hub does not start: {self.hub.output.read_text()[-2000:]}")

    def _write_down(self, what: object) -> None:
        self._journal.write(f"{time.strftime('%H:%M:%S')} {time.monotonic():.2f} {what}\n")

    async def do(self, fault: Fault) -> None:
        """Do *fault* to the process."""
        await asyncio.sleep(fault.after_s)
        self._write_down(fault)
        assert not self.hub.is_dead(), f"the hub ended by itself: {self.hub.output.read_text()[-2000:]}"
        self.done[fault.kind] += 1
        match fault.kind:
            case "kill":
                self.ends.append(End(time.monotonic(), "kill"))
                self.hub.kill()
                await self.start()
            case "term":
                self._disk_failed = self._disk_fails
                code = await self.hub.stop()
                self.ends.append(End(time.monotonic(), "term, disk failing" if self._disk_failed else "term"))
                assert code == 0, f"SIGTERM ended it with {code}: {self.hub.output.read_text()[-2000:]}"
                await self.start()
            case "stop":
                self._signal(signal.SIGSTOP)
                await asyncio.sleep(fault.for_s)
                self._signal(signal.SIGCONT)
            case "reload":
                self.hub.write_settings(settings(self.port, self.workspace, dict(fault.how)["settings"]))
                self._signal(signal.SIGHUP)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.hub.pid, number)

    # --- the world around it ----------------------------------------------------------------------

    async def suffer(self, fault: Fault) -> None:
        """Do *fault* to the disk, the clock or the sink, and end it."""
        await asyncio.sleep(fault.after_s)
        self._write_down(fault)
        self.done[fault.kind] += 1
        how = dict(fault.how)
        if fault.kind in DISK:
            self._disk_fails = self._disk_failed = True
        match fault.kind:
            case "disk full":
                self.shim.limit(how["room_bytes"])
            case "write errors":
                self.shim.fail_writes(how["errno"], one_in=how["one_in"])
            case "sync errors":
                self.shim.fail_syncs(how["errno"], one_in=how["one_in"])
            case "clock":
                self.shim.move_clock(how["seconds"])
            case _:
                mode = "status" if fault.kind.isdigit() else fault.kind
                await asyncio.to_thread(self._tell, {**how, "mode": mode})
        await asyncio.sleep(fault.for_s)
        await self.heal()

    async def heal(self) -> None:
        """End every fault around the hub."""
        self._write_down("healed")
        self.shim.heal()
        self._disk_fails = False
        self.shim.move_clock(0)
        await asyncio.to_thread(self._tell, {"mode": "ok"})

    # --- coming to rest ---------------------------------------------------------------------------

    async def come_to_rest(self, records: int, within_s: float) -> list[str]:
        """Wait until nothing is due any more; return what keeps it from resting."""
        await self.heal()
        self.hub.write_settings(settings(self.port, self.workspace))
        self._signal(signal.SIGHUP)
        with contextlib.suppress(AssertionError):
            await eventually(lambda: self._rests(records), within_s=within_s)
            return []
        return [
            f"not at rest: {line}"
            for line in self.hub.rows(
                "SELECT connector, state, next_attempt_at, last_error, count(*) FROM outbox WHERE state = 'pending' "
                "GROUP BY 1, 2, 3, 4 LIMIT 5"
            )
            + self.hub.rows("SELECT * FROM connectors LIMIT 5")
        ] + [f"{self._recorded()} of {records} records of events.yaml are recorded"]

    def _recorded(self) -> int:
        return int(
            self.hub.value("SELECT count(*) FROM events WHERE seq > ? AND source = 'workspace'", self._seq)
        )

    async def _rests(self, records: int) -> bool:
        for item in (await self.hub.ok("GET", "/api/v1/connectors"))["connectors"]:
            if item["breaker"] == "disabled":  # 410: someone has to say that it may go on
                await self.hub.ok("POST", f"/api/v1/connectors/{item['name']}/resume")
        await asyncio.sleep(0.1)
        waiting = self.hub.value("SELECT count(*) FROM outbox WHERE state = 'pending'")
        return waiting == 0 and self._recorded() >= records

    async def leftovers(self, within_s: float = 15.0) -> list[str]:
        """Return what the hub holds more of than when it was fresh, once its idle connections are gone."""

        allowed = self._baseline + Counter({str(self.hub.db): KEPT_OPEN_MAX})

        def gone() -> bool:
            return not self._open_files() - allowed

        await asyncio.to_thread(self._tell, {"mode": "ok"})  # closes what the hub keeps open to it
        with contextlib.suppress(AssertionError):
            await eventually(gone, within_s=within_s)
        left = [f"{n} more open: {name}" for name, n in (self._open_files() - allowed).items()]
        more = self._thread_count() - self._threads
        return left + ([f"{more} more threads"] if more > EXECUTOR_THREADS_MAX else [])

    def _open_files(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for entry in Path(f"/proc/{self.hub.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found[str(entry.readlink()).split(":[")[0]] += 1
        return found

    def _thread_count(self) -> int:
        return len(list(Path(f"/proc/{self.hub.pid}/task").iterdir()))

    # --- what came of it --------------------------------------------------------------------------

    def news(self) -> tuple[list[Row], list[Duty], list[Arrival], list[End]]:
        """Return events, deliveries, arrivals and ends since the last time."""
        conn = sqlite3.connect(self.hub.db, isolation_level=None, timeout=30)
        try:
            rows = events_of(
                conn.execute(
                    "SELECT seq, id, type, task_id, data ->> 'note' FROM events WHERE seq > ? ORDER BY seq",
                    (self._seq,),
                )
            )
            duties = [
                Duty(*row)
                for row in conn.execute(
                    "SELECT event_id, connector, state, last_error FROM outbox WHERE id > ?",
                    (self._delivery,),
                )
            ]
            self._delivery = conn.execute("SELECT coalesce(max(id), 0) FROM outbox").fetchone()[0]
        finally:
            conn.close()
        self._seq = max([self._seq, *(row.seq for row in rows)])
        arrivals, self._read_up_to = read_arrivals(self._log, self._read_up_to)
        ends, self.ends = self.ends, []
        return rows, duties, arrivals, ends
