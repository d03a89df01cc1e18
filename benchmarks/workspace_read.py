"""How fast the workspace's readers are: `python benchmarks/workspace_read.py [megabytes] [tasks]`.

Prints, for a generated events.yaml and a generated tree of tasks: the time of the first reading, records
a second, the peak of memory, and what one appended record costs at growing sizes.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from ralf_hub.workspace.events import Reading
from ralf_hub.workspace.following import FileState, follow
from ralf_hub.workspace.scan import scan

MIB = 1024 * 1024
BODY = "## Objective\n\nMake it so.\n\n## Success Criteria\n\n- [ ] done\n" + "More words. " * 160


def record(number: int) -> str:
    stamp = f"2026-{1 + number // 2_592_000 % 12:02}-{1 + number // 86_400 % 28:02}T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    kind = "stop" if number % 3 else "start"
    return (
        f"- timestamp: '{stamp}'\n  type: agent_{kind}\n  agent_type: unknown\n"
        f"  agent_id: unknown-{1_770_341_339 + number}\n  parent_task: ''\n  source: hook\n"
    )


def generate(path: Path, bytes_min: int = 0, records_min: int = 0) -> int:
    number = written = 0
    with path.open("w") as stream:
        while written < bytes_min or number < records_min:
            written += stream.write(record(number))
            number += 1
    return number


def read(path: Path, state: FileState | None, *, thorough: bool) -> tuple[int, FileState]:
    count = 0
    for batch in follow(path, path.parent, Reading(path.name), state, thorough=thorough).batches:
        count += len(batch.records)
        state = batch.state
    assert state is not None
    return count, state


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def events(folder: Path, megabytes: int) -> None:
    path = folder / "events.yaml"
    expected = generate(path, bytes_min=megabytes * MIB)
    began = time.perf_counter()
    count, _ = read(path, None, thorough=True)
    took = time.perf_counter() - began
    assert count == expected
    print(
        f"events.yaml {megabytes} MiB: {count} records, {took:.2f} s, {count / took:,.0f} a second, peak {peak_mib():.0f} MiB"
    )


def one_more(folder: Path, size: int) -> None:
    path = folder / f"events-{size}.yaml"
    generate(path, records_min=size)
    _, state = read(path, None, thorough=True)
    costs: dict[bool, float] = {}
    for thorough in (False, True):
        times = []
        for number in range(9):
            with path.open("a") as stream:
                stream.write(record(size + number + 100 * thorough))
            began = time.perf_counter()
            count, state = read(path, state, thorough=thorough)
            times.append(time.perf_counter() - began)
            assert count == 1
        costs[thorough] = sorted(times)[4] * 1000
    print(
        f"one record appended to {size:>9,}: {costs[False]:.2f} ms, with every byte before it checked {costs[True]:.1f} ms"
    )
    path.unlink()


def tasks(folder: Path, count: int) -> None:
    for number in range(count):
        place = folder / "tasks" / ("active" if number % 4 == 0 else "completed") / f"TASK-BENCH-{number:05}"
        place.mkdir(parents=True)
        head = f"# TASK-BENCH-{number:05}: Task {number}\n\n**Status:** pending\n**Priority:** HIGH\n**Created:** 2026-02-05\n\n"
        (place / "task.md").write_text(head + BODY)
    began = time.perf_counter()
    snapshot = scan(folder)
    took = time.perf_counter() - began
    assert len(snapshot.tasks) == count
    print(f"{count} tasks: {took:.2f} s, {count / took:,.0f} a second, peak {peak_mib():.0f} MiB")


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks(folder, count)
        events(folder, megabytes)
        for size in (1_000, 100_000, 1_000_000):
            one_more(folder, size)


if __name__ == "__main__":
    main()
