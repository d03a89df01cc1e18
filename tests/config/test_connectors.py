from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field, SecretStr, field_validator

from ralf_hub.config import instances
from ralf_hub.connectors import registry
from ralf_hub.connectors.base import (
    Action,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Outcome,
    SendContext,
)
from ralf_hub.connectors.console import ConsoleConnector
from ralf_hub.connectors.slack import SlackConnector
from ralf_hub.model import Delivery
from tests.config.helpers import SLACK_URL, good, problems, warnings


def test_type_is_the_section_s_name_where_left_out(tmp_path: Path) -> None:
    text = """
        [connectors.slack-alerts]
        type = "slack"
        webhook_url = "${URL}"
        events = ["system_alert"]
        [connectors.console]
    """
    loaded = good(tmp_path, text, {"URL": SLACK_URL})
    built = instances(loaded.settings, ConnectorEnv())
    assert list(built) == ["slack-alerts", "console"]
    assert isinstance(built["slack-alerts"], SlackConnector)
    assert isinstance(built["console"], ConsoleConnector)
    assert loaded.settings.connectors["console"].type == "console"
    assert loaded.warnings == ()


def test_slack_works_by_either_way_and_names_both_when_it_has_none(tmp_path: Path) -> None:
    text = '[connectors.slack]\nwebhook_url = "${HOOK}"\nbot_token = "${BOT}"\nchannel = "#ralf"\n'
    assert warnings(good(tmp_path, text, {"HOOK": SLACK_URL})) == {
        "connectors.slack.bot_token": "is left out, because BOT is not set"
    }
    assert "connectors.slack.webhook_url" in warnings(good(tmp_path, text, {"BOT": "xoxb-0123456789"}))
    found = problems(tmp_path, text)
    assert list(found) == ["connectors.slack"]
    assert "HOOK and BOT are not set" in found["connectors.slack"].message
    assert found["connectors.slack"].remedy == "set HOOK or BOT in the environment, or enabled = false"


def test_a_disabled_connector_may_lack_everything_but_has_no_unknown_keys(tmp_path: Path) -> None:
    text = '[connectors.slack]\nenabled = false\nwebhook_url = "${HOOK}"\nbot_token = "x"\nchannel = 5\n'
    loaded = good(tmp_path, text)
    assert loaded.settings.connectors["slack"] == ConnectorSettings(enabled=False, type="slack")
    assert loaded.warnings == ()
    assert instances(loaded.settings, ConnectorEnv()) == {}
    assert (
        problems(tmp_path, text + "chanel = 1\n")["connectors.slack.chanel"].remedy == "did you mean channel?"
    )


def test_enabled_from_the_environment(tmp_path: Path) -> None:
    text = '[connectors.slack]\nenabled = "${SLACK:-false}"\n'
    assert not good(tmp_path, text).settings.connectors["slack"].enabled
    assert list(problems(tmp_path, text, {"SLACK": "yes"})) == ["connectors.slack"]
    assert "connectors.slack.enabled" in problems(tmp_path, text, {"SLACK": "perhaps"})


@pytest.mark.parametrize("name", ["apprise", "email"])
def test_a_connector_whose_library_is_missing_may_be_disabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def without(type_name: str) -> type[Connector]:
        raise ModuleNotFoundError(name=f"{type_name}lib")

    monkeypatch.setattr("ralf_hub.config.connectors.connector_class", without)
    text = f'[connectors.{name}]\npassword = "${{MISSING}}"\n'
    found = problems(tmp_path, text)[f"connectors.{name}"]
    assert (found.message, found.remedy) == (
        f"its connector needs the library {name}lib",
        f"pip install 'ralf-hub[{name}]', or enabled = false",
    )
    loaded = good(tmp_path, text + "enabled = false\n")
    assert loaded.settings.connectors[name] == ConnectorSettings(enabled=False, type=name)
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[connectors.slak]\n", "connectors.slak", "no connector of that type"),
        ("[connectors.slak]\nenabled = false\n", "connectors.slak", "no connector of that type"),
        ('[connectors.x]\ntype = "zzz"\n', "connectors.x", "no connector of that type"),
        ("[connectors.x]\ntype = 5\n", "connectors.x.type", "must be text"),
        ('[connectors."a b"]\ntype = "console"\n', 'connectors."a b"', "a connector's name is"),
        ('[connectors."a/b"]\ntype = "console"\n', 'connectors."a/b"', "a connector's name is"),
        ("[connectors]\nconsole = true\n", "connectors.console", "must be a table"),
        ("[connectors.webhook]\n", "connectors.webhook.url", "is missing"),
        ('[connectors.webhook]\nurl = "ftp://x"\n', "connectors.webhook.url", "http"),
        ("[connectors.console]\nconcurrency = 0\n", "connectors.console.concurrency", "more than 0"),
        ('[connectors.console]\nevents = "task_*"\n', "connectors.console.events", "must be a list"),
        ("[connectors.console]\nevents = [1]\n", "connectors.console.events[0]", "must be text"),
        (
            '[connectors.console]\nevents = ["*", "a b"]\n',
            "connectors.console.events[1]",
            "event type or a pattern",
        ),
        (
            '[connectors.console]\nfilter = {priority = ["hi"]}\n',
            "connectors.console.filter.priority[0]",
            "one of",
        ),
        ("[connectors.console]\nfilter = {prio = []}\n", "connectors.console.filter.prio", "not a key"),
        ("[connectors.console]\ntemplate = 5\n", "connectors.console.template", "must be a table or text"),
        ('[connectors.console]\ntemplate = "{{ oops"\n', "connectors.console.template", "template"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, key: str, words: str) -> None:
    assert words in problems(tmp_path, text)[key].message


