"""`python -m benchmarks [NAME ...]`: run benchmarks, print their tables, keep their figures."""

import argparse
import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import (
    api,
    drain,
    growth,
    memory,
    recovery,
    routes,
    steady,
    stream,
    webhook_in,
    workspace_table,
)
from benchmarks.cpu import Others
from benchmarks.keeping import Kept, keep
from benchmarks.report import Row, machine, markdown
from benchmarks.setting import Bench

ALL: Final[dict[str, Callable[[Bench], Awaitable[list[Row]]]]] = {
    "api": api.run,
    "webhook": webhook_in.run,
    "drain": drain.run,
    "steady": steady.run,
    "saturation": steady.saturation,
    "mixed": steady.mixed,
    "recovery": recovery.run,
    "growth": growth.run,
    "routes": routes.run,
    "stream": stream.run,
    "memory": memory.run,
    "load": memory.long_load,
    "workspace": workspace_table.run,
}
SHORT: Final = Bench(runs=3, pace=0.2, minutes=0.5)


async def run(names: list[str], bench: Bench, out: Path | None, *, short: bool) -> list[str]:
    """Run the named benchmarks one after the other; each is kept as soon as it is done. Return those that failed."""
    failed = []
    for name in names:
        print(f"\n## {name}\n", flush=True)
        try:
            with Others() as others:
                rows = await ALL[name](bench)
        except (AssertionError, OSError) as error:
            failed.append(f"{name}: {error!r}")
            print(failed[-1], flush=True)
            continue
        print(
            f"{markdown(rows)}\n\n{others.seconds:.0f} s; others used {others.share:.0%} of the machine",
            flush=True,
        )
        keep(Kept.of(name, bench, rows, others), out, short=short)
    return failed


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(ALL)}; all where none is named")
    parser.add_argument("--short", action="store_true", help="a quick look: 3 short runs, kept apart")
    parser.add_argument("--runs", type=int, help="runs per figure")
    parser.add_argument("--pace", type=float, help="a factor on durations and amounts")
    parser.add_argument("--minutes", type=float, help="how long `load` goes on")
    parser.add_argument("--out", type=Path, help="where to keep the figures")
    given = parser.parse_args()
    if unknown := set(given.names) - set(ALL):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    base = SHORT if given.short else Bench()
    bench = Bench(given.runs or base.runs, given.pace or base.pace, given.minutes or base.minutes)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for a thousand clients; the hub inherits it
    print(" · ".join(f"{name}: {value}" for name, value in machine().items()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        failed = runner.run(run(given.names or list(ALL), bench, given.out, short=given.short))
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
