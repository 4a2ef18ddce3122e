"""Finds a process that keeps SQLite's writer lock for too long (it hangs, or was stopped), so that it can be ended.

The lock file is written when the lock is taken and emptied when it is given back, so its time of change is that of
this hold. A holder that was killed leaves its pid in the file and no lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

HELD_SECONDS = 10.0


def stuck_holder(path: Path, now: float | None = None) -> int | None:
    """The pid of whoever has held the lock since HELD_SECONDS or longer."""
    with suppress(OSError, ValueError), path.open("rb") as file:
        text = file.read(32)
        since = os.fstat(file.fileno()).st_mtime
        if text and (time.time() if now is None else now) - since > HELD_SECONDS and _is_locked(file.fileno()):
            return int(text)
    return None


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
