"""Enough of PagerDuty's Events API v2: alerts by key, the incidents they opened, change events.

    python -m tests.doubles.pagerduty --port 0 --log FILE

Requests are held to the published description. A trigger on an open alert is a line in its log; after a resolve it
opens a new incident. A resolve without an open alert is dropped. https://developer.pagerduty.com/docs/send-alert-event
"""

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.doubles.contract import Contract
from tests.doubles.server import Double, Log, Seen, arguments, serve

ROUTING_KEY = "R0123456789abcdefghijklmnopqrstu"
SUMMARY_LENGTH_MAX, KEY_LENGTH_MAX, BODY_BYTES_MAX = 1024, 255, 512 * 1024
CONTRACT = Contract("pagerduty/trimmed.json", "https://events.pagerduty.com")


@dataclass(slots=True)
class Incident:
    """What people see, and are woken by."""

    key: str
    payload: dict[str, Any]
    status: str = "triggered"
    repeats: list[dict[str, Any]] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)


class PagerDuty(Double):
    """PagerDuty with one integration."""

    def __init__(self, log: Log | None = None) -> None:
        super().__init__()
        self.incidents: list[Incident] = []
        self.changes: list[dict[str, Any]] = []
        self.dropped: list[str] = []
        self._log = log or Log(None)

    @property
    def api_url(self) -> str:
        return f"{self.url}/v2"

    def violation(self, seen: Seen) -> str | None:
        return CONTRACT.violation(seen)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v2/enqueue", self._event), web.post("/v2/change/enqueue", self._change)]

    def open(self, key: str) -> Incident | None:
        return next((one for one in self.incidents if one.key == key and one.status == "triggered"), None)

    async def _event(self, request: web.Request) -> web.Response:
        given = await request.json()
        if errors := wrong(given):
            return invalid(*errors)
        key, action = given.get("dedup_key") or f"made-{len(self.incidents)}", given["event_action"]
        incident = self.open(key)
        if action == "trigger" and incident is None:
            self.incidents.append(Incident(key, given["payload"], given=given))
        elif action == "trigger" and incident is not None:
            incident.repeats.append(given["payload"])
        elif incident is None:
            self.dropped.append(key)
        else:
            incident.status = "resolved"
        self._log({"action": action, "key": key})
        answer = {"status": "success", "message": "Event processed", "dedup_key": key}
        return web.json_response(answer, status=202)

    async def _change(self, request: web.Request) -> web.Response:
        given = await request.json()
        if errors := wrong({**given, "event_action": "change"}):
            return invalid(*errors)
        self.changes.append(given)
        self._log({"change": given["payload"]["summary"]})
        return web.json_response({"status": "success", "message": "Change event processed"}, status=202)


def wrong(given: dict[str, Any]) -> list[str]:
    """Return what the description does not say of an event."""
    found = []
    if given["routing_key"] != ROUTING_KEY:
        found.append("Invalid routing key")
    if given["event_action"] in {"resolve", "acknowledge"} and not given.get("dedup_key"):
        found.append("'dedup_key' is missing or blank")
    if len(given.get("dedup_key", "")) > KEY_LENGTH_MAX:
        found.append("'dedup_key' is too long")
    if given["event_action"] in {"trigger", "change"}:
        summary = given.get("payload", {}).get("summary", "")
        if not 0 < len(summary) <= SUMMARY_LENGTH_MAX:
            found.append("'payload.summary' is missing or too long")
    return found


def invalid(*errors: str) -> web.Response:
    answer = {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)}
    return web.json_response(answer, status=400)


if __name__ == "__main__":
    given_arguments = arguments(str(__doc__)).parse_args()
    serve(PagerDuty(Log(given_arguments.log)), given_arguments.port)
