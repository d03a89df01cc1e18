"""The power is cut: whatever the disk then holds, the database opens and has all that was answered with a 2xx.

The hub runs with a recorder in its process that writes down, in one order, what is done to the database's files, what
is synced, and what is answered. Then the record is played back and cut off again and again.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import pytest

from ralf_hub.store import checkpoint, schema, verify
from tests.journeys.hub import Hub
from tests.support import eventually
from tests.torture import shim
from tests.torture.powercut import Entry, cuts, read
from tests.webhooks.signing import SECRET, SIGN

pytestmark = pytest.mark.skipif(shim.why_not() is not None, reason=str(shim.why_not()))

CUTS: Final = int(os.environ.get("RALF_HUB_POWER_CUTS", "120"))
SEED: Final = int(os.environ.get("RALF_HUB_SEED", "20260204"))
CLIENTS: Final = 12
LOG_BYTES_MIN: Final = 2 * checkpoint.PASSIVE_ABOVE_BYTES
"""So much is written that the log is moved into the database while the hub works."""

SETTINGS: Final = f"""
[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.2

[connectors.nobody]
type = "webhook"
url = "http://127.0.0.1:9/"
events = ["task_*", "webhook_received"]

[[webhooks.incoming]]
service = "github"
secret = "{SECRET}"
"""


@dataclass(frozen=True)
class Promised:
    """What one answer said is done: a row that must be there, by its table, key and, where it matters, status."""

    table: str
    key: str
    status: str | None = None


def promised(answer: bytes) -> list[Promised]:
    """Return what a 2xx of the hub promises."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head[9:12]
    if not head.startswith(b"HTTP/1.1 2") or not body.startswith(b'{"'):
        return []
    try:
        said: Any = orjson.loads(body)
    except orjson.JSONDecodeError:  # longer than what is recorded of an answer
        return []
    if status == b"202":
        return [Promised("events", said["event_id"]), Promised("webhook_receipts", said["id"])]
    if status in {b"201", b"200"} and "progress" in said:
        return [Promised("tasks", said["id"], said["status"])]
    return []


async def _load(hub: Hub, record: Path) -> None:
    """Create tasks, move them on and send webhooks until the log was moved more than once."""
    done = asyncio.Event()

    async def client(number: int) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            task = {"id": f"T-{number}-{turn}", "title": "x" * 200, "description": "y" * 2_000}
            if number % 3 == 0:
                await _webhook(hub, number, turn)
                continue
            await hub.ok("POST", "/api/v1/tasks", task)
            await hub.ok("PATCH", f"/api/v1/tasks/{task['id']}", {"status": "completed"})

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    await eventually(lambda: record.stat().st_size > 2 * LOG_BYTES_MIN, within_s=60)
    done.set()
    await asyncio.gather(*clients)


async def _webhook(hub: Hub, number: int, turn: int) -> None:
    issue = {"number": number * 100_000 + turn, "title": "An issue", "body": "z" * 500, "state": "open"}
    body = orjson.dumps(
        {
            "action": "opened",
            "issue": issue,
            "repository": {"full_name": "acme/mill"},
            "sender": {"login": "kai"},
        }
    )
    headers = SIGN.github(body, "issues", f"guid-{number}-{turn}")
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{hub.url}/api/v1/webhooks/github", data=body, headers=headers) as reply,
    ):
        assert reply.status == 202


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    """The record of one hub, from its first start on an empty folder to its end by SIGTERM."""
    folder = tmp_path_factory.mktemp("recorded")
    record = folder / "record"
    place = folder / "hub"
    place.mkdir()
    env = {
        "LD_PRELOAD": str(shim.built(shim.RECORDER, folder)),
        "RECORD_FILES": str(place / "hub.db"),
        "RECORD_TO": str(record),
    }

    async def live() -> None:
        async with Hub(place, SETTINGS, env=env) as hub:
            await _load(hub, record)
            assert await hub.stop() == 0

    asyncio.run(live())
    return read(record)


