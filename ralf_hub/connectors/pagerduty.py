"""PagerDuty, Events API v2: a failed task and an alert open an incident, what ends them closes it.

https://developer.pagerduty.com/docs/send-alert-event. Every event about one task or alert carries one `dedup_key`, by
which PagerDuty sees a repeated trigger as the same incident as long as that one is open. After a resolve it would open a
new one, so an older trigger that comes late (someone replays it) is not sent any more.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

import orjson
from pydantic import Field, SecretStr, field_validator

from ralf_hub.connectors.base import (
    Action,
    Check,
    ConnectorEnv,
    ConnectorSettings,
    CredentialsBroken,
    Delivered,
    Fact,
    Http,
    HttpConnector,
    HttpRequest,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.fields import BaseUrl
from ralf_hub.connectors.judging import excerpt, judge_status
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Worded, Wording
from ralf_hub.model import Delivery, Json, Link
from ralf_hub.notices import Notice
from ralf_hub.secrets import sha256_hex
from ralf_hub.texts import clean, cut, one_line, plain

SUMMARY_LENGTH_MAX: Final = 1024
KEY_LENGTH_MAX: Final = 255
ERRORS_TOLD_MAX: Final = 300
LIMITED_WAIT_S: Final = 60.0
"""How long to keep quiet after a 429; PagerDuty names no time and asks for a wait of minutes."""

TRIGGER, RESOLVE, CHANGE = "trigger", "resolve", "change"

_ENDS_TASK: Final = frozenset({"task_completed", "task_cancelled"})
_OVER: Final = re.compile(r"_(?:recovered|resolved|cleared)$")
_KEY: Final = re.compile(r"[0-9A-Za-z]{32}")
_ABOUT_KEY: Final = re.compile(r"routing.?key|integration.?key", re.IGNORECASE)


class PagerDutySettings(ConnectorSettings):
    """An Events API v2 integration of a PagerDuty service."""

    routing_key: SecretStr = Field(description="The integration key, 32 characters.")
    instance: str = Field(
        default="ralf-hub",
        min_length=1,
        max_length=60,
        description="What incidents say they come from; hubs that share an integration need one each.",
    )
    base_url: BaseUrl = Field(
        default="https://events.pagerduty.com/v2", description="PagerDuty's Events API; the EU has its own."
    )

    @field_validator("routing_key")
    @classmethod
    def _routing_key_is_one(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value().strip()
        if not _KEY.fullmatch(key):
            raise ValueError("an integration key has 32 letters and digits: copy it again")
        return SecretStr(key)


class PagerDutyConnector(HttpConnector):
    """Opens and closes incidents; tells of delivered features as changes, which notify nobody."""

    service: ClassVar[str] = "pagerduty"
    settings_model: ClassVar[type[ConnectorSettings]] = PagerDutySettings
    default_events: ClassVar[tuple[str, ...]] = (
        "task_completed",
        "task_failed",
        "task_cancelled",
        "feature_delivered",
        "system_alert",
    )
    tells_people: ClassVar[bool] = True
    uses_links: bool = True

    def __init__(self, name: str, settings: PagerDutySettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self._routing_key = settings.routing_key.get_secret_value()
        self._wording = Wording(settings.template, clean)

    def destinations(self) -> frozenset[str]:
        """Return the integration's name."""
        return frozenset({place(self.service, self._routing_key)})

    # --- planning ---------------------------------------------------------------------------------

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return one trigger, resolve or change event; nothing where there is no incident to resolve."""
        kind = fact.event.type
        if kind == "feature_delivered":
            return [Action(CHANGE, self._change(self._wording(fact)))]
        if kind == "task_failed" or (kind == "system_alert" and not _is_over(fact.event.data)):
            key = self._dedup_key(fact)
            marker = None if kind == "system_alert" and not fact.event.data.get("code") else key
            return [Action(TRIGGER, self._trigger(fact, key), marker=marker)]
        if fact.link is not None and (kind in _ENDS_TASK or kind == "system_alert"):
            return [Action(RESOLVE, {"event_action": RESOLVE, "dedup_key": self._dedup_key(fact)})]
        return []

    def _dedup_key(self, fact: Fact) -> str:
        """Return what PagerDuty knows the incident by: one for all events of a task, of an alert and its end."""
        event, code = fact.event, plain(fact.event.data.get("code"))
        if event.task_id is not None:
            about = f"task/{event.task_id}"
        elif code:
            # That a connector fails and that it works again are two codes of one story.
            kind = "connector" if code.startswith("connector_") else code
            about = f"alert/{kind}/{plain(event.data.get('connector'))}".rstrip("/")
        else:
            about = f"event/{event.id}"
        key = f"ralf/{self.settings.instance}/{about}"
        return key if len(key) <= KEY_LENGTH_MAX else f"ralf/{self.settings.instance}/{sha256_hex(key)}"

    def _trigger(self, fact: Fact, key: str) -> dict[str, Json]:
        worded = self._wording(fact)
        notice = worded.notice
        payload = self._what(worded)
        payload["severity"] = _severity(fact, notice)
        payload["class"] = fact.event.type
        if fact.task is not None and fact.task.feature_id:
            payload["group"] = fact.task.feature_id
        made: dict[str, Json] = {"event_action": TRIGGER, "dedup_key": key, "payload": payload}
        made |= {"client": self.settings.instance, "links": _links(notice)}
        if fact.hub_url:
            made["client_url"] = fact.hub_url
        return made

    def _change(self, worded: Worded) -> dict[str, Json]:
        return {"payload": self._what(worded), "links": _links(worded.notice)}

    def _what(self, worded: Worded) -> dict[str, Json]:
        """Return the payload's members that every kind of event has."""
        notice = worded.notice
        said = one_line(worded.text or "") or notice.title
        details: dict[str, Json] = dict(notice.fields) | {"Event": notice.event_id}
        if notice.lines:
            details["Text"] = notice.text
        if worded.template_error is not None:
            details["The template failed, this is the default wording"] = worded.template_error
        return {
            "summary": cut(said, SUMMARY_LENGTH_MAX),
            "source": self.settings.instance,
            "timestamp": notice.occurred_at,
            "custom_details": details,
        }

    # --- sending ----------------------------------------------------------------------------------

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest:
        """Return the event with the integration key, which is not stored."""
        del context
        path = "/change/enqueue" if delivery.action == CHANGE else "/enqueue"
        return self._call(path, delivery.payload)

    def _call(self, path: str, body: Mapping[str, Json]) -> HttpRequest:
        sent = orjson.dumps({"routing_key": self._routing_key, **body})
        return HttpRequest("POST", self.settings.base_url + path, {"content-type": "application/json"}, sent)

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Send the event, unless what it tells has been overtaken."""
        late = _overtaken(delivery, context.link)
        if late is not None:
            return late
        outcome = await super().send(delivery, context)
        if isinstance(outcome, Delivered) and delivery.action != CHANGE and context.link is not None:
            key = str(delivery.payload["dedup_key"])
            last = f"{delivery.action}:{delivery.id}"
            link = replace(context.link, external_id=key, external_key=key, state="linked", last_state=last)
            return replace(outcome, link=link)
        return outcome

    def judge(self, delivery: Delivery, response: HttpResponse) -> Outcome:
        """Judge by status; a repeat is always safe but for a change event, which notifies nobody."""
        del delivery
        return judge(response, self.env.clock.now())

    # --- checking ---------------------------------------------------------------------------------

    async def validate(self, http: Http) -> Check:
        """Resolve an incident that cannot be there: PagerDuty looks at the key, and drops the event unseen."""
        key = f"ralf/{self.settings.instance}/check"
        response = await http(self._call("/enqueue", {"event_action": RESOLVE, "dedup_key": key}))
        outcome = judge(response, self.env.clock.now())
        if not isinstance(outcome, Delivered):
            return Check(ok=False, message=outcome.reason)
        return Check(ok=True, message="PagerDuty takes the integration key; nobody was notified")


def judge(response: HttpResponse, now_ms: int) -> Outcome:
    """Judge PagerDuty's answer: 202 is yes, 400 says what is wrong with the event, or with the key."""
    outcome = judge_status(response, now_ms)
    body = response.json()
    answer = body if isinstance(body, dict) else {}
    if isinstance(outcome, Rejected) and response.status == 400:  # noqa: PLR2004 - HTTP's word
        errors = answer.get("errors")
        told = [answer.get("message"), *(errors if isinstance(errors, list) else [errors])]
        said = one_line("; ".join(plain(text) for text in told if text))
        reason = f"PagerDuty says {cut(said, ERRORS_TOLD_MAX) or 'no'} (400)"
        if _ABOUT_KEY.search(said):
            return CredentialsBroken(f"{reason}: copy the integration key again", 400, excerpt(response))
        return replace(outcome, reason=reason)
    if isinstance(outcome, Retry) and outcome.holds_connector and outcome.retry_after_s is None:
        return replace(outcome, retry_after_s=LIMITED_WAIT_S)
    if isinstance(outcome, Delivered) and answer.get("status") != "success":
        return Retry("the answer is not PagerDuty's", response.status, excerpt(response))
    return outcome


