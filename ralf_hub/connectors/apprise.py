"""Apprise: one way to the many services the hub does not know itself (https://appriseit.com/services/).

Apprise says whether a service took a message, not why it did not. So nothing is taken for permanent at once: a message
is tried a few times and given up then. A repeat after an unknown answer may show twice, with the event's id under it.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, SecretStr, field_validator

from ralf_hub.connectors.base import (
    Action,
    Ambiguous,
    Check,
    Connector,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Http,
    NotSentError,
    Outcome,
    Rejected,
    Retry,
    SendContext,
    UnknownAnswerError,
)
from ralf_hub.connectors.outlets import Announcement
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Worded, Wording
from ralf_hub.model import Delivery, Json
from ralf_hub.notices import Severity
from ralf_hub.secrets import sha256_hex
from ralf_hub.texts import clean, cut

if find_spec("apprise") is None:  # said when the settings load, not when the first notice is due
    raise ModuleNotFoundError("the connector needs apprise", name="apprise")

ATTEMPTS_MAX: Final = 5
TEXT_LENGTH_MAX: Final = 3000
URLS_MAX: Final = 20

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{1,31}s?://\S+")
_KINDS: Final[dict[Severity, Literal["info", "success", "warning", "failure"]]] = {
    "info": "info", "success": "success", "warning": "warning", "error": "failure",
}  # fmt: skip
_ZERO_WIDTH_SPACE: Final = "\u200b"


class AppriseSettings(ConnectorSettings):
    """Services by their Apprise URLs."""

    urls: tuple[SecretStr, ...] = Field(
        min_length=1,
        max_length=URLS_MAX,
        description="Apprise URLs such as `ntfy://topic` or `tgram://token/chat`; they count as secrets.",
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, SecretStr)) else value

    @field_validator("urls")
    @classmethod
    def _urls_have_a_scheme(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        texts = list(dict.fromkeys(url.get_secret_value().strip() for url in value))
        for number, text in enumerate(texts, 1):
            if not _URL.fullmatch(text):
                raise ValueError(
                    f"number {number} is no Apprise URL: it begins with a service's name and ://"
                )
        return tuple(SecretStr(text) for text in texts)


class AppriseConnector(Connector):
    """Tells each of the services."""

    service: ClassVar[str] = "apprise"
    settings_model: ClassVar[type[ConnectorSettings]] = AppriseSettings
    tells_people: ClassVar[bool] = True

    def __init__(self, name: str, settings: AppriseSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        urls = [url.get_secret_value() for url in settings.urls]
        self._urls = {sha256_hex(url)[:12]: url for url in urls}
        self._wording = Wording(settings.template, escape)

    def destinations(self) -> frozenset[str]:
        """Return all URLs' name: two instances with the same ones are one place."""
        return frozenset({place(self.service, *sorted(self._urls.values()))})

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return one notice per URL, each in a lane of its own: a service that is down holds up no other."""
        worded = self._wording(fact)
        payload = _payload(worded)
        lane = fact.event.task_id or (f"feature:{fact.feature.id}" if fact.feature is not None else None)
        return [
            Action(f"notify:{key}", {"to": key, **payload}, lane=None if lane is None else f"{lane}>{key}")
            for key in self._urls
        ]

    async def send(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Hand the notice to Apprise."""
        del context
        url = self._urls.get(str(delivery.payload["to"]))
        if url is None:
            return Rejected("its URL is in the settings no more")
        if delivery.attempts >= ATTEMPTS_MAX:
            return _given_up(str(delivery.last_error))
        outcome = await self._try(url, delivery.payload)
        if isinstance(outcome, (Retry, Ambiguous)) and delivery.attempts + 1 >= ATTEMPTS_MAX:
            return _given_up(outcome.reason)
        return outcome

    async def _try(self, url: str, payload: Mapping[str, Json]) -> Delivered | Retry | Ambiguous:
        notify = self.env.outlets.notify
        if notify is None:
            return Retry("there is no way out for Apprise here")
        announcement = Announcement(payload["title"], payload["body"], payload["kind"], self.env.timeout_s)
        try:
            taken = await notify(url, announcement)
        except NotSentError as error:
            return Retry(str(error))
        except UnknownAnswerError as error:
            return Ambiguous(str(error))
        name = await notify.service(url)
        if taken:
            return Delivered(response=f"{name} took it")
        return Retry(f"{name} did not take it; the log says what Apprise saw")

    async def validate(self, http: Http) -> Check:
        """Say which services the URLs are of: Apprise can ask none of them without telling it something."""
        del http
        if self.env.outlets.notify is None:
            return Check(ok=False, message="there is no way out for Apprise here")
        names = [await self.env.outlets.notify.service(url) for url in self._urls.values()]
        unknown = [str(number) for number, name in enumerate(names, 1) if name is None]
        if unknown:
            return Check(ok=False, message=f"Apprise knows no service by URL {', '.join(unknown)}")
        told = ", ".join(dict.fromkeys(map(str, names)))
        return Check(ok=True, message=cut(f"the URLs are of {told}; nothing was sent", 200))


def escape(text: str) -> str:
    """Return *text* as plain text in which no service finds a name to notify."""
    return clean(text).replace("@", f"@{_ZERO_WIDTH_SPACE}")


def _payload(worded: Worded) -> dict[str, Json]:
    notice = worded.notice
    if worded.text is not None and worded.text.strip():
        parts = [cut(worded.text.strip(), TEXT_LENGTH_MAX)]
    else:
        facts = " \u00b7 ".join(f"{name}: {value}" for name, value in notice.fields)
        parts = [cut(escape(notice.text), TEXT_LENGTH_MAX), escape(facts)]
    if worded.template_error is not None:
        parts.append(f"The template failed ({escape(worded.template_error)}); this is the default wording.")
    parts += [notice.url or "", notice.event_id]
    made: dict[str, Json] = {"title": escape(notice.title), "body": "\n".join(filter(None, parts))}
    return made | {"kind": _KINDS[notice.severity]}


def _given_up(last: str) -> Rejected:
    return Rejected(f"given up after {ATTEMPTS_MAX} attempts; the last: {last}")
