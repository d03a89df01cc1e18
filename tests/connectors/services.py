"""Every connector with a double of its service: what is told to it, which requests that makes, what must stand there.

The tests that are the same for all of them go through `SERVICES`; the table in `docs/connectors.md` has a row for each
of their actions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ralf_hub.delivery.outlets import outlets
from ralf_hub.model import Feature
from ralf_hub.store import features, tasks
from tests.connectors.helpers import TASK
from tests.connectors.outside import Outside
from tests.connectors.told import (
    check_apprise,
    check_button,
    check_discord,
    check_jira,
    check_mail,
    check_pagerduty,
    check_slack,
    check_tracker,
    check_trello,
    check_webhook,
)
from tests.connectors.troubles import FAILURES, SAME_END, TWICE, Act, http_trouble, mail_trouble
from tests.delivery.house import Sink
from tests.doubles import discord, github, gitlab, jira, pagerduty, slack, trello
from tests.doubles.mailbox import Mailbox
from tests.doubles.receiver import Receiver
from tests.doubles.tracker import Tracker

FEATURE = Feature("F-1", "Login", created_at=TASK.created_at, updated_at=TASK.created_at)
OWNED = replace(TASK, feature_id=FEATURE.id)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = ("127.0.0.0/8",)


@dataclass(frozen=True, slots=True)
class Service:
    """A connector in one of the ways it can be set, and the life that is told to it."""

    name: str
    """How the table calls it: the connector, and the way where it has several."""
    double: Callable[[Callable[[], int]], Any]
    settings: Callable[[Any], dict[str, Any]]
    actions: Mapping[str, Act]
    check: Callable[[Any], None]
    """Asserts that all that was told stands there, and just once."""
    oracle: str
    """Who decides whether its requests are well made, besides the double."""
    life: tuple[str, ...] = ("task_failed", "task_completed")
    requests: int = 0
    """How many a whole life takes when nothing fails; 0 where the double counts none."""
    kept: Callable[[Any], Any] = dict
    """What stands outside for the task, to be counted; what a person deletes."""
    one_object: bool = False
    """Whether there is an object per task that is updated, so that all of the life shows in it."""
    failures: tuple[str, ...] = FAILURES
    permanent: str = "yes"
    parks: bool = True
    trouble: Callable[..., None] = http_trouble
    env: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The connector's type."""
        return self.name.split()[0]

    @property
    def once(self) -> bool:
        """Whether what was told once can be told apart from what was not, so that nothing shows twice."""
        return all(act.lost != TWICE for act in self.actions.values())

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


async def live(out: Outside, service: Service) -> None:
    """Let one task and its feature live from beginning to end."""
    if "button" in service.life:
        await press_button(out)
        return
    task = OWNED if service.one_object else TASK

    def known(ledger: Any) -> None:
        features.save(ledger.conn, FEATURE)
        tasks.insert(ledger.conn, task)

    await out.house.intake.accept(known)
    for kind in service.life:
        await out.tell(kind, task=task)
    await out.feature("feature_delivered", FEATURE)


async def press_button(out: Outside) -> None:
    """Record what a verified press of a button under a message leaves behind."""
    shown = {"connector": out.name, "channel": slack.CHANNEL, "ts": FIRST_TS, "text": "Failed", "blocks": []}
    connector = out.house.connectors[out.name]
    await out.house.intake.accept(
        lambda ledger: ledger.record(
            "notification",
            source="webhook:slack",
            data={"text": "kai retried it", "message": shown},
            only=connector,
        )
    )


FIRST_TS = "1769999999.000100"


def slack_with_message(now: Callable[[], int]) -> slack.Slack:
    double = slack.Slack(now=now)
    double.messages.append(slack.Message(FIRST_TS, slack.CHANNEL, "Failed", [], "bot"))
    return double


# --- the services ---------------------------------------------------------------------------------

OBJECT_LIFE = ("task_created", "task_started", "task_failed", "task_completed")

