"""Bringing RALF's files in line with what the hub knows of its tasks. Runs in a thread, under RALF's own lock.

Each step finds what an earlier, interrupted try has done, and does only what is missing. A new task's file comes
before its entry in queue.yaml, so that RALF never finds an entry without a task.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final, Self

from ralf_hub.workspace import writer_files as io
from ralf_hub.workspace.layout import COMMUNICATIONS, STATUS_BY_FOLDER, TASKS, Layout
from ralf_hub.workspace.records import Limits, TaskRecord
from ralf_hub.workspace.sources import TASK_FILES, classify
from ralf_hub.workspace.surgery_entry import add_entry, set_entry
from ralf_hub.workspace.surgery_events import TAIL_BYTES, Line, record
from ralf_hub.workspace.surgery_queue import QueueText
from ralf_hub.workspace.surgery_task import change_task, new_task, slug
from ralf_hub.workspace.surgery_text import SurgeryError, decode, encode
from ralf_hub.workspace.tasks import TaskSource, read_task
from ralf_hub.workspace.wishes import BusyError, Done, ForbiddenError, Wish
from ralf_hub.workspace.words import id_of

TASK_FILE: Final = "task.md"

_IN_FOLDER: Final = 3
"""How many names lead from a folder of tasks to the file in a task's own folder."""
_LEFT_BEHIND: Final = frozenset({"completed", "cancelled"})
"""The folders an open task is taken out of; in `working` and `improvements` it stays where RALF has it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task's file stands: the folder of the status, and the folder or file that is the task's own."""

    base: str
    folder: str
    name: str
    file: str | None

    @property
    def path(self) -> str:
        """The file, relative to the workspace."""
        own = f"{self.base}/{self.folder}/{self.name}"
        return f"{own}/{self.file}" if self.file else own


