"""What a disk holds after a power cut: all that was synced, and of the rest whatever the disk happened to write.

A record of `recorder.c` is played back. Nothing is believed but what POSIX promises: data is safe after a sync of its
file, a file's name after a sync of its folder. Of what was not synced any part may be there, in any order, cut at
sectors. https://www.sqlite.org/atomiccommit.html says what SQLite expects of disks; it is no more than this.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

SECTOR_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing the process did. `number` is a write's offset, a truncation's length, a sync's count."""

    kind: str
    name: str = ""
    number: int = 0
    data: bytes = b""


def read(record: Path) -> list[Entry]:
    """Return the entries of a record, in order."""
    raw, at, found = record.read_bytes(), 0, []
    while at < len(raw):
        end = raw.index(b"\n", at)
        kind, *rest = raw[at:end].decode().split(" ")
        at, length = end + 1, 0
        match kind:
            case "write":
                length = int(rest[1])
                found.append(Entry(kind, rest[2], int(rest[0]), raw[at : at + length]))
            case "answer":
                length = int(rest[0])
                found.append(Entry(kind, data=raw[at : at + length]))
            case "unlink":
                found.append(Entry(kind, rest[0]))
            case _:
                found.append(Entry(kind, rest[1], int(rest[0])))
        at += length
    return found


@dataclass(slots=True)
class _File:
    """One file: what is safe of it, and what was done to it since. `gone` is an unlink whose folder was not synced."""

    safe: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, Entry]] = field(default_factory=list)
    named: bool = False
    born: int = 0
    gone: int | None = None


class Disk:
    """The files of one folder, as far as they are safe."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def play(self, number: int, entry: Entry) -> None:
        """Take the entry *number* of the record."""
        match entry.kind:
            case "write" | "truncate":
                file = self._files.get(entry.name)
                if file is None or file.gone is not None:
                    file = self._files[entry.name] = _File(born=number)
                file.since.append((number, entry))
            case "sync" if entry.name == "/":
                self._name(entry.number)
            case "sync":
                file = self._files.setdefault(entry.name, _File(born=number))
                for at, done in file.since:
                    if at < entry.number:
                        _apply(file.safe, done, len(done.data))
                file.since = [item for item in file.since if item[0] >= entry.number]
            case "unlink" if entry.name in self._files:
                self._files[entry.name].gone = number

    def _name(self, count: int) -> None:
        for name, file in list(self._files.items()):
            file.named = file.named or file.born < count
            if file.gone is not None and file.gone < count:
                del self._files[name]

    def cut(self, chance: Random) -> dict[str, bytes]:
        """Return the files as they may be found when the power is cut now."""
        found = {}
        for name, file in self._files.items():
            if not file.named and chance.random() < 0.5:
                continue
            if file.gone is not None and chance.random() < 0.5:
                continue
            content = bytearray(file.safe)
            lucky = chance.random()
            for _, entry in file.since:
                if chance.random() < lucky:
                    _apply(content, entry, _torn(len(entry.data), chance))
            found[name] = bytes(content)
        return found


def _torn(length: int, chance: Random) -> int:
    """Return how much of a write got through: mostly all of it, else some sectors."""
    if chance.random() < 0.7:
        return length
    return min(length, SECTOR_BYTES * chance.randint(0, length // SECTOR_BYTES))


def _apply(content: bytearray, entry: Entry, length: int) -> None:
    if entry.kind == "truncate":
        del content[entry.number :]
        content.extend(bytes(entry.number - len(content)))
        return
    content.extend(bytes(max(0, entry.number - len(content))))
    content[entry.number : entry.number + length] = entry.data[:length]


def cuts(
    entries: Sequence[Entry], at: Iterable[int], chance: Random
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Yield for each of *at*, ascending, what a power cut right before that entry leaves behind."""
    disk, played = Disk(), 0
    for stop in at:
        for number in range(played, stop):
            disk.play(number, entries[number])
        played = stop
        yield stop, disk.cut(chance)
