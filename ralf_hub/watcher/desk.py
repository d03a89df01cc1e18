"""Where the hub writes into RALF's files: one at a time, under RALF's locks, on ground that has just been read.

Whatever waits is written together. For each lot, with `.queue.lock` in hand: what RALF changed since the last look
is taken over first, then the files are brought in line with the tasks as the hub has them, then what they say now is
remembered, so that the watcher finds no news in it. Interrupted anywhere, the next try finds what was done.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ralf_hub.clock import Clock
from ralf_hub.connectors.workspace import TOGETHER_MAX, Carried, Order
from ralf_hub.errors import StorageError
from ralf_hub.model import Task
from ralf_hub.store import tasks, workspace
from ralf_hub.store.database import Database
from ralf_hub.watcher.follower import Follower
from ralf_hub.watcher.merging import Written
from ralf_hub.workspace.files import reason
from ralf_hub.workspace.layout import Layout
from ralf_hub.workspace.locks import EVENTS_LOCK, QUEUE_LOCK, ScriptLock
from ralf_hub.workspace.records import WorkspaceMissingError
from ralf_hub.workspace.wishes import BusyError, Done, ForbiddenError, Wish
from ralf_hub.workspace.writer import Writer

log = logging.getLogger(__name__)

LOCK_WAIT_S: Final = 3.0
"""How long RALF's scripts may hold a lock before the hub gives way and comes back later."""
LOCK_LOOK_S: Final = 0.02
SOON_S: Final = 0.5
NOT_READ_YET_S: Final = 2.0
WORDS_MAX: Final = 500


@dataclass(slots=True)
class _Waiting:
    order: Order
    done: asyncio.Future[Carried]