def _lost(folder: Path, promises: Sequence[Promised]) -> list[Promised]:
    """Open what is left as a hub that starts does, and return the promises it does not keep."""
    schema.prepare(folder / "hub.db")
    with closing(sqlite3.connect(folder / "hub.db", isolation_level=None)) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        report = verify.verify(conn, integrity=False)
        assert report.clean, report.findings
        kept = {
            *(Promised("tasks", *row) for row in conn.execute("SELECT id, status FROM tasks")),
            *(Promised("events", row[0]) for row in conn.execute("SELECT id FROM events")),
            *(
                Promised("webhook_receipts", row[0])
                for row in conn.execute("SELECT id FROM webhook_receipts")
            ),
        }
    return [promise for promise in promises if not _is_kept(promise, kept)]


def _is_kept(promise: Promised, kept: set[Promised]) -> bool:
    """A task that was promised as pending may have been completed since: the client had asked for it already."""
    return promise in kept or Promised(promise.table, promise.key, "completed") in kept


def _cut_and_look(
    folder: Path, entries: Sequence[Entry], at: Sequence[int], chance: random.Random
) -> Iterator[tuple[int, int, list[Promised]]]:
    """Yield for each cut how many promises had been given and which are not kept."""
    promises: list[Promised] = []
    looked = 0
    for number, (stop, files) in enumerate(cuts(entries, at, chance)):
        for entry in entries[looked:stop]:
            if entry.kind == "answer":
                promises += promised(entry.data)
        looked = stop
        place = folder / f"cut-{number}"
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        yield stop, len(promises), _lost(place, promises)
        for path in place.iterdir():
            path.unlink()
        place.rmdir()


def _places(entries: Sequence[Entry], chance: random.Random, count: int) -> list[int]:
    """Return where to cut: around syncs and answers, where the order of things shows, and all along the beginning.

    Many cuts are several at each place: every one leaves something else behind.
    """
    edges = [
        n + after for n, entry in enumerate(entries) if entry.kind in {"sync", "answer"} for after in (0, 1)
    ]
    often, rest = divmod(count, len(edges))
    return sorted([*edges[: count // 4], *edges * often, *chance.sample(edges, rest), len(entries)])


@pytest.mark.journey
def test_whenever_the_power_is_cut_all_that_was_answered_is_there(
    entries: list[Entry], tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    at = _places(entries, chance, CUTS)
    looked = list(_cut_and_look(tmp_path, entries, at, chance))
    assert [(stop, lost[:3]) for stop, _, lost in looked if lost] == []
    kinds = {kind: sum(entry.kind == kind for entry in entries) for kind in ("write", "sync", "answer")}
    assert looked[-1][1] > 200, "too little was promised to show anything"
    assert any(entry.kind == "write" and entry.name == "hub.db" for entry in entries[len(entries) // 2 :])
    print(f"{len(looked)} cuts of {kinds}; {looked[-1][1]} promises at the end, 0 lost")


@pytest.mark.journey
def test_a_hub_that_answered_before_it_synced_would_be_found_out(
    entries: list[Entry], tmp_path: Path
) -> None:
    """The same record without the log's syncs, as `synchronous=NORMAL` would leave it: promises get lost."""
    careless = [entry for entry in entries if not (entry.kind == "sync" and entry.name == "hub.db-wal")]
    chance = random.Random(SEED)
    at = _places(careless, chance, 20)[-20:]
    assert any(_broken(tmp_path, careless, stop, chance) for stop in at)


def _broken(folder: Path, entries: Sequence[Entry], stop: int, chance: random.Random) -> bool:
    try:
        return any(lost for _, _, lost in _cut_and_look(folder, entries, [stop], chance))
    except (AssertionError, sqlite3.DatabaseError):  # not even sound
        for path in (folder / "cut-0").iterdir():
            path.unlink()
        (folder / "cut-0").rmdir()
        return True