def test_remedies(tmp_path: Path) -> None:
    assert problems(tmp_path, "[connectors.slak]\n")["connectors.slak"].remedy == "did you mean slack?"
    assert problems(tmp_path, "[connectors.zzzz]\n")["connectors.zzzz"].remedy.startswith(
        "write type = one of "
    )
    assert problems(tmp_path, "[connectors.webhook]\n")["connectors.webhook.url"].remedy.startswith(
        "write url = "
    )
    yaml = problems(tmp_path, "connectors: {webhook: {}}\n", name="a.yaml")
    assert yaml["connectors.webhook.url"].remedy.startswith("write url: ")


def test_events_that_look_misspelt_are_warned_of(tmp_path: Path) -> None:
    text = '[connectors.console]\nevents = ["task_*", "task_complete", "agent_stop", "!completed"]\n'
    assert warnings(good(tmp_path, text)) == {
        "connectors.console.events[1]": "is no event type of the hub",
        "connectors.console.events[3]": "is no event type of the hub",
    }
    assert warnings(good(tmp_path, "[connectors.console]\nevents = []\n")) == {
        "connectors.console.events": "asks for no event"
    }


def test_two_connectors_to_one_place_are_told_of(tmp_path: Path) -> None:
    text = """
        [connectors.one]
        type = "slack"
        webhook_url = "${URL}"
        events = ["task_*"]
        [connectors.two]
        type = "slack"
        webhook_url = "${URL}"
        events = ["task_completed", "system_alert"]
        [connectors.three]
        type = "slack"
        webhook_url = "${URL}"
        events = ["queue_changed"]
    """
    assert warnings(good(tmp_path, text, {"URL": SLACK_URL})) == {
        "connectors.two": "leads to the same place as one: what both ask for (task_completed) is delivered once"
    }


# --- connectors from elsewhere --------------------------------------------------------------------


class OddSettings(ConnectorSettings):
    mode: str = Field(default="good", description="How to go wrong.")
    token: SecretStr | None = Field(default=None, description="A secret.")

    @field_validator("token")
    @classmethod
    def _echo(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().startswith("bad"):
            raise ValueError(f"the token {value.get_secret_value()} is bad")
        return value

    @field_validator("mode")
    @classmethod
    def _crash(cls, value: str) -> str:
        if value == "crash":
            raise ZeroDivisionError
        return value


class OddConnector(Connector):
    service: ClassVar[str] = "odd"
    settings_model: ClassVar[type[ConnectorSettings]] = OddSettings

    def __init__(self, name: str, settings: Any, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        if settings.mode == "refuse":
            raise ValueError("mode refuse cannot be built")
        if settings.mode == "break":
            raise OSError("secret detail")

    def plan(self, fact: Fact) -> Sequence[Action]:
        return [Action("note", fact.event.type)]

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        del delivery, context
        return Delivered()


@pytest.fixture
def _odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    extra = {
        "odd": f"{__name__}:OddConnector",
        "absent": "a_library_that_is_not_there:X",
        "wrong": "pathlib:Path",
    }
    monkeypatch.setattr(registry, "BUILT_IN", registry.BUILT_IN | extra)
    registry.connector_class.cache_clear()
    yield
    registry.connector_class.cache_clear()


@pytest.mark.usefixtures("_odd")
@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (
            '[connectors.odd]\nmode = "crash"\n',
            "connectors.odd",
            "cannot be checked: its model raised ZeroDivisionError",
        ),
        ('[connectors.odd]\nmode = "refuse"\n', "connectors.odd", "mode refuse cannot be built"),
        ('[connectors.odd]\nmode = "break"\n', "connectors.odd", "cannot be built: OSError"),
        ('[connectors.odd]\ntoken = "bad-canary"\n', "connectors.odd.token", "the token *** is bad"),
        (
            "[connectors.absent]\n",
            "connectors.absent",
            "its connector needs the library a_library_that_is_not_there",
        ),
        ("[connectors.wrong]\n", "connectors.wrong", "its connector cannot be loaded: TypeError"),
    ],
)
def test_connectors_from_elsewhere_that_fail(tmp_path: Path, text: str, key: str, message: str) -> None:
    assert problems(tmp_path, text)[key].message == message


@pytest.mark.usefixtures("_odd")
def test_a_disabled_connector_that_cannot_even_be_checked(tmp_path: Path) -> None:
    loaded = good(tmp_path, '[connectors.odd]\nenabled = false\nmode = "crash"\n')
    assert not loaded.settings.connectors["odd"].enabled
