"""Can the database still be written? Asked by `/health`."""

import asyncio
from typing import Final

from ralf_hub.clock import Clock
from ralf_hub.errors import StorageError
from ralf_hub.store.database import Database

WRITE_CHECK_EVERY_S: Final = 1.0
ANSWER_WITHIN_S = 2.0


class WriteCheck:
    """Asks the disk at most once a second whether it still takes a commit; one question is out at a time."""

    def __init__(self) -> None:
        self._at = -WRITE_CHECK_EVERY_S
        self._problem: str | None = None
        self._asking: asyncio.Task[None] | None = None

    async def problem(self, db: Database, clock: Clock) -> str | None:
        """Return why the database cannot be written, None where it can. A disk that hangs cannot."""
        now = clock.monotonic()
        if self._asking is None and now - self._at >= WRITE_CHECK_EVERY_S:
            self._at = now
            self._asking = asyncio.create_task(self._ask(db, clock.iso()), name="write check")
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=ANSWER_WITHIN_S)
        return f"The disk has not answered for {ANSWER_WITHIN_S:g} s." if self._asking else self._problem

    async def _ask(self, db: Database, moment: str) -> None:
        try:
            await db.write(
                lambda conn: conn.execute("INSERT OR REPLACE INTO meta VALUES ('heartbeat', ?)", (moment,))
            )
        except StorageError as error:
            self._problem = error.detail
        else:
            self._problem = None
        finally:
            self._asking = None
