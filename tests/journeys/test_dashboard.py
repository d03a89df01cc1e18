"""What an operator does on the dashboard, in a real browser: every page, every button that changes something."""

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from ralf_hub.model import SCOPES
from tests.doubles.receiver import Receiver
from tests.journeys import test_browser
from tests.journeys.hub import Hub
from tests.journeys.test_browser import browsing, shot
from tests.support import eventually

WEB = Path(__file__).parents[2] / "ralf_hub" / "web"
INTERACTIVE_WITHIN_S = 1.0
VIEW = {"width": 1280, "height": 900}
SETTINGS = """
[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.1
max_attempts = 2
breaker_failures = 100

[connectors.hook]
type = "webhook"
url = "{url}/hook/very-secret-path"
secret = "a-very-secret-signing-secret"
events = ["task_*"]

[[webhooks.incoming]]
service = "github"
path = "/api/v1/webhooks/github"
secret = "the-secret-of-github"

[workspace]
path = "ralf"
"""

pytestmark = test_browser.pytestmark


@pytest.fixture
async def sink() -> AsyncIterator[Receiver]:
    async with Receiver() as double:
        yield double


@pytest.fixture
async def hub(tmp_path: Path, sink: Receiver) -> AsyncIterator[Hub]:
    queue = tmp_path / "ralf" / ".autonomous" / "agents" / "communications" / "queue.yaml"
    queue.parent.mkdir(parents=True)
    queue.write_text('queue:\n  - task_id: "TASK-1"\n   priority: high\n', encoding="utf-8")
    async with Hub(tmp_path, SETTINGS.format(url=sink.url)) as started:
        yield started


async def signed_in(page: Page, hub: Hub) -> None:
    await page.goto(f"{hub.url}/#key={hub.key}")
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await expect(page.locator("#live")).to_have_text("Live")


async def test_a_task_is_edited_moved_on_and_cancelled(hub: Hub) -> None:
    await hub.ok("POST", "/api/v1/tasks", {"id": "T-1", "title": "Old words"})
    async with browsing(viewport=VIEW) as (_, page, faults):
        page.on("dialog", lambda dialog: dialog.accept())
        await signed_in(page, hub)
        await page.goto(f"{hub.url}/#/tasks/T-1")
        await page.get_by_role("button", name="Edit").click()
        await page.get_by_label("Title").fill("New words")
        await page.get_by_role("heading", name="Edit T-1").click()  # the focus leaves the form
        await hub.ok("POST", "/api/v1/tasks/T-1/progress", {"percent": 10})
        await hub.ok("POST", "/api/v1/tasks", {"id": "T-2", "title": "Something else"})
        await expect(page.get_by_label("Title")).to_have_value("New words")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#notice")).to_contain_text("changed this task meanwhile")
        await page.get_by_role("button", name="Back").click()
        await page.get_by_role("button", name="Edit").click()
        await page.get_by_label("Title").fill("New words")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("New words")
        await page.get_by_role("button", name="Start").click()
        await expect(page.locator(".bar .tag")).to_have_text("in progress")
        await hub.ok("POST", "/api/v1/tasks/T-1/progress", {"percent": 40, "note": "nearly half"})
        await expect(page.locator("main")).to_contain_text("nearly half")
        await page.get_by_role("button", name="Complete").click()
        await expect(page.locator(".bar .tag")).to_have_text("completed")
        await page.goto(f"{hub.url}/#/tasks/T-2")
        await page.get_by_role("button", name="Cancel task").click()
        await expect(page.locator(".bar .tag")).to_have_text("cancelled")
        assert not [fault for fault in faults if "412" not in fault], faults


