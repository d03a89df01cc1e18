"""`verify`: the proof that nothing was lost, and the table of what was."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import FAILED, AsJson, Config, Db

if TYPE_CHECKING:
    from sqlite3 import Connection

    from ralf_hub.config import Settings
    from ralf_hub.store.verify import Report, Routes

_LABEL: Final = 12


def verify(config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Prove that every event has exactly the deliveries its routes ask for, and say which has not.

    Works beside a running hub. Exit code 1 when anything is found.
    """
    from ralf_hub.cli.output import print_json
    from ralf_hub.store.beside import beside

    settings, routes, problem = _settings(config, db)
    with beside(settings.database.path) as conn:
        report = run(conn, routes)
    if problem is not None:
        report.notes.append(problem)
    if as_json:
        print_json(as_tree(report))
    else:
        _print(report)
    if not report.clean:
        raise typer.Exit(FAILED)


def run(conn: "Connection", routes: "Routes | None", *, integrity: bool = True) -> "Report":
    """Run every check on one moment of the database, with a bar on a terminal."""
    from ralf_hub.cli.output import progress
    from ralf_hub.store import verify as checks
    from ralf_hub.store.beside import snapshot

    report = checks.Report()
    listed = checks.steps(routes, integrity=integrity)
    with snapshot(conn), progress("verify", len(listed)) as advance:
        for done, (name, check) in enumerate(listed):
            advance(done, name)
            check(conn, report)
    return report


def _settings(config: Path | None, db: Path | None) -> "tuple[Settings, Routes | None, str | None]":
    """Return the settings, their routes, and in words why there are none where they cannot be read here."""
    from ralf_hub.errors import SettingsError

    try:
        settings = common.settings(config, db).settings
    except SettingsError:
        settings = common.database_settings(config, db).settings
        return settings, None, "the settings have problems here: `ralf-hub check` tells them"
    return settings, routes_of(settings), None


def routes_of(settings: "Settings") -> "Routes":
    """Return the routes of *settings* as `verify` takes them."""
    from functools import partial

    from ralf_hub.config import instances
    from ralf_hub.connectors.base import ConnectorEnv
    from ralf_hub.delivery.expected import expected, fingerprint
    from ralf_hub.delivery.routing import Router
    from ralf_hub.store.verify import Routes

    router = Router(instances(settings, ConnectorEnv()))
    return Routes(fingerprint(router), partial(expected, router))


def as_tree(report: "Report") -> dict[str, Any]:
    """Return *report* as JSON."""
    return {
        "clean": report.clean,
        "events": report.events,
        "history": report.history,
        "routed": report.routed,
        "deliveries": report.deliveries,
        "pruned": report.pruned,
        "rerouted": report.rerouted,
        "found": report.counts,
        "findings": [asdict(finding) for finding in report.findings],
        "notes": report.notes,
    }


def _print(report: "Report") -> None:
    from ralf_hub.cli.output import GREEN, RED, painted, say, shown, table
    from ralf_hub.store.verify import KINDS

    def line(label: str, n: int, words: str) -> None:
        say(f"{label:<{_LABEL}}{n:>12,}  {words}")

    line("events", report.events, f"{report.history:,} of them history, told to nobody")
    line("routed", report.routed, "deliveries that events were routed to")
    line("deliveries", report.deliveries, f"in the outbox; {report.pruned:,} more were deleted by retention")
    line("held again", report.rerouted, "events against the routes in force")
    for kind, n in report.counts.items():
        if n:
            line(kind, n, painted(KINDS[kind], RED))
    if report.findings:
        say()
        columns = ("FOUND", ">SEQ", "EVENT", ">DELIVERY", "CONNECTOR", "WHAT")
        rows = [(f.kind, f.seq, f.event_id, f.delivery_id, f.connector, f.message) for f in report.findings]
        table(columns, rows)
    for text in report.notes:
        say(f"note: {shown(text)}")
    if report.clean:
        say(painted("Clean: every event has exactly the deliveries it was routed to.", GREEN))
    else:
        say(painted(f"Not clean: {sum(report.counts.values()):,} findings.", RED))
