"""Which records of events.yaml are new, across appends, rewrites, truncations and restores.

A record has no id, so its content is its name (`scalars.fingerprint`), and a record is new when it
stands in the file more often than it ever did before. For each fingerprint two counts are kept:

- `recorded`: how many were delivered, the most that ever stood in the file at once;
- `standing`: how many stand there now, valid for one `generation` of the file.

So a rewrite with other quoting brings nothing new; of two exact duplicates both are delivered; what
was truncated and is restored was delivered before. What this cannot tell apart: a record that was
truncated, and later written again with the same time to the second and the same fields, is taken
for the old one restored. That is meant: a repeated notice is worse than a missing twin, and RALF's
records carry a time and a run.

While the bytes before the last record are unchanged, the generation stays and only what was
appended is read and counted; otherwise the file is read from the start under the next generation,
which sets every `standing` to 0 without touching a row.

The counts and the file's state (`following.FileState`) belong in one transaction per batch: then a
kill at any moment leaves the two in step, and reading goes on where it stood.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ralf_hub.workspace.records import EventRecord


class Seen(NamedTuple):
    """The counts of one fingerprint; `standing` holds for `generation` only."""

    recorded: int = 0
    standing: int = 0
    generation: int = 0


NEVER = Seen()


@dataclass(frozen=True, slots=True)
class Recognition:
    """The records that are new, in file order, and the counts to store."""

    new: tuple[EventRecord, ...]
    seen: Mapping[str, Seen]


def recognise(
    records: Iterable[EventRecord],
    seen: Mapping[str, Seen],
    generation: int,
    gone: Iterable[str] = (),
) -> Recognition:
    """Return which of *records*, just read from the file, were never recorded.

    *seen* holds the stored counts of their fingerprints and of those *gone* (a record at the end of
    the file that has been completed since); a missing one counts as never seen.
    """
    changed: dict[str, Seen] = {}
    new = []
    for name in gone:
        recorded, standing, counted_in = changed.get(name) or seen.get(name, NEVER)
        if counted_in == generation and standing > 0:
            changed[name] = Seen(recorded, standing - 1, generation)
    for record in records:
        name = record.fingerprint
        recorded, standing, counted_in = changed.get(name) or seen.get(name, NEVER)
        standing = standing + 1 if counted_in == generation else 1
        if standing > recorded:
            recorded = standing
            new.append(record)
        changed[name] = Seen(recorded, standing, generation)
    return Recognition(tuple(new), changed)
