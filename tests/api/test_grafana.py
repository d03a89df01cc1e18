"""The example dashboard asks for numbers that `/metrics` gives, by labels that they have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Start
from tests.api.helpers import Api
from tests.support import eventually

BOARD = json.loads(
    (Path(__file__).parents[2] / "examples" / "grafana" / "ralf-hub.json").read_text(encoding="utf-8")
)
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
METRIC = re.compile(r"\bralf_hub\w*")
SELECTOR = re.compile(r"\b(ralf_hub\w*)\{([^}]*)\}")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus puts on every sample it scrapes."""
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on this machine (Debian: prometheus)"
)


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with each of its queries."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def plain(query: str) -> str:
    """Return *query* as Prometheus would get it from Grafana."""
    return query.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$connector", ".*")


async def page(start: Start) -> str:
    """Return `/metrics` of a hub that has done something of everything."""
    api: Api = await start(connectors={"console": {}})
    await api.task()
    await eventually(lambda: api.hub.meters.deliveries.get("console"))
    await eventually(lambda: api.hub.room and api.hub.table_bytes)  # looked at by the clock
    return (await api.call("GET", "/metrics")).body.decode()


def labels_of(text: str) -> dict[str, set[str]]:
    """Return every metric of the page with the labels its samples have."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_metric_and_label_it_names_is_given(start: Start) -> None:
    given = labels_of(await page(start))
    assert len(list(queries())) > 20
    for title, query in queries():
        selected = SELECTOR.findall(query)
        assert {name for name, _ in selected} == set(METRIC.findall(query)) <= set(given), title
        for name, matchers in selected:
            wanted = {part.split("=")[0].strip(" !~") for part in matchers.split(",")}
            assert wanted <= given[name] | OF_PROMETHEUS, (title, name)
        for group in GROUPING.findall(query):
            wanted = {label.strip() for label in group.split(",")}
            assert all(wanted <= given[name] | OF_PROMETHEUS for name, _ in selected), title
    for variable in BOARD["templating"]["list"][1:]:
        name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
        assert label in given[name] | OF_PROMETHEUS, variable["name"]


async def test_nothing_that_is_given_is_left_out(start: Start) -> None:
    text = await page(start)
    shown = {name for _, query in queries() for name in METRIC.findall(query)}
    for family in text_string_to_metric_families(text):
        assert {sample.name for sample in family.samples} & shown, family.name


def test_legends_name_labels_that_the_query_leaves() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                groups = GROUPING.findall(target["expr"])
                assert not groups or any(label in group.split(", ") for group in groups), panel["title"]


def test_panels_have_their_own_place_and_number() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    places: list[dict[str, Any]] = [panel["gridPos"] for panel in BOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)


@needs_promtool
async def test_prometheus_finds_nothing_to_say_about_the_page(start: Start) -> None:
    assert PROMTOOL is not None
    checked = subprocess.run(  # noqa: ASYNC221 - it takes no time
        [PROMTOOL, "check", "metrics"], input=await page(start), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@needs_promtool
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    rules = [{"record": f"panel:{n}", "expr": plain(query)} for n, (_, query) in enumerate(queries())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}), encoding="utf-8")
    checked = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
