"""`outbox replay | cancel`: an operator's hand on deliveries, one by one or all that match."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ralf_hub.cli.common import AsJson, CommandError, Config, Db
from ralf_hub.cli.outbox import ID_MAX, ConnectorOption, Since, State, TaskOption, Until, database, known

if TYPE_CHECKING:
    from sqlite3 import Connection

CHUNK: Final = 200
"""Deliveries changed in one transaction."""
_IDS_NAMED_MAX: Final = 20

Ids = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", min=1, max=ID_MAX, help="The deliveries' ids; or choose by filters."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which deliveries bulk work takes."""

    state: str
    connector: str | None
    task_id: str | None
    since: str | None
    until: str | None


class ReplayState(StrEnum):
    """States a delivery can be replayed from."""

    DEAD = "dead"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class CancelState(StrEnum):
    """States a delivery can be cancelled in."""

    PENDING = "pending"
    DEAD = "dead"


def replay(
    ids: Ids = None,
    state: Annotated[
        ReplayState | None, typer.Option(help="Those in this state; dead where left out.")
    ] = None,
    connector: ConnectorOption = None,
    task: TaskOption = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Make deliveries due again: by id, or all that the filters choose, after showing how many."""
    from ralf_hub.clock import Clock
    from ralf_hub.store import outbox

    clock = Clock()

    def one(conn: "Connection", delivery_id: int) -> None:
        if not outbox.replay(conn, delivery_id, now=clock.iso()):
            outbox.hurry(conn, delivery_id, now=clock.iso())

    chosen = Chosen(str(state or ReplayState.DEAD), connector, task, since, until)
    _change(
        Work("replay", "replayed", one),
        ids,
        chosen if _any(state, connector, task, since, until) else None,
        database(config, db),
        yes=yes,
        as_json=as_json,
    )


def cancel(
    ids: Ids = None,
    state: Annotated[
        CancelState | None, typer.Option(help="Those in this state; pending where left out.")
    ] = None,
    connector: ConnectorOption = None,
    task: TaskOption = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Give deliveries up: by id, or all that the filters choose, after showing how many."""
    from ralf_hub.store import outbox

    reason = f"cancelled by {_who()} at the command line"

    def one(conn: "Connection", delivery_id: int) -> None:
        if not outbox.cancel(conn, delivery_id, reason=reason):
            found = known(conn, delivery_id)
            if found.state != State.CANCELLED:
                raise CommandError(
                    f"delivery {delivery_id} is {found.state}: it cannot be cancelled any more"
                )

    chosen = Chosen(str(state or CancelState.PENDING), connector, task, since, until)
    _change(
        Work("cancel", "cancelled", one),
        ids,
        chosen if _any(state, connector, task, since, until) else None,
        database(config, db),
        yes=yes,
        as_json=as_json,
    )


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to each delivery, and its name before and after."""

    name: str
    done: str
    one: "Callable[[Connection, int], None]"


def _any(*values: object) -> bool:
    return any(value is not None for value in values)


def _who() -> str:
    import getpass

    with contextlib.suppress(OSError, KeyError):
        return getpass.getuser()
    return "someone"


def _change(
    work: Work, ids: list[int] | None, chosen: Chosen | None, path: Path, *, yes: bool, as_json: bool
) -> None:
    from ralf_hub.cli.output import print_json, say
    from ralf_hub.store.beside import beside, write

    if bool(ids) == (chosen is not None):
        raise typer.BadParameter(
            "name deliveries by their ids, or choose them by --state, --connector, --task, --since, --until"
        )
    count, wanted = 0, list(dict.fromkeys(ids or ()))
    with beside(path, writer=True) as conn:
        if wanted:

            def every(conn: "Connection") -> int:
                for delivery_id in wanted:
                    known(conn, delivery_id)
                    work.one(conn, delivery_id)
                return len(wanted)

            count = write(conn, every)
        elif chosen is not None:
            count = _change_many(conn, work, chosen, yes=yes)
    if as_json:
        print_json({work.done: count, "ids": wanted or None})
    elif wanted and count <= _IDS_NAMED_MAX:
        say(f"{work.done}: {', '.join(str(delivery_id) for delivery_id in wanted)}")
    else:
        say(f"{work.done}: {count} deliveries")


def _change_many(conn: "Connection", work: Work, chosen: Chosen, *, yes: bool) -> int:
    """Change what matches now, some at a time, so that the hub is never kept waiting long."""
    from ralf_hub.cli.output import confirmed, note, progress
    from ralf_hub.store import outbox
    from ralf_hub.store.beside import write

    filters = asdict(chosen)
    total, up_to = outbox.matching(conn, **filters)
    if total == 0:
        return 0
    note(f"{total} {chosen.state} deliveries match")
    if not confirmed(f"{work.name} them?", yes=yes):
        raise CommandError("nothing was changed; --yes goes ahead")

    ids = [0]

    def some(conn: "Connection") -> list[int]:
        found = outbox.matching_ids(conn, **filters, after_id=ids[-1], up_to_id=up_to, limit=CHUNK)
        for delivery_id in found:
            work.one(conn, delivery_id)
        return found

    done = 0
    with progress(work.name, total) as advance:
        while ids := write(conn, some):
            done += len(ids)
            advance(done, "")
    return done
