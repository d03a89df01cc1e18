import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from ralf_hub.clock import Clock, iso
from ralf_hub.connectors.base import Delivered, Gone, Http, Retry, SendContext, UnknownAnswerError
from ralf_hub.connectors.webhook import BODY_BYTES_MAX, WebhookSettings, bounded
from ralf_hub.signatures import verify_standard
from ralf_hub.verdicts import Keys, Signed
from tests.connectors.helpers import AT, CLOCK, FEATURE, NOW_MS, TASK, connector, fact, nowhere, planned
from tests.doubles.receiver import Receiver
from tests.doubles.server import Fault

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
NEXT = "whsec_" + base64.b64encode(b"89abcdef0123456701234567").decode()
URL = "https://hooks.example/in?token=s3cret-token"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver([SECRET]) as double:
        yield double


def webhook(double: Receiver | None = None, clock: Clock | None = None, **more: Any) -> Any:
    given_settings: dict[str, Any] = {
        "url": URL if double is None else f"{double.url}/hook",
        "secret": SECRET,
        **more,
    }
    return connector("webhook", clock=clock or Clock(), **given_settings)


def context(http: Any = nowhere) -> SendContext:
    return SendContext(http, Clock())


# --- the body ---------------------------------------------------------------------------------------


def test_the_body_is_type_timestamp_and_data() -> None:
    about = fact(data={"result": "ok", "changes": {"status": "completed"}})
    body = planned(webhook(), about).payload
    assert body["type"] == "task_completed"
    assert body["timestamp"] == AT
    data = body["data"]
    assert (data["seq"], data["event_id"], data["task_id"]) == (41, "evt_0123456789abcdef", "TASK-7")
    assert data["task"]["title"] == "Fix the login"
    assert data["result"] == "ok"
    assert data["changes"] == {"status": "completed"}
    assert "text" not in data


def test_events_without_a_task_say_so() -> None:
    data = planned(webhook(), fact("queue_changed", {"depth": 3}, task=None)).payload["data"]
    assert (data["task_id"], data["task"], data["depth"]) == (None, None, 3)


def test_features_come_along() -> None:
    data = planned(webhook(), fact("feature_delivered", task=None, feature=FEATURE)).payload["data"]
    assert data["feature"] == {
        "id": "F-1",
        "title": "Login",
        "status": "planned",
        "priority": "medium",
        "tasks": {"total": 4, "completed": 4},
    }


def test_an_events_data_cannot_stand_in_for_the_hubs_own_members() -> None:
    data = planned(webhook(), fact(data={"seq": -1, "event_id": "forged", "task": "forged", "x": 1})).payload[
        "data"
    ]
    assert (data["seq"], data["event_id"], data["task"]["id"], data["x"]) == (
        41,
        "evt_0123456789abcdef",
        "TASK-7",
        1,
    )


def test_a_template_adds_a_text() -> None:
    made = webhook(template="<{{ task.title }}>")
    assert planned(made, fact()).payload["data"]["text"] == "<Fix the login>"
    broken = planned(webhook(template="{{ event.data.nope }}"), fact(data={"result": "fine"})).payload["data"]
    assert broken["text"] == "fine"
    assert "nope" in broken["template_error"]


def test_long_texts_are_cut_and_named() -> None:
    task = replace(TASK, description="d" * 30_000, metadata={"log": "l" * 30_000})
    body = planned(webhook(), fact(data={"result": "r" * 100}, task=task)).payload
    assert len(orjson.dumps(body)) <= BODY_BYTES_MAX
    assert body["data"]["cut"] == ["data.task.description", "data.task.metadata.log"]
    assert body["data"]["result"] == "r" * 100
    assert body["data"]["task"]["description"].endswith("\u2026")


def test_long_lists_are_cut_and_named() -> None:
    body = planned(webhook(), fact(data={"files": [f"file-{i}" * 5 for i in range(900)]})).payload
    assert len(orjson.dumps(body)) <= BODY_BYTES_MAX
    assert body["data"]["cut"] == ["data.files"]
    assert len(body["data"]["files"]) == 50


