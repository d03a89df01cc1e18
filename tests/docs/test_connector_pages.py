"""Each connector's page, followed to the end: its settings, its commands, on a double in the service's place.

What `check --live` says about credentials that do not work is quoted on the page, so that whoever reads it in a terminal
finds the page by it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.docs.page import command, run_page
from tests.doubles import discord, github, gitlab, jira, mailbox, pagerduty, slack, trello
from tests.doubles.receiver import Receiver
from tests.doubles.server import Double, Fault
from tests.journeys.hub import free_port
from tests.snippets import CHECKOUT, of

pytestmark = pytest.mark.journey

WRONG: Final = "wrongCredentials0123456789abcdef"


@dataclass(frozen=True)
class Guide:
    """How the settings of a page are turned to a double: *swap* replaces text in them, *more* lines follow them."""

    double: Callable[[], AbstractAsyncContextManager[Any]]
    env: Mapping[str, str] = field(default_factory=dict)
    swap: Mapping[str, str] = field(default_factory=dict)
    more: str = ""
    block: int = 0
    wrong: str | None = None
    """The variable that is set wrong in the second half of the test; None where a service cannot be asked."""


@asynccontextmanager
async def anything() -> AsyncIterator[Double]:
    """A receiver that says 200 to everything, for Apprise's services."""
    async with Receiver() as sink:
        sink.faults.append(
            Fault(status=200, times=1000, body="{}", headers={"Content-Type": "application/json"})
        )
        yield sink


GUIDES: Final = {
    "slack": Guide(
        slack.Slack,
        env={"SLACK_BOT_TOKEN": slack.TOKEN},
        more='base_url = "@URL@/api"',
        block=1,
        wrong="SLACK_BOT_TOKEN",
    ),
    "discord": Guide(
        discord.Discord,
        env={"DISCORD_BOT_TOKEN": discord.TOKEN},
        more='base_url = "@URL@/api/v10"',
        block=1,
        wrong="DISCORD_BOT_TOKEN",
    ),
    "jira": Guide(
        jira.Jira,
        env={"JIRA_EMAIL": jira.EMAIL, "JIRA_API_TOKEN": jira.TOKEN},
        swap={"https://your-domain.atlassian.net": "@URL@"},
        wrong="JIRA_API_TOKEN",
    ),
    "trello": Guide(
        trello.Trello,
        env={"TRELLO_API_KEY": trello.KEY, "TRELLO_TOKEN": trello.TOKEN, "TRELLO_BOARD_ID": trello.BOARD},
        more='base_url = "@URL@/1"',
        wrong="TRELLO_TOKEN",
    ),
    "github": Guide(
        github.GitHub,
        env={"GITHUB_TOKEN": github.TOKEN},
        swap={"owner/name": github.REPOSITORY},
        more='base_url = "@URL@"',
        wrong="GITHUB_TOKEN",
    ),
    "gitlab": Guide(
        gitlab.GitLab,
        env={"GITLAB_TOKEN": gitlab.TOKEN},
        swap={"group/name": gitlab.PROJECT},
        more='base_url = "@URL@"',
        wrong="GITLAB_TOKEN",
    ),
    "pagerduty": Guide(
        pagerduty.PagerDuty,
        env={"PAGERDUTY_ROUTING_KEY": pagerduty.ROUTING_KEY},
        more='base_url = "@URL@/v2"',
        wrong="PAGERDUTY_ROUTING_KEY",
    ),
    "email": Guide(
        lambda: mailbox.Mailbox(auth=True),
        env={"SMTP_PASSWORD": mailbox.PASSWORD},
        swap={
            "smtp.example.org": "127.0.0.1",
            'username = "ralf@example.org"': f'username = "{mailbox.USER}"',
        },
        more='port = @PORT@\nsecurity = "none"',
        wrong="SMTP_PASSWORD",
    ),
    "apprise": Guide(
        anything,
        env={"TELEGRAM_APPRISE_URL": "json://127.0.0.1:@PORT@/telegram"},
        swap={"ntfy://": "ntfy://127.0.0.1:@PORT@/"},
    ),
}


def settings(name: str, guide: Guide, double: Any, folder: Path) -> Path:
    """Write what the page shows, turned to *double*."""
    text = of("toml", f"docs/connectors/{name}.md")[guide.block].text
    for shown, here in guide.swap.items():
        assert shown in text, f"{name}: {shown} is not on the page"
        text = text.replace(shown, here)
    text = f'{text.rstrip()}\n{guide.more}\n\n[security]\nallowed_networks = ["127.0.0.0/8"]\n'
    folder.mkdir(exist_ok=True)
    file = folder / "ralf-hub.toml"
    file.write_text(
        text.replace("@URL@", f"http://127.0.0.1:{double.port}").replace("@PORT@", str(double.port))
    )
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("name", GUIDES)
async def test_a_connectors_page(name: str, tmp_path: Path) -> None:
    guide = GUIDES[name]
    page = f"docs/connectors/{name}.md"
    async with guide.double() as double:
        env = {key: value.replace("@PORT@", str(double.port)) for key, value in guide.env.items()}
        settings(name, guide, double, tmp_path / "reader")
        await asyncio.to_thread(run_page, page, tmp_path / "reader", url="http://127.0.0.1:8080", env=env)
        if guide.wrong is None:
            return
        settings(name, guide, double, tmp_path / "mistaken")
        env[guide.wrong] = WRONG
        refused = await asyncio.to_thread(command, tmp_path / "mistaken", env, "check", "--live")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    said = refused.stdout.partition("does not work: ")[2].strip()
    assert said
    assert WRONG not in said
    assert f"`{said}`" in " ".join((CHECKOUT / page).read_text(encoding="utf-8").split()), (
        f"{page} does not quote: {said}"
    )


async def test_the_page_of_webhooks_out(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "reader"
    folder.mkdir()
    text = of("toml", "docs/connectors/webhook.md")[0].text
    (folder / "ralf-hub.toml").write_text(text.replace(":9000/", f":{port}/"))
    await asyncio.to_thread(
        run_page,
        "docs/connectors/webhook.md",
        folder,
        url="http://127.0.0.1:8080",
        env={"WALL_PORT": str(port)},
    )


def test_every_connector_has_a_page_that_is_followed() -> None:
    pages = {path.stem for path in (CHECKOUT / "docs" / "connectors").glob("*.md")} - {"index", "webhook"}
    assert pages == set(GUIDES)
