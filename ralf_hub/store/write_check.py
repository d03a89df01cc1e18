"""Can the database still be written? Asked by `/health`."""

from typing import Final

from ralf_hub.clock import Clock
from ralf_hub.errors import StorageError
from ralf_hub.store.database import Database

WRITE_CHECK_EVERY_S: Final = 1.0


class WriteCheck:
    """Asks the disk at most once a second whether it still takes a commit."""

    def __init__(self) -> None:
        self._at = -WRITE_CHECK_EVERY_S
        self._problem: str | None = None

    async def problem(self, db: Database, clock: Clock) -> str | None:
        """Return why the database cannot be written, None where it can."""
        now = clock.monotonic()
        if now - self._at >= WRITE_CHECK_EVERY_S:
            self._at = now
            moment = clock.iso()
            try:
                await db.write(
                    lambda conn: conn.execute(
                        "INSERT OR REPLACE INTO meta VALUES ('heartbeat', ?)", (moment,)
                    )
                )
            except StorageError as error:
                self._problem = error.detail
            else:
                self._problem = None
        return self._problem
