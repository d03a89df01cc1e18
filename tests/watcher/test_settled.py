"""An events file whose time lies ahead of the clock is read to its end all the same, once it stands still."""

import os
from pathlib import Path

from tests.support import eventually
from tests.watcher.hub import EVENTS, house, make_workspace

RECORD = "- timestamp: '2026-11-23T08:00:00Z'\n  task_id: T-{0}\n  type: completed\n"


async def test_a_file_from_a_machine_whose_clock_is_ahead(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "workspace")
    async with house(tmp_path, root) as at_home:
        events = root / EVENTS
        with events.open("a") as opened:
            opened.write(RECORD.format(1))
        ahead = events.stat().st_mtime + 3600
        os.utime(events, (ahead, ahead))
        at_home.follower.look_soon()

        async def recorded() -> bool:
            return bool(
                await at_home.hub.db.read(
                    lambda conn: conn.execute("SELECT 1 FROM events WHERE task_id = 'T-1'").fetchone()
                )
            )

        await eventually(recorded)
