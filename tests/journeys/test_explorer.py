"""The API explorer in a real browser: found from the dashboard, read, tried with the key, safe against what it shows."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from tests.journeys.hub import Hub
from tests.journeys.test_browser import CHROMIUM, HOSTILE, browsing, shot

pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium on this machine (Debian: chromium)"
    ),
]
LARGE = {"width": 1280, "height": 1000}


def operation(page: Page, summary: str) -> Locator:
    return page.locator("details.op", has=page.get_by_role("heading", name=summary, exact=True))


async def opened(page: Page, summary: str) -> Locator:
    box = operation(page, summary)
    await box.locator("summary").first.click()
    await expect(box.get_by_role("heading", name="Answers")).to_be_visible()
    return box


async def answer(box: Locator) -> Any:
    return json.loads(await box.get_by_label("Body of the answer").inner_text())


async def test_a_task_is_created_from_the_page(tmp_path: Path) -> None:
    async with Hub(tmp_path, "") as hub, browsing(viewport=LARGE) as (_, page, faults):
        await page.goto(f"{hub.url}/#key={hub.key}")
        await page.get_by_role("link", name="API", exact=True).click()
        await expect(page.get_by_label("API key")).to_have_value(hub.key)
        box = await opened(page, "Create a task")
        await box.get_by_label("Idempotency-Key").fill("once")
        await box.get_by_role("button", name="Send").click()
        await expect(box.locator(".tag")).to_have_text("201 Created")
        await shot(page, "explorer-created")
        task = (await answer(box))["id"]
        assert (await hub.ok("GET", f"/api/v1/tasks/{task}"))["title"] == "Prepare the release"

        await box.get_by_label("Body (JSON)").fill(json.dumps({"title": HOSTILE}))
        await box.get_by_label("Idempotency-Key").fill("")
        await box.get_by_role("button", name="Send").click()
        await expect(box.get_by_label("Body of the answer")).to_contain_text("onerror")
        assert await page.locator("main img, main script").count() == 0, "text from outside stays text"

        box = await opened(page, "List tasks")
        await box.get_by_label("status (in the query)").select_option("pending")
        await box.get_by_label("limit (in the query)").fill("1")
        await box.get_by_role("button", name="Send").click()
        await expect(box.locator(".tag")).to_have_text("200 OK")
        found = await answer(box)
        assert (len(found["tasks"]), found["total"]) == (1, 2)
        assert not faults


async def test_what_goes_wrong_is_shown_as_the_hub_says_it(tmp_path: Path) -> None:
    async with Hub(tmp_path, "") as hub, browsing(viewport=LARGE) as (_, page, faults):
        await page.goto(f"{hub.url}/docs#createTask")
        box = operation(page, "Create a task")
        send = box.get_by_role("button", name="Send")
        await send.click()
        await expect(box.locator(".tag")).to_have_text("401 Unauthorized")
        assert (await answer(box))["code"] == "missing_key"
        await page.get_by_label("API key").fill(hub.key)
        for text, status, code in (
            ("{", "400 Bad Request", "invalid_json"),
            ("{}", "422", "validation_failed"),
        ):
            await box.get_by_label("Body (JSON)").fill(text)
            await send.click()
            await expect(box.locator(".tag")).to_contain_text(status)
            assert (await answer(box))["code"] == code
        box = await opened(page, "Read a task")
        await box.get_by_label("id (in the path, needed)").fill("../keys?limit=1")
        await box.get_by_role("button", name="Send").click()
        await expect(box.locator(".tag")).to_contain_text("404")
        await expect(box.locator("p code").last).to_have_text("/api/v1/tasks/..%2Fkeys%3Flimit%3D1")
        hub.kill()
        await box.get_by_role("button", name="Send").click()
        await expect(box.locator(".invalid")).to_contain_text("cannot be reached")
        assert not [fault for fault in faults if not fault.startswith("console: Failed to load resource")]


async def test_every_operation_is_there_with_samples_and_fields(tmp_path: Path) -> None:
    async with Hub(tmp_path, "") as hub, browsing(viewport=LARGE) as (_, page, faults):
        paths = (await hub.ok("GET", "/openapi.json"))["paths"]
        known = [one for methods in paths.values() for one in methods.values()]
        await page.goto(f"{hub.url}/docs")
        await expect(page.locator("details.op")).to_have_count(len(known))
        await page.evaluate("for (const box of document.querySelectorAll('details.op')) box.open = true")
        await expect(page.get_by_role("heading", name="Answers")).to_have_count(len(known))
        callable_ones = [one for one in known if "x-codeSamples" in one]
        await expect(page.get_by_role("button", name="Send")).to_have_count(len(callable_ones))

        box = operation(page, "Create a task")
        for sample in next(one for one in known if one["operationId"] == "createTask")["x-codeSamples"]:
            await box.get_by_role("button", name=sample["label"], exact=True).click()
            assert await box.get_by_label("Code sample").text_content() == sample["source"]
        other = operation(page, "List tasks").get_by_label("Code sample")
        await expect(other).to_contain_text("package main")

        await box.get_by_text("TaskCreate", exact=True).click()
        await expect(box.locator(".shape li", has_text="depends_on").first).to_contain_text("list of string")
        await page.get_by_label("Find an operation").fill("replay POST")
        assert await page.locator("details.op:visible h3").all_inner_texts() == [
            one["summary"] for one in known if one["operationId"] in {"replayDeliveries", "replayDelivery"}
        ]
        await page.get_by_label("Find an operation").fill("nothing has these words")
        await expect(page.get_by_text("No operation has these words")).to_be_visible()
        assert not faults


async def test_the_explorer_is_small_dark_and_accessible(tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="axe is not installed").Axe()
    async with Hub(tmp_path, "") as hub:
        for scheme in ("light", "dark"):
            view = {"width": 375, "height": 800}
            async with browsing(viewport=view, color_scheme=scheme) as (_, page, faults):
                await page.goto(f"{hub.url}/docs#createTask")
                box = operation(page, "Create a task")
                await page.get_by_label("API key").fill(hub.key)
                await box.get_by_role("button", name="Send").click()
                await expect(box.locator(".tag")).to_have_text("201 Created")
                await box.get_by_text("TaskCreate", exact=True).click()
                assert await page.evaluate("document.documentElement.scrollWidth") <= 375
                found = (await axe.run(page)).response["violations"]
                serious = [item["id"] for item in found if item["impact"] in {"serious", "critical"}]
                assert not serious, (scheme, serious)
                await shot(page, f"explorer-{scheme}-375")
                assert not faults
