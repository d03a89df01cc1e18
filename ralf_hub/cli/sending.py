"""`send`: one sample notice through one connector, or only the request it would make."""

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import FAILED, AsJson, CommandError, Config, Db

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ralf_hub.config import Settings
    from ralf_hub.connectors.base import Action, Connector, Fact, HttpRequest, Outcome
    from ralf_hub.model import Delivery

TIME_ON_TOP_S: Final = 5.0
"""On top of `[delivery] timeout_s`, for connectors that make several calls."""
SAMPLE_TASK: Final = "SAMPLE-TASK"
SAMPLE_FEATURE: Final = "SAMPLE-FEATURE"


def send(
    connector: Annotated[
        str, typer.Argument(metavar="CONNECTOR", help="The connector's name in the settings.")
    ],
    event_type: Annotated[str, typer.Option("--event", metavar="TYPE", help="The type of the sample event.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the request, with secrets masked.")
    ] = False,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Send a sample event, marked as such, through one connector. Nothing is put into the database."""
    from ralf_hub.config import secret_values
    from ralf_hub.secrets import Redactor

    settings = common.settings(config, db).settings
    chosen = _connector(settings, connector)
    fact = sample(event_type)
    deliveries = _deliveries(chosen, fact, chosen.plan(fact))
    secrets = secret_values(settings)
    redact = Redactor(secrets)
    if dry_run:
        shown = [_request(chosen, delivery, redact, frozenset(secrets)) for delivery in deliveries]
        _print_requests(shown, as_json=as_json)
        return
    _print_outcomes(_send_all(settings, chosen, deliveries, as_json=as_json), redact, as_json=as_json)


def _connector(settings: "Settings", name: str) -> "Connector":
    from ralf_hub.clock import Clock
    from ralf_hub.config import hub_url, instances
    from ralf_hub.config.patterns import nearest
    from ralf_hub.connectors.base import ConnectorEnv
    from ralf_hub.delivery.outlets import outlets

    env = ConnectorEnv(
        clock=Clock(),
        hub_url=hub_url(settings),
        timeout_s=settings.delivery.timeout_s,
        outlets=outlets([str(network) for network in settings.security.allowed_networks]),
    )
    known = instances(settings, env)
    if name in known:
        return known[name]
    if name in settings.connectors:
        raise typer.BadParameter(f"{name} is not enabled in the settings", param_hint="CONNECTOR")
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"there are: {', '.join(known) or 'none'}"
    raise typer.BadParameter(f"there is no connector {name}; {hint}", param_hint="CONNECTOR")


def sample(event_type: str) -> "Fact":
    """Return a made-up event of *event_type* that nobody can take for a real one."""
    from ralf_hub.clock import Clock
    from ralf_hub.connectors.base import Fact
    from ralf_hub.model import STATUS_EVENT, Event, Feature, Task

    clock = Clock()
    now = clock.iso()
    status = next((status for status, kind in STATUS_EVENT.items() if kind == event_type), "in_progress")
    about_task = not event_type.startswith(("feature_", "system_", "connector_", "queue_"))
    task = Task(
        SAMPLE_TASK,
        "Sample task: nothing happened, someone tries the connector",
        status=status,
        description="Sent by `ralf-hub send`.",
        created_at=now,
        updated_at=now,
        source="cli",
    )
    feature = Feature(SAMPLE_FEATURE, "Sample feature: nothing happened", created_at=now, updated_at=now)
    about_feature = event_type.startswith("feature_")
    data: dict[str, Any] = {"sample": True}
    if about_feature:
        data |= {"feature_id": feature.id, "title": feature.title}
    elif not about_task:
        data |= {"code": "sample", "message": "A sample, sent by `ralf-hub send`.", "severity": "info"}
    else:
        data |= {"title": task.title, **({"error": "A sample error."} if status == "failed" else {})}
    event = Event(
        id=clock.id("evt"),
        type=event_type,
        occurred_at=now,
        recorded_at=now,
        source="cli",
        task_id=task.id if about_task else None,
        data=data,
    )
    return Fact(event, task if about_task else None, feature if about_feature else None)


def _deliveries(connector: "Connector", fact: "Fact", actions: "Sequence[Action]") -> "list[Delivery]":
    from ralf_hub.model import Delivery

    if not actions:
        raise CommandError(f"{connector.name} makes nothing of {fact.event.type}: there is nothing to send")
    event = fact.event
    return [
        Delivery(
            id=0,
            event_id=event.id,
            event_type=event.type,
            connector=connector.name,
            action=action.name,
            payload=action.payload,
            task_id=event.task_id,
            lane=action.lane or event.task_id,
            created_at=event.recorded_at,
        )
        for action in actions
    ]


# --- the request ----------------------------------------------------------------------------------


def _request(
    connector: "Connector", delivery: "Delivery", redact: "Callable[[str], str]", secrets: frozenset[str]
) -> dict[str, Any]:
    from ralf_hub.clock import Clock
    from ralf_hub.connectors.base import HttpRequest, HttpResponse, SendContext

    async def nowhere(request: HttpRequest) -> HttpResponse:
        raise CommandError(f"a dry run sends nothing, and {request.method} was asked for")

    request = connector.prepare(delivery, SendContext(nowhere, Clock()))
    if request is None:
        return {"action": delivery.action, "payload": delivery.payload}
    return {
        "action": delivery.action,
        "method": request.method,
        "url": shown_url(request.url, redact, secrets),
        "headers": {name: redact(value) for name, value in request.headers.items()},
        "body": _body(request, redact),
    }


def shown_url(url: str, redact: "Callable[[str], str]", secrets: frozenset[str]) -> str:
    """Return *url* as it may be shown: of one that is a secret itself only where it leads."""
    if url not in secrets:
        return redact(url)
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}/***"


def _body(request: "HttpRequest", redact: "Callable[[str], str]") -> Any:
    text = redact(request.body.decode("utf-8", "replace"))
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return text


def _print_requests(requests: list[dict[str, Any]], *, as_json: bool) -> None:
    from ralf_hub.cli.output import print_body, print_json, say, shown

    if as_json:
        print_json({"requests": requests})
        return
    for request in requests:
        if "url" not in request:
            say(f"{request['action']}: no HTTP request; the payload is")
            body = request["payload"]
        else:
            say(f"{request['method']} {shown(request['url'])}")
            for name, value in request["headers"].items():
                say(f"{name}: {shown(value)}")
            say()
            body = request["body"]
        print_body(body)


# --- sending --------------------------------------------------------------------------------------


def _send_all(
    settings: "Settings", connector: "Connector", deliveries: "Sequence[Delivery]", *, as_json: bool
) -> "list[tuple[Delivery, Outcome]]":
    import asyncio

    from ralf_hub.clock import Clock
    from ralf_hub.connectors.base import (
        Ambiguous,
        Delivered,
        NotSentError,
        Retry,
        SendContext,
        UnknownAnswerError,
    )
    from ralf_hub.delivery.transport import Transport

    async def run() -> "list[tuple[Delivery, Outcome]]":
        networks = [str(network) for network in settings.security.allowed_networks]
        outcomes: list[tuple[Delivery, Outcome]] = []
        link = None  # what the first action makes, the others work on
        async with Transport(allowed_networks=networks, timeout_s=settings.delivery.timeout_s) as http:
            for delivery in deliveries:
                outcome: Outcome
                try:
                    async with asyncio.timeout(settings.delivery.timeout_s + TIME_ON_TOP_S):
                        outcome = await connector.send(delivery, SendContext(http, Clock(), link))
                except NotSentError as error:
                    outcome = Retry(str(error))
                except (UnknownAnswerError, TimeoutError) as error:
                    outcome = Ambiguous(str(error) or "no verdict in time")
                if isinstance(outcome, Delivered):
                    link = outcome.link or link
                outcomes.append((delivery, outcome))
        return outcomes

    # What the console connector prints is not part of the JSON.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        return asyncio.run(run())


def _print_outcomes(
    outcomes: "list[tuple[Delivery, Outcome]]", redact: "Callable[[str], str]", *, as_json: bool
) -> None:
    from ralf_hub.cli.output import GREEN, RED, painted, print_json, say, shown
    from ralf_hub.connectors.base import Delivered

    results = [
        {
            "action": delivery.action,
            "outcome": outcome.name,
            "status_code": outcome.status_code,
            "reason": None if isinstance(outcome, Delivered) else redact(outcome.reason),
            "response": redact(outcome.response) or None,
        }
        for delivery, outcome in outcomes
    ]
    if as_json:
        print_json({"outcomes": results})
    for result in () if as_json else results:
        good = result["outcome"] == Delivered.name
        status = f" ({result['status_code']})" if result["status_code"] else ""
        say(painted(f"{result['action']}: {result['outcome']}{status}", GREEN if good else RED))
        for text in (result["reason"], result["response"]):
            if text:
                say(f"  {shown(text)}")
    if any(not isinstance(outcome, Delivered) for _, outcome in outcomes):
        raise typer.Exit(FAILED)
