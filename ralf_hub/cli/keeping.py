"""`backup`, `restore` and `prune`: keeping the database, and keeping it small."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import FAILED, AsJson, CommandError, Config, Db

if TYPE_CHECKING:
    import sqlite3

    from ralf_hub.clock import Clock
    from ralf_hub.store.jobs import BulkJob
    from ralf_hub.store.verify import Report

HUB_COMES_WITHIN_S: Final = 5.0
"""How long a running hub may take for the next step before the command does it: an older one knows no such jobs."""
LOOK_EVERY_S: Final = 0.05

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
    """Delete what is older than the settings keep it, a little at a time, also while the hub runs.

    It is a job: where the hub runs, the hub does it; killed, it goes on when the hub starts; Ctrl-C cancels it.
    """
    from ralf_hub.bulk import new_prune
    from ralf_hub.cli.output import print_json, say
    from ralf_hub.clock import Clock
    from ralf_hub.store import jobs, retention
    from ralf_hub.store.beside import beside, write

    settings = common.database_settings(config, db).settings
    path, clock = settings.database.path, Clock()
    old = retention.cutoffs(settings.retention, clock.now())
    with beside(path, writer=True) as conn:
        total = retention.count_old(conn, old)  # not while others wait to write
        made = write(conn, lambda conn: new_prune(conn, old, clock, total=total, by="command line"))
        try:
            job = _pruned(conn, path, made, clock)
        except KeyboardInterrupt:
            write(conn, lambda conn: jobs.cancel(conn, made.id, now=clock.iso()))
            raise
    deleted = {table: job.parameters["deleted"].get(table, 0) for table in retention.steps(old)}
    if as_json:
        print_json({"deleted": deleted, "job": job.id, "state": job.state})
    else:
        for table, n in deleted.items():
            say(f"{table:<18}{n:>10,}")
    if job.state == "cancelled":
        raise CommandError(f"the job {job.id} was cancelled; what it deleted stays deleted")


def _pruned(conn: "sqlite3.Connection", path: Path, job: "BulkJob", clock: "Clock") -> "BulkJob":
    """Wait for the hub to do *job*, or do it here where none runs or it does not come to it; return how it ended."""
    from functools import partial
    from threading import Event

    from ralf_hub.bulk import prune_step
    from ralf_hub.cli.output import progress
    from ralf_hub.store import jobs, retention
    from ralf_hub.store.beside import write
    from ralf_hub.store.schema import is_served

    pause, seen = Event(), clock.monotonic()
    step = partial(prune_step, job_id=job.id, clock=clock)
    with progress("prune", job.total) as advance:
        while job.state == "running":
            begun = clock.monotonic()
            if begun - seen < HUB_COMES_WITHIN_S and is_served(path):
                pause.wait(LOOK_EVERY_S)
            else:
                write(conn, step)
                pause.wait(clock.monotonic() - begun)  # the turn of others, who only ask now and then
            now = jobs.get(conn, job.id)
            if now is None:
                raise CommandError(f"the job {job.id} is no longer there")
            if now.done != job.done:
                seen = clock.monotonic()
            job = now
            advance(job.done, "")
    while not is_served(path) and retention.vacuum_some(conn):
        pass
    return job
