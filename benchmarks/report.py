"""Rows of figures, for people as Markdown and for machines as JSON."""

import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `value` is what counts (a ratio, or a time in ms), with its spread over the runs."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    note: str = ""
    aim: str = ""


def ratio_row(name: str, ours: Sequence[float], ceiling: Sequence[float], *, unit: str, aim: str = "") -> Row:
    """Return the ratio of ours to the ceiling, run by run, with both medians beside it."""
    ratios = [mine / best for mine, best in zip(ours, ceiling, strict=True)]
    note = f"{median(ours):,.0f} of {median(ceiling):,.0f} {unit}"
    return Row(
        name, round(median(ratios), 3), round(min(ratios), 3), round(max(ratios), 3), "ratio", note, aim
    )


def value_row(name: str, values: Sequence[float], *, unit: str, note: str = "", aim: str = "") -> Row:
    """Return the median of *values* with its spread."""
    return Row(name, round(median(values), 3), round(min(values), 3), round(max(values), 3), unit, note, aim)


def machine() -> dict[str, str]:
    """Return what machine this is."""
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            model = next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), ""
            )
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "system": platform.system(),
    }


def markdown(rows: Sequence[Row]) -> str:
    """Return *rows* as a table."""
    lines = ["| what | median | min - max | aim | note |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.name} | {row.value:g} {row.unit if row.unit != 'ratio' else ''} | {row.low:g} - {row.high:g} | {row.aim} | {row.note} |"
        for row in rows
    ]
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return *rows* for machines."""
    return [asdict(row) for row in rows]
