"""Keeping figures: one JSON file per benchmark, from which the page is made."""

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.report import Row, as_json, from_json, machine, revision
from benchmarks.setting import Bench
from ralf_hub.clock import iso, system_now

RESULTS: Final = Path(__file__).parent / "results"
SHORT_RESULTS: Final = Path(__file__).parents[1] / "var" / "bench" / "results"


@dataclass(frozen=True, slots=True)
class Kept:
    """The figures of one benchmark and how they came to be. `load_before` is what others took of the machine."""

    benchmark: str
    made_at: str
    revision: str
    machine: dict[str, str]
    load_before: float
    runs: int
    pace: float
    took_s: float
    rows: tuple[Row, ...]

    @classmethod
    def begin(cls, name: str, bench: Bench) -> Self:
        """Note how things stand before it runs."""
        load = round(os.getloadavg()[0], 2)
        return cls(
            name, iso(system_now()), revision(), machine(), load, bench.runs, bench.pace, time.monotonic(), ()
        )

    def done(self, rows: list[Row]) -> "Kept":
        """Return it with its figures."""
        return replace(self, took_s=round(time.monotonic() - self.took_s), rows=tuple(rows))

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