async def test_many_are_replayed_after_their_number_was_shown(hub: Hub, sink: Receiver) -> None:
    await sink.refuse()
    for number in range(5):
        await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": f"Task {number}"})
    await eventually(lambda: hub.value("SELECT count(*) FROM outbox WHERE state = 'dead'") == 5, within_s=20)
    await sink.listen()
    async with browsing(viewport=VIEW) as (_, page, faults):
        await signed_in(page, hub)
        await page.get_by_role("link", name="5 dead").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Deliveries (5)")
        await page.get_by_role("button", name="Replay many…").click()
        go = page.get_by_role("button", name=re.compile("^Replay"))
        await expect(go).to_have_text("Replay 5 dead deliveries")
        await page.get_by_label("State").select_option("cancelled")
        await expect(page.get_by_role("button", name="None fits")).to_be_disabled()
        await page.get_by_label("State").select_option("dead")
        await expect(go).to_have_text("Replay 5 dead deliveries")
        await shot(page, "replay-many")
        await go.click()
        await expect(page.get_by_text("Replay of 5: 5 done, done.")).to_be_visible(timeout=15_000)
        await eventually(lambda: len(sink.accepted) == 5, within_s=15)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Deliveries (0)", timeout=15_000)
        assert not faults


async def test_a_connector_is_tried_rehearsed_paused_and_resumed(hub: Hub, sink: Receiver) -> None:
    async with browsing(viewport=VIEW) as (_, page, faults):
        await signed_in(page, hub)
        await page.goto(f"{hub.url}/#/connectors")
        card = page.locator("section", has=page.get_by_role("heading", name="hook"))
        await card.get_by_role("button", name="Dry run").click()
        shown = page.get_by_role("dialog").locator("pre")
        await expect(shown).to_contain_text('"type": "task_completed"')
        await page.get_by_label("Sample event").select_option("task_failed")
        await expect(shown).to_contain_text('"type": "task_failed"')
        text = await shown.inner_text()
        assert text.startswith("POST http://127.0.0.1")
        assert "very-secret" not in text
        await shot(page, "dry-run")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert not sink.accepted
        await card.get_by_role("button", name="Pause").click()
        await expect(card).to_contain_text("paused by first start")
        await card.get_by_role("button", name="Resume").click()
        await expect(card.locator(".tag")).to_have_text("working")
        await card.get_by_role("button", name="Test").click()
        await expect(page.locator("#notice")).to_contain_text("hook: ")
        assert not faults


async def test_refused_webhooks_and_faulty_files_are_shown_with_the_reason(hub: Hub) -> None:
    async with browsing(viewport=VIEW) as (_, page, faults):
        await signed_in(page, hub)
        await page.goto(f"{hub.url}/#/webhooks")
        await expect(page.locator("main")).to_contain_text("No service has called")
        status, _ = await hub.call("POST", "/api/v1/webhooks/github", {"zen": "x"}, X_GitHub_Event="ping", X_GitHub_Delivery="1", X_Hub_Signature_256="sha256=00")  # fmt: skip
        assert status == 401
        await expect(page.get_by_role("row", name="rejected")).to_contain_text("mismatch")  # without reload
        await page.get_by_label("Status").select_option("accepted")
        await expect(page.locator("main")).to_contain_text("None has this status")
        await page.goto(f"{hub.url}/#/workspace")
        row = page.get_by_role("row", name="queue.yaml")
        await expect(row.get_by_role("cell").nth(1)).to_have_text("3")
        await expect(row).to_contain_text("not a field")
        await shot(page, "workspace-problems")
        assert not faults


async def test_keys_are_made_shown_once_and_revoked(hub: Hub) -> None:
    async with browsing(viewport=VIEW) as (_, page, faults):
        page.on("dialog", lambda dialog: dialog.accept())
        await signed_in(page, hub)
        await page.goto(f"{hub.url}/#/keys")
        await expect(page.get_by_role("row", name="first start")).to_be_visible()
        await page.get_by_label("Name").fill("board")
        await page.get_by_label("metrics:read").check()
        await page.get_by_role("button", name="Create").click()
        key = await page.locator("code").inner_text()
        assert key.startswith("rh_")
        await page.get_by_role("button", name="Done").click()
        row = page.get_by_role("row", name="board")
        await expect(row).to_contain_text("tasks:read, metrics:read, events:read")
        assert key not in await page.content()
        await row.get_by_role("button", name="Revoke board").click()
        await expect(row).to_contain_text("revoked")
        await page.get_by_label("Last 30 days").select_option("key")
        await expect(page.locator("main")).to_contain_text("Calls by key")
        assert not faults