class Writer:
    """Writes into one workspace. Everything is relative to its root, opened once."""

    def __init__(self, layout: Layout, limits: Limits | None = None) -> None:
        self._layout = layout
        self._limits = limits or Limits()
        self._root = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the root."""
        os.close(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def communications(self) -> Iterator[int]:
        """Open the folder of queue.yaml and events.yaml, which is made where it is missing."""
        with io.folder(self._root, self._layout.relative(self._layout.communications), create=True) as found:
            yield found

    # --- tasks and the queue ----------------------------------------------------------------------

    def place_of_new(self, wish: Wish) -> Place:
        """Return where a new task goes. ForbiddenError where its id cannot be a name there."""
        if ".." in wish.id or "/" in wish.id or "\0" in wish.id:
            raise ForbiddenError(f"the id {wish.id!r} cannot be the name of a folder")
        project = self._layout.relative(self._layout.project)
        modern = self._layout.name == "modern"
        base = str(PurePosixPath(project, TASKS[0 if modern else 1]))
        if modern:
            return self._findable(Place(base, wish.folder, wish.id, TASK_FILE), wish)
        long = f"{wish.id}-{slug(wish.title)}"
        name = long if slug(wish.title) and id_of(long) == wish.id else wish.id
        return self._findable(Place(base, wish.folder, f"{name}.md", None), wish)

    def places_of(self, wish: Wish) -> list[str]:
        """Return where the file of a task made by the hub may stand by now. ForbiddenError as `place_of_new`."""
        place = self.place_of_new(wish)
        return [replace(place, folder=folder).path for folder in STATUS_BY_FOLDER]

    def _findable(self, place: Place, wish: Wish) -> Place:
        """See that the task will be found again under its own id."""
        found = self._as_read(place, wish)
        if found is None or found.id != wish.id:
            raise ForbiddenError(f"a file for {wish.id!r} would not be found under that id in the workspace")
        return place

    def _as_read(self, place: Place, wish: Wish) -> TaskRecord | None:
        """Return what the readers make of the new file."""
        parts = PurePosixPath(place.path).relative_to(place.base).parts
        source = classify(parts, {parts[:-1]} if place.file else set(), place.path)
        return None if source is None else read_task(new_task(wish, self._layout.name), source)[0]

    def carry_out(self, wishes: Sequence[Wish]) -> list[Done | Exception]:
        """Bring the files in line with *wishes*; returns for each what was done, or why it could not be.

        To be called under `.queue.lock`. What concerns one task never keeps another from being written.
        """
        results: list[Done | Exception] = []
        for wish in wishes:
            try:
                results.append(self._create(wish) if wish.creates else Done())
            except (OSError, ForbiddenError, BusyError) as error:
                results.append(error)
        self._queue(wishes, results)
        for number, wish in enumerate(wishes):
            done = results[number]
            if isinstance(done, Done):
                try:
                    self._change(wish, done)
                except (OSError, ForbiddenError, BusyError) as error:
                    results[number] = error
        return results

    def _create(self, wish: Wish) -> Done:
        done = Done()
        if wish.files:
            return done
        place = self.place_of_new(wish)
        data = encode(new_task(wish, self._layout.name))
        with io.folder(self._root, f"{place.base}/{place.folder}", create=True) as folder:
            if io.kind(folder, place.name) == "other":
                raise ForbiddenError(
                    f"{place.path} is a symbolic link, or nothing that is read; left as it is"
                )
            try:
                if place.file:
                    io.create_folder(folder, place.name, place.file, data)
                else:
                    io.create_file(folder, place.name, data)
                done.made = self._as_read(place, wish)
            except FileExistsError:
                done.notes.append(f"{place.path} was there already and stays as it is")
        done.touched.append(place.path)
        return done

    def _queue(self, wishes: Sequence[Wish], results: list[Done | Exception]) -> None:
        """Change queue.yaml once for all *wishes*."""
        try:
            with self.communications() as folder:
                self._queue_in(folder, wishes, results)
        except (OSError, ForbiddenError, BusyError) as error:
            for number, done in enumerate(results):
                if isinstance(done, Done):
                    results[number] = error

    def _queue_in(self, folder: int, wishes: Sequence[Wish], results: list[Done | Exception]) -> None:
        name = self._layout.queue.name
        found = io.read(folder, name, self._limits.queue_bytes_max)
        data, was = found or (b"", None)
        text = decode(data)
        queue = QueueText(text)
        touched: list[Done] = []
        for wish, done in zip(wishes, results, strict=True):
            if not isinstance(done, Done):
                continue
            try:
                added = wish.creates and add_entry(queue, wish, self._default_list())
                if set_entry(queue, wish) or added:
                    touched.append(done)
            except SurgeryError as error:
                done.notes.append(f"queue.yaml was left as it is: {error}")
        now = queue.text
        if now == text:
            return
        if not io.is_same(folder, name, was):
            raise BusyError("queue.yaml was changed by somebody who does not take its lock")
        io.replace(folder, name, encode(now), was)
        for done in touched:
            done.touched.append(self._layout.relative(self._layout.queue))

    def _default_list(self) -> str:
        """Return the list RALF's scripts of this generation of workspace look for."""
        is_modern = self._layout.communications.is_relative_to(self._layout.project / COMMUNICATIONS[0])
        return "tasks" if is_modern else "queue"

    def _change(self, wish: Wish, done: Done) -> None:
        """Change the header of the task's files, and move them to the folder of its status.

        BusyError where RALF has just moved one: it is to be looked for again.
        """
        vanished = ""
        for file in wish.files:
            try:
                if wish.changed & {"title", "priority", "description"}:
                    self._change_text(file, wish, done)
                if "status" in wish.changed:
                    self._move(file, wish, done)
            except FileNotFoundError:
                vanished = file
        if vanished:
            raise BusyError(f"{vanished} was moved or deleted since it was read")

    def _change_text(self, file: str, wish: Wish, done: Done) -> None:
        path = PurePosixPath(file)
        with io.folder(self._root, str(path.parent)) as folder:
            found = io.read(folder, path.name, self._limits.task_bytes_max)
            source = self._source(file)
            if found is None or source is None:
                raise FileNotFoundError
            if wish.as_read.get(file, io.identity(found[1])) != io.identity(found[1]):
                raise BusyError(f"{file} has been changed since it was read")
            text = decode(found[0])
            try:
                after = change_task(text, source, wish)
            except SurgeryError as error:
                done.notes.append(f"{file} was left as it is: {error}")
                return
            if after == text:
                return
            if not io.is_same(folder, path.name, found[1]):
                raise BusyError(f"{file} is being written by somebody else")
            io.replace(folder, path.name, encode(after), found[1])
            done.touched.append(file)

    def _source(self, file: str) -> TaskSource | None:
        path = self._layout.root / file
        base = next((base for base in self._layout.tasks if path.is_relative_to(base)), None)
        if base is None:
            return None
        parts = path.relative_to(base).parts
        return classify(parts, {parts[:-1]} if parts[-1] in TASK_FILES else set(), file)

    def _place(self, file: str) -> Place | None:
        """Return the place of a file that can be moved: directly in a folder of a status; None for any other."""
        path = self._layout.root / file
        for base in self._layout.tasks:
            if not path.is_relative_to(base):
                continue
            parts = path.relative_to(base).parts
            named = self._layout.relative(base)
            if len(parts) == _IN_FOLDER and parts[0] in STATUS_BY_FOLDER and parts[2] in TASK_FILES:
                return Place(named, parts[0], parts[1], parts[2])
            if len(parts) == _IN_FOLDER - 1 and parts[0] in STATUS_BY_FOLDER:
                return Place(named, parts[0], parts[1], None)
        return None

    def _move(self, file: str, wish: Wish, done: Done) -> None:
        place = self._place(file)
        if place is None or place.folder == wish.folder:
            return
        if wish.folder == "active" and place.folder not in _LEFT_BEHIND:
            return
        with (
            io.folder(self._root, f"{place.base}/{place.folder}") as source,
            io.folder(self._root, f"{place.base}/{wish.folder}", create=True) as target,
        ):
            wanted = "folder" if place.file else "file"
            if io.kind(source, place.name) == "other":
                raise ForbiddenError(f"{place.path} is a symbolic link; not moved")
            if not io.kind(source, place.name):
                raise FileNotFoundError
            if io.kind(source, place.name) != wanted:
                return
            try:
                io.move(source, place.name, target)
            except FileExistsError:
                done.notes.append(
                    f"{place.name} stands in {wish.folder}/ already; the one in {place.folder}/ stays"
                )
                return
        done.touched += [place.path, Place(place.base, wish.folder, place.name, place.file).path]

    # --- events -----------------------------------------------------------------------------------

    def events_file(self) -> str:
        """Return the file that records go to, relative to the workspace."""
        found = self._layout.events or self._layout.communications / "events.yaml"
        return self._layout.relative(found)

    def line(self, fields: dict[str, str]) -> Line:
        """Return the record that `append` writes, for its fingerprint."""
        return self._line(fields, b"")

    def append(self, fields: dict[str, str], *, look_for: str | None = None) -> bool:
        """Append a record, to be called under `.events.lock`; False where *look_for* stands in the file already."""
        path = PurePosixPath(self.events_file())
        with io.folder(self._root, str(path.parent), create=True) as folder:
            if look_for is not None and io.holds(folder, path.name, look_for.encode()):
                return False
            line = self._line(fields, io.tail(folder, path.name, TAIL_BYTES))
            io.append(folder, path.name, line.text.encode())
        return True

    def _line(self, fields: dict[str, str], tail: bytes) -> Line:
        return record(fields, tail, as_json=self.events_file().endswith(("json", "jsonl")))
