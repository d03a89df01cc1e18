"""`outbox list | show | stats`: what is to leave the house, what has left, what is stuck."""

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import AsJson, CommandError, Config, Db
from ralf_hub.clock import FAR_FUTURE

if TYPE_CHECKING:
    from sqlite3 import Connection

    from ralf_hub.model import Attempt, Delivery

LIMIT_MAX: Final = 10_000
ID_MAX: Final = 2**63 - 1


class State(StrEnum):
    """The states of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


ConnectorOption = Annotated[
    str | None, typer.Option("--connector", metavar="NAME", help="Only deliveries of this connector.")
]
TaskOption = Annotated[
    str | None, typer.Option("--task", metavar="ID", help="Only deliveries about this task.")
]
Since = Annotated[
    str | None,
    typer.Option(
        parser=common.moment, metavar="TIME", help="Only from this time on: a time, or 2h for two hours ago."
    ),
]
Until = Annotated[
    str | None, typer.Option(parser=common.moment, metavar="TIME", help="Only from before this time.")
]
DeliveryId = Annotated[int, typer.Argument(metavar="ID", min=1, max=ID_MAX, help="The delivery's id.")]


def database(config: Path | None, db: Path | None) -> Path:
    """Return the path of the database."""
    return common.database_settings(config, db).settings.database.path


# --- looking --------------------------------------------------------------------------------------


def list_(
    state: Annotated[State | None, typer.Option(help="Only deliveries in this state.")] = None,
    connector: ConnectorOption = None,
    task: TaskOption = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="Deliveries at most.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the JSON before.")] = None,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Show deliveries, newest first."""
    from ralf_hub.cli.output import note, print_json, table
    from ralf_hub.store import outbox
    from ralf_hub.store.beside import beside, snapshot

    with beside(database(config, db)) as conn, snapshot(conn):
        page = outbox.page(
            conn,
            limit=limit,
            cursor=cursor,
            state=None if state is None else state.value,
            connector=connector,
            task_id=task,
            since=since,
            until=until,
        )
    if as_json:
        from ralf_hub.handlers.deliveries import delivery_json

        shown = [delivery_json(delivery) for delivery in page.items]
        print_json({"deliveries": shown, "total": page.total, "next_cursor": page.next_cursor})
        return
    columns = (">ID", "STATE", "CONNECTOR", "ACTION", "EVENT", "TASK", ">TRIES", "WHEN", "ERROR")
    table(columns, [_row(delivery) for delivery in page.items])
    if len(page.items) < page.total:
        note(f"{len(page.items)} of {page.total}; --limit shows more")


def _row(delivery: "Delivery") -> tuple[object, ...]:
    when = {
        State.PENDING: f"next {delivery.next_attempt_at}",
        State.DELIVERED: f"at {delivery.delivered_at}",
    }.get(State(delivery.state), f"made {delivery.created_at}")
    if delivery.state == State.PENDING and delivery.next_attempt_at == FAR_FUTURE:
        when = "after the one before it"
    return (
        delivery.id,
        delivery.state,
        delivery.connector,
        delivery.action,
        delivery.event_type,
        delivery.task_id,
        delivery.attempts,
        when,
        delivery.last_error,
    )


def show(delivery_id: DeliveryId, config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Show one delivery with its payload and its attempts."""
    from ralf_hub.cli.output import print_body, print_json, say, shown
    from ralf_hub.store import outbox
    from ralf_hub.store.beside import beside, snapshot

    with beside(database(config, db)) as conn, snapshot(conn):
        delivery = known(conn, delivery_id)
        attempts = outbox.attempts_of(conn, delivery_id)
    if as_json:
        from ralf_hub.handlers.deliveries import attempt_json, delivery_json

        tries = [attempt_json(attempt) for attempt in attempts]
        print_json({**delivery_json(delivery), "payload": delivery.payload, "attempts": tries})
        return
    for name, value in asdict(delivery).items():
        if value is not None and name != "payload":
            say(f"{name:<17}{shown(value)}")
    say("payload")
    print_body(delivery.payload, "  ")
    attempts_table(attempts)


def stats(config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Show for each connector how many deliveries are where, and how it is."""
    from ralf_hub.cli.output import print_json, table
    from ralf_hub.clock import system_now
    from ralf_hub.store import connectors
    from ralf_hub.store.beside import beside, snapshot
    from ralf_hub.store.metrics import delivery_numbers

    with beside(database(config, db)) as conn, snapshot(conn):
        states = connectors.everyone(conn)
        numbers = delivery_numbers(conn, system_now(), list(states))
    for name, found in numbers.items():
        state = states.get(name, connectors.ConnectorState(name))
        found |= {"breaker": state.breaker, "paused": state.paused, "reason": state.reason}
    if as_json:
        print_json({"connectors": numbers})
        return
    columns = (
        "CONNECTOR",
        ">PENDING",
        ">DELIVERED",
        ">DEAD",
        ">CANCELLED",
        ">OLDEST PENDING",
        "BREAKER",
        "REASON",
    )
    table(columns, [_stats_row(name, found) for name, found in numbers.items()])


def _stats_row(name: str, found: dict[str, Any]) -> tuple[object, ...]:
    from ralf_hub.texts import duration

    age = found["oldest_pending_age_s"]
    return (
        name,
        *(found[state.value] for state in (State.PENDING, State.DELIVERED, State.DEAD, State.CANCELLED)),
        "" if age is None else duration(age),
        "paused" if found["paused"] else found["breaker"],
        found["reason"],
    )


def known(conn: "Connection", delivery_id: int) -> "Delivery":
    """Return the delivery. CommandError where there is none."""
    from ralf_hub.store import outbox

    found = outbox.get(conn, delivery_id)
    if found is None:
        raise CommandError(
            f"there is no delivery {delivery_id}; `ralf-hub outbox list` shows which there are"
        )
    return found


def attempts_table(attempts: "Sequence[Attempt]") -> None:
    """Print what was tried."""
    from ralf_hub.cli.output import say, table

    if not attempts:
        say("It was not tried yet.")
        return
    columns = ("TRIED", ">MS", "OUTCOME", ">STATUS", "ERROR", "ANSWER")
    rows = [(a.started_at, a.duration_ms, a.outcome, a.status_code, a.error, a.response) for a in attempts]
    table(columns, rows)
