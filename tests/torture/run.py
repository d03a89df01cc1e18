"""The torture itself: rounds of load and faults, and after each the question whether all promises hold."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.torture.checks import ROUTES, Checker, Found
from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.plan import Fault, Round, plan
from tests.torture.rig import CONCURRENCY, Rig


@dataclass(frozen=True)
class Wanted:
    """How long and how hard."""

    seed: int
    minutes: float
    faults_per_round: int = 10
    rounds_per_database: int = 4
    clients: int = 24
    gap_s: float = 1.5
    rest_within_s: float = 30.0


@dataclass
class Total:
    """What all rounds came to."""

    wanted: Wanted
    seconds: float = 0.0
    rounds: int = 0
    databases: int = 0
    promises: int = 0
    unanswered: int = 0
    refused_calls: int = 0
    done: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    events: int = 0
    arrivals: int = 0
    delivered: int = 0
    dead: int = 0
    doubled: int = 0
    doubled_by: Counter[str] = field(default_factory=Counter)
    doubled_per_end_max: int = 0
    lost: int = 0
    disordered: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """Add a round."""
        self.rounds += 1
        for name in ("events", "arrivals", "delivered", "dead", "doubled", "lost", "disordered"):
            setattr(self, name, getattr(self, name) + getattr(found, name))
        self.doubled_by += found.doubled_by
        self.doubled_per_end_max = max(self.doubled_per_end_max, found.doubled_per_end_max)
        self.wrong += found.wrong

    @property
    def doubled_max(self) -> int:
        """How many deliveries may have been doubled by ends of the process: what was in flight at each."""
        return (self.done["kill"] + self.done["term"]) * 2 * CONCURRENCY * len(ROUTES)


async def torture(wanted: Wanted, folder: Path, say: Callable[[str], None]) -> Total:
    """Torture hubs in *folder* until the time is over, or something is wrong: then its files stay for a look."""
    total = Total(wanted)
    begun = time.monotonic()
    while not total.wrong and (not total.rounds or time.monotonic() - begun < wanted.minutes * 60):
        total.databases += 1
        place = folder / f"database-{total.databases}"
        async with Rig(place, wanted.seed + total.databases) as rig:
            checker = Checker(CONCURRENCY)
            ledger = Ledger(place / "ledger.jsonl")
            for _ in range(wanted.rounds_per_database):
                say(await _round(rig, checker, ledger, total))
                if total.wrong or time.monotonic() - begun > wanted.minutes * 60:
                    break
            ledger.close()
            total.promises += ledger.total
            total.unanswered += ledger.answers.unanswered
            total.statuses += ledger.answers.statuses
            total.done += rig.done
            total.refused_calls += rig.shim.refused
        if not total.wrong:
            shutil.rmtree(place)
        total.seconds = time.monotonic() - begun
    return total


async def _round(rig: Rig, checker: Checker, ledger: Ledger, total: Total) -> str:
    """Run one round, check it, and return it in a line."""
    number = total.rounds + 1
    wanted = total.wanted
    faults = plan(wanted.seed, number, faults=wanted.faults_per_round, gap_s=wanted.gap_s)
    begun = time.monotonic()
    before = rig.done.copy()
    load = Load(rig.hub.port, rig.hub.key, ledger, Random(f"{wanted.seed}/{number}/load"), number=number)
    try:
        await _suffer(rig, faults, load, ledger, wanted.clients)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        total.rounds += 1
        total.wrong.append(f"round {number}: {error}")
        return f"round {number}: {error}"
    loaded_s = time.monotonic() - begun
    promises = ledger.take()
    records = sum(1 for promise in promises if promise.key.startswith("W"))
    restless = await rig.come_to_rest(records, wanted.rest_within_s)
    rested_s = time.monotonic() - begun - loaded_s
    rows, duties, arrivals, ends = await asyncio.to_thread(rig.news)
    found = await asyncio.to_thread(checker.check, promises, rows, duties, arrivals, ends)
    found.wrong += restless + ledger.answers.odd + await _soundness(rig)
    found.wrong += await rig.leftovers()
    found.wrong = [f"round {number}: {line}" for line in found.wrong]
    total.add(found)
    did = ", ".join(f"{n} {kind}" for kind, n in sorted((rig.done - before).items()))
    return (
        f"round {number}: {loaded_s:.0f} s, {rested_s:.0f} s to rest, {time.monotonic() - begun - loaded_s - rested_s:.0f} s "
        f"to check; {did}; {len(promises)} promises, "
        f"{found.events} events, {found.delivered} delivered, {found.dead} dead, {found.doubled} doubled, "
        f"{found.lost} lost, {found.disordered} out of order"
        + "".join(f"\n  WRONG {line}" for line in found.wrong)
    )


async def _suffer(rig: Rig, faults: Round, load: Load, ledger: Ledger, clients: int) -> None:
    """Let *load* run while *faults* happen."""
    load.start(clients=clients, events=rig.events_file)
    flushing = asyncio.create_task(ledger.flush_until_cancelled())

    async def process() -> None:
        for fault in faults.process:
            await rig.do(fault)

    async def world(suffered: tuple[Fault, ...]) -> None:
        for fault in suffered:
            await rig.suffer(fault)

    around = asyncio.create_task(world(faults.world))
    try:
        await process()
        await around
    finally:
        around.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await around
        await rig.heal()
        await load.stop()
        flushing.cancel()
        await ledger.flush()


async def _soundness(rig: Rig) -> list[str]:
    """Ask SQLite and the hub's own `verify`."""
    wrong = []
    conn = sqlite3.connect(rig.hub.db, isolation_level=None, timeout=30)
    try:
        said = [row[0] for row in conn.execute("PRAGMA integrity_check(5)")]
    finally:
        conn.close()
    if said != ["ok"]:
        wrong.append(f"integrity_check: {said}")
    verified = await asyncio.to_thread(rig.hub.command, "verify", "--json")
    if verified.returncode != 0:
        shown = json.loads(verified.stdout)["findings"][:3] if verified.stdout else verified.stderr
        wrong.append(f"verify: {shown}")
    return wrong
