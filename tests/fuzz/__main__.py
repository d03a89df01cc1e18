"""`make fuzz`: every target with atheris, each in a process of its own, and a table of what was tried.

python -m tests.fuzz [--cases N] [--seed N] [--report FILE] [TARGET ...]
"""

import argparse
import datetime as dt
import importlib.metadata
import importlib.util
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.targets import LENGTH_MAX, TARGETS

ONE_CASE_S_MAX: Final = 20
MEMORY_MIB_MAX: Final = 2_048
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COVERED: Final = re.compile(r"cov: (\d+)")
_KEPT: Final = re.compile(r"corp: (\d+)/")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one target."""

    name: str
    cases: int
    edges: int
    kept: int
    seconds: float
    crashes: int


def drive(name: str, cases: int, seed: int, kept: Path) -> Result:
    """Run one target in a process of its own; a case that fails is left in *kept*."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(next(target.seeds for target in TARGETS if target.name == name)):
            Path(corpus, f"seed-{number}").write_bytes(data)
        options = [
            f"-runs={cases}", f"-seed={seed}", f"-max_len={LENGTH_MAX}", f"-timeout={ONE_CASE_S_MAX}",
            f"-rss_limit_mb={MEMORY_MIB_MAX}", "-print_final_stats=1", f"-artifact_prefix={kept}/{name}-", corpus,
        ]  # fmt: skip
        command = [sys.executable, "-m", "tests.fuzz.led", name, *options]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = done.stdout + done.stderr
    executed, covered, corpus_size = (pattern.findall(said) for pattern in (_EXECUTED, _COVERED, _KEPT))
    failed = done.returncode != 0
    if failed:
        sys.stderr.write(said[-6_000:])
    return Result(
        name,
        int(executed[-1]) if executed else 0,
        int(covered[-1]) if covered else 0,
        int(corpus_size[-1]) if corpus_size else 0,
        time.monotonic() - begun,
        int(failed),
    )


def table(results: list[Result], seed: int) -> str:
    """Return the results as a page."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    version = importlib.metadata.version("atheris")
    lines = [
        "# Fuzzing the parsers",
        "",
        "Every parser that strangers' bytes reach, driven by coverage with [atheris](https://github.com/google/atheris): a",
        "case counts as failed when anything is raised, when what the target asserts of the outcome does not hold, when it",
        f"takes longer than {ONE_CASE_S_MAX} s or more than {MEMORY_MIB_MAX} MiB. `tests/fuzz/targets.py` says what each asserts;",
        "`make fuzz` makes this page.",
        "",
        f"{today}, atheris {version}, Python {platform.python_version()}, seed {seed}, cases of up to {LENGTH_MAX} bytes.",
        "",
        "| target | cases | branches reached | inputs kept | seconds | failed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {each.name} | {each.cases:,} | {each.edges:,} | {each.kept:,} | {each.seconds:,.0f} | {each.crashes} |"
        for each in results
    ]
    total, failed = sum(each.cases for each in results), sum(each.crashes for each in results)
    return "\n".join([*lines, f"| **all** | **{total:,}** | | | | **{failed}** |", ""])


def main() -> int:
    """Run the targets; 1 when a case failed, 2 when there is no atheris here."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20_260_201)
    parser.add_argument("--report", type=Path, help="write the table to this file as well")
    parser.add_argument("--kept", type=Path, default=Path("var/fuzz"), help="where cases that fail are left")
    parser.add_argument("targets", nargs="*", choices=[*(t.name for t in TARGETS), []])
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed here (there are wheels for Linux): the tests fuzz with hypothesis instead"
        )
        return 2
    given.kept.mkdir(parents=True, exist_ok=True)
    results = []
    for target in TARGETS:
        if given.targets and target.name not in given.targets:
            continue
        results.append(drive(target.name, given.cases, given.seed, given.kept))
        print(results[-1], flush=True)
    page = table(results, given.seed)
    print(page)
    if given.report is not None:
        given.report.write_text(page, encoding="utf-8")
    return int(any(each.crashes for each in results))


if __name__ == "__main__":
    raise SystemExit(main())