def _overtaken(delivery: Delivery, link: Link | None) -> Rejected | None:
    """Return the verdict on an event older than the last one that was delivered, where they contradict each other.

    The lane keeps the order; only a delivery that died and is replayed later can come here.
    """
    action, _, number = ((link.last_state if link is not None else None) or "").partition(":")
    if delivery.action == CHANGE or action in {"", delivery.action} or not number.isdigit():
        return None
    if delivery.id >= int(number):
        return None
    effect = "open an incident for what is over" if delivery.action == TRIGGER else "close a newer incident"
    return Rejected(
        f"not sent: the {action} of delivery {number} is newer and was delivered; this would {effect}"
    )


def _is_over(data: Mapping[str, Json]) -> bool:
    """Return whether an alert tells that something has ended."""
    ended = data.get("resolved") is True or plain(data.get("severity")).lower() in {
        "ok",
        "success",
        "resolved",
    }
    return ended or _OVER.search(plain(data.get("code"))) is not None


def _severity(fact: Fact, notice: Notice) -> str:
    if fact.event.type == "system_alert" and plain(fact.event.data.get("severity")).lower() in {
        "critical",
        "fatal",
    }:
        return "critical"
    return "info" if notice.severity == "success" else notice.severity


def _links(notice: Notice) -> list[Json]:
    return [] if notice.url is None else [{"href": notice.url, "text": "Open in ralf-hub"}]
