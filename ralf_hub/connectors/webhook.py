"""Plain webhooks by the rules of Standard Webhooks (https://www.standardwebhooks.com).

The body is fixed when the event is recorded, so every try sends the same bytes under the same `webhook-id`,
the event's: a receiver that has seen the id may drop the repeat. Timestamp and signatures are made per try.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson
from pydantic import Field, SecretStr, field_validator

from ralf_hub.clock import MS_PER_S
from ralf_hub.connectors.base import (
    Action,
    Check,
    ConnectorEnv,
    ConnectorSettings,
    Fact,
    Http,
    HttpConnector,
    HttpRequest,
    HttpResponse,
    Outcome,
    SendContext,
)
from ralf_hub.connectors.judging import judge_status
from ralf_hub.connectors.urls import check_http_url, place
from ralf_hub.connectors.wording import Wording
from ralf_hub.model import Delivery, Json, task_json
from ralf_hub.signatures import sign_standard, standard_headers
from ralf_hub.texts import cut

BODY_BYTES_MAX: Final = 20_000
"""What the specification recommends as the most."""
CUT_NOTES_MAX: Final = 20

_STRING_LENGTHS: Final = (4000, 1000, 250, 60)
_ITEMS_MAX: Final = 50
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS: Final = frozenset(
    {"content-type", "content-length", "host", "connection", "transfer-encoding", "user-agent"}
)
_OWN_PREFIX: Final = "webhook-"


class WebhookSettings(ConnectorSettings):
    """A receiver of Standard Webhooks."""

    url: SecretStr = Field(description="Where to post to; it counts as a secret, since many carry one.")
    secret: SecretStr | tuple[SecretStr, ...] | None = Field(
        default=None,
        description="What to sign with: `whsec_<base64>` or any text. A list signs with each, for a rotation.",
    )
    headers: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="More headers to send, such as `Authorization`."
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The signing secrets, in the order given."""
        given = self.secret if isinstance(self.secret, tuple) else (self.secret,)
        return tuple(secret.get_secret_value() for secret in given if secret is not None)

    @field_validator("url")
    @classmethod
    def _url_can_be_called(cls, value: SecretStr) -> SecretStr:
        return SecretStr(check_http_url(value.get_secret_value()))

    @field_validator("secret")
    @classmethod
    def _secret_can_sign(cls, value: Any) -> Any:
        if value == ():
            raise ValueError("a list of secrets without one: leave it out to send unsigned")
        for secret in value if isinstance(value, tuple) else (value,):
            text = secret.get_secret_value() if secret is not None else "unsigned"
            if not text or text != text.strip():
                raise ValueError("a signing secret is empty or has white space at an end")
            sign_standard(text, "id", 0, b"")
        return value

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, content in value.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a header's name")
            if name.lower() in _OWN_HEADERS or name.lower().startswith(_OWN_PREFIX):
                raise ValueError(f"the header {name} is the hub's own and cannot be set")
            if not content.get_secret_value().isprintable():
                raise ValueError(f"the header {name} has a line break or control character in it")
        return value


class WebhookConnector(HttpConnector):
    """Posts every event as JSON to one URL."""

    service: ClassVar[str] = "webhook"
    settings_model: ClassVar[type[ConnectorSettings]] = WebhookSettings

    def __init__(self, name: str, settings: WebhookSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self._url = settings.url.get_secret_value()
        self._secrets = settings.secrets
        self._headers = {key: value.get_secret_value() for key, value in settings.headers.items()}
        self._wording = Wording(settings.template, str) if settings.template is not None else None

    def destinations(self) -> frozenset[str]:
        """Return the URL's name: two instances with one URL are one place."""
        return frozenset({place(self.service, self._url)})

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return one post; its payload is the whole body."""
        return [Action("notify", bounded(self._body(fact)))]

    def _body(self, fact: Fact) -> dict[str, Json]:
        event = fact.event
        own: dict[str, Json] = {
            "seq": event.seq,
            "event_id": event.id,
            "task_id": event.task_id,
            "task": None if fact.task is None else task_json(fact.task),
        }
        if fact.feature is not None:
            feature = fact.feature
            own["feature"] = {
                "id": feature.id,
                "title": feature.title,
                "status": feature.status,
                "priority": feature.priority,
                "tasks": {"total": feature.tasks_total, "completed": feature.tasks_completed},
            }
        if self._wording is not None:
            worded = self._wording(fact)
            own["text"] = worded.notice.text or worded.notice.title if worded.text is None else worded.text
            if worded.template_error is not None:
                own["template_error"] = worded.template_error
        # The hub's own members win over an event's data of the same name: receivers rely on them.
        rest = {key: value for key, value in event.data.items() if key not in own}
        return {"type": event.type, "timestamp": event.occurred_at, "data": {**own, **rest}}

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest:
        """Return the post, signed for this moment with every secret."""
        body = orjson.dumps(delivery.payload)
        now_s = context.clock.now() // MS_PER_S
        headers = {
            **self._headers,
            "content-type": "application/json",
            **standard_headers(self._secrets, delivery.event_id, now_s, body),
        }
        return HttpRequest("POST", self._url, headers, body)

    def judge(self, delivery: Delivery, response: HttpResponse) -> Outcome:
        """Judge by status. 401 and 403 hold this receiver's deliveries instead of burning them one by one."""
        del delivery
        return judge_status(response, self.env.clock.now())

    async def validate(self, http: Http) -> Check:
        """Say how posts are signed: a receiver cannot be asked without posting to it."""
        del http
        count = len(self._secrets)
        signed = (
            f"signed with {count} secret{'' if count == 1 else 's'}"
            if count
            else "not signed: no secret is set"
        )
        return Check(ok=True, message=f"posts are {signed}; nothing was posted")


# --- keeping the body small -----------------------------------------------------------------------


def bounded(body: dict[str, Json]) -> dict[str, Json]:
    """Return *body* in at most `BODY_BYTES_MAX` bytes of JSON.

    First the longest strings and lists are cut, then the task and the event's data are left out but for what
    names them. `data.cut` says which members are not whole.
    """
    if len(orjson.dumps(body)) <= BODY_BYTES_MAX:
        return body
    for length_max in _STRING_LENGTHS:
        notes: list[str] = []
        data = _shortened(body["data"], length_max, "data", notes)
        smaller = {**body, "data": {**data, "cut": notes[:CUT_NOTES_MAX]}}
        if len(orjson.dumps(smaller)) <= BODY_BYTES_MAX:
            return smaller
    data = body["data"]
    task = data["task"]
    names = ("id", "title", "status", "priority")
    thin = None if task is None else {key: cut(str(task[key]), _STRING_LENGTHS[-1]) for key in names}
    kept = {key: data[key] for key in ("seq", "event_id", "task_id")}
    return {**body, "data": {**kept, "task": thin, "cut": ["data"]}}


def _shortened(value: Json, length_max: int, path: str, notes: list[str]) -> Json:
    """Return *value* with long strings and lists cut, their paths added to *notes*."""
    if isinstance(value, str) and len(value) > length_max:
        notes.append(path)
        return cut(value, length_max)
    if isinstance(value, dict):
        return {key: _shortened(item, length_max, f"{path}.{key}", notes) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if len(value) > _ITEMS_MAX:
            notes.append(path)
        return [_shortened(item, length_max, f"{path}[]", notes) for item in value[:_ITEMS_MAX]]
    return value
