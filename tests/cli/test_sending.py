"""`ralf-hub send`: the request as it would go out, or the real thing against real receivers."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from ralf_hub.model import EVENT_TYPES
from tests.cli.helpers import Done, Place
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault
from tests.doubles.slack import Slack

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BOT_TOKEN = "xoxb-1111111111-2222222222-abcdefghijklmnop"
WEBHOOK_URL = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"
SECRETS = (SECRET, BOT_TOKEN, WEBHOOK_URL, "B00000000", "XXXXXXXX", "letmein-1234", "very-secret-path")


@pytest.fixture
def house(place: Place) -> Place:
    place.config.write_text(
        f"""
[connectors.console]
[connectors.hook]
type = "slack"
webhook_url = "{WEBHOOK_URL}"
[connectors.bot]
type = "slack"
bot_token = "{BOT_TOKEN}"
channel = "#ralf"
[connectors.shop]
type = "webhook"
url = "https://user:letmein-1234@shop.example.org:8443/very-secret-path?x=1"
secret = "{SECRET}"
headers = {{ X-Token = "letmein-1234" }}
[connectors.off]
type = "slack"
enabled = false
""",
        encoding="utf-8",
    )
    return place


@pytest.mark.parametrize(
    ("connector", "first", "header"),
    [
        ("hook", "POST https://hooks.slack.com/***", "content-type: application/json; charset=utf-8"),
        ("bot", "POST https://slack.com/api/chat.postMessage", "authorization: Bearer ***"),
        ("shop", "POST https://shop.example.org:8443/***", "X-Token: ***"),
    ],
)
def test_a_dry_run_prints_the_request_with_secrets_masked(
    house: Place, connector: str, first: str, header: str
) -> None:
    done = house.ok("send", connector, "--event", "task_failed", "--dry-run")
    head, _, body = done.out.partition("\n\n")
    assert head.splitlines()[0] == first
    assert header in head.splitlines()
    assert "SAMPLE-TASK" in json.dumps(json.loads(body))
    assert not [secret for secret in SECRETS if secret in done.out + done.err]


@pytest.mark.parametrize("connector", ["hook", "bot", "shop"])
def test_a_dry_run_as_json(house: Place, connector: str) -> None:
    done = house.ok("send", connector, "--event", "task_completed", "--dry-run", "--json")
    [request] = done.json["requests"]
    assert request["method"] == "POST"
    assert request["url"].startswith("https://")
    assert isinstance(request["body"], dict)
    assert not [secret for secret in SECRETS if secret in done.out]


def test_a_signed_request_shows_its_signature(house: Place) -> None:
    [request] = house.json("send", "shop", "--event", "task_completed", "--dry-run")["requests"]
    assert request["headers"]["webhook-signature"].startswith("v1,")
    assert request["body"]["data"]["sample"] is True


def test_a_connector_without_requests_shows_its_payload(house: Place) -> None:
    done = house.ok("send", "console", "--event", "task_completed", "--dry-run")
    assert done.out.startswith("print: no HTTP request; the payload is\n{")


@pytest.mark.parametrize("event_type", [*EVENT_TYPES, "agent_start"])
def test_there_is_a_sample_of_every_type(house: Place, event_type: str) -> None:
    [request] = house.json("send", "shop", "--event", event_type, "--dry-run")["requests"]
    assert request["body"]["type"] == event_type
    assert "ample" in json.dumps(request["body"])


@pytest.mark.parametrize(
    ("connector", "said"),
    [
        ("hok", "there is no connector hok; did you mean hook?"),
        ("zzz", "there is no connector zzz; there are: console, hook, bot, shop"),
        ("off", "off is not enabled in the settings"),
    ],
)
def test_a_connector_that_is_not_there(house: Place, connector: str, said: str) -> None:
    done = house.invoke("send", connector, "--event", "task_completed", "--dry-run")
    assert done.code == 2
    assert said in done.error


def test_an_event_is_needed(house: Place) -> None:
    assert house.invoke("send", "console").code == 2


# --- the real thing -------------------------------------------------------------------------------


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver([SECRET]) as double:
        yield double


def _settings(place: Place, url: str, secret: str = SECRET, allowed: str = '"127.0.0.0/8"') -> None:
    place.config.write_text(
        f'[connectors.shop]\ntype = "webhook"\nurl = "{url}"\nsecret = "{secret}"\n'
        f"[security]\nallowed_networks = [{allowed}]\n[delivery]\ntimeout_s = 5\n",
        encoding="utf-8",
    )


async def _send(place: Place, *arguments: str) -> Done:
    return await asyncio.to_thread(place.run, "send", *arguments)


async def test_one_sample_is_sent_and_the_verdict_shown(place: Place, receiver: Receiver) -> None:
    _settings(place, f"{receiver.url}/hook")
    done = await _send(place, "shop", "--event", "task_completed")
    assert (done.code, done.out) == (0, "notify: delivered (204)\n")
    [received] = receiver.accepted
    assert received.json["data"]["task"]["id"] == "SAMPLE-TASK"
    assert not place.db.exists()


async def test_the_verdict_as_json(place: Place, receiver: Receiver) -> None:
    _settings(place, f"{receiver.url}/hook")
    receiver.faults.append(Fault(status=500, body="down for lunch"))
    done = await _send(place, "shop", "--event", "task_completed", "--json")
    assert done.code == 1
    [outcome] = done.json["outcomes"]
    assert (outcome["outcome"], outcome["status_code"]) == ("retry", 500)
    assert outcome["response"] == "down for lunch"
    assert receiver.accepted == []


async def test_a_wrong_secret_is_the_receivers_verdict(place: Place, receiver: Receiver) -> None:
    _settings(place, f"{receiver.url}/hook", secret="whsec_" + "A" * 32)
    done = await _send(place, "shop", "--event", "task_completed")
    assert done.code == 1
    assert done.out.startswith("notify: credentials_broken (401)\n")


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(Fault(drop="before"), "ambiguous"), (Fault(delay_s=30), "ambiguous")],
    ids=["dropped", "slow"],
)
async def test_an_answer_that_never_comes(
    place: Place, receiver: Receiver, fault: Fault, outcome: str
) -> None:
    _settings(place, f"{receiver.url}/hook")
    place.config.write_text(
        place.config.read_text(encoding="utf-8").replace("timeout_s = 5", "timeout_s = 0.5"), encoding="utf-8"
    )
    receiver.faults.append(fault)
    done = await _send(place, "shop", "--event", "task_completed")
    assert done.code == 1
    assert done.out.startswith(f"notify: {outcome}\n")


async def test_a_place_nobody_listens_at(place: Place, receiver: Receiver) -> None:
    await receiver.refuse()
    _settings(place, f"{receiver.url}/hook")
    done = await _send(place, "shop", "--event", "task_completed")
    assert (done.code, done.out.splitlines()[0]) == (1, "notify: retry")
    assert "127.0.0.1: no connection" in done.out


async def test_a_private_network_that_is_not_allowed(place: Place, receiver: Receiver) -> None:
    _settings(place, f"{receiver.url}/hook", allowed="")
    done = await _send(place, "shop", "--event", "task_completed")
    assert done.code == 1
    assert "[security] allowed_networks can allow it" in done.out
    assert receiver.seen == []


async def test_slack_gets_a_message(place: Place) -> None:
    async with Slack() as slack:
        place.config.write_text(
            f'[connectors.slack]\nwebhook_url = "{slack.webhook_url}"\n'
            '[security]\nallowed_networks = ["127.0.0.0/8"]\n',
            encoding="utf-8",
        )
        done = await _send(place, "slack", "--event", "feature_delivered")
        assert (done.code, done.out.splitlines()[0]) == (0, "post: delivered (200)")
        assert "Sample feature: nothing happened" in slack.messages[0].text


def test_the_console_prints_beside_the_json(place: Place) -> None:
    done = place.run("send", "console", "--event", "task_completed", "--json")
    assert done.code == 0
    assert done.json["outcomes"][0]["outcome"] == "delivered"
    assert "Sample task" in done.err
