"""After downtime GitHub is asked for the deliveries that failed, and for no others."""

import asyncio
from typing import Any

import pytest

from ralf_hub.connectors.base import HttpResponse
from ralf_hub.webhook_upkeep import CatchUp
from ralf_hub.webhooks.catch_up import Hook, Logged, failed, next_cursor, read_page
from tests.api.conftest import Start
from tests.api.helpers import Api
from tests.doubles.github_hooks import TOKEN, GitHubHooks
from tests.support import SettableClock, eventually
from tests.webhooks.signing import SIGN, github, incoming, packed, send


def opened(number: int) -> dict[str, Any]:
    issue = {"number": number, "title": f"Issue {number}", "state": "open"}
    return {"action": "opened", "issue": issue, "repository": {"full_name": "acme/mill"}}


class Outside:
    """GitHub, which knows the hub's address."""

    def __init__(self, clock: SettableClock) -> None:
        self.api: Api | None = None
        self.github = GitHubHooks(self.deliver, clock.iso)

    async def deliver(self, guid: str, body: bytes) -> int:
        assert self.api is not None
        return (await send(self.api, "github", body, SIGN.github(body, "issues", guid))).status

    def entry(self, **changes: Any) -> dict[str, Any]:
        settings = {"repo": "acme/mill", "hook_id": 7, "token": TOKEN, "base_url": self.github.url}
        return incoming(github={"catch_up": {**settings, **changes}})


async def look(api: Api) -> int:
    (entry,) = [entry for entry in api.hub.settings.webhooks.incoming if entry.catch_up]
    assert entry.catch_up is not None
    return await CatchUp(api.hub).look("github", entry.catch_up)


@pytest.fixture
def outside(clock: SettableClock) -> Outside:
    return Outside(clock)


async def test_what_failed_while_the_hub_was_away_comes_after_all(
    start: Start, clock: SettableClock, outside: Outside
) -> None:
    door = await start(webhooks=incoming())
    await github(door, opened(1), delivery="guid-1")
    log = outside.github.log
    log.add("guid-0", packed(opened(90)), clock.iso(-8_000), 500)  # long before the last that came
    log.add("guid-1", packed(opened(1)), clock.iso(), 202)
    clock.advance(60)
    for number in range(2, 9):
        log.add(f"guid-{number}", packed(opened(number)), clock.iso(), 502)
    log.add("guid-3", packed(opened(3)), clock.iso(1), 202)  # somebody has asked for this one by hand
    async with outside.github:
        outside.api = await start(webhooks=outside.entry())
        await eventually(lambda: len(log.asked) >= 6, within_s=15)  # by itself, soon after the start
        tasks = outside.api
        await eventually(lambda: sum(d.redelivery for d in log.deliveries) == 6)
        assert sorted(log.asked) == [3, 5, 6, 7, 8, 9]
        titles = {task["title"] for task in await tasks.listed("/tasks", "tasks", limit=200)}
        assert titles == {f"Issue {number}" for number in (1, 2, 4, 5, 6, 7, 8)}
        assert await look(tasks) == 0, "what has come is not asked for again"


async def test_what_the_hub_has_is_not_asked_for_although_github_saw_no_answer(
    start: Start, clock: SettableClock, outside: Outside
) -> None:
    async with outside.github:
        outside.api = await start(webhooks=outside.entry())
        await github(outside.api, opened(1), delivery="guid-1")
        outside.github.log.add("guid-1", packed(opened(1)), clock.iso(), 0)
        outside.github.log.add("guid-2", packed(opened(2)), clock.iso(), 0)
        assert await look(outside.api) == 1
        await eventually(lambda: outside.github.log.asked == [2])


async def test_a_refusal_changes_nothing_and_shows_no_token(
    start: Start, clock: SettableClock, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    async with outside.github:
        outside.api = await start(webhooks=outside.entry(token="ghp_wrong_0123456789abcdef"))
        outside.github.log.add("guid-2", packed(opened(2)), clock.iso(), 0)
        with caplog.at_level("WARNING"):
            await CatchUp(outside.api.hub).step()
        assert "GitHub answered 401 (Bad credentials)" in caplog.text
        assert "ghp_wrong" not in caplog.text
        outside.api = await start(webhooks=outside.entry())
        assert await look(outside.api) in {0, 1}  # the hub's own look may have been first
        await eventually(lambda: outside.github.log.asked == [1])


async def test_github_away_is_no_fault(
    start: Start, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    door = await start(webhooks=outside.entry(base_url="http://127.0.0.1:9"))
    with caplog.at_level("WARNING"):
        await CatchUp(door.hub).step()
    assert "no connection" in caplog.text
    await asyncio.sleep(0)
    assert (await door.call("GET", "/health")).status == 200


# --- the pure half --------------------------------------------------------------------------------


def test_the_newest_try_of_what_never_succeeded() -> None:
    log = [
        Logged(5, "b", "2026-02-01T10:00:05Z", ok=False),
        Logged(4, "a", "2026-02-01T10:00:04Z", ok=True),
        Logged(3, "c", "2026-02-01T10:00:03Z", ok=False),
        Logged(2, "b", "2026-02-01T10:00:02Z", ok=False),
        Logged(1, "a", "2026-02-01T10:00:01Z", ok=False),
    ]
    assert [logged.id for logged in failed(log)] == [5, 3]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1, {}, null]", b'[{"id": "1", "guid": 2}]', b"<html>", b"null"]
)
def test_odd_pages(body: bytes) -> None:
    assert read_page(HttpResponse(200, {}, body)) in (None, [])
    assert read_page(HttpResponse(500, {}, b"[]")) is None


@pytest.mark.parametrize(
    ("header", "cursor"),
    [
        ('<https://api.github.com/x?per_page=100&cursor=v1_12>; rel="next"', "v1_12"),
        ('<https://a/x?cursor=v1_0>; rel="prev", <https://a/x?cursor=v1_9&per_page=1>; rel="next"', "v1_9"),
        ('<https://a/x?cursor=v1_0>; rel="prev"', ""),
        ("", ""),
        ("<", ""),
    ],
)
def test_the_next_page(header: str, cursor: str) -> None:
    assert next_cursor({"link": header}) == cursor


def test_an_organisation_s_webhook() -> None:
    hook = Hook("orgs/acme", 7, "ghp_x")
    assert hook.list().url == "https://api.github.com/orgs/acme/hooks/7/deliveries?per_page=100"
    assert "ghp_x" not in repr(hook)
