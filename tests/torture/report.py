"""What a run came to, as Markdown."""

import os
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Final

from tests.torture.plan import PROCESS, WORLD
from tests.torture.rig import CONCURRENCY, REPOSITORY
from tests.torture.run import Total

PAGE: Final = """# Torture

What the hub promises is tried by doing to it what it must survive. `make torture MINUTES=60` does so for an hour and
renews this page; `SEED=` repeats the plan of an earlier run.

The real `ralf-hub serve` runs under load: clients that create, move on and end tasks, a service that sends signed
webhooks, scripts that append to `events.yaml` under their lock. Meanwhile the process is killed, stopped, ended and
told to read other settings; its disk is full, fails to write or to sync; its clock jumps by up to two hours; those it
delivers to refuse, hang, drop what they got, take it and never answer, or answer with errors.

A receiver in a process of its own checks every signature and writes down what arrives before it answers. The callers
keep a ledger on disk of every 2xx and every record appended. After each round all must come to rest, and then:

- every entry of the ledger is exactly one event, and every event is delivered, or dead with a reason;
- what is recorded as delivered did arrive, and nothing arrived that is not recorded;
- per task and connector, what arrives for the first time arrives in order;
- what arrives twice was in flight when the process was killed (sent, and its verdict not on disk yet: at most twice the
  connector's concurrency), or had never been answered; nothing is doubled by SIGTERM on a disk that works;
- `PRAGMA integrity_check` and `ralf-hub verify` find nothing, and no file, socket or thread is left over.

Beside it, in `make test`: [the power is cut](https://www.sqlite.org/atomiccommit.html) at every kind of moment and the
disk keeps only what was synced (`tests/journeys/test_power_cut.py`); strace sees each 2xx leave after the sync of its
commit (`test_power_order.py`); the disk is full under load, for as long as `RALF_HUB_DISK_FULL_S` says
(`test_disk_full.py`).

## The last run

{table}"""


GOALS: Final = {"minutes": 60, "SIGKILLs": 500, "accepted": 1_000_000}
"""What a full run comes to."""


def page(total: Total) -> str:
    """Return the page of evidence."""
    return PAGE.format(table=f"{short_of(total)}{markdown(total)}")


def short_of(total: Total) -> str:
    """Say where the run was smaller than a full one; nothing where it was not."""
    came_to = {
        "minutes": round(total.seconds / 60),
        "SIGKILLs": total.done["kill"],
        "accepted": total.promises,
    }
    lacking = [
        f"{came_to[name]:,} of {goal:,} {name}" for name, goal in GOALS.items() if came_to[name] < goal
    ]
    return f"Smaller than a full run: {', '.join(lacking)}.\n\n" if lacking else ""


def machine() -> str:
    """Return what this machine is, in a line."""
    model = "unknown processor"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def commit() -> str:
    """Return which commit of the hub was tortured, as far as git knows."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude", "*"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.stdout.strip()


def markdown(total: Total) -> str:
    """Return the table."""
    wanted = total.wanted
    faults = [f"{kind} {total.done[kind]}" for kind in (*PROCESS, *WORLD) if total.done[kind]]
    statuses = [f"{n} of {status}" for status, n in sorted(total.statuses.items())]
    by = [f"{n} {kind}" for kind, n in sorted(total.doubled_by.items())]
    rows = {
        "seed": str(wanted.seed),
        "time": f"{total.seconds / 60:.1f} minutes",
        "rounds, databases": f"{total.rounds}, {total.databases}",
        "SIGKILLs": str(total.done["kill"]),
        "faults": ", ".join(faults),
        "calls of the disk made to fail": str(total.refused_calls),
        "answers": ", ".join(statuses) + f"; {total.unanswered} times none",
        "accepted (2xx given, records appended)": f"{total.promises:,}",
        "events recorded": f"{total.events:,}",
        "posts at the sink": f"{total.arrivals:,}",
        "deliveries done, dead with a reason": f"{total.delivered:,}, {total.dead:,}",
        "deliveries doubled": f"{total.doubled:,}" + (f" ({', '.join(by)})" if by else ""),
        "bound: what was in flight at every end": f"{total.doubled_max:,}",
        "most doubled at one end, per connector": f"{total.doubled_per_end_max} of {2 * CONCURRENCY} in flight",
        "**lost**": f"**{total.lost}**",
        "**order violations**": f"**{total.disordered}**",
        "anything else wrong": str(len(total.wrong) or "nothing"),
        "commit": commit(),
        "machine": machine(),
    }
    lines = ["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([*lines, *(f"\n- {line}" for line in total.wrong)]) + "\n"
