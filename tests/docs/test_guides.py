"""The guides, run from top to bottom as their reader would."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.page import run_page
from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub, free_port
from tests.snippets import CHECKOUT, of
from tests.support import eventually

pytestmark = pytest.mark.journey

CONSOLE = '[connectors.console]\nevents = ["*"]\n'


def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "reader"
    folder.mkdir()
    return folder


async def on_a_hub(page: str, tmp_path: Path, settings: str = CONSOLE) -> None:
    """Run *page* beside a hub that is running already, in its folder."""
    async with Hub(tmp_path, settings) as hub:
        await asyncio.to_thread(run_page, page, tmp_path, url=hub.url, key=hub.key)


def test_getting_started(tmp_path: Path) -> None:
    run_page("docs/guides/getting-started.md", scratch(tmp_path), url=f"http://127.0.0.1:{free_port()}")


def test_operations(tmp_path: Path) -> None:
    folder = scratch(tmp_path)
    shutil.copy(CHECKOUT / "ralf-hub.toml", folder / "ralf-hub.toml")
    run_page("docs/operations.md", folder, url=f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("page", ["docs/guides/api.md", "docs/oauth.md", "docs/security.md"])
async def test_a_page_about_a_running_hub(page: str, tmp_path: Path) -> None:
    await on_a_hub(page, tmp_path)


async def test_webhooks_in(tmp_path: Path) -> None:
    page = "docs/guides/webhooks-in.md"
    for name in ("github", "ci"):
        (tmp_path / f"{name}.secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    async with Hub(tmp_path, of("toml", page)[0].text) as hub:
        env = {"HUB": str(hub.pid)}
        await asyncio.to_thread(run_page, page, tmp_path, url=hub.url, key=hub.key, env=env)


async def test_what_a_task_leaves_in_the_file(tmp_path: Path) -> None:
    count = 300
    (said,) = re.findall(
        r"leaves about (\d+) KB", (CHECKOUT / "docs/operations.md").read_text(encoding="utf-8")
    )
    async with (
        Receiver() as sink,
        Hub(tmp_path, f'[connectors.hook]\ntype = "webhook"\nurl = "{sink.url}"\nevents = ["*"]\n') as hub,
    ):
        size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        before = hub.value(size)
        for number in range(count):
            task = {"id": f"T-{number}", "title": f"Polish lens {number}", "description": "with care " * 30}
            await hub.ok("POST", "/api/v1/tasks", task)
            await hub.ok("PATCH", f"/api/v1/tasks/T-{number}", {"status": "in_progress"})
            await hub.ok(
                "PATCH", f"/api/v1/tasks/T-{number}", {"status": "completed", "result": "It shines."}
            )
        await eventually(lambda: hub.value("SELECT count(*) FROM attempts") == 3 * count, within_s=60)
        kb = (hub.value(size) - before) / count / 1024
    print(f"{kb:.1f} KB per task with three events and three deliveries")
    assert int(said) * 0.7 < kb < int(said) * 1.3


async def test_what_operations_say_is_worth_an_alert_can_be_measured(tmp_path: Path) -> None:
    scraping, alerts = (yaml.safe_load(snippet.text) for snippet in of("yaml", "docs/operations.md"))
    assert scraping["scrape_configs"][0]["job_name"] == "ralf-hub"
    rules = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    asked = set(re.findall(r"\bralf_hub_\w+", " ".join(rules)))
    assert len(asked) > 3
    async with Hub(tmp_path, CONSOLE) as hub, aiohttp.ClientSession() as session:
        await hub.ok("POST", "/api/v1/tasks", {"title": "Oil the hinges"})
        async with session.get(f"{hub.url}/metrics", headers={"X-API-Key": hub.key}) as answer:
            families = list(text_string_to_metric_families(await answer.text()))
    assert asked <= {sample.name for family in families for sample in family.samples}
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed: the rules were not read by Prometheus itself")
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(alerts), encoding="utf-8")
    done = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "rules", file], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
