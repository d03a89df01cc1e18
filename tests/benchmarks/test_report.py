"""Figures, the page that is made of them, and the guard."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import guard, page
from benchmarks.cpu import Others
from benchmarks.keeping import RESULTS, Kept, keep
from benchmarks.report import Row, Side, as_json, compared, from_json, markdown, number, value_row
from benchmarks.setting import Bench
from benchmarks.svg import Bar, bars


def test_a_ratio_is_taken_run_by_run() -> None:
    ours = [Side(50, 4e-5), Side(80, 4e-5), Side(30, 8e-5)]
    ceiling = [Side(100, 2e-5), Side(100, 1e-5), Side(100, 4e-5)]
    row = compared("GET", ours, ceiling, unit="req/s", aim=">= 0.5")
    assert (row.value, row.low, row.high, row.cpu) == (0.5, 0.3, 0.8, 0.5)
    assert row.values == (0.5, 0.8, 0.3)
    assert row.reached is True
    assert "50 of 100 req/s" in row.note


@pytest.mark.parametrize(
    ("aim", "reached"),
    [
        ("< 4", False),
        ("<= 4", True),
        ("> 4", False),
        (">= 4", True),
        ("< 5", True),
        ("", None),
        ("soon", None),
    ],
)
def test_an_aim_is_reached_or_missed(aim: str, reached: bool | None) -> None:  # noqa: FBT001
    assert value_row("x", [4.0], unit="ms", aim=aim).reached is reached


def test_rows_survive_json() -> None:
    rows = [value_row("x", [1.0, 2.0, 3.0], unit="ms", note="n", aim="< 5"), value_row("y", [1], unit="x")]
    assert from_json(json.loads(json.dumps(as_json(rows)))) == rows


@pytest.mark.parametrize(
    ("value", "shown"), [(0.1234, "0.123"), (4.0, "4"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")]
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_missed_aim_says_so() -> None:
    shown = markdown(
        [value_row("slow", [9.0], unit="ms", aim="< 4"), value_row("quick", [1.0], unit="ms", aim="< 4")]
    )
    assert "| slow | 9 ms | 9 to 9 | < 4 (missed) |" in shown
    assert "| quick | 1 ms | 1 to 1 | < 4 |" in shown


# --- keeping and the page -------------------------------------------------------------------------


def kept(name: str, rows: list[Row]) -> Kept:
    with Others() as others:
        pass
    return Kept.of(name, Bench(runs=1, pace=0.5), rows, others)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    found = kept("api", [value_row("x", [1.0], unit="ms")])
    keep(found, tmp_path, short=False)
    assert Kept.read(tmp_path / "api.json") == found


def test_a_page_has_every_figure_its_runs_and_its_plots() -> None:
    found = [
        kept("api", [value_row("GET task", [0.6], unit="ratio", aim=">= 0.5")]),
        kept("peers", [value_row("FastAPI + Huey", [500.0], unit="tasks/s")]),
    ]
    made = page.page(found)
    assert made.count("| GET task | 0.6 |") == 2  # in its own table and among the aims
    assert "| FastAPI + Huey | 500 tasks/s |" in made
    assert "short runs" in made
    assert "![](performance-aims.svg)" in made
    assert "![](performance-peers.svg)" in made


def test_the_committed_page_is_made_of_the_committed_figures() -> None:
    committed = {path.stem: Kept.read(path) for path in RESULTS.glob("*.json")}
    found = [committed[name] for name in page.TITLES if name in committed]
    assert set(committed) == {one.benchmark for one in found}
    assert page.PAGE.read_text(encoding="utf-8") == page.page(found)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_plot_is_svg_with_a_bar_for_each(logarithmic: bool) -> None:  # noqa: FBT001
    given = [Bar("a < b", 2.0, 1.0, 4.0, "2 & more"), Bar("c", 0.2, 0.1, 0.3, "0.2", weak=True)]
    drawn = ET.fromstring(bars("Title", given, logarithmic=logarithmic, line_at=1.0))  # noqa: S314 - made here
    rects = drawn.findall("{http://www.w3.org/2000/svg}rect")
    assert len(rects) == 2
    assert float(rects[0].attrib["width"]) > float(rects[1].attrib["width"])
    assert "a < b" in "".join(drawn.itertext())


def test_better_is_longer_whichever_way_an_aim_points() -> None:
    quick, slow = (page.share(value_row("x", [ms], unit="ms", aim="< 10")) for ms in (5.0, 20.0))
    assert (quick.value, slow.value) == (2.0, 0.5)
    assert slow.weak
    assert page.share(value_row("x", [16.0], unit="x", aim=">= 8")).value == 2.0


# --- the guard ------------------------------------------------------------------------------------


def test_the_guard_tells_of_what_costs_more() -> None:
    committed = {"GET": 3.0, "POST": 6.0}
    assert guard.losses({"GET": 3.5, "POST": 6.0, "new": 1.0}, committed) == [
        "GET costs 17% more than the committed figure"
    ]
    assert guard.losses({"GET": 3.4, "POST": 1.0}, committed) == []
    assert "| GET | 3.00 | 3.50 | +17% |" in guard.table({"GET": 3.5}, committed)
    assert "| new | new | 1.00 |  |" in guard.table({"new": 1.0}, committed)


def test_a_loss_counts_when_it_shows_each_time() -> None:
    committed = {"GET": 3.0, "POST": 6.0}
    noisy = iter([{"GET": 4.0, "POST": 6.0}, {"GET": 3.1, "POST": 9.0}])
    assert guard.at_best(lambda: next(noisy), committed) == {"GET": 3.1, "POST": 6.0}
    dearer = iter([{"GET": 4.0, "POST": 6.0}, {"GET": 4.2, "POST": 6.0}, {"GET": 3.9, "POST": 6.0}])
    assert guard.at_best(lambda: next(dearer), committed) == {"GET": 3.9, "POST": 6.0}
    assert next(dearer, None) is None


def test_what_costs_no_more_is_measured_once() -> None:
    once = iter([{"GET": 3.0}])
    assert guard.at_best(lambda: next(once), {"GET": 3.0}) == {"GET": 3.0}


def test_the_guard_counts_the_cheaper_slices() -> None:
    assert guard.cheap([10, 11, 12, 40, 80]) < 12


def test_every_work_of_the_guard_has_a_committed_figure() -> None:
    committed = json.loads(guard.COMMITTED.read_bytes())
    assert set(committed["machine"]) == set(guard.where())
    assert len(committed["costs"]) == 5
    assert all(cost > 1 for cost in committed["costs"].values())
