"""Rows of figures, for people as Markdown and for machines as JSON."""

import os
import platform
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

_AIM: Final = re.compile(r"(<=|>=|<|>) ?([\d.]+)")


@dataclass(frozen=True, slots=True)
class Side:
    """One run of one side: operations per second, and seconds of CPU its process spent on each."""

    rate: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `value` is the median over the runs, with its spread.

    A ratio is ours to the ceiling of the same run, 1 is as good as the ceiling. `cpu` is the same ratio by CPU time
    (the ceiling's per operation to ours), which a busy machine changes little; None where nothing is compared.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    note: str = ""
    aim: str = ""
    cpu: float | None = None
    values: tuple[float, ...] = ()

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the aim; None where there is none."""
        found = _AIM.fullmatch(self.aim)
        if found is None:
            return None
        wanted = float(found[2])
        return {
            "<": self.value < wanted,
            "<=": self.value <= wanted,
            ">": self.value > wanted,
            ">=": self.value >= wanted,
        }[found[1]]


def _row(name: str, values: Sequence[float], unit: str, note: str, aim: str, cpu: float | None = None) -> Row:
    rounded = tuple(round(value, 4) for value in values)
    return Row(
        name, round(median(values), 3), round(min(values), 3), round(max(values), 3), unit, note, aim, cpu, rounded
    )  # fmt: skip


def compared(
    name: str, ours: Sequence[Side], ceiling: Sequence[Side], *, unit: str, aim: str = "", note: str = ""
) -> Row:
    """Return the ratio of ours to the ceiling, run by run, with the medians of both beside it."""
    rates = [mine.rate / best.rate for mine, best in zip(ours, ceiling, strict=True)]
    cpu = [best.cpu_s / mine.cpu_s for mine, best in zip(ours, ceiling, strict=True)]
    said = (
        f"{median(s.rate for s in ours):,.0f} of {median(s.rate for s in ceiling):,.0f} {unit}; "
        f"CPU {median(s.cpu_s for s in ours) * 1e6:,.0f} µs, ceiling {median(s.cpu_s for s in ceiling) * 1e6:,.0f}"
    )
    return _row(name, rates, "ratio", f"{said}; {note}" if note else said, aim, round(median(cpu), 3))


def value_row(name: str, values: Sequence[float], *, unit: str, note: str = "", aim: str = "") -> Row:
    """Return the median of *values* with its spread."""
    return _row(name, values, unit, note, aim)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def machine() -> dict[str, str]:
    """Return what machine this is and what runs on it."""
    import aiohttp  # noqa: PLC0415 - only for its version

    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "aiohttp": aiohttp.__version__,
    }


def revision() -> str:
    """Return the commit that is measured, with `+` where files have been changed since."""
    here = Path(__file__).parent
    try:
        head = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=here, text=True).strip()
        changed = subprocess.check_output(
            ["git", "status", "--porcelain", "../ralf_hub"], cwd=here, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def number(value: float) -> str:
    """Return *value* with three figures that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def markdown(rows: Sequence[Row]) -> str:
    """Return *rows* as a table."""
    lines = ["| what | median | min to max | aim | by CPU | |", "|---|---:|---:|---:|---:|---|"]
    for row in rows:
        unit = "" if row.unit == "ratio" else f" {row.unit}"
        missed = " (missed)" if row.reached is False else ""
        cpu = "" if row.cpu is None else number(row.cpu)
        lines.append(
            f"| {row.name} | {number(row.value)}{unit} | {number(row.low)} to {number(row.high)} "
            f"| {row.aim}{missed} | {cpu} | {row.note} |"
        )
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return *rows* for machines."""
    return [asdict(row) for row in rows]


def from_json(rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Return what `as_json` made."""
    return [Row(**{**row, "values": tuple(row["values"])}) for row in rows]
