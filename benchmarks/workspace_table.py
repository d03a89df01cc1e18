"""RALF's files: what reading and writing them costs. `python -m benchmarks workspace`, or this module by itself."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.report import Row, markdown, value_row
from benchmarks.setting import Bench
from benchmarks.workspace_read import generate, read, record
from ralf_hub.workspace.following import FileState
from ralf_hub.workspace.layout import find_layout
from ralf_hub.workspace.wishes import Wish
from ralf_hub.workspace.writer import Writer

REPOSITORY: Final = Path(__file__).parents[1]
SHARED: Final = Path(os.environ.get("RALF_HUB_SHARED", REPOSITORY.parent / "shared"))
REAL: Final = SHARED / "workspaces" / "modern"
SIZES: Final = (1_000, 100_000, 1_000_000)
QUEUES: Final = (40, 400, 4_000)
TOGETHER: Final = 32
APPENDS: Final = 9


async def run(bench: Bench) -> list[Row]:
    """Measure imports by a running hub, records appended to a file of growing size, and tasks written to a queue."""
    rows = []
    if REAL.is_dir():
        real = [await imported("--workspace", str(REAL)) for _ in range(bench.runs)]
        rows += import_rows("the real workspace", real)
    tasks, megabytes = str(bench.amount(20_000, 100)), str(bench.amount(50))
    runs = max(1, bench.runs // 3)
    many = [await imported("--tasks", tasks, "--megabytes", "0") for _ in range(runs)]
    long = [await imported("--tasks", "0", "--megabytes", megabytes) for _ in range(runs)]
    both = [await imported("--tasks", tasks, "--megabytes", megabytes) for _ in range(runs)]
    rows += import_rows("many tasks", many)
    rows += import_rows(f"{megabytes} MiB of events", long)
    rows += import_rows("both", both)
    rows += lag_rows(both)
    with tempfile.TemporaryDirectory() as name:
        rows += [appended_row(Path(name), bench.amount(size, 1_000), bench.runs) for size in SIZES]
    rows += [written_row(size, bench.runs) for size in QUEUES]
    return rows


async def imported(*arguments: str) -> dict[str, Any]:
    """Import once in a process of its own, so that its memory is its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.workspace_import", "--json", *arguments),
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise AssertionError("the import failed")
    found: dict[str, Any] = json.loads(out)
    return found


def import_rows(what: str, found: Sequence[dict[str, Any]]) -> list[Row]:
    """Return how long the import took, and the memory it took beyond that of a hub without a workspace."""
    amount = f"{found[0]['tasks']:,} tasks, {found[0]['records']:,} records"
    more = [one["memory_mib"] - one["memory_before_mib"] for one in found]
    return [
        value_row(f"import, {what}", [one["took_s"] for one in found], unit="s", note=amount),
        value_row(f"memory beyond the start, {what}", more, unit="MiB"),
    ]


def lag_rows(found: Sequence[dict[str, Any]]) -> list[Row]:
    """Return how long the event loop was held up while both were imported, and what a change costs afterwards."""
    over = sum(one["own_lag"]["over"] for one in found)
    count = sum(one["own_lag"]["n"] for one in found)
    whole = max(one["lag"]["max_ms"] for one in found)
    note = f"over 20 ms: {over} of {count:,} looks; with waiting for the machine {whole:g} ms"
    return [
        value_row("loop at work without a break, longest", [one["loop_lag"]["max_ms"] for one in found], unit="ms", aim="20 ms or less"),
        value_row("loop held up while the hub was at work, longest", [one["own_lag"]["max_ms"] for one in found], unit="ms", note=note,
                  aim="20 ms or less"),
        value_row("loop held up while the hub was at work, p99", [one["own_lag"]["p99_ms"] for one in found], unit="ms"),
        value_row("a change meanwhile, on disk after, p99", [one["commit"]["p99_ms"] for one in found], unit="ms"),
        value_row("a folder moved, CPU", [ms for one in found for ms in one["folder_moved_ms"]], unit="ms"),
        value_row("a record appended, CPU", [ms for one in found for ms in one["record_appended_ms"]], unit="ms"),
    ]  # fmt: skip


def appended_row(folder: Path, size: int, runs: int) -> Row:
    """Return the time to read one record that was appended to a file of *size* records."""
    path = folder / f"events-{size}.yaml"
    generate(path, records_min=size)
    _, state = read(path, None, thorough=True)
    times: list[float] = []
    for number in range(runs * APPENDS):
        took, state = _one_more(path, state, size + number)
        times.append(took)
    path.unlink()
    return value_row(f"one record after {size:,}", times, unit="ms", aim="the same at every size")


def _one_more(path: Path, state: FileState, number: int) -> tuple[float, FileState]:
    with path.open("a") as stream:
        stream.write(record(number))
    begun = time.perf_counter()
    count, state = read(path, state, thorough=False)
    took = 1000 * (time.perf_counter() - begun)
    if count != 1:
        raise AssertionError(f"{count} records read instead of one")
    return took, state


def written_row(size: int, runs: int) -> Row:
    """Return the time to write one task of 32 that are written together into a queue of *size* entries."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        talk = root / ".autonomous" / "agents" / "communications"
        talk.mkdir(parents=True)
        (root / "tasks" / "active").mkdir(parents=True)
        entries = (
            f"- id: TASK-{n}\n  status: completed\n  priority: HIGH\n  title: One\n" for n in range(size)
        )
        (talk / "queue.yaml").write_text("tasks:\n" + "".join(entries))
        with Writer(find_layout(root)) as writer:
            for number in range(runs):
                wishes = [
                    Wish(f"NEW-{number}-{n}", "A new task", "pending", "high", creates=True)
                    for n in range(TOGETHER)
                ]
                begun = time.perf_counter()
                done = writer.carry_out(wishes)
                times.append(1000 * (time.perf_counter() - begun) / TOGETHER)
                if any(isinstance(one, Exception) for one in done):
                    raise AssertionError(f"not written: {done}")
    return value_row(f"a task written, queue of {size:,}", times, unit="ms", note=f"{TOGETHER} together")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(markdown(runner.run(run(Bench(runs=3, pace=float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)))))
