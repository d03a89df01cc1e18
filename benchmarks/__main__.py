"""`python -m benchmarks [NAME ...]`: run benchmarks and print their tables."""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks import api, delivery, stream
from benchmarks.report import Row, as_json, machine, markdown
from benchmarks.setting import Bench

ALL: dict[str, Callable[[Bench], Awaitable[list[Row]]]] = {
    "api": api.run,
    "steady": delivery.steady,
    "drain": delivery.drain,
    "memory": delivery.memory,
    "stream": stream.run,
}


async def run(names: list[str], bench: Bench) -> dict[str, list[Row]]:
    """Run the named benchmarks one after the other."""
    found: dict[str, list[Row]] = {}
    for name in names:
        print(f"\n## {name}\n", flush=True)
        found[name] = await ALL[name](bench)
        print(markdown(found[name]), flush=True)
    return found


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all where none is named")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pace", type=float, default=1.0, help="a factor on durations and amounts")
    parser.add_argument("--json", type=Path, help="write the figures for machines")
    given = parser.parse_args()
    print(" · ".join(f"{name}: {value}" for name, value in machine().items()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(run(given.names or list(ALL), Bench(given.runs, given.pace)))
    if given.json is not None:
        given.json.write_text(
            json.dumps({"machine": machine(), **{n: as_json(r) for n, r in found.items()}}, indent=1)
        )


if __name__ == "__main__":
    sys.exit(main())
