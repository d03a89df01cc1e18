"""What `top` shows, asked of a running hub: once over REST, then kept up to date by its live stream."""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from ralf_hub.cli.common import CommandError
from ralf_hub.model import Json

ANSWER_WITHIN_S: Final = 10.0
SILENT_MAX_S: Final = 10.0
"""The numbers come each second: a stream that is quiet for so long is broken, or its hub is stopped."""
HEALTH_EVERY: Final = 5
"""Asked again after so many rounds of numbers."""
WAIT_FIRST_S: Final = 0.5
WAIT_MAX_S: Final = 5.0
EVENTS_KEPT: Final = 100
ALERTS_KEPT: Final = 5
SEQ_MAX: Final = 2**53
_UNAUTHORIZED: Final = 401
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503


class HubAwayError(Exception):
    """The hub does not answer; the message says how."""


@dataclass(slots=True)
class Overview:
    """What is known of one hub."""

    url: str
    away: str | None = None
    """Why it cannot be asked now; None while it can."""
    health: Mapping[str, Json] = field(default_factory=dict)
    metrics: Mapping[str, Json] = field(default_factory=dict)
    events: deque[Mapping[str, Json]] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    alerts: deque[Mapping[str, Json]] = field(default_factory=lambda: deque(maxlen=ALERTS_KEPT))
    """Both the last one first."""
    last_seq: int = 0

    def take(self, event: Mapping[str, Json]) -> None:
        """Take one event that came after the others."""
        if event["seq"] <= self.last_seq:
            return
        self.last_seq = event["seq"]
        self.events.appendleft(event)
        if event["type"] == "system_alert":
            self.alerts.appendleft(event)

    def as_json(self) -> dict[str, Json]:
        """Return it for programs."""
        return {
            "url": self.url,
            "away": self.away,
            "health": dict(self.health),
            "metrics": dict(self.metrics),
            "alerts": list(self.alerts),
            "events": list(self.events),
        }


class HubFeed:
    """Asks one hub with one key."""

    def __init__(
        self, session: aiohttp.ClientSession, overview: Overview, changed: Callable[[], None]
    ) -> None:
        self._session = session
        self._overview = overview
        self._changed = changed

    async def ask(self) -> None:
        """Ask for everything once. HubAwayError, or CommandError where asking again would not help."""
        known = self._overview
        known.health = await self._get("/health")
        known.metrics = await self._get("/api/v1/metrics")
        found = await self._get(f"/api/v1/events?before={SEQ_MAX}&limit={EVENTS_KEPT}")
        alerts = await self._get(f"/api/v1/events?before={SEQ_MAX}&type=system_alert&limit={ALERTS_KEPT}")
        known.events.clear()
        known.events.extend(found["events"])
        known.alerts.clear()
        known.alerts.extend(alerts["events"])
        known.last_seq = max((event["seq"] for event in known.events), default=0)
        known.away = None

    async def follow(self) -> None:
        """Keep the overview up to date until cancelled; a hub that is away is asked again and again. CommandError."""
        wait_s = WAIT_FIRST_S
        while True:
            try:
                await self.ask()
                self._changed()
                wait_s = WAIT_FIRST_S
                await self._listen()
            except HubAwayError as error:
                self._overview.away = str(error)
            self._changed()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, WAIT_MAX_S)

    async def _get(self, path: str) -> Any:
        try:
            async with self._session.get(path) as answer:
                body = orjson.loads(await answer.read())
        except orjson.JSONDecodeError:
            raise CommandError(f"{self._overview.url} is no ralf-hub") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise HubAwayError(_in_words(error)) from None
        if answer.status == _TOO_MANY or (answer.status == _UNAVAILABLE and path != "/health"):
            raise HubAwayError(str(body.get("detail", answer.reason)))
        if answer.status >= _UNAUTHORIZED and path != "/health":
            raise CommandError(f"{self._overview.url}: {body.get('detail', answer.reason)}")
        return body

    async def _listen(self) -> None:
        """Take what the stream tells until it ends. HubAwayError."""
        rounds = 0
        try:
            async with self._session.ws_connect("/api/v1/stream") as stream:
                since = self._overview.last_seq
                await stream.send_json({"op": "subscribe", "topics": ["events", "metrics"], "since": since})
                while True:
                    frame = await stream.receive(timeout=SILENT_MAX_S)
                    if frame.type is not aiohttp.WSMsgType.TEXT:
                        raise HubAwayError("it ended the connection")
                    message = orjson.loads(frame.data)
                    if message.get("topic") == "metrics":
                        self._overview.metrics = message["metrics"]
                        rounds += 1
                        if rounds % HEALTH_EVERY == 0:
                            self._overview.health = await self._get("/health")
                    elif message.get("topic") == "events":
                        self._overview.take(message["event"])
                    elif message.get("op") == "error":
                        raise HubAwayError(str(message["problem"]["detail"]))
                    self._changed()
        except TimeoutError:
            raise HubAwayError(f"it has said nothing for {SILENT_MAX_S:.0f} s") from None
        except aiohttp.ClientError as error:
            raise HubAwayError(_in_words(error)) from None


def session(url: str, key: str, trusted: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """Return a session with the hub at *url*."""
    return aiohttp.ClientSession(
        url,
        headers={"Authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S),
        connector=aiohttp.TCPConnector(ssl=trusted if trusted is not None else True),
    )


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_WITHIN_S:.0f} s"
    number = getattr(getattr(error, "os_error", None), "errno", None) or 0
    return os.strerror(number) if number > 0 else str(error) or type(error).__name__
