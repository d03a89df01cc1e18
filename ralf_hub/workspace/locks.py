"""The locks RALF's scripts take: `flock` on a hidden file beside the one that is written."""

import errno
import fcntl
import os
from typing import Final

from ralf_hub.workspace.wishes import ForbiddenError

QUEUE_LOCK: Final = ".queue.lock"
EVENTS_LOCK: Final = ".events.lock"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class ScriptLock:
    """One such lock: `exec 200>.queue.lock; flock 200` in a script and this keep each other out."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self._name = name
        self._descriptor = -1

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it; never waits. OSError, or ForbiddenError where it is a link."""
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._name, _FLAGS, 0o644, dir_fd=self._folder)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.EMLINK}:
                    raise ForbiddenError(f"{self._name} is a symbolic link; not followed") from error
                raise
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go of it, whether it was taken or not. The file stays, as the scripts leave it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
