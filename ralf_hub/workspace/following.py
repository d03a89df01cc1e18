"""Reading an events file again and again, each time only what is new in it, wherever that is safe."""

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final

from ralf_hub.model import Json
from ralf_hub.workspace.chunks import START, Place
from ralf_hub.workspace.events import Part, Reading, iter_events
from ralf_hub.workspace.files import RefusedError, open_regular, reason
from ralf_hub.workspace.records import EventRecord, Problem

BLOCK_BYTES: Final = 256 * 1024
DIGEST_BYTES: Final = 16
KEPT_BYTES_MAX: Final = 16 * 1024 * 1024
BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 4 * 1024 * 1024
LAST_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class FileState:
    """Where the reading of one events file stands; stored together with the counts.

    `place` is the beginning of the last record read: it is read again, because it may have grown.
    `last` names the records counted from there on. `blocks` are the digests of all bytes before it,
    one per BLOCK_BYTES and one for the rest. `size`, `mtime_ns` and `inode` tell cheaply that
    nothing happened; they are -1 while something is still to be read.
    """

    generation: int = 0
    place: Place = START
    last: tuple[str, ...] = ()
    blocks: bytes = b""
    size: int = -1
    mtime_ns: int = -1
    inode: int = -1

    def as_json(self) -> dict[str, Json]:
        """Return the state for storage."""
        return {
            "generation": self.generation,
            "place": list(self.place),
            "last": list(self.last),
            "blocks": self.blocks.hex(),
            "file": [self.size, self.mtime_ns, self.inode],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Json]) -> "FileState":
        """Return the state that `as_json` gave."""
        return cls(
            stored["generation"],
            Place(*stored["place"]),
            tuple(stored["last"]),
            bytes.fromhex(stored["blocks"]),
            *stored["file"],
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of one reading, what replaced the old end of the file, and the state after them.

    `state` is to be stored in the transaction that takes the records. `read_bytes` of
    `total_bytes` is how far the reading is.
    """

    records: tuple[EventRecord, ...]
    gone: tuple[str, ...]
    problems: tuple[Problem, ...]
    state: FileState
    read_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Following:
    """One reading of an events file: `batches` is consumed once.

    `whole` says that the file is read from the start, so that problems known of it are to be
    forgotten; else those from line `from_line` on.
    """

    whole: bool
    from_line: int
    generation: int
    batches: Iterator[Batch]


def follow(
    path: Path,
    root: Path,
    reading: Reading,
    state: FileState | None = None,
    *,
    settled: bool = True,
    thorough: bool = True,
) -> Following:
    """Read what is new in the events file *path* since *state*, or all of it where that cannot be told.

    With *thorough* every byte before the last record is checked against the state's digests (about
    1 GB/s). Without, if it is the same file and no shorter, only the first block, the last whole one
    and the rest are: at most 768 KiB whatever the file's size. That misses an edit in the middle that
    keeps the length, in place; the next thorough reading finds it. So: thorough at start, after a
    replacement (which is done anyway) and from time to time.

    The last record is left for the next reading unless the file is *settled* (not written to for a
    moment): somebody may be in the middle of writing it.

    Raises RefusedError (no regular file, too large, outside the workspace) or OSError.
    """
    limits = reading.limits
    stream = open_regular(path, root, limits.events_bytes_max, "events_bytes_max")
    try:
        status = os.fstat(stream.fileno())
        start, rest = _resume(stream, status, state, thorough=thorough)
    except BaseException:
        stream.close()
        raise
    generation = start.generation if rest is not None else start.generation + 1
    if rest is None:
        start, rest = FileState(generation), b""
    stream.seek(start.place.offset)
    batches = _read(stream, status, reading, start, rest, settled=settled)
    next(batches)  # begun: whoever lets go of it now closes the file, also without reading a batch
    return Following(start.place.offset == 0, start.place.line, generation, batches)


def unchanged(path: Path, state: FileState | None) -> bool:
    """Return whether *path* is, by its size, time and inode, just as *state* left it: one stat, no reading."""
    try:
        status = path.stat()
    except OSError:
        return False
    return state is not None and (state.size, state.mtime_ns, state.inode) == _identity(status)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _resume(
    stream: BinaryIO, status: os.stat_result, state: FileState | None, *, thorough: bool
) -> tuple[FileState, bytes | None]:
    """Return the state to go on from and the bytes of its unfinished block; None for reading it all."""
    if state is None:
        return FileState(), None
    if state.place.offset == 0 or status.st_size < state.place.offset:
        return state, None
    sparse = not thorough and status.st_ino == state.inode and status.st_size >= state.size
    full = state.place.offset // BLOCK_BYTES
    wanted = sorted({0, full - 1} & set(range(full))) if sparse else range(full)
    for index in wanted:
        stream.seek(index * BLOCK_BYTES)
        if _digest(stream.read(BLOCK_BYTES)) != state.blocks[index * DIGEST_BYTES :][:DIGEST_BYTES]:
            return state, None
    stream.seek(full * BLOCK_BYTES)
    rest = stream.read(state.place.offset - full * BLOCK_BYTES)
    return state, rest if _digest(rest) == state.blocks[full * DIGEST_BYTES :] else None


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


class _Hashed:
    """A stream that keeps the digests of what passes, so that what was parsed is what is remembered.

    Reading the file a second time for the digests could meet other bytes than those parsed.
    """

    def __init__(self, stream: BinaryIO, whole_blocks: bytes, rest: bytes) -> None:
        self._stream = stream
        self._digests = bytearray(whole_blocks)
        self._kept: deque[bytes] = deque()
        self._kept_from = len(whole_blocks) // DIGEST_BYTES
        self._open = bytearray(rest)

    def read(self, size: int, /) -> bytes:
        """Return the next bytes of the stream."""
        data = self._stream.read(size)
        self._open += data
        while len(self._open) >= BLOCK_BYTES:
            block = bytes(self._open[:BLOCK_BYTES])
            del self._open[:BLOCK_BYTES]
            self._digests += _digest(block)
            self._kept.append(block)
            if len(self._kept) * BLOCK_BYTES > KEPT_BYTES_MAX:
                self._kept.popleft()
                self._kept_from += 1
        return data

    def before(self, offset: int) -> bytes | None:
        """Return the digests of all bytes before *offset*, which never goes back; None if too far behind."""
        full, rest = divmod(offset, BLOCK_BYTES)
        while self._kept and self._kept_from < full:
            self._kept.popleft()
            self._kept_from += 1
        if self._kept_from > full:
            return None
        block = self._kept[0] if self._kept else bytes(self._open)
        return bytes(self._digests[: full * DIGEST_BYTES]) + _digest(block[:rest])


def _read(
    stream: BinaryIO,
    status: os.stat_result,
    reading: Reading,
    start: FileState,
    rest: bytes,
    *,
    settled: bool,
) -> Iterator[Batch]:
    with stream:
        yield Batch((), (), (), start, 0, 0)  # for `follow`, which takes it
        hashed = _Hashed(stream, start.blocks[:-DIGEST_BYTES], rest)
        batching = _Batching(start, hashed, status, reading.limits.problems_max)
        waiting: Part | None = None
        for part in iter_events(hashed, reading, start.place):
            if waiting is not None:
                batching.add(waiting)
                if batching.is_full:
                    yield batching.batch()
            waiting = part
        if waiting is not None and settled:
            batching.add(waiting)
        yield batching.batch(held=None if settled else waiting, final=True)


class _Batching:
    """Gathers parts into batches and knows the state after each."""

    def __init__(self, start: FileState, hashed: _Hashed, status: os.stat_result, problems_max: int) -> None:
        self._problems_left = problems_max
        self._unsaid: list[Problem] = []
        self._unsaid_count = 0
        self._state = start
        self._hashed = hashed
        self._status = status
        self._counted = Counter(start.last)  # stood at the end of the last reading, so is counted already
        self._recent: deque[tuple[int, tuple[str, ...]]] = deque()
        self._resume = start.place
        self._moved = False
        self._clear()

    def _clear(self) -> None:
        self._records: list[EventRecord] = []
        self._problems: list[Problem] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return len(self._records) >= BATCH_RECORDS or self._bytes >= BATCH_BYTES

    def add(self, part: Part) -> None:
        """Take *part* into the batch, leaving out what the last reading counted."""
        for record in part.records:
            if self._counted and self._counted[record.fingerprint] > 0:
                self._counted[record.fingerprint] -= 1
            else:
                self._records.append(record)
        for problem in part.problems:
            self._report(problem)
        self._bytes += part.length
        self._move(part.resume)
        self._recent.append((part.place.offset, tuple(record.fingerprint for record in part.records)))

    def _report(self, problem: Problem) -> None:
        """Keep *problem*, or count it where there are too many already."""
        if self._problems_left > 0:
            self._problems.append(problem)
            self._problems_left -= 1
        else:
            self._unsaid_count += 1
            self._unsaid = self._unsaid or [problem]

    def _say_rest(self) -> None:
        for first in self._unsaid:
            self._problems.append(
                Problem(first.file, first.line, f"{self._unsaid_count} more problems from here on")
            )

    def _move(self, resume: Place) -> None:
        self._resume, self._moved = resume, True
        while self._recent and self._recent[0][0] < resume.offset:
            self._recent.popleft()

    def batch(self, *, held: Part | None = None, final: bool = False) -> Batch:
        """Return what was gathered, and begin the next."""
        identity = _identity(self._status) if final and held is None else (-1, -1, -1)
        if final:
            self._say_rest()
        gone: tuple[str, ...] = ()
        if self._moved or held is None:
            if held is not None:
                self._move(held.resume)
            gone = tuple(self._counted.elements())
            self._counted.clear()
            state = self._state_now(identity)
        else:
            state = replace(self._state, size=-1, mtime_ns=-1, inode=-1)
        done = Batch(
            tuple(self._records), gone, tuple(self._problems), state,
            self._status.st_size if final else self._resume.offset, self._status.st_size,
        )  # fmt: skip
        self._clear()
        return done

    def _state_now(self, identity: tuple[int, int, int]) -> FileState:
        last = tuple(name for _, names in self._recent for name in names)
        blocks = self._hashed.before(self._resume.offset) if len(last) <= LAST_MAX else None
        if blocks is None:  # nothing safe to go on from: the next reading begins at the start
            return FileState(self._state.generation, START, (), b"", *identity)
        return FileState(self._state.generation, self._resume, last, blocks, *identity)


def read_problem(file: str, error: OSError | RefusedError) -> Problem:
    """Return the problem of a file that could not be opened at all."""
    return Problem(file, None, reason(error) if isinstance(error, OSError) else str(error))
