"""Whatever is done to events.yaml while a hub follows it, and while none does: what was written is told, once."""

import asyncio
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ralf_hub.workspace.scalars import fingerprint
from tests.support import eventually
from tests.watcher.hub import EVENTS, House, house, make_workspace
from tests.workspace.test_properties import STYLE, Writer

ADDS = [
    st.tuples(st.just("append"), st.integers(1, 3)),
    st.tuples(st.just("duplicate"), st.integers(0, 20)),
]
KEEPS = [
    st.tuples(st.just("rewrite"), STYLE),
    st.tuples(st.just("replace"), STYLE),
    st.tuples(st.just("footer"), st.just(0)),
    st.tuples(st.just("restart"), st.just(0)),
    st.tuples(st.just("touch"), st.just(0)),
]
TAKES = [
    st.tuples(st.just("truncate"), st.integers(0, 20)),
    st.tuples(st.just("remove"), st.integers(0, 20)),
    st.tuples(st.just("delete"), st.just(0)),
    st.tuples(st.just("restore"), st.just(0)),
]
LOSES = {"truncate", "remove", "delete", "restore"}
"""After these something that stood in the file may be gone, so nobody can be asked to have seen it unless he had time."""
QUOTED, PLAIN = ("'", 80, False), (None, 80, False)


class Life:
    """A hub that comes and goes, everybody who writes into its events file, and what was ever in it."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._root = make_workspace(folder / "ws")
        self._writer = Writer(self._root / EVENTS)
        self._most: Counter[str] = Counter()
        self._hub: House | None = None

    async def start(self) -> None:
        self._hub = await self._stack.enter_async_context(house(self._folder, self._root, write_back="off"))

    async def do(self, name: str, argument: object) -> None:
        if name == "restart":
            await self._stack.aclose()
            await self.start()
        elif name == "touch":
            (self._root / EVENTS).touch()
        else:
            if name in LOSES:
                await self.told()
            getattr(self._writer, name)(argument)
            self._most |= self._standing()

    def _standing(self) -> Counter[str]:
        return Counter(fingerprint(item) for item in self._writer.standing)

    async def told(self) -> None:
        """Wait until everything that stands in the file was told; fails where anything was told that never stood there."""
        wanted = self._most

        async def is_told() -> bool:
            return await self._events() == wanted

        try:
            await eventually(is_told, within_s=20)
        except AssertionError:
            events = await self._events()
            raise AssertionError(f"missing {wanted - events}, too many {events - wanted}") from None

    async def _events(self) -> Counter[str]:
        assert self._hub is not None
        rows = await self._hub.rows("SELECT occurred_at, data ->> 'run', data ->> 'note' FROM events")
        return Counter(
            fingerprint({"timestamp": f"{at[:19]}Z", "type": "started", "run": int(run), "note": note})
            for at, run, note in rows
        )

    async def nothing_more(self) -> None:
        """Look again and again: nothing that was told is told anew."""
        assert self._hub is not None
        for _ in range(2):
            await asyncio.sleep(0.4)
            await self._hub.looked()
        assert await self._events() == self._most


async def live(folder: Path, operations: list[tuple[str, object]]) -> None:
    async with AsyncExitStack() as stack:
        life = Life(folder, stack)
        await life.start()
        for name, argument in operations:
            await life.do(name, argument)
        await life.told()
        await life.nothing_more()


@pytest.mark.journey
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(*ADDS, *ADDS, *KEEPS, *TAKES), min_size=3, max_size=9))
@example(
    [("append", 3), ("truncate", 1), ("append", 1), ("restore", 0), ("duplicate", 0), ("rewrite", QUOTED)]
)
@example([("append", 2), ("delete", 0), ("restart", 0), ("restore", 0), ("append", 1)])
@example(
    [("append", 2), ("footer", 0), ("append", 1), ("replace", PLAIN), ("duplicate", 1), ("duplicate", 1)]
)
def test_what_was_written_is_told_once_whatever_happens_to_the_file(
    operations: list[tuple[str, object]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        runner.run(live(Path(folder), operations))