async def test_scopes_offered_are_those_there_are() -> None:
    listed = re.search(r"const SCOPES = \[(.*?)\]", (WEB / "pages.js").read_text(encoding="utf-8"))
    assert listed is not None
    assert re.findall(r'"([^"]+)"', listed[1]) == list(SCOPES)


async def test_a_lively_hub_with_the_usual_limit_is_watched_without_a_refusal(
    tmp_path: Path, sink: Receiver
) -> None:
    """The page goes easy on the calls its key has left; what it shows stays, and comes a little later."""
    usual = 'api_keys = [{ name = "other", key = "rh_other_0123456789abcdef", scopes = ["*"] }]'
    async with (
        Hub(tmp_path, SETTINGS.format(url=sink.url), api=usual) as hub,
        browsing(viewport=VIEW) as (_, page, faults),
    ):
        hub.key = "rh_other_0123456789abcdef"
        await hub.ok("POST", "/api/v1/tasks", {"id": "T-0", "title": "The first"})
        made = json.loads(
            hub.command("keys", "create", "--name", "watcher", "--scopes", "*", "--json").stdout
        )
        refused: list[str] = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status == 429 else None)
        await page.goto(f"{hub.url}/#key={made['key']}")
        await expect(page.locator("main")).to_contain_text("The first")
        for number in range(1, 51):  # faster than the page may ask
            await hub.ok("POST", "/api/v1/events", {"type": "lively", "data": {"title": f"Event {number}"}})
            await page.wait_for_timeout(300)
        await expect(page.locator("main")).to_contain_text("Event 50", timeout=30_000)
        assert not refused
        assert not faults


async def test_the_page_is_ready_within_a_second(hub: Hub) -> None:
    for number in range(40):
        await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": f"Task {number}"})
    took: list[float] = []
    async with browsing(viewport=VIEW) as (browser, _, faults):
        for _ in range(3):
            page = await (await browser.new_context()).new_page()
            begun = time.monotonic()
            await page.goto(f"{hub.url}/#key={hub.key}", wait_until="commit")
            await page.locator("main .board").wait_for()
            took.append(time.monotonic() - begun)
            await page.close()
        assert not faults
    print(f"first visits: {', '.join(f'{seconds * 1000:.0f} ms' for seconds in took)}")
    assert min(took) < INTERACTIVE_WITHIN_S


async def test_what_ails_the_hub_stands_above_every_page(hub: Hub) -> None:
    async with browsing(viewport=VIEW) as (_, page, _):
        await signed_in(page, hub)
        await expect(page.locator("#trouble")).to_be_hidden()
        hub.config.write_text(hub.config.read_text(encoding="utf-8") + "\n[nonsense]\n", encoding="utf-8")
        await expect(page.locator("#trouble")).to_contain_text(
            "the changed settings were not taken", timeout=30_000
        )
        await shot(page, "trouble")


async def test_a_key_that_may_see_little_sees_that_little(hub: Hub) -> None:
    await hub.ok("POST", "/api/v1/tasks", {"id": "T-1", "title": "Seen by all"})
    made = await hub.ok("POST", "/api/v1/keys", {"name": "guest", "scopes": ["tasks:read", "events:read"]})
    async with browsing(viewport=VIEW) as (_, page, faults):
        await page.goto(f"{hub.url}/#key={made['key']}")
        await expect(page.locator("main")).to_contain_text("This key lacks metrics:read, queue:read")
        await expect(page.locator("main")).to_contain_text("Seen by all")
        await expect(page.locator("#live")).to_have_text("Live")
        await page.goto(f"{hub.url}/#/tasks/T-1")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Seen by all")
        await expect(page.locator("main")).to_contain_text("task created")
        await page.goto(f"{hub.url}/#/deliveries")
        await expect(page.locator("main")).to_contain_text("This needs the scope deliveries:read")
        assert not [fault for fault in faults if "403" not in fault], faults