def test_what_stays_too_large_is_left_out_but_for_its_names() -> None:
    body = planned(webhook(), fact(data={f"key{i}": "v" * 50 for i in range(2000)})).payload
    assert len(orjson.dumps(body)) <= BODY_BYTES_MAX
    assert body["data"]["cut"] == ["data"]
    assert body["data"]["task"] == {
        "id": "TASK-7",
        "title": "Fix the login",
        "status": "completed",
        "priority": "high",
    }


json_values = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=3000),
    lambda inner: st.lists(inner, max_size=80) | st.dictionaries(st.text(max_size=30), inner, max_size=8),
    max_leaves=60,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=300), json_values, max_size=20), st.integers(1, 30))
def test_any_body_fits_and_keeps_what_names_it(data: dict[str, Any], repeat: int) -> None:
    body = planned(
        webhook(), fact(data={f"{key}{i}": value for key, value in data.items() for i in range(repeat)})
    ).payload
    assert len(orjson.dumps(body)) <= BODY_BYTES_MAX
    assert body["data"]["event_id"] == "evt_0123456789abcdef"
    assert bounded(body) == body


# --- the request ------------------------------------------------------------------------------------


def test_the_id_stays_and_the_timestamp_is_of_each_try() -> None:
    row = planned(webhook(), fact())
    first = webhook().prepare(row, SendContext(nowhere, CLOCK))
    later = webhook().prepare(row, SendContext(nowhere, Clock(now=lambda: NOW_MS + 90_500)))
    assert first.headers["webhook-id"] == later.headers["webhook-id"] == "evt_0123456789abcdef"
    assert int(later.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 90
    assert first.body == later.body
    assert first.headers["webhook-signature"] != later.headers["webhook-signature"]


def test_every_secret_of_a_rotation_signs() -> None:
    made = webhook(secret=[NEXT, SECRET, "plain text"])
    request = made.prepare(planned(made, fact()), SendContext(nowhere, CLOCK))
    for secret in (NEXT, SECRET, "plain text"):
        verdict = verify_standard(Signed(request.body, request.headers, NOW_MS // 1000), Keys((secret,)))
        assert verdict.ok


def test_without_a_secret_posts_are_not_signed() -> None:
    made = webhook(secret=None)
    headers = made.prepare(planned(made, fact()), SendContext(nowhere, CLOCK)).headers
    assert "webhook-signature" not in headers
    assert headers["webhook-id"] == "evt_0123456789abcdef"
    assert headers["webhook-timestamp"] == str(NOW_MS // 1000)


def test_more_headers_are_sent_and_count_as_secrets() -> None:
    made = webhook(headers={"Authorization": "Bearer s3cret-key"})
    headers = made.prepare(planned(made, fact()), SendContext(nowhere, CLOCK)).headers
    assert headers["Authorization"] == "Bearer s3cret-key"
    assert set(made.settings.secret_values()) == {URL, SECRET, "Bearer s3cret-key"}
    assert "s3cret" not in repr(made.settings)


def test_instances_with_one_url_are_one_place() -> None:
    assert webhook().destinations() == connector("webhook", "other", url=URL, secret=None).destinations()
    assert webhook().destinations() != connector("webhook", url=URL + "x").destinations()
    assert "s3cret" not in str(webhook().destinations())


# --- answers, over real sockets ---------------------------------------------------------------------


async def test_the_standardwebhooks_package_accepts_what_is_sent(http: Http, receiver: Receiver) -> None:
    made = webhook(receiver)
    row = planned(made, fact(data={"note": "\u00fcml\u00e4ut \U0001f600"}))
    assert (await made.send(row, context(http))).name == "delivered"
    (received,) = receiver.accepted
    assert received.id == row.event_id
    assert received.json == row.payload
    assert received.headers["content-type"] == "application/json"


async def test_a_receiver_mid_rotation_accepts_either_secret(http: Http) -> None:
    made_settings = {"secret": [NEXT, SECRET]}
    for known in (SECRET, NEXT):
        async with Receiver([known]) as double:
            made = webhook(double, **made_settings)
            assert (await made.send(planned(made, fact()), context(http))).name == "delivered"


async def test_a_receiver_with_another_secret_holds_the_connector_and_burns_nothing(http: Http) -> None:
    async with Receiver([NEXT]) as double:
        made = webhook(double)
        outcome = await made.send(planned(made, fact()), context(http))
    assert outcome.name == "credentials_broken"
    assert outcome.response == "the signature is not valid"


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault(status=302, headers={"Location": "/elsewhere"}), "retry"),
        (Fault(status=400, body="bad"), "rejected"),
        (Fault(status=404), "rejected"),
        (Fault(status=503), "retry"),
        (Fault(status=502), "ambiguous"),
    ],
)
async def test_answers(http: Http, receiver: Receiver, fault: Fault, name: str) -> None:
    receiver.faults.append(fault)
    made = webhook(receiver)
    row = planned(made, fact())
    assert (await made.send(row, context(http))).name == name
    assert [seen.path for seen in receiver.seen] == ["/hook"]
    assert await made.send(row, context(http)) == Delivered(204)


async def test_redirects_are_not_followed(http: Http, receiver: Receiver) -> None:
    async with Receiver() as elsewhere:
        receiver.faults.append(Fault(status=307, headers={"Location": f"{elsewhere.url}/s3cret"}))
        made = webhook(receiver)
        outcome = await made.send(planned(made, fact()), context(http))
        assert elsewhere.seen == []
    assert isinstance(outcome, Retry)
    assert "redirects are not followed" in outcome.reason
    assert "s3cret" not in outcome.reason


async def test_gone_is_gone(http: Http, receiver: Receiver) -> None:
    receiver.faults.append(Fault(status=410))
    made = webhook(receiver)
    assert isinstance(await made.send(planned(made, fact()), context(http)), Gone)


@pytest.mark.parametrize(("value", "seconds"), [("120", 120.0), ("Sun, 01 Feb 2026 16:03:00 GMT", 120.0)])
async def test_too_many_requests_wait_as_asked(
    http: Http, receiver: Receiver, value: str, seconds: float
) -> None:
    receiver.faults.append(Fault(status=429, headers={"Retry-After": value}))
    made = webhook(receiver, clock=CLOCK)
    outcome = await made.send(planned(made, fact()), context(http))
    assert isinstance(outcome, Retry)
    assert (outcome.retry_after_s, outcome.counts, outcome.holds_connector) == (seconds, False, True)


async def test_a_lost_answer_is_left_to_the_dispatcher_and_the_repeat_has_the_same_id(
    http: Http, receiver: Receiver
) -> None:
    receiver.faults.append(Fault(drop="after"))
    made = webhook(receiver)
    row = planned(made, fact())
    with pytest.raises(UnknownAnswerError):
        await made.send(row, context(http))
    await made.send(row, context(http))
    assert receiver.ids == [row.event_id] * 2
    assert receiver.accepted[0].body == receiver.accepted[1].body


# --- settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": "hooks.example/s3cret"}, "must start with https://"),
        ({"url": "https://a/ s3cret"}, "white space"),
        ({"secret": ""}, "empty or has white space"),
        ({"secret": "s3cret-with-newline\n"}, "empty or has white space"),
        ({"secret": "whsec_s3cret!"}, "base64"),
        ({"secret": [SECRET, "whsec_"]}, "base64"),
        ({"secret": []}, "a list of secrets without one"),
        ({"headers": {"webhook-id": "s3cret"}}, "the hub's own"),
        ({"headers": {"Content-Type": "s3cret"}}, "the hub's own"),
        ({"headers": {"X Y": "s3cret"}}, "not a header's name"),
        ({"headers": {"X-Y": "s3cret\r\nX-Z: 1"}}, "line break"),
        ({"urll": "s3cret"}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_showing_secrets(
    wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookSettings(**{"url": URL, **wrong})
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_validate_says_how_it_signs_and_posts_nothing() -> None:
    for secret, words in ((None, "not signed"), (SECRET, "1 secret;"), ([SECRET, NEXT], "2 secrets;")):
        check = await webhook(secret=secret).validate(nowhere)
        assert check.ok
        assert words in check.message


def test_secrets_are_secret_in_settings() -> None:
    given_settings = WebhookSettings(url=SecretStr(URL), secret=(SecretStr(SECRET),))
    assert given_settings.secrets == (SECRET,)
    assert SECRET not in repr(given_settings)
    assert iso(NOW_MS) == AT
