"""Who the hub is at a service is asked there: what its bot did is no news, what a person did with the same token is."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ralf_hub.connectors.base import Http, Identity
from ralf_hub.connectors.identities import identity
from ralf_hub.webhook_upkeep import OwnIdentities
from tests.api.conftest import Start
from tests.api.helpers import Api
from tests.connectors.helpers import connector, network
from tests.connectors.services import SERVICES
from tests.doubles import discord
from tests.doubles import github as github_double
from tests.doubles import gitlab as gitlab_double
from tests.doubles.server import Fault
from tests.support import eventually
from tests.webhooks.signing import github, incoming
from tests.webhooks.test_github import issue
from tests.webhooks.test_trackers import gitlab, gitlab_issue

WHO = {
    "jira": Identity(("712020:ralf",)),
    "trello": Identity(("5abbe4b7ddc1b351ef9614ff", "ralf")),
    "github": Identity(("kai", "7")),
    "gitlab": Identity(("project_4711_bot_0a1b", "4712"), is_bot=True),
    "slack bot": Identity(("U1", "B1"), is_bot=True),
    "slack webhook": None,
    "discord bot": Identity((discord.BOT_ID,), is_bot=True),
    "discord webhook": None,
    "pagerduty": None,
    "webhook": None,
}


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with network() as transport:
        yield transport


@pytest.mark.parametrize("name", WHO)
async def test_who_the_hub_is(name: str, http: Http) -> None:
    (service,) = (service for service in SERVICES if service.name == name)
    async with service.double(lambda: 0) as double:
        made = connector(service.kind, **service.settings(double))
        assert await identity(made, http) == WHO[name]


@pytest.mark.parametrize(
    "fault", [{"status": 403}, {"body": "[]", "status": 200}, {"body": "{}", "status": 200}]
)
async def test_a_service_that_does_not_say_says_nothing(fault: dict[str, Any], http: Http) -> None:
    async with gitlab_double.GitLab() as double:
        double.faults.append(Fault(**fault))
        made = connector(
            "gitlab", base_url=double.url, token=gitlab_double.TOKEN, project=gitlab_double.PROJECT
        )
        assert await identity(made, http) is None


def keeper(double: Any, **place: str) -> dict[str, Any]:
    return {"token": place.pop("token"), "base_url": double.url, "events": ["task_created"], **place}


async def shown(api: Api, name: str) -> Any:
    (found,) = [item for item in (await api.get("/connectors")).json["connectors"] if item["name"] == name]
    return found


async def test_what_the_hub_s_bot_did_is_no_news(start: Start) -> None:
    async with gitlab_double.GitLab() as double:
        place = {"token": gitlab_double.TOKEN, "project": gitlab_double.PROJECT}
        door = await start(webhooks=incoming(), connectors={"gitlab": keeper(double, **place)})
        await OwnIdentities(door.hub).step()
        assert (await shown(door, "gitlab"))["identity"] == {
            "names": ["project_4711_bot_0a1b", "4712"], "is_bot": True,
        }  # fmt: skip
        own = {**gitlab_issue("open"), "user": {"username": "Project_4711_Bot_0a1b"}}
        reply = await gitlab(door, own, "a")
        assert (reply.status, reply.json["reason"]) == (202, "own_identity")
        other = await gitlab(door, gitlab_issue("open"), "b")
        assert other.json["status"] == "accepted", other.json


async def test_a_person_whose_token_it_is_still_does_things_by_hand(start: Start) -> None:
    async with github_double.GitHub() as double:
        place = {"token": github_double.TOKEN, "repository": github_double.REPOSITORY}
        door = await start(webhooks=incoming(), connectors={"github": keeper(double, **place)})
        await OwnIdentities(door.hub).step()
        assert (await shown(door, "github"))["identity"] == {"names": ["kai", "7"], "is_bot": False}
        reply = await github(door, {**issue("opened"), "sender": {"login": "kai", "id": 7}})
        assert reply.json["status"] == "accepted"
        assert reply.json["task_id"] is not None


async def test_a_service_that_is_down_is_asked_again_later_and_never_twice_once_it_has_said(
    start: Start,
) -> None:
    async with gitlab_double.GitLab() as double:
        double.faults.append(Fault("/user", status=502, times=2))
        place = {"token": gitlab_double.TOKEN, "project": gitlab_double.PROJECT}
        door = await start(webhooks=incoming(), connectors={"gitlab": keeper(double, **place)})
        await eventually(
            lambda: double.calls("/user")
        )  # the hub itself, when it starts; it tries again much later
        learns = OwnIdentities(door.hub)
        await learns.step()
        asked = len(double.calls("/user"))
        await learns.step()
        assert len(double.calls("/user")) == asked  # not at once
        double.faults.clear()
        learns._asked.clear()
        for _ in range(2):
            await learns.step()
        assert len(double.calls("/user")) == asked + 1
        assert door.hub.senders["gitlab"].own_identity == {"project_4711_bot_0a1b", "4712"}
        assert door.hub.senders["github"].own_identity == frozenset()


async def test_what_is_left_of_the_rate_limit_is_shown_until_it_is_new_again(
    start: Start, clock: Any
) -> None:
    async with gitlab_double.GitLab() as double:
        place = {"token": gitlab_double.TOKEN, "project": gitlab_double.PROJECT}
        door = await start(connectors={"gitlab": keeper(double, **place)})
        assert (await shown(door, "gitlab"))["rate_budget"] is None
        left = {"RateLimit-Limit": "300", "RateLimit-Remaining": "298", "RateLimit-Reset": "60"}
        double.faults.append(Fault(headers=left))
        assert (await door.post("/connectors/gitlab/test")).json["ok"] is True
        resets_at = clock.iso(60)
        assert (await shown(door, "gitlab"))["rate_budget"] == {
            "remaining": 298, "limit": 300, "resets_at": resets_at,
        }  # fmt: skip
        clock.advance(60)
        assert (await shown(door, "gitlab"))["rate_budget"] is None
        double.faults.append(Fault("/issues", method="POST", headers={**left, "RateLimit-Remaining": "9"}))
        await door.task()

        async def less_is_left() -> bool:
            return ((await shown(door, "gitlab"))["rate_budget"] or {}).get("remaining") == 9

        await eventually(less_is_left)
