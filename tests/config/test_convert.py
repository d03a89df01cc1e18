import tomllib
from pathlib import Path

import pytest

from ralf_hub.config import load
from ralf_hub.config.convert import convert
from ralf_hub.errors import SettingsError
from tests.config.helpers import SLACK_URL, warnings, write
from tests.config.test_specification import SPECIFICATION

OLD = f"""
server:
  host: localhost
  port: 5000
  debug: false
  cors_enabled: true
  cors_origins: ["http://localhost:3000"]
  workers: 4
auth:
  api_keys:
    - name: default
      key: CHANGE_THIS_TO_STRONG_RANDOM_KEY
      scopes: ["read:tasks"]
    - name: ci
      key: "${{CI_KEY}}"
      scopes: ["read:tasks", "write:tasks", "read:queue", "metrics:read", "fly:moon"]
    - name: all
      key: 0123456789abcdefghij
      scopes: ["*"]
    - name: none
      key: 0123456789abcdefghij
      scopes: ["fly:moon"]
    - abcdefghij0123456789
  rate_limit: {{enabled: true, requests_per_minute: 100}}
webhooks:
  secret: shared-webhook-secret
  signature_algorithm: sha1
  services:
    github: {{enabled: true}}
    slack: {{enabled: false}}
    trello: {{enabled: true}}
connectors:
  slack:
    enabled: true
    webhook_url: {SLACK_URL}
    bot_token: xoxb-YOUR-BOT-TOKEN-HERE
    default_channel: "#ralf"
    max_retries: 3
  jira:
    enabled: false
    username: "${{JIRA_EMAIL}}"
    api_token: your-jira-api-token-here
    project_key: RALF
  trello:
    enabled: false
    api_key: trello-key
    api_secret: trello-secret
    default_board: RALF Tasks
    default_list: To Do
logging: {{level: CRITICAL, file: null}}
performance: {{max_content_length: 16, request_timeout: 30}}
extra: {{a: 1}}
"""


def test_the_older_layout(tmp_path: Path) -> None:
    converted = convert(OLD, "old.yaml")
    assert tomllib.loads(converted.toml) == {
        "api": {
            "host": "127.0.0.1",
            "port": 5000,
            "debug": False,
            "body_bytes_max": 16 * 1024 * 1024,
            "api_keys": [
                {
                    "name": "ci",
                    "key": "${CI_KEY}",
                    "scopes": ["tasks:read", "tasks:write", "queue:read", "metrics:read"],
                },
                {"name": "all", "key": "0123456789abcdefghij", "scopes": ["*"]},
                "abcdefghij0123456789",
            ],
            "rate_limit": {"enabled": True, "requests_per_minute": 100},
            "cors": {"enabled": True, "origins": ["http://localhost:3000"]},
        },
        "connectors": {
            "slack": {"enabled": True, "webhook_url": SLACK_URL, "channel": "#ralf"},
            "jira": {"enabled": False, "email": "${JIRA_EMAIL}", "project_key": "RALF"},
            "trello": {"enabled": False, "api_key": "trello-key", "default_list": "To Do"},
        },
        "webhooks": {
            "incoming": [
                {"service": "github", "enabled": True, "secret": "shared-webhook-secret"},
                {"service": "slack", "enabled": False, "secret": "shared-webhook-secret"},
                {"service": "trello", "enabled": False, "secret": "trello-secret"},
            ]
        },
        "logging": {"level": "error"},
    }
    assert [line.partition(":")[0] for line in converted.left_out] == [
        "auth.api_keys[0]",
        "auth.api_keys[1].scopes",
        "auth.api_keys[3].scopes",
        "connectors.slack.bot_token",
        "connectors.slack.max_retries",
        "connectors.jira.api_token",
        "connectors.trello.default_board",
        "webhooks.signature_algorithm",
        "webhooks.services.trello",
        "server.workers",
        "logging.file",
        "performance.request_timeout",
        "extra",
    ]
    assert all(f"# - {line}\n" in converted.toml for line in converted.left_out)
    assert "secret" not in "".join(converted.left_out)
    loaded = load(write(tmp_path, converted.toml), {"CI_KEY": "abcdefghij0123456789x"})
    assert warnings(loaded) == {}


@pytest.mark.shared
@pytest.mark.skipif(not SPECIFICATION.exists(), reason=f"{SPECIFICATION} is absent")
def test_the_specification_s_yaml_means_the_same_as_its_conversion(tmp_path: Path) -> None:
    env = {"SLACK_WEBHOOK_URL": SLACK_URL, "RALF_API_KEY": "0123456789abcdefghij"}
    converted = convert(SPECIFICATION.read_text(), "specification.yaml")
    assert converted.left_out == ()
    assert "${SLACK_BOT_TOKEN}" in converted.toml
    here = write(tmp_path, SPECIFICATION.read_text(), "here.yaml")
    assert load(write(tmp_path, converted.toml), env).settings == load(here, env).settings


def test_unknown_keys_are_left_out_and_told_of(tmp_path: Path) -> None:
    text = """
        api: {port: 9000, prot: 1, api_keys: [{key: abcdef, colour: red}]}
        connectors: {slack: {enabled: false, emoji: x}, other: {type: nothing, a: 1}, console: }
        nonsense: 1
    """
    converted = convert(text, "a.yaml")
    assert converted.left_out == (
        "api.prot: the hub has no such setting",
        "api.api_keys[0].colour: the hub has no such setting",
        "connectors.slack.emoji: the hub has no such setting",
        "nonsense: the hub has no such setting",
    )
    assert tomllib.loads(converted.toml) == {
        "api": {"port": 9000, "api_keys": [{"key": "abcdef"}]},
        "connectors": {"slack": {"enabled": False}, "other": {"type": "nothing", "a": 1}, "console": {}},
    }


def test_tables_say_what_they_are_for() -> None:
    assert "# The SQLite file.\n[database]\n" in convert("database: {path: x}\n", "a.yaml").toml


@pytest.mark.parametrize(
    ("text", "file"),
    [("a: [\n", "a.yaml:2:1"), ("- a\n", "a.yaml"), ("a: 1\na: 2\n", "a.yaml:2:1"), ("", "a.yaml")],
)
def test_what_is_no_settings_file(text: str, file: str) -> None:
    with pytest.raises(SettingsError) as caught:
        convert(text, "a.yaml")
    assert [problem.file for problem in caught.value.problems] == [file]


@pytest.mark.parametrize(
    "text",
    [
        "server: 5\nauth: []\n",
        "server: {}\nauth: {api_keys: 5}\n",
        "auth: {api_keys: [5, null, {}, {key: 5}, {key: abc, scopes: 5}, {key: abc, scopes: [5, null]}]}\n",
        "server: {}\nconnectors: []\nwebhooks: [1]\nlogging: x\nperformance: {max_content_length: big}\n",
        "server: {}\nconnectors: {slack: 5, jira: null}\nwebhooks: {services: [1], secret: 5}\n",
        "server: {}\nwebhooks: {services: {github: yes, trello: }}\n",
        "api: 5\nconnectors: 5\nwebhooks: {incoming: 5, outgoing: {a: 1}}\n",
    ],
)
def test_odd_old_files_are_converted_as_far_as_they_go(text: str) -> None:
    tomllib.loads(convert(text, "a.yaml").toml)
