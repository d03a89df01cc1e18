import hashlib
from pathlib import Path

import pytest
from pydantic import SecretStr

from ralf_hub.config import instances
from ralf_hub.config.types import service_of
from ralf_hub.connectors import registry
from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.connectors.slack import SlackConnector
from ralf_hub.connectors.webhook import WebhookConnector
from ralf_hub.connectors.webhook import WebhookSettings as WebhookConnectorSettings
from tests.config.helpers import SLACK_URL, good, problems, warnings

URL = "https://example.org/hooks/canary-1234"


def outgoing(*entries: str) -> str:
    return "\n".join(f"[[webhooks.outgoing]]\n{entry}" for entry in entries)


def incoming(*entries: str) -> str:
    return "\n".join(f"[[webhooks.incoming]]\n{entry}" for entry in entries)


# --- outgoing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "service"),
    [
        (SLACK_URL, "slack"),
        ("https://hooks.slack.com/workflows/T/A/1/x", "slack"),
        ("http://127.0.0.1:9999/services/T000/B000/XXXX", "slack"),
        ("https://discord.com/api/webhooks/1/abc", "discord"),
        ("https://discordapp.com/api/v10/webhooks/1/abc", "discord"),
        ("https://ptb.discord.com/api/webhooks/1/abc", "discord"),
        ("https://discord.com/channels/1", "webhook"),
        ("https://notdiscord.com/api/webhooks/1/abc", "webhook"),
        ("https://hooks.slack.com.example.org/", "webhook"),
        ("https://example.org/services", "webhook"),
        ("not a url", "webhook"),
    ],
)
def test_whose_format_a_url_gets(url: str, service: str) -> None:
    assert service_of(url) == service


def test_one_connector_for_each_url_with_the_events_of_all_its_entries(tmp_path: Path) -> None:
    text = outgoing(
        'event = "task_completed"\nurl = "${URL}"',
        'events = ["task_failed", "task_completed"]\nurl = "${URL}"\nname = "tasks"',
        'event = "*"\nurl = "${SLACK}"',
    )
    loaded = good(tmp_path, "[connectors.console]\n" + text, {"URL": URL, "SLACK": SLACK_URL})
    built = instances(loaded.settings, ConnectorEnv())
    automatic = f"outgoing-{hashlib.sha256(SLACK_URL.encode()).hexdigest()[:8]}"
    assert list(built) == ["console", "tasks", automatic]
    assert isinstance(built["tasks"], WebhookConnector)
    assert built["tasks"].settings.events == ("task_completed", "task_failed")
    assert isinstance(built[automatic], SlackConnector)


def test_a_url_that_a_section_uses_gets_that_section_s_type(tmp_path: Path) -> None:
    text = '[connectors.slack]\nwebhook_url = "${URL}"\nevents = ["task_completed"]\n' + outgoing(
        'event = "task_completed"\nurl = "${URL}"'
    )
    loaded = good(tmp_path, text, {"URL": URL})
    assert [section.type for section in loaded.settings.connectors.values()] == ["slack", "slack"]
    assert warnings(loaded) == {
        "webhooks.outgoing[0].url": "leads to the same place as slack: what both ask for (task_completed) is delivered once"
    }


def test_type_can_be_named(tmp_path: Path) -> None:
    text = outgoing(f'event = "*"\nurl = "{URL}"\ntype = "slack"\nname = "a"')
    assert good(tmp_path, text).settings.connectors["a"].type == "slack"


def test_secrets_sign_and_can_be_rotated(tmp_path: Path) -> None:
    text = outgoing(
        f'event = "*"\nurl = "{URL}"\nname = "a"\nsecret = "first-secret"\nsecrets = ["second-secret", "first-secret"]'
    )
    section = good(tmp_path, text).settings.connectors["a"]
    assert isinstance(section, WebhookConnectorSettings)
    assert section.secret == (SecretStr("first-secret"), SecretStr("second-secret"))


def test_slack_is_not_signed(tmp_path: Path) -> None:
    text = outgoing(f'event = "*"\nurl = "{SLACK_URL}"\nsecret = "first-secret"')
    assert "is not used" in warnings(good(tmp_path, text))["webhooks.outgoing[0].secret"]


