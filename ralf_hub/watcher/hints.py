"""Hints from the operating system that files changed.

Setting up a watch holds Python's lock for about 27 µs per folder, so a large tree is watched by a small process of its
own: `python -m ralf_hub.watcher.hints FOLDER...` prints what changed, one JSON list of paths a line, until its standard
input is closed, as it is when the hub ends in whatever way.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Final

from watchfiles import watch

GATHER_MS: Final = 200
STEP_MS: Final = 20
LOOK_UP_MS: Final = 1_000
"""How often a quiet watch returns, so that it can be ended."""
IN_PROCESS_MAX: Final = 400
"""Folders watched by the hub itself."""
LINE_BYTES_MAX: Final = 64 * 1024 * 1024


async def hints(places: Sequence[Path], folders: int) -> AsyncGenerator[set[Path], None]:
    """Yield what changed below *places*, which hold about so many *folders*, until closed.

    The first set, often an empty one, says that the watch is set up: what changed before is nobody's hint. OSError or
    RuntimeError where nothing can be watched.
    """
    told = _from_thread(places) if folders <= IN_PROCESS_MAX else _from_process(places)
    try:
        async for changed in told:
            yield changed
    finally:
        await told.aclose()


async def _from_thread(places: Sequence[Path]) -> AsyncGenerator[set[Path], None]:
    stop = threading.Event()
    changes = _changes([str(place) for place in places], stop)
    try:
        while (found := await asyncio.to_thread(next, changes, None)) is not None:
            yield {Path(path) for path in found}
    finally:
        stop.set()


async def _from_process(places: Sequence[Path]) -> AsyncGenerator[set[Path], None]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        *map(str, places),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    try:
        while process.stdout is not None and (line := await process.stdout.readline()):
            yield {Path(path) for path in json.loads(line)}
        code = await process.wait()
        raise RuntimeError(f"the watching process ended with code {code}")
    finally:
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _changes(places: Sequence[str], stop: threading.Event) -> Iterator[set[str]]:
    """Yield the paths that changed; first of all, maybe without any, when the watch is set up."""
    is_first = True
    for found in watch(
        *places,
        debounce=GATHER_MS,
        step=STEP_MS,
        rust_timeout=LOOK_UP_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
        recursive=True,
    ):
        if found or is_first or stop.is_set():
            yield {path for _, path in found}
        is_first = False


def main(places: Sequence[str]) -> None:
    """Print what changes below *places* until standard input ends."""
    stop = threading.Event()

    def until_left_alone() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=until_left_alone, daemon=True).start()
    try:
        for found in _changes(places, stop):
            sys.stdout.write(json.dumps(sorted(found)) + "\n")
            sys.stdout.flush()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)  # nobody listens any more; there is nothing to put away


if __name__ == "__main__":
    main(sys.argv[1:])
