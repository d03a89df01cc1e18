"""Work on many rows, step by step: replaying and pruning as jobs, which are rows and survive whoever works on them.

Each step is one commit of some milliseconds, so a restart goes on where the last one left off and no write waits long.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from ralf_hub.clock import Clock
from ralf_hub.intake.ledger import Ledger
from ralf_hub.store import jobs, outbox, retention
from ralf_hub.store.jobs import BulkJob
from ralf_hub.store.retention import Cutoffs

REPLAY_IDS_MAX: Final = 500
"""Deliveries looked up at once: where few match it takes long to find them, so that is done without keeping writes out."""
REPLAY_STEP_S: Final = 0.004
"""How long a step goes on before what it did is committed and others have their turn."""


def next_replays(conn: sqlite3.Connection, job: BulkJob) -> list[int]:
    """Return the deliveries that a job has to replay next; none: it is done."""
    chosen = {name: job.parameters[name] for name in ("state", "connector", "since", "until", "up_to_id")}
    return outbox.matching_ids(conn, **chosen, after_id=job.last_id, limit=REPLAY_IDS_MAX)


def replay_step(ledger: Ledger, job_id: str, ids: Sequence[int]) -> None:
    """Replay as many of the deliveries *ids* as a step has time for, and note how far the job has come.

    Nothing where it was cancelled meanwhile; deliveries that are no longer in the state it asks for are left alone.
    """
    job = jobs.get(ledger.conn, job_id)
    if job is None or job.state != "running":
        return
    monotonic = ledger.clock.monotonic
    until = monotonic() + REPLAY_STEP_S
    done, last_id = job.done, job.last_id
    for last_id in ids:
        done += outbox.replay(ledger.conn, last_id, now=ledger.now, state=job.parameters["state"])
        if monotonic() >= until:
            break
    jobs.advance(ledger.conn, job, done=done, last_id=last_id, finished=not ids, now=ledger.now)
    ledger.connectors.update(outbox.counts(ledger.conn))


def new_prune(conn: sqlite3.Connection, cutoffs: Cutoffs, clock: Clock, *, total: int, by: str) -> BulkJob:
    """Put a job that deletes what is old by *cutoffs*, about *total* rows, into the table and return it."""
    job = BulkJob(
        id=clock.id("job"),
        kind="prune",
        state="running",
        parameters={"cutoffs": asdict(cutoffs), "deleted": {}},
        total=total,
        done=0,
        last_id=0,
        created_by=by,
        created_at=clock.iso(),
        updated_at=clock.iso(),
    )
    jobs.insert(conn, job)
    return job


def prune_step(conn: sqlite3.Connection, job_id: str, clock: Clock) -> None:
    """Delete the next old rows of a job and note how far it has come; nothing where it was cancelled meanwhile."""
    job = jobs.get(conn, job_id)
    if job is None or job.state != "running":
        return
    deleted, finished = retention.prune_some(conn, Cutoffs(**job.parameters["cutoffs"]), clock.monotonic)
    jobs.advance(
        conn,
        job,
        done=job.done + sum(deleted.values()),
        finished=finished,
        now=clock.iso(),
        parameters={**job.parameters, "deleted": add(job.parameters["deleted"], deleted)},
    )


def add(known: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Return the sums by name."""
    return {name: known.get(name, 0) + more.get(name, 0) for name in {**known, **more}}
