"""`check`: everything that is wrong, all of it at once: settings, workspace and, with --live, credentials."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import FAILED, WRONG_USAGE, AsJson, Config, Db

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ralf_hub.config import Loaded, Settings
    from ralf_hub.connectors.base import Check, Connector
    from ralf_hub.errors import SettingsProblem
    from ralf_hub.workspace.layout import Layout
    from ralf_hub.workspace.records import Problem
    from ralf_hub.workspace.scan import ScanSettings

LIVE_TIMEOUT_S: Final = 20.0


@dataclass(slots=True)
class Workspace:
    """What was found in RALF's files; `missing` says in words why there are none."""

    path: str
    layout: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    problems: "list[Problem]" = field(default_factory=list)
    missing: str | None = None


@dataclass(slots=True)
class Outcome:
    """Everything `check` found."""

    file: str
    problems: "tuple[SettingsProblem, ...]"
    fingerprint: str | None = None
    connectors: dict[str, dict[str, Any]] = field(default_factory=dict)
    doubled: list[tuple[str, str]] = field(default_factory=list)
    workspace: Workspace | None = None
    live: "dict[str, Check] | None" = None

    @property
    def exit_code(self) -> int:
        """2 where the hub would not start, 1 where credentials do not work."""
        if any(problem.fatal for problem in self.problems):
            return WRONG_USAGE
        return FAILED if any(not found.ok for found in (self.live or {}).values()) else 0