def test_a_line_end_after_the_url_does_no_harm(tmp_path: Path) -> None:
    text = outgoing('event = "*"\nurl = "${URL}"\nname = "a"')
    (entry,) = good(tmp_path, text, {"URL": URL + "\n"}).settings.webhooks.outgoing
    assert entry.url.get_secret_value() == URL


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (outgoing('event = "*"\nurl = "${MISSING}"'), "webhooks.outgoing[0].url", "MISSING is not set"),
        (outgoing('event = "*"'), "webhooks.outgoing[0].url", "is missing"),
        (outgoing('event = "*"\nurl = "example.org"'), "webhooks.outgoing[0].url", "must be a URL"),
        (outgoing(f'url = "{URL}"'), "webhooks.outgoing[0]", "needs event"),
        (outgoing(f'event = "a b"\nurl = "{URL}"'), "webhooks.outgoing[0].event", "event type or a pattern"),
        (
            outgoing(f'event = "*"\nurl = "{URL}"\nname = "a b"'),
            "webhooks.outgoing[0].name",
            "letters, digits",
        ),
        (outgoing(f'event = "*"\nurl = "{URL}"\nurls = []'), "webhooks.outgoing[0].urls", "not a key"),
        (
            outgoing(f'event = "*"\nurl = "{URL}"\nenabled = "perhaps"'),
            "webhooks.outgoing[0].enabled",
            "true or false",
        ),
        (
            outgoing(f'event = "*"\nurl = "{URL}"\nsecret = "abc"'),
            "webhooks.outgoing[0].secret[0]",
            "too short",
        ),
        (
            outgoing(f'event = "*"\nurl = "{URL}"\ntype = "telegram"'),
            "webhooks.outgoing[0].type",
            "must be one of",
        ),
        (outgoing("enabled = false\nurls = []"), "webhooks.outgoing[0].urls", "not a key"),
        ('[webhooks.outgoing]\nevent = "*"\n', "webhooks.outgoing", "must be a list of tables"),
        ("[webhooks]\noutgoing = [1]\n", "webhooks.outgoing[0]", "must be a table"),
        ("[webhooks]\noutgoin = []\n", "webhooks.outgoin", "not a key"),
    ],
)
def test_what_is_refused_outgoing(tmp_path: Path, text: str, key: str, words: str) -> None:
    assert words in problems(tmp_path, text)[key].message


def test_a_url_whose_connector_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BUILT_IN", {"console": registry.BUILT_IN["console"]})
    registry.connector_class.cache_clear()
    found = problems(tmp_path, outgoing(f'event = "*"\nurl = "{SLACK_URL}"'))
    assert found["webhooks.outgoing[0].url"].message == "there is no connector of that type"


def test_names_do_not_collide(tmp_path: Path) -> None:
    text = "[connectors.console]\n" + outgoing(f'event = "*"\nurl = "{URL}"\nname = "console"')
    assert problems(tmp_path, text)["webhooks.outgoing[0].name"].message == "is the name of another connector"


def test_exclusions_cannot_be_put_together(tmp_path: Path) -> None:
    text = outgoing(f'event = "!agent_*"\nurl = "{URL}"', f'event = "agent_stop"\nurl = "{URL}"')
    assert "excludes events" in problems(tmp_path, text)["webhooks.outgoing[0]"].message


def test_disabled_entries_are_left_out_and_places_stay(tmp_path: Path) -> None:
    text = outgoing('enabled = false\nevent = "*"\nurl = "${MISSING}"', 'event = "*"')
    assert list(problems(tmp_path, text)) == ["webhooks.outgoing[1].url"]
    only = good(tmp_path, outgoing('enabled = false\nevent = "*"\nurl = "${MISSING}"'))
    assert only.settings.webhooks.outgoing == ()
    assert only.warnings == ()


# --- incoming -------------------------------------------------------------------------------------


