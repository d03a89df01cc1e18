"""Keeping figures: one JSON file per benchmark, from which the page is made."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.cpu import Others
from benchmarks.report import Row, as_json, from_json, machine, revision
from benchmarks.setting import Bench
from ralf_hub.clock import iso, system_now

RESULTS: Final = Path(__file__).parent / "results"
SHORT_RESULTS: Final = Path(__file__).parents[1] / "var" / "bench" / "results"


@dataclass(frozen=True, slots=True)
class Kept:
    """The figures of one benchmark and how they came to be; `others` is the share of the machine that others used."""

    benchmark: str
    made_at: str
    revision: str
    machine: dict[str, str]
    others: float
    runs: int
    pace: float
    took_s: float
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, name: str, bench: Bench, rows: Sequence[Row], others: Others) -> Self:
        """Return the figures with the facts about them."""
        return cls(
            benchmark=name,
            made_at=iso(system_now()),
            revision=revision(),
            machine=machine(),
            others=round(others.share, 3),
            runs=bench.runs,
            pace=bench.pace,
            took_s=round(others.seconds),
            rows=tuple(rows),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what `keep` wrote."""
        given: dict[str, Any] = json.loads(path.read_bytes())
        return cls(**{**given, "rows": tuple(from_json(given["rows"]))})


def keep(found: Kept, folder: Path | None, *, short: bool) -> None:
    """Write it where figures are committed; a quick look is kept apart."""
    target = folder or (SHORT_RESULTS if short else RESULTS)
    target.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**asdict(found), "rows": as_json(found.rows)}, indent=1)
    (target / f"{found.benchmark}.json").write_text(text + "\n", encoding="utf-8")
