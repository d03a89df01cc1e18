"""`python -m benchmarks.page`: makes `docs/performance.md` and its plots from the figures that were kept."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.keeping import RESULTS, Kept
from benchmarks.report import Row, markdown, number
from benchmarks.svg import Bar, bars

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = DOCS / "performance.md"
TITLES: Final = {
    "api": "The API",
    "webhook": "Webhooks in",
    "drain": "Draining a backlog",
    "steady": "From accepted to delivered, at a steady rate",
    "saturation": "From accepted to delivered, at saturation",
    "mixed": "The API while deliveries go out",
    "peers": "Against what people would put together instead",
    "recovery": "After kill -9",
    "growth": "As the database grows",
    "routes": "Many connectors",
    "stream": "The live stream",
    "memory": "Memory",
    "load": "A long load",
}
BUSY: Final = 0.05
"""The share of the machine that others may use before figures are marked."""

INTRO: Final = """# Performance

Made by `make bench` and `make bench-peers` from the figures in `benchmarks/results`; do not edit it by hand.

Every benchmark starts the real `ralf-hub serve` as a process, with everything on that is on in production: keys, the rate
limiter (with a limit that is not reached), validation, metrics, order within a task, attempts kept, `synchronous=FULL`. It
is driven from another process, every answer is checked and every delivery must arrive. Where there is a ceiling (aiohttp
answering the same bytes, the aiohttp client posting the same bytes) it is measured in the same run, in turns with the hub,
after a warm-up of both; the ratio is taken run by run. A ratio of 1 means: as fast as the bare library.

*By CPU* is the same ratio by processor time: how much of it the ceiling's process spends per request against the hub's. It
says what the hub costs where the rate says what a machine of two cores makes of it with the driver on the same cores.

The lines in the plots go from the lowest to the highest run.
"""

PEERS: Final = """
The job: take a task as JSON over HTTP, keep it where that is what the stack does, post a signed webhook to one sink, which
is the same for all. 64 tasks are under way at any time; the next one is posted when one has been answered and delivered. All
run at once and work in turns.

- FastAPI under uvicorn with a worker per core, uvloop and httptools, no access log.
- Celery: prefork with a process per core, which its documentation recommends to begin with; `acks_late`, so that a worker
  that is killed loses nothing; Redis with its append-only file written every second (`appendfsync everysec`), as its
  documentation recommends: up to a second of accepted tasks is lost with the power.
- Huey: eight threads, SQLite with `fsync`. A task is taken out of the file before it is done: a kill loses it.
- procrastinate: 30 jobs at a time in one asynchronous worker with the aiohttp client, PostgreSQL as Debian sets it up,
  `synchronous_commit` on.
- Flask under gunicorn, 2 x cores + 1 workers with four threads each, posting with a `requests` session inside the request:
  nothing is kept, a sink that is down is an error for the caller.
"""


NOTES: Final = {
    "steady": "*Asked to sink* counts from the moment a request was meant to go until the sink has its delivery: accepting is "
    "in it, and any wait before. Convoy publishes a p95 of 124 ms at 50 events a second and 127 ms at 200, on other machines.",
    "saturation": "The next task is posted when one has been answered and delivered.",
    "recovery": "The sink takes posts and does not answer, the hub is killed, the sink answers again, the hub is started.",
    "growth": "Claim and mark are the store's own functions by CPU time, all sizes in turns; the rest is asked of a hub on each "
    "database. `x` is against the smallest one, in the same run.",
    "peers": PEERS,
}


def facts(kept: Kept) -> str:
    """Return when, where and how figures were made, in a line."""
    busy = f", **others used {kept.others:.0%} of the machine**" if kept.others > BUSY else ""
    short = "" if kept.pace >= 1 else f", **short runs** ({kept.pace:g} of the usual length)"
    revision = f", revision {kept.revision}" if kept.revision else ""
    return f"*{kept.runs} runs, {kept.made_at[:10]}{revision}{busy}{short}.*"


def machine_line(found: Sequence[Kept]) -> str:
    """Return on what machine."""
    return ", ".join(f"{name} {value}" for name, value in found[-1].machine.items())


def share(row: Row) -> Bar:
    """Return how far an aim is reached: 1 is just so, more is better, whichever way the aim points."""
    wanted = float(row.aim.lstrip("<>= "))
    smaller_is_better = row.aim.startswith("<")

    def of(value: float) -> float:
        return wanted / max(value, wanted / 100) if smaller_is_better else max(value, 0.001) / wanted

    low, high = sorted((of(row.low), of(row.high)))
    unit = "" if row.unit in {"ratio", "x"} else f" {row.unit}"
    said = f"{number(row.value)}{unit} (aim {row.aim})"
    return Bar(row.name, of(row.value), low, high, said, weak=row.reached is False)


def aims_plot(found: Sequence[Kept]) -> str:
    """Return the plot of every figure that has an aim."""
    given = [share(row) for kept in found for row in kept.rows if row.aim and not _is_base(row)]
    return bars("How far each aim is reached (dashed line: the aim)", given, logarithmic=True, line_at=1.0)


def _is_base(row: Row) -> bool:
    """Return whether a row is what others are compared with: always 1."""
    return row.unit == "x" and row.low == row.high == 1


def peers_plot(peers: Kept) -> str:
    """Return the plot of what goes through end to end."""
    given = [
        Bar(row.name, row.value, row.low, row.high, f"{number(row.value)}/s")
        for row in peers.rows
        if row.unit == "tasks/s"
    ]
    return bars("Tasks per second, from posted to delivered", given)


def page(found: Sequence[Kept]) -> str:
    """Return the page."""
    aims = [row for kept in found for row in kept.rows if row.aim and not _is_base(row)]
    parts = [INTRO, f"Machine: {machine_line(found)}.\n", "## Aims\n", "![](performance-aims.svg)\n"]
    parts += [markdown(aims), ""]
    for kept in found:
        parts += [f"## {TITLES.get(kept.benchmark, kept.benchmark)}\n"]
        if kept.benchmark == "peers":
            parts += ["![](performance-peers.svg)", ""]
        if kept.benchmark in NOTES:
            parts += [NOTES[kept.benchmark].strip(), ""]
        parts += [facts(kept), "", markdown(kept.rows), ""]
    return "\n".join(parts).rstrip() + "\n"


def main() -> None:
    """Read what was kept and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are")
    given = parser.parse_args()
    kept = {path.stem: Kept.read(path) for path in given.results.glob("*.json")}
    found = [kept[name] for name in TITLES if name in kept]
    if not found:
        parser.error(f"no figures in {given.results}: run `make bench` first")
    (DOCS / "performance-aims.svg").write_text(aims_plot(found), encoding="utf-8")
    if "peers" in kept:
        (DOCS / "performance-peers.svg").write_text(peers_plot(kept["peers"]), encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"{PAGE} is made of {len(found)} benchmarks")


if __name__ == "__main__":
    main()
