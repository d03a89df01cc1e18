"""`backup`, `restore` and `prune`: keeping the database, and keeping it small."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import FAILED, AsJson, CommandError, Config, Db

if TYPE_CHECKING:
    from ralf_hub.store.verify import Report

Destination = Annotated[
    Path, typer.Argument(metavar="DEST", help="The file to make; it must not be there yet.")
]
Backup = Annotated[Path, typer.Argument(metavar="BACKUP", help="A file that `ralf-hub backup` made.")]


def backup(destination: Destination, config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Copy the database as it is this moment, also while the hub runs, and prove the copy."""
    from ralf_hub.cli.output import print_json, progress, say
    from ralf_hub.store.backup import CopyError, back_up

    settings = common.database_settings(config, db).settings
    target = destination.absolute()
    try:
        with progress("backup", 100) as advance:
            size = back_up(
                settings.database.path, target, lambda done, pages: advance(100 * done // (pages or 1), "")
            )
    except CopyError as error:
        raise CommandError(str(error)) from None
    report = _verified(target)
    clean = report is None or report.clean
    if as_json:
        found = None if report is None else report.counts
        print_json({"path": str(target), "bytes": size, "clean": clean, "found": found})
    else:
        say(f"{target}: {size:,} bytes, whole and readable by its owner only")
        if report is not None:
            say(f"{report.events:,} events, {report.deliveries:,} deliveries")
    if not clean:
        common.complain(
            "the copy is faithful, and what it holds is not clean: ralf-hub verify tells what was found"
        )
        raise typer.Exit(FAILED)


def _verified(path: Path) -> "Report | None":
    """Run `verify` on a copy; its pages were checked when it was made. None where its schema is an older one."""
    from ralf_hub.cli.verifying import run
    from ralf_hub.store.beside import beside
    from ralf_hub.store.schema import check_identity, migrations

    with beside(path, upgrade=False) as conn:
        if check_identity(conn, path) < migrations()[-1].number:
            return None
        return run(conn, None, integrity=False)


def restore(source: Backup, config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Put a backup in the database's place while no hub runs; the present one is kept beside it."""
    from ralf_hub.cli.output import print_json, progress, say
    from ralf_hub.clock import Clock
    from ralf_hub.store import outbox
    from ralf_hub.store.backup import CopyError
    from ralf_hub.store.backup import restore as put_back
    from ralf_hub.store.beside import beside
    from ralf_hub.store.schema import FileLock

    path = common.database_settings(config, db).settings.database.path
    lock = FileLock(path)
    lock.acquire(address="restoring a backup")
    try:
        with progress("restore", 100) as advance:
            kept = put_back(
                source.absolute(),
                path,
                now=Clock().iso(),
                progress=lambda done, pages: advance(100 * done // (pages or 1), ""),
            )
    except CopyError as error:
        raise CommandError(str(error)) from None
    finally:
        lock.release()
    with beside(path) as conn:
        pending = sum(states.get("pending", 0) for states in outbox.counts(conn).values())
    if as_json:
        print_json({"path": str(path), "kept": None if kept is None else str(kept), "pending": pending})
        return
    say(f"{path} is now {source}")
    if kept is not None:
        say(f"the one before is kept as {kept}")
    if pending:
        say(
            f"{pending:,} deliveries are pending in it; what went out after the backup was made goes out again"
        )


def prune(config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Delete what is older than the settings keep it, a little at a time, also while the hub runs."""
    from ralf_hub.cli.output import print_json, progress, say
    from ralf_hub.clock import system_now
    from ralf_hub.store import retention
    from ralf_hub.store.beside import beside, write

    settings = common.database_settings(config, db).settings
    deleted: dict[str, Any] = {}
    with beside(settings.database.path, writer=True) as conn, progress("prune") as advance:
        for table, step in retention.steps(retention.cutoffs(settings.retention, system_now())).items():
            deleted[table] = 0
            while n := write(conn, step):
                deleted[table] += n
                advance(deleted[table], table)
        retention.vacuum_some(conn)
    if as_json:
        print_json({"deleted": deleted})
        return
    for table, n in deleted.items():
        say(f"{table:<18}{n:>10,}")
