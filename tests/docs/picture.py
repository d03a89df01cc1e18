"""Make the README's pictures of the dashboard: `python -m tests.docs.picture`. It needs Chromium, and takes some minutes.

A hub on the sample workspace, two connectors that work and one that does not, and some minutes of work in one.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from playwright.async_api import async_playwright, expect
from standardwebhooks.webhooks import Webhook

from tests.doubles import slack
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.journeys.hub import Hub
from tests.snippets import CHECKOUT
from tests.support import eventually

IMAGES: Final = CHECKOUT / "docs" / "images"
CHROMIUM: Final = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SIZE: Final = {"width": 1280, "height": 930}
ROUNDS: Final = 66
EVERY_S: Final = 5.0
TASKS: Final = (
    ("TASK-BOAT-002", "Caulk the tender", "critical", "in_progress"),
    ("TASK-LENS-001", "Polish the great lens", "high", "completed"),
    ("TASK-LENS-002", "Replace the lamp oil filter", "medium", "completed"),
    ("TASK-BELL-001", "Tune the fog bell", "low", "completed"),
    ("TASK-LOG-004", "Copy the log of the storm", "medium", "failed"),
    ("TASK-BOAT-003", "Splice the painter", "medium", ""),
    ("TASK-PIER-001", "Count the pier's loose planks", "low", ""),
)


SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CALLS: Final = (
    {"type": "task.create", "data": {"title": "Renew the moorings"}},
    {"type": "deploy.finished", "data": {"app": "tide-clock"}},
)


def settings(slack_url: str, board_url: str, wiki_url: str) -> str:
    return f"""
[workspace]
path = "workspace"
sample = true

[delivery]
backoff_first_s = 0.2
backoff_max_s = 1
breaker_failures = 3

[connectors.slack]
bot_token = "{slack.TOKEN}"
channel = "{slack.CHANNEL}"
base_url = "{slack_url}/api"
events = ["task_*"]

[connectors.harbour-board]
type = "webhook"
url = "{board_url}/board"
events = ["task_*", "feature_*"]

[connectors.wiki]
type = "webhook"
url = "{wiki_url}/wiki"
events = ["task_completed"]

[[webhooks.incoming]]
service = "ci"
secret = "{SECRET}"
"""


async def call(hub: Hub) -> None:
    """Let a service call: twice as it should, once with a wrong secret."""
    for number, body in enumerate((*CALLS, {"type": "task.create", "data": {"title": "Not ours"}})):
        text, now = json.dumps(body), datetime.now(tz=UTC)
        secret = SECRET if number < len(CALLS) else "whsec_" + "A" * 32
        headers = {
            "webhook-id": f"call-{number}",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(f"call-{number}", now, text),
            "Content-Type": "application/json",
        }
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{hub.url}/api/v1/webhooks/ci", data=text.encode()) as answer,
        ):
            await answer.read()


async def work(hub: Hub) -> None:
    """Let tasks come and go for some minutes, so that the charts have something to show."""
    coming = iter(TASKS)
    for number in range(ROUNDS):
        if number % 9 == 0 and (task := next(coming, None)):
            task_id, title, priority, status = task
            await hub.ok("POST", "/api/v1/tasks", {"id": task_id, "title": title, "priority": priority})
            for step in [s for s in ("in_progress", status) if status and s]:
                await hub.call("PATCH", f"/api/v1/tasks/{task_id}", {"status": step})
        else:
            for _ in range(number * 7 % 5):
                await hub.ok(
                    "POST", "/api/v1/tasks/TASK-BOAT-002/progress", {"percent": 100 * number // ROUNDS}
                )
        await asyncio.sleep(EVERY_S)  # work takes its time: the charts are of minutes
    down = "SELECT count(*) FROM connectors WHERE name = 'wiki' AND breaker = 'open'"
    await eventually(lambda: hub.value(down), within_s=60)


async def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    async with (
        slack.Slack() as chat,
        Receiver() as board,
        Receiver() as wiki,
        Hub(folder, settings(chat.url, board.url, wiki.url)) as hub,
    ):
        wiki.faults.append(Fault(status=503, times=1_000_000))
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
            )
            pages = {}
            for scheme in ("light", "dark"):
                pages[scheme] = await browser.new_page(viewport=SIZE, color_scheme=scheme)
                await pages[scheme].goto(f"{hub.url}/#key={hub.key}")
                await expect(pages[scheme].locator("#live")).to_have_text("Live")
            await call(hub)
            await work(hub)
            for scheme, page in pages.items():
                await page.screenshot(path=IMAGES / f"dashboard-{scheme}.png")
            await browser.close()
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
