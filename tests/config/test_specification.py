"""The specification's own YAML, as it is written."""

import os
from pathlib import Path

import pytest

from ralf_hub.config import instances, load
from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.errors import SettingsError
from tests.config.helpers import CHECKOUT, SLACK_URL, warnings

SHARED = Path(os.environ.get("RALF_HUB_SHARED", CHECKOUT.parent / "shared"))
SPECIFICATION = SHARED / "specs/specification-config.yaml"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SPECIFICATION.exists(), reason=f"{SPECIFICATION} is absent"),
]


@pytest.mark.parametrize(
    "url", [SLACK_URL, "http://127.0.0.1:9999/services/T000/B000/XXXX", "http://127.0.0.1:9999/hook"]
)
def test_it_loads_with_the_webhook_url_alone(url: str) -> None:
    loaded = load(SPECIFICATION, {"SLACK_WEBHOOK_URL": url})
    settings = loaded.settings
    assert (settings.api.host, settings.api.port, settings.api.auth_type) == ("127.0.0.1", 8080, "api_key")
    assert settings.api.api_keys == ()
    assert settings.api.rate_limit.requests_per_minute == 60
    assert settings.api.cors.origins == ("http://localhost:3000", "https://dashboard.blackbox5.com")
    assert [(name, section.enabled) for name, section in settings.connectors.items()][:3] == [
        ("slack", True),
        ("jira", False),
        ("trello", False),
    ]
    built = instances(settings, ConnectorEnv())
    assert [connector.service for connector in built.values()] == ["slack", "slack"]
    first, second = built.values()
    assert first.destinations() & second.destinations(), "the two routes are one delivery"
    told = warnings(loaded)
    assert told.pop("webhooks.outgoing[0].url") == (
        "leads to the same place as slack: what both ask for (task_completed) is delivered once"
    )
    assert set(told) == {"api.api_keys[0]", "connectors.slack.bot_token", "webhooks.incoming[0].secret"}


def test_it_loads_without_a_word_when_everything_is_set() -> None:
    env = {
        "SLACK_WEBHOOK_URL": SLACK_URL,
        "SLACK_BOT_TOKEN": "xoxb-0123456789",
        "RALF_API_KEY": "rh_0123456789abcdefghij",
        "GITHUB_WEBHOOK_SECRET": "0123456789abcdef",
    }
    loaded = load(SPECIFICATION, env)
    assert set(warnings(loaded)) == {"webhooks.outgoing[0].url"}
    assert [key.key.get_secret_value() for key in loaded.settings.api.api_keys if key.key] == [
        env["RALF_API_KEY"]
    ]
    assert loaded.settings.webhooks.incoming[0].configured


def test_with_nothing_set_it_says_what_is_needed() -> None:
    with pytest.raises(SettingsError) as caught:
        load(SPECIFICATION, {})
    fatal = {
        problem.key: (problem.message, problem.remedy) for problem in caught.value.problems if problem.fatal
    }
    assert set(fatal) == {"connectors.slack", "webhooks.outgoing[0].url"}
    assert "SLACK_WEBHOOK_URL and SLACK_BOT_TOKEN are not set" in fatal["connectors.slack"][0]
    assert fatal["webhooks.outgoing[0].url"] == (
        "SLACK_WEBHOOK_URL is not set",
        "set SLACK_WEBHOOK_URL in the environment, or enabled = false",
    )
    assert all(problem.file == str(SPECIFICATION) for problem in caught.value.problems)