class Desk:
    """Carries orders out, those that wait together."""

    def __init__(self, follower: Follower, db: Database, clock: Clock) -> None:
        self._follower = follower
        self._db = db
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def carry_out(self, order: Order) -> Carried:
        """Bring the files in line with the task of *order*."""
        waiting = _Waiting(order, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None:
            self._working = asyncio.create_task(self._work(), name="workspace written")
        return await waiting.done

    async def check(self) -> tuple[bool, str]:
        """Return whether the workspace can be written now, and what was seen."""
        layout = self._follower.layout
        if layout is None:
            return False, "the workspace has not been read yet, or is not there"
        place = layout.communications if layout.communications.is_dir() else layout.project
        if not await asyncio.to_thread(os.access, place, os.W_OK):
            return False, f"{layout.relative(place)} cannot be written"
        return True, f"a {layout.name} workspace that can be written"

    async def close(self) -> None:
        """Return when what is being written is written; whoever still waits is told to come back."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done.done():
                one.done.set_result(Carried(done=False, words="the hub is stopping", waits=True))
        if self._working is not None:
            await asyncio.wait({self._working})

    async def _work(self) -> None:
        try:
            while self._waiting:
                lot, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
                carried = await self._lot([one.order for one in lot])
                for one, outcome in zip(lot, carried, strict=True):
                    if not one.done.done():
                        one.done.set_result(outcome)
        finally:
            self._working = None

    async def _lot(self, orders: Sequence[Order]) -> list[Carried]:
        """Carry out *orders* together; whatever goes wrong is an outcome."""
        if not self._follower.is_ready:
            words = "the workspace is not there, or has not been read to its end yet"
            return [Carried(done=False, words=words, waits=True, retry_after_s=NOT_READ_YET_S)] * len(orders)
        try:
            async with self._follower.turn:
                return await self._write(orders)
        except Exception as error:
            if not isinstance(
                error, (OSError, BusyError, ForbiddenError, StorageError, WorkspaceMissingError)
            ):
                log.exception("RALF's files could not be written")
            return [_failed(error)] * len(orders)

    async def _write(self, orders: Sequence[Order]) -> list[Carried]:
        layout = self._follower.layout
        if layout is None:
            raise WorkspaceMissingError("the workspace is not there")
        writer = await asyncio.to_thread(Writer, layout, self._follower.limits)
        try:
            async with self._locked(writer, QUEUE_LOCK):
                results = await self._bring_in_line(writer, layout, orders)
            return await self._record(writer, orders, results)
        finally:
            writer.close()

    @asynccontextmanager
    async def _locked(self, writer: Writer, name: str) -> AsyncIterator[None]:
        """Hold one of RALF's locks. BusyError where its scripts do for too long."""
        async with AsyncExitStack() as held:
            folder = held.enter_context(writer.communications())
            lock = ScriptLock(folder, name)
            held.callback(lock.release)
            give_up_at = self._clock.monotonic() + LOCK_WAIT_S
            while not lock.try_acquire():
                if self._clock.monotonic() > give_up_at:
                    raise BusyError(f"{name} has been held for {LOCK_WAIT_S:.0f} s by one of RALF's scripts")
                await asyncio.sleep(LOCK_LOOK_S)
            yield

    # --- tasks and the queue ----------------------------------------------------------------------

    async def _bring_in_line(
        self, writer: Writer, layout: Layout, orders: Sequence[Order]
    ) -> list[Done | Exception]:
        ids = list(dict.fromkeys(order.task_id for order in orders))
        await self._follower.pull([layout.root / file for one in ids for file in self._files_of(one)])
        found = await self._tasks(ids)
        missing = [task for task in found.values() if task is not None and not self._files_of(task.id)]
        if (
            missing
        ):  # moved by RALF just now, or written by a try that was interrupted before it was remembered
            places = await asyncio.to_thread(_places, writer, layout, missing)
            await self._follower.pull(places)
            found = await self._tasks(ids)
        wishes = [self._wish(order, found[order.task_id]) for order in orders]
        wanted = [wish for wish in wishes if wish is not None]
        results = iter(await asyncio.to_thread(writer.carry_out, wanted) if wanted else [])
        each = [
            Done(notes=["the hub has no such task any more"]) if wish is None else next(results)
            for wish in wishes
        ]
        touched = {file for done in each if isinstance(done, Done) for file in done.touched}
        written = {
            order.task_id: Written(task, done.made if isinstance(done, Done) else None)
            for order, done in zip(orders, each, strict=True)
            if (task := found[order.task_id]) is not None
        }
        await self._follower.adopt([layout.root / file for file in sorted(touched)], written)
        return each

    async def _tasks(self, ids: Sequence[str]) -> dict[str, Task | None]:
        return await self._db.read(lambda conn: {one: tasks.get(conn, one) for one in ids})

    def _files_of(self, task_id: str) -> tuple[str, ...]:
        files = self._follower.files
        return () if files is None else files.files_of(task_id)

    def _wish(self, order: Order, task: Task | None) -> Wish | None:
        if task is None:
            return None
        files = self._files_of(task.id)
        wish = wish_of(task, creates=order.creates, changed=order.changed, files=files)
        held = self._follower.files
        return wish if held is None else replace(wish, as_read={file: held.stamp_of(file) for file in files})

    # --- events -----------------------------------------------------------------------------------

    async def _record(
        self, writer: Writer, orders: Sequence[Order], results: Sequence[Done | Exception]
    ) -> list[Carried]:
        """Append the records asked for, and return what became of each order."""
        carried: list[Carried] = []
        async with AsyncExitStack() as held:
            if any(order.record for order in orders):
                try:
                    await held.enter_async_context(self._locked(writer, EVENTS_LOCK))
                except (BusyError, OSError, ForbiddenError) as error:
                    results = [
                        error if order.record else one for order, one in zip(orders, results, strict=True)
                    ]
            for order, result in zip(orders, results, strict=True):
                if isinstance(result, Exception):
                    carried.append(_failed(result))
                    continue
                try:
                    if order.record:
                        await self._append(writer, order.record)
                    carried.append(_carried(result))
                except (OSError, ForbiddenError, StorageError) as error:
                    carried.append(_failed(error))
        return carried

    async def _append(self, writer: Writer, record: dict[str, str]) -> None:
        """Append one record, counted beforehand so that reading it back is no news."""
        line = await asyncio.to_thread(writer.line, record)
        known = await self._db.write(lambda conn: workspace.expect(conn, line.fingerprint, line.raw_type))
        await asyncio.to_thread(writer.append, record, look_for=record["run_id"] if known else None)
        self._follower.look_soon()


def wish_of(task: Task, *, creates: bool, changed: frozenset[str], files: tuple[str, ...]) -> Wish:
    """Return what the files are to say of *task*."""
    return Wish(
        id=task.id,
        title=task.title,
        status=task.status,
        priority=task.priority,
        description=task.description,
        type=task.type,
        feature_id=task.feature_id,
        parent_id=task.parent_id,
        depends_on=task.depends_on,
        assignee=task.assignee,
        source=task.source,
        created_at=task.created_at,
        started_at=task.started_at,
        completed_at=task.completed_at,
        updated_at=task.updated_at,
        metadata=task.metadata,
        creates=creates,
        changed=changed,
        files=files,
    )


def _places(writer: Writer, layout: Layout, missing: Sequence[Task]) -> list[Path]:
    """Return where the files of tasks without any would stand, in whatever folder."""
    found: list[Path] = []
    for task in missing:
        wish = wish_of(task, creates=True, changed=frozenset(), files=())
        with suppress(ForbiddenError):
            found += [layout.root / place for place in writer.places_of(wish)]
    return found


def _carried(done: Done) -> Carried:
    files = ", ".join(dict.fromkeys(done.touched))
    words = "; ".join([*([f"written: {files}"] if files else []), *done.notes]) or "the files said so already"
    if done.notes:
        log.warning("workspace: %s", "; ".join(done.notes))
    return Carried(done=True, words=words[:WORDS_MAX])


def _failed(error: BaseException) -> Carried:
    """Return the outcome of *error*: what may be better later, and what never will."""
    if isinstance(error, ForbiddenError):
        return Carried(done=False, words=str(error), final=True)
    if isinstance(error, BusyError):
        return Carried(done=False, words=str(error), retry_after_s=SOON_S)
    if isinstance(error, OSError):
        return Carried(done=False, words=f"{error.filename or 'the workspace'}: {reason(error)}")
    return Carried(done=False, words=str(error) or type(error).__name__)
