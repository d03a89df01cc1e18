"""Shared by the tests of the workspace's readers: the real trees, and a small one to build on."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ralf_hub.workspace.events import Reading, events_in
from ralf_hub.workspace.following import FileState, follow
from ralf_hub.workspace.recognition import Seen, recognise
from ralf_hub.workspace.records import EventRecord, Problem

SHARED = Path(os.environ.get("RALF_HUB_SHARED") or Path(__file__).parents[2].parent / "shared")
PROJECT = Path("5-project-memory", "blackbox5")
EVENTS = Path(".autonomous", "communications", "events.yaml")


def shared_workspace(name: str) -> Path:
    """Return one of the real trees, or skip the test, saying so."""
    path = SHARED / "workspaces" / name
    if not path.is_dir():
        pytest.skip(f"no real workspace at {path}")
    return path


def read(
    text: str | bytes, file: str = "events.yaml", **settings: object
) -> tuple[list[EventRecord], list[Problem]]:
    """Read events from *text*."""
    data = text.encode() if isinstance(text, str) else text
    return events_in(data, Reading(file, **settings))  # type: ignore[arg-type]


def write(root: Path, name: str, text: str = "") -> Path:
    """Write a file below *root* and return its path."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@dataclass
class Memory:
    """The caller's side of recognition in memory: counts, state, and everything delivered."""

    path: Path
    root: Path
    seen: dict[str, Seen] = field(default_factory=dict)
    state: FileState | None = None
    delivered: list[EventRecord] = field(default_factory=list)

    def look(
        self, *, settled: bool = True, thorough: bool = True, batches_max: int | None = None
    ) -> list[EventRecord]:
        """Read the file once and return what was new; stop after *batches_max*, as a kill would."""
        following = follow(
            self.path, self.root, Reading(self.path.name), self.state, settled=settled, thorough=thorough
        )
        new: list[EventRecord] = []
        for number, batch in enumerate(following.batches, start=1):
            found = recognise(batch.records, self.seen, following.generation, batch.gone)
            self.seen.update(found.seen)
            self.state = FileState.from_json(batch.state.as_json())
            new.extend(found.new)
            if number == batches_max:
                break
        self.delivered.extend(new)
        return new

    def counts(self) -> Counter[str]:
        """Return how often each fingerprint was delivered."""
        return Counter(record.fingerprint for record in self.delivered)
