"""API usage: who called what, how often, how long it took; kept across restarts."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from ralf_hub.clock import iso
from ralf_hub.endpoint import Answer, Call, Endpoint, Query
from ralf_hub.errors import FieldError, HubError
from ralf_hub.store import usage

DEFAULT_DAYS: Final = 30
DAY_MS: Final = 86_400_000
_DAY: Final = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})?)?$"
"""A day, or a time of which the day counts."""


def _day(text: str) -> str:
    if re.fullmatch(_DAY, text) is None:
        raise ValueError("This must be a day, such as 2026-02-01.")
    return text[:10]


Day = Annotated[str, AfterValidator(_day), Field(json_schema_extra={"pattern": _DAY})]


class UsageQuery(Query):
    """Which days, and what to sum by."""

    since: Day | None = Field(
        default=None, alias="from", max_length=40, description="First day; 30 days back."
    )
    until: Day | None = Field(
        default=None, alias="to", max_length=40, description="Last day, included; today."
    )
    by: Literal["key", "endpoint", "day"] = Field(default="day", description="What to sum by.")


async def show_usage(call: Call) -> Answer:
    """Answer with the usage of some days, what has not been written down yet included."""
    hub, query = call.hub, call.query
    now = hub.clock.now()
    since = query.since or iso(now - DEFAULT_DAYS * DAY_MS)[:10]
    until = query.until or iso(now)[:10]
    if since > until:
        raise HubError(code="invalid_parameter", errors=[FieldError("from", "This lies after `to`.")])
    await hub.write_usage()
    rows = await hub.db.read(lambda conn: usage.summed(conn, since=since, until=until, by=query.by))
    total = {
        name: sum(row[name] for row in rows) for name in ("requests", "errors_4xx", "errors_5xx", "bytes_out")
    }
    return Answer.json({"from": since, "to": until, "by": query.by, "usage": rows, "total": total})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/usage",
        "showUsage",
        "Show API usage",
        show_usage,
        "metrics:read",
        "metrics",
        query=UsageQuery,
        answer="Usage",
    ),
)