def check(
    live: Annotated[
        bool, typer.Option("--live", help="Also ask each connector whether its credentials work.")
    ] = False,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Tell everything that is wrong with the settings, and what of the workspace cannot be read.

    Exit code 2 when the hub would not start with these settings, 1 when --live finds credentials that do not work.
    """
    from ralf_hub.errors import SettingsError

    try:
        file = str(common.source(config).path)
    except SettingsError as error:
        found = Outcome(error.problems[0].file, error.problems)
    else:
        try:
            found = _look(common.settings(config, db), live=live)
        except SettingsError as error:
            found = Outcome(file, error.problems)
    if as_json:
        from ralf_hub.cli.output import print_json

        print_json(_as_tree(found))
    else:
        _print(found)
    raise typer.Exit(found.exit_code)


# --- looking --------------------------------------------------------------------------------------


def _look(loaded: "Loaded", *, live: bool) -> Outcome:
    import asyncio

    from ralf_hub.clock import Clock
    from ralf_hub.config import hub_url, instances
    from ralf_hub.connectors.base import ConnectorEnv
    from ralf_hub.delivery.outlets import outlets
    from ralf_hub.delivery.routing import Router

    settings = loaded.settings
    env = ConnectorEnv(
        clock=Clock(),
        hub_url=hub_url(settings),
        timeout_s=settings.delivery.timeout_s,
        outlets=outlets([str(network) for network in settings.security.allowed_networks]),
    )
    connectors = instances(settings, env)
    found = Outcome(
        str(loaded.path),
        loaded.warnings,
        loaded.fingerprint,
        {name: _about(connector) for name, connector in connectors.items()},
        Router(connectors).doubled(),
    )
    if settings.workspace.path is not None:
        found.workspace = _workspace(settings, settings.workspace.path)
    if live:
        found.live = asyncio.run(_ask(settings, connectors))
    return found


def _about(connector: "Connector") -> dict[str, Any]:
    asked = connector.settings.events
    return {"type": connector.service, "events": list(connector.default_events if asked is None else asked)}


def _workspace(settings: "Settings", path: "Path") -> Workspace:
    from ralf_hub.cli.output import progress
    from ralf_hub.watcher.follower import scan_settings
    from ralf_hub.workspace.records import WorkspaceMissingError
    from ralf_hub.workspace.scan import scan

    found = Workspace(str(path))
    reading = scan_settings(settings.workspace)
    try:
        with progress("workspace") as advance:
            snapshot = scan(path, reading, lambda what, n: advance(n, what))
    except WorkspaceMissingError as error:
        found.missing = (
            "nothing is there yet; the hub puts the sample workspace there when it starts"
            if settings.workspace.sample and not path.exists()
            else str(error)
        )
        return found
    found.layout = snapshot.layout.name
    events, problems = _events(snapshot.layout, reading)
    found.counts = {
        "tasks": len(snapshot.tasks),
        "queue": len(snapshot.queue.items),
        "features": len(snapshot.features),
        "events": events,
    }
    found.problems = [*snapshot.problems, *problems]
    return found


def _events(layout: "Layout", reading: "ScanSettings") -> "tuple[int, list[Problem]]":
    """Return how many records the events file has, and what of it cannot be read."""
    from ralf_hub.workspace.files import RefusedError
    from ralf_hub.workspace.following import read_problem
    from ralf_hub.workspace.scan import follow_events

    count = 0
    problems: list[Problem] = []
    try:
        following = follow_events(layout, reading)
        for batch in following.batches if following is not None else ():
            count += len(batch.records)
            problems.extend(batch.problems)
    except (OSError, RefusedError) as error:
        file = "events.yaml" if layout.events is None else layout.relative(layout.events)
        problems.append(read_problem(file, error))
    return count, problems


async def _ask(settings: "Settings", connectors: "Mapping[str, Connector]") -> "dict[str, Check]":
    """Ask every connector at once whether its credentials work."""
    import asyncio

    from ralf_hub.config import secret_values
    from ralf_hub.connectors.base import Check, NotSentError, UnknownAnswerError
    from ralf_hub.delivery.transport import Transport
    from ralf_hub.secrets import Redactor

    redact = Redactor(secret_values(settings))
    networks = [str(network) for network in settings.security.allowed_networks]

    async def ask(connector: "Connector", http: Transport) -> Check:
        try:
            async with asyncio.timeout(LIVE_TIMEOUT_S):
                found = await connector.validate(http)
        except (NotSentError, UnknownAnswerError) as error:
            return Check(ok=False, message=redact(str(error)))
        except TimeoutError:
            return Check(ok=False, message=f"no answer within {LIVE_TIMEOUT_S:.0f} s")
        return Check(found.ok, redact(found.message))

    async with Transport(allowed_networks=networks, timeout_s=settings.delivery.timeout_s) as http:
        checks = await asyncio.gather(*(ask(connector, http) for connector in connectors.values()))
    return dict(zip(connectors, checks, strict=True))


# --- telling --------------------------------------------------------------------------------------


def _as_tree(found: Outcome) -> dict[str, Any]:
    workspace = found.workspace
    return {
        "ok": found.exit_code == 0,
        "file": found.file,
        "fingerprint": found.fingerprint,
        "problems": [asdict(problem) for problem in found.problems],
        "connectors": found.connectors,
        "doubled": [list(pair) for pair in found.doubled],
        "workspace": None if workspace is None else asdict(workspace),
        "live": None if found.live is None else {name: asdict(result) for name, result in found.live.items()},
    }


def _print(found: Outcome) -> None:
    from ralf_hub.cli.output import GREEN, RED, YELLOW, painted, say, shown

    for problem in found.problems:
        label = painted("error  ", RED) if problem.fatal else painted("warning", YELLOW)
        say(f"{label}  {shown(problem)}")
    if found.fingerprint is None:
        n = sum(problem.fatal for problem in found.problems)
        say(f"{found.file}: {n} problem{'' if n == 1 else 's'}; the hub would not start")
        return
    say(f"{found.file}: the settings are valid (fingerprint {found.fingerprint})")
    for name, about in found.connectors.items():
        say(f"connector {name} ({about['type']}): {', '.join(about['events']) or 'no events'}")
    if found.workspace is not None:
        _print_workspace(found.workspace)
    for name, result in (found.live or {}).items():
        verdict = painted("works", GREEN) if result.ok else painted("does not work", RED)
        say(f"live {name}: {verdict}: {shown(result.message)}")


def _print_workspace(workspace: Workspace) -> None:
    from ralf_hub.cli.output import YELLOW, painted, say, shown

    if workspace.missing is not None:
        say(f"workspace {workspace.path}: {painted(shown(workspace.missing), YELLOW)}")
        return
    counts = ", ".join(f"{n} {what}" for what, n in workspace.counts.items())
    say(f"workspace {workspace.path} ({workspace.layout}): {counts}")
    for problem in workspace.problems:
        place = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
        say(f"  {shown(place)}: {shown(problem.message)}")
    if workspace.problems:
        say(f"  {len(workspace.problems)} problems; everything else is read all the same")
