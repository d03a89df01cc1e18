"""`send`: one sample notice through one connector, or only the request it would make."""

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import FAILED, AsJson, CommandError, Config, Db

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ralf_hub.config import Settings
    from ralf_hub.connectors.base import Connector, Outcome
    from ralf_hub.model import Delivery

TIME_ON_TOP_S: Final = 5.0
"""On top of `[delivery] timeout_s`, for connectors that make several calls."""


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
    from ralf_hub.clock import Clock
    from ralf_hub.config import secret_values
    from ralf_hub.delivery import rehearsal
    from ralf_hub.secrets import Redactor

    settings, clock = common.settings(config, db).settings, Clock()
    chosen = _connector(settings, connector)
    secrets = secret_values(settings)
    redact = Redactor(secrets)
    try:
        planned = rehearsal.deliveries(chosen, rehearsal.sample(event_type, clock))
        if dry_run:
            shown = rehearsal.requests(chosen, planned, clock, redact, frozenset(secrets))
            _print_requests(shown, as_json=as_json)
            return
    except rehearsal.NothingToSendError as error:
        raise CommandError(str(error)) from None
    _print_outcomes(_send_all(settings, chosen, planned, as_json=as_json), redact, as_json=as_json)


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