def test_an_incoming_webhook_has_its_path_and_secrets(tmp_path: Path) -> None:
    text = incoming(
        'service = "github"\nsecret = "${SECRET}"',
        'service = "github"\npath = "/api/v1/webhooks/github-two"\nsecret = ["first-secret", "second-secret"]',
        'service = "trello"\nsecret = "api-secret"\ncallback_url = "https://hub.example.org/api/v1/webhooks/trello/"',
        f'service = "discord"\npublic_key = "{"0a" * 32}"',
        'service = "gitlab"\ntoken = "gitlab-token"\nactions = [{when = "issue.*", if = {"user.username" = "kai"}, do = "create_task"}]',
    )
    loaded = good(tmp_path, text, {"SECRET": "github-secret"})
    entries = loaded.settings.webhooks.incoming
    assert [entry.route for entry in entries] == ["github", "github-two", "trello", "discord", "gitlab"]
    assert entries[0].path == "/api/v1/webhooks/github"
    assert entries[0].tolerance_s == 300
    assert all(entry.configured for entry in entries)
    assert [secret.get_secret_value() for secret in entries[1].secret] == ["first-secret", "second-secret"]
    assert entries[2].callback_url == "https://hub.example.org/api/v1/webhooks/trello/"
    (rule,) = entries[4].actions
    assert (rule.when, rule.do, rule.condition) == ("issue.*", "create_task", {"user.username": ("kai",)})
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ('service = "github"\nsecret = "${SECRET}"', "secret", "set SECRET in the environment"),
        ('service = "github"', "secret", 'write secret = "..."'),
        ('service = "github"\nsecret = []', "secret", 'write secret = "..."'),
        ('service = "discord"', "public_key", 'write public_key = "..."'),
    ],
)
def test_without_a_secret_a_webhook_stays_closed(tmp_path: Path, text: str, key: str, remedy: str) -> None:
    loaded = good(tmp_path, incoming(text))
    (entry,) = loaded.settings.webhooks.incoming
    assert not entry.configured
    (warning,) = loaded.warnings
    assert warning.key == f"webhooks.incoming[0].{key}"
    assert "answers 404 until" in warning.message
    assert warning.remedy == remedy


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (incoming('secret = "0123456789"'), "service", "is missing"),
        (incoming('service = "a b"'), "service", "letters, digits"),
        (incoming('service = "github"\nsecret = ""'), "secret[0]", "too short"),
        (incoming('service = "github"\nsecret = 5'), "secret", "must be text"),
        (incoming('service = "github"\npath = "/elsewhere"'), "path", "must be /api/v1/webhooks/"),
        (incoming('service = "github"\npath = "/api/v1/webhooks/a/b"'), "path", "must be /api/v1/webhooks/"),
        (incoming('service = "github"\npath = "/api/v1/webhooks/.."'), "path", "must be /api/v1/webhooks/"),
        (incoming('service = "trello"\nsecret = "0123456789"'), "callback_url", "is needed for trello"),
        (incoming('service = "discord"\npublic_key = "xyz"'), "public_key", "64 hexadecimal digits"),
        (incoming('service = "github"\ntolerance_s = 0'), "tolerance_s", "at least 1"),
        (incoming('service = "github"\nsecert = "x"'), "secert", "not a key"),
        (incoming('service = "github"\nactions = [1]'), "actions[0]", "must be a table"),
    ],
)
def test_what_is_refused_incoming(tmp_path: Path, text: str, key: str, words: str) -> None:
    assert words in problems(tmp_path, text)[f"webhooks.incoming[0].{key}"].message


def test_two_entries_cannot_share_a_path(tmp_path: Path) -> None:
    text = incoming('service = "github"\nsecret = "0123456789"', 'service = "github"\nsecret = "9876543210"')
    assert "earlier entry" in problems(tmp_path, text)["webhooks.incoming[1].path"].message


def test_a_misspelt_service_is_warned_of(tmp_path: Path) -> None:
    loaded = good(
        tmp_path,
        incoming('service = "githup"\nsecret = "0123456789"', 'service = "ci"\nsecret = "0123456789"'),
    )
    assert warnings(loaded) == {"webhooks.incoming[0].service": "is no service known by name"}
