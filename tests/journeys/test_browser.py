"""The dashboard in a real browser: what a person sees, does, and must never be shown.

Screenshots stay in `tests/artefacts/`. Chromium is the system's; where it is missing the journeys are skipped, but not in CI.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.doubles.receiver import Receiver
from tests.journeys.hub import Hub
from tests.support import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARTEFACTS = Path(__file__).parents[1] / "artefacts"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium on this machine (Debian: chromium)"
    ),
]


@asynccontextmanager
async def browsing(**context: object) -> AsyncIterator[tuple[Browser, Page, list[str]]]:
    """A page that notes every fault: errors of scripts, lines on the console, requests to other hosts."""
    faults: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(**context)  # type: ignore[arg-type]
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on(
            "console", lambda line: faults.append(f"console: {line.text}") if line.type == "error" else None
        )
        page.on("request", lambda r: faults.append(f"foreign: {r.url}") if "127.0.0.1" not in r.url else None)
        page.set_default_timeout(10_000)
        yield browser, page, faults
        await browser.close()


async def shot(page: Page, name: str) -> None:
    await asyncio.to_thread(ARTEFACTS.mkdir, exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


def hook(url: str) -> str:
    return f"""
[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.2
max_attempts = 3
breaker_failures = 3
breaker_probe_first_s = 0.1
breaker_probe_max_s = 0.2

[connectors.hook]
type = "webhook"
url = "{url}/hook"
events = ["task_*"]

[connectors.console]
events = ["*"]
"""


async def test_a_first_visit_and_a_task_that_appears_without_reload(tmp_path: Path) -> None:
    async with Receiver() as sink, Hub(tmp_path, hook(sink.url)) as hub:
        async with browsing(viewport={"width": 1280, "height": 900}) as (_, page, faults):
            sizes: list[int] = []

            async def note(response: object) -> None:
                sizes.append(len(await response.body()))  # type: ignore[attr-defined]

            page.on("response", lambda response: asyncio.ensure_future(note(response)))
            await page.goto(f"{hub.url}/#key={hub.key}")
            await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
            assert "rh_" not in page.url, "the key leaves the address at once"
            await expect(page.locator("#live")).to_have_text("Live")
            assert sum(sizes) < 200_000
            await page.get_by_role("link", name="Tasks", exact=True).click()
            await page.get_by_role("button", name="New task").click()
            await page.get_by_label("Title").fill("")
            await page.get_by_role("button", name="Create").click()
            await expect(page.locator(".invalid")).to_have_text("This must not be empty.")
            await page.get_by_label("Title").fill(HOSTILE)
            await page.get_by_role("button", name="Create").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
            await expect(page.get_by_role("row", name="delivered").first).to_be_visible()
            assert await page.locator("main img").count() == 0, "text from outside stays text"
            assert await page.title() not in {"1", "2"}
            await shot(page, "task")
            await page.goto(f"{hub.url}/#/")
            await expect(page.locator("main")).to_contain_text("task created")
            await hub.ok("POST", "/api/v1/tasks", {"id": "T-2", "title": "Seen without reload"})
            await expect(page.locator("main")).to_contain_text("Seen without reload")
            await shot(page, "overview")
            assert not [fault for fault in faults if "422" not in fault], faults
        assert len(sink.accepted) == 2


async def test_a_failing_connector_is_seen_explained_repaired_and_replayed(tmp_path: Path) -> None:
    async with Receiver() as sink, Hub(tmp_path, hook(sink.url)) as hub:
        await sink.refuse()
        for number in range(4):
            await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": f"Task {number}"})
        async with browsing(viewport={"width": 1280, "height": 900}) as (_, page, faults):
            await page.goto(f"{hub.url}/#key={hub.key}")
            await page.goto(f"{hub.url}/#/connectors")
            card = page.locator("section", has=page.get_by_role("heading", name="hook"))
            await expect(card).to_contain_text("not working")
            await shot(page, "connector-broken")
            await page.goto(f"{hub.url}/#/deliveries")
            await page.get_by_label("Connector").select_option("hook")
            await page.get_by_role("link", name="task created").first.click()
            await expect(page.locator("#explain")).to_contain_text("breaker")
            await shot(page, "delivery-explained")
            await sink.listen()
            await page.goto(f"{hub.url}/#/connectors")
            await expect(card).to_contain_text("working")
            await expect(card).not_to_contain_text("not working")
            await eventually(lambda: len({item.id for item in sink.accepted}) == 4, within_s=15)
            before = len(sink.accepted)
            await page.goto(f"{hub.url}/#/deliveries")
            await page.get_by_role("link", name="task created").first.click()
            await page.get_by_role("button", name="Replay").click()
            await eventually(lambda: len(sink.accepted) == before + 1)
            assert not faults


async def test_the_page_survives_a_kill_and_misses_nothing(tmp_path: Path) -> None:
    async with (
        Receiver() as sink,
        Hub(tmp_path, hook(sink.url)) as hub,
        browsing(viewport={"width": 1280, "height": 900}) as (_, page, _),
    ):
        await page.goto(f"{hub.url}/#key={hub.key}")
        await hub.ok("POST", "/api/v1/tasks", {"id": "T-before", "title": "Before the kill"})
        await expect(page.locator("main")).to_contain_text("Before the kill")
        hub.kill()
        await expect(page.locator("#live")).to_contain_text("trying again")
        await hub.start()
        await hub.ok("POST", "/api/v1/tasks", {"id": "T-after", "title": "After the kill"})
        await expect(page.locator("#live")).to_contain_text("nothing was missed", timeout=30_000)
        await expect(page.locator("main")).to_contain_text("After the kill")
        rows = page.locator("section", has=page.get_by_role("heading", name="What happened last")).locator(
            "li"
        )
        for text in ("Before the kill", "After the kill"):
            await expect(rows.filter(has_text=text).filter(has_text="task created")).to_have_count(1)
        await shot(page, "after-a-kill")


async def test_small_dark_and_accessible(tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="axe is not installed").Axe()
    async with Receiver() as sink, Hub(tmp_path, hook(sink.url)) as hub:
        await hub.ok("POST", "/api/v1/tasks", {"id": "T-1", "title": "A title " + "that is long " * 20})
        pages = ("", "tasks", "tasks/T-1", "deliveries", "connectors", "webhooks", "workspace", "keys")
        for scheme in ("light", "dark"):
            view = {"width": 375, "height": 800}
            async with browsing(viewport=view, color_scheme=scheme) as (_, page, faults):
                await page.goto(f"{hub.url}/#key={hub.key}")
                for name in pages:
                    await page.goto(f"{hub.url}/#/{name}")
                    await expect(page.locator("main h1")).to_be_visible()
                    await expect(page.locator('nav [aria-current="page"]')).to_be_visible()
                    assert await page.evaluate("document.documentElement.scrollWidth") <= 375, name
                    found = (await axe.run(page)).response["violations"]
                    serious = [item["id"] for item in found if item["impact"] in {"serious", "critical"}]
                    assert not serious, (name, scheme, serious)
                    await shot(page, f"{scheme}-375-{name.replace('/', '-') or 'overview'}")
                assert not faults


async def test_without_a_key_the_page_asks_for_one(tmp_path: Path) -> None:
    async with Receiver() as sink, Hub(tmp_path, hook(sink.url)) as hub, browsing() as (_, page, _):
        await page.goto(f"{hub.url}/")
        await page.get_by_label("API key").fill("rh_wrong_0123456789abcdef")
        await page.get_by_role("button", name="Open the dashboard").click()
        await expect(page.locator(".invalid")).to_contain_text("not valid")
        await page.get_by_label("API key").fill(hub.key)
        await page.get_by_role("button", name="Open the dashboard").click()
        await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
