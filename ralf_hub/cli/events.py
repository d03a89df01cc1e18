"""`emit` and `tail`: an event in, and events as they come."""

import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import AsJson, Config, Db
from ralf_hub.model import TASK_ID_PATTERN, Event, Json

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from ralf_hub.config import Loaded

SOURCE: Final = "cli"
LOOK_EVERY_S: Final = 0.3
READ_AT_ONCE: Final = 500
DATA_BYTES_MAX: Final = 1024 * 1024
DATA_KEYS_MAX: Final = 200

_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,99}")
_TASK_ID: Final = re.compile(TASK_ID_PATTERN)
_GOOD: Final = frozenset({"task_completed", "feature_delivered", "connector_resumed"})
_BAD: Final = frozenset({"task_failed", "system_alert", "connector_paused"})
_HELD: Final = frozenset({"task_blocked", "task_cancelled"})
_SHOWN_MAX: Final = 300

TypeArgument = Annotated[
    str, typer.Argument(metavar="TYPE", help="The event's type, such as task_completed.")
]
TaskOption = Annotated[str | None, typer.Option("--task", metavar="ID", help="The task it is about.")]


# --- emit -----------------------------------------------------------------------------------------


def emit(
    event_type: TypeArgument,
    task: TaskOption = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Anything else, a JSON object; `-` reads standard input."),
    ] = None,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Record an event and its deliveries; a running hub sends them within a second, else the next one does."""
    if _TYPE.fullmatch(event_type) is None:
        raise typer.BadParameter(
            "a type is letters, digits and _ . : -, beginning with a letter", param_hint="TYPE"
        )
    if task is not None and _TASK_ID.fullmatch(task) is None:
        raise typer.BadParameter("a task's id is letters, digits and . _ -, at most 128", param_hint="--task")
    facts = _data(data)
    loaded = common.settings(config, db)
    common.tell_if_new(loaded.settings.database.path)
    event, connectors = _record(loaded, event_type, task, facts)
    from ralf_hub.cli.output import print_json, say
    from ralf_hub.model import event_json

    if as_json:
        print_json({**event_json(event), "connectors": connectors})
    else:
        say(f"event {event.seq} ({event.id}) is recorded; it goes to {', '.join(connectors) or 'nobody'}")


def _data(text: str | None) -> "Mapping[str, Json]":
    """Return `--data` as a JSON object. BadParameter."""
    import orjson

    if text is None:
        return {}
    content = (
        sys.stdin.buffer.read(DATA_BYTES_MAX + 1) if text == "-" else text.encode("utf-8", "surrogateescape")
    )
    if len(content) > DATA_BYTES_MAX:
        raise typer.BadParameter(f"is larger than {DATA_BYTES_MAX // 1024} KiB", param_hint="--data")
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"is not JSON: {error}", param_hint="--data") from None
    if not isinstance(found, dict) or len(found) > DATA_KEYS_MAX:
        raise typer.BadParameter(
            f'must be a JSON object of at most {DATA_KEYS_MAX} members, such as {{"key": "value"}}',
            param_hint="--data",
        )
    return found


def _record(
    loaded: "Loaded", event_type: str, task_id: str | None, data: "Mapping[str, Json]"
) -> tuple[Event, list[str]]:
    """Record the event as the hub would, in one transaction; return it and the connectors it goes to."""
    from ralf_hub.clock import Clock
    from ralf_hub.config import hub_url, instances
    from ralf_hub.connectors.base import ConnectorEnv
    from ralf_hub.delivery.expected import fingerprint
    from ralf_hub.delivery.routing import Router
    from ralf_hub.intake.ledger import Ledger
    from ralf_hub.store import routes, tasks
    from ralf_hub.store.beside import beside, write

    clock, url = Clock(), hub_url(loaded.settings)
    router = Router(instances(loaded.settings, ConnectorEnv(clock=clock, hub_url=url)))

    def change(conn: "sqlite3.Connection") -> tuple[Event, list[str]]:
        ledger = Ledger(conn, clock, router, url)
        task = None if task_id is None else tasks.get(conn, task_id)
        event = ledger.record(event_type, source=SOURCE, task=task, task_id=task_id, data=data)
        routes.went_other_ways(conn, fingerprint(router), event.seq)
        return event, sorted(ledger.connectors)

    with beside(loaded.settings.database.path, writer=True, create=True) as conn:
        return write(conn, change)


# --- tail -----------------------------------------------------------------------------------------


def tail(
    since: Annotated[
        int | None,
        typer.Option(min=0, metavar="SEQ", help="Begin after this event; left out: with the next one."),
    ] = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only this type; may be given several times."),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="ID", help="Only events of this task.")
    ] = None,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Show events as they come, until Ctrl-C or SIGTERM. With --json each is one line."""
    from ralf_hub.store import events
    from ralf_hub.store.beside import beside

    path = common.database_settings(config, db).settings.database.path
    types, idle = tuple(event_type or ()), threading.Event()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with beside(path) as conn:
            first, last = events.bounds(conn)
            seq = last if since is None else since
            if seq + 1 < first:
                common.complain(f"events {seq + 1} to {first - 1} are no longer kept")
            while True:
                found = events.after(conn, seq, limit=READ_AT_ONCE, types=types, task_id=task)
                for event in found:
                    _show(event, as_json=as_json)
                sys.stdout.flush()
                if len(found) == READ_AT_ONCE:
                    seq = found[-1].seq
                    continue
                seq = max([last, *(event.seq for event in found)])
                idle.wait(LOOK_EVERY_S)
                last = events.bounds(conn)[
                    1
                ]  # asked before the next look: what a filter passes over ends here
    except KeyboardInterrupt:
        return


def _show(event: Event, *, as_json: bool) -> None:
    from ralf_hub.cli import output
    from ralf_hub.model import event_json

    if as_json:
        output.print_json_line(event_json(event))
        return
    colour = (
        output.GREEN
        if event.type in _GOOD
        else output.RED
        if event.type in _BAD
        else output.YELLOW
        if event.type in _HELD
        else output.CYAN
    )
    when = output.painted(event.occurred_at, output.DIM)
    kind = output.painted(f"{event.type:<18}", colour)
    output.say(f"{event.seq:>7} {when} {kind} {output.shown(event.task_id or '-')} {_gist(event)}".rstrip())


def _gist(event: Event) -> str:
    """Return what is worth reading of an event's data."""
    from ralf_hub.cli.output import shown
    from ralf_hub.texts import cut

    data: Mapping[str, Any] = event.data
    named = [str(data[key]) for key in ("title", "message", "text", "error", "note") if data.get(key)]
    if "progress" in data and event.type == "task_progress":
        named.append(f"{data['progress']} %")
    return cut(shown(" - ".join(named)), _SHOWN_MAX)