SERVICES = (
    Service(
        "jira",
        lambda now: jira.Jira(now=now),
        lambda double: {
            "base_url": double.url,
            "email": jira.EMAIL,
            "api_token": jira.TOKEN,
            "project_key": jira.PROJECT,
        },
        {
            "create": Act("POST", "/rest/api/3/issue"),
            "comment": Act("POST", "/comment"),
            "label": Act("PUT", "/issue/10001", lost=SAME_END),
            "transition": Act("POST", "/transitions", lost=SAME_END),
            "link:TASK-7": Act("POST", "/remotelink", lost=SAME_END),
        },
        check_jira,
        "its OpenAPI file",
        OBJECT_LIFE,
        13,
        lambda double: double.issues,
        one_object=True,
    ),
    Service(
        "trello",
        lambda now: trello.Trello(now=now),
        lambda double: {
            "base_url": f"{double.url}/1",
            "api_key": trello.KEY,
            "token": trello.TOKEN,
            "board_id": trello.BOARD,
        },
        {
            "create": Act("POST", "/1/cards"),
            "comment": Act("POST", "/comments"),
            "move": Act("PUT", "*", lost=SAME_END),
        },
        check_trello,
        "its OpenAPI file",
        OBJECT_LIFE,
        9,
        lambda double: double.cards,
        one_object=True,
    ),
    Service(
        "github",
        lambda now: github.GitHub(tracker=Tracker(now)),
        lambda double: {
            "base_url": double.url,
            "token": github.TOKEN,
            "repository": github.REPOSITORY,
            "events": ["task_*", "feature_delivered"],
        },
        {
            "create": Act("POST", "/issues"),
            "comment": Act("POST", "/comments"),
            "label": Act("POST", "/labels", lost=SAME_END),
            "close": Act("PATCH", "/issues/1", lost=SAME_END),
        },
        check_tracker,
        "its OpenAPI file",
        OBJECT_LIFE,
        10,
        lambda double: double.tracker.issues,
        one_object=True,
    ),
    Service(
        "gitlab",
        lambda now: gitlab.GitLab(tracker=Tracker(now)),
        lambda double: {
            "base_url": double.url,
            "token": gitlab.TOKEN,
            "project": gitlab.PROJECT,
            "events": ["task_*", "feature_delivered"],
        },
        {
            "create": Act("POST", "/issues"),
            "comment": Act("POST", "/notes"),
            "label": Act("PUT", "/issues/1", "_labels", lost=SAME_END),
            "close": Act("PUT", "/issues/1", "state_event", lost=SAME_END),
        },
        check_tracker,
        "an OpenAPI file (community)",
        OBJECT_LIFE,
        7,
        lambda double: double.tracker.issues,
        one_object=True,
    ),
    Service(
        "slack bot",
        lambda now: slack.Slack(now=now),
        lambda double: {"bot_token": slack.TOKEN, "channel": slack.CHANNEL, "base_url": double.api_url},
        {"post": Act("POST", "/chat.postMessage")},
        check_slack,
        "slack_sdk",
        requests=3,
        kept=lambda double: [found for found in double.messages if found.thread_ts is None],
    ),
    Service(
        "slack bot, a button pressed",
        slack_with_message,
        lambda double: {"bot_token": slack.TOKEN, "channel": slack.CHANNEL, "base_url": double.api_url},
        {"update": Act("POST", "/chat.update", lost=SAME_END)},
        check_button,
        "slack_sdk",
        ("button",),
        1,
    ),
    Service(
        "slack webhook",
        lambda now: slack.Slack(now=now),
        lambda double: {"webhook_url": double.webhook_url},
        {"post": Act("POST", slack.WEBHOOK_PATH, lost=TWICE)},
        check_slack,
        "slack_sdk",
        requests=3,
    ),
    Service(
        "discord bot",
        lambda now: discord.Discord(now=now),
        lambda double: {"bot_token": discord.TOKEN, "channel": discord.CHANNEL, "base_url": double.api_url},
        {"post": Act("POST", "/messages")},
        check_discord,
        "its OpenAPI file",
        requests=3,
    ),
    Service(
        "discord webhook",
        lambda now: discord.Discord(now=now),
        lambda double: {"webhook_url": double.webhook_url},
        {"post": Act("POST", discord.WEBHOOK_TOKEN, lost=TWICE)},
        check_discord,
        "its OpenAPI file",
        requests=3,
    ),
    Service(
        "pagerduty",
        lambda _: pagerduty.PagerDuty(),
        lambda double: {"routing_key": pagerduty.ROUTING_KEY, "base_url": double.api_url},
        {
            "trigger": Act("POST", "/enqueue", '"trigger"', lost="same dedup_key, one incident"),
            "resolve": Act("POST", "/enqueue", '"resolve"', lost=SAME_END),
            "change": Act("POST", "/change/enqueue", lost="may show twice, notifies nobody"),
        },
        check_pagerduty,
        "its OpenAPI file",
        requests=3,
        kept=lambda double: double.incidents,
    ),
    Service(
        "email",
        lambda _: Mailbox(),
        lambda double: {
            "host": "127.0.0.1",
            "port": double.port,
            "security": "none",
            "sender": "ralf@example.org",
            "to": "ops@example.org",
            "events": ["task_*", "feature_delivered"],
        },
        {"mail:ops@example.org": Act("", "", lost="same mail, same Message-ID")},
        check_mail,
        "aiosmtpd",
        trouble=mail_trouble,
        env={"outlets": outlets(LOOPBACK)},
    ),
    Service(
        "webhook",
        lambda now: Receiver([SECRET], now=now),
        lambda double: {"url": f"{double.url}/hook", "secret": SECRET},
        {"notify": Act("POST", "/hook", lost="same webhook-id")},
        check_webhook,
        "standardwebhooks",
        requests=3,
    ),
    Service(
        "apprise",
        lambda _: Sink(),
        lambda double: {"urls": f"json://127.0.0.1:{double.port}/a"},
        {"notify": Act("POST", "/a", lost=TWICE)},
        check_apprise,
        "apprise",
        failures=("429", "500", "502", "503"),
        permanent="after five tries",
        parks=False,
        env={"outlets": outlets(LOOPBACK), "timeout_s": 1.0},
    ),
)

EACH_WITH_OBJECTS = [pytest.param(service, id=str(service)) for service in SERVICES if service.one_object]
