"""What a run came to, as Markdown."""

import os
import platform
import sqlite3
from pathlib import Path

from tests.torture.plan import PROCESS, WORLD
from tests.torture.rig import CONCURRENCY
from tests.torture.run import Total


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
        "machine": machine(),
    }
    lines = ["| what | figure |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([*lines, *(f"\n- {line}" for line in total.wrong)]) + "\n"
