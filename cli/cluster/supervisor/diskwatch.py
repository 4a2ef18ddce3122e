"""Notices that a server's disk is gone from under it while it runs.

SeaweedFS goes on as if nothing had happened when its folder is emptied, moved away or unmounted. It has its files
open: it reads old objects from them and takes new ones, which are gone with it. No request can tell, not even one for
the node's identity. Whoever looks at the folder can: in it lies a file, the server's *mark*, that stays for good and
differs on every disk. If the mark is absent or another one the server has to start again. Then it shows what is there
now, and the node is `foreign`.
"""

from __future__ import annotations

import time
from pathlib import Path

LOOK_SECONDS = 1.0
LOOKS = 2
"""So many in a row have to find it gone: a file may be written anew."""


class DiskWatch:
    """`mark`: the path of the file; None for a server that notices by itself."""

    def __init__(self, mark: Path | None) -> None:
        self._mark = mark
        self._own = b""
        self._missed = 0
        self._due = 0.0

    def begin(self) -> None:
        """The server starts, on whatever is there."""
        self._own, self._missed, self._due = b"", 0, 0.0

    def gone(self, now: float | None = None) -> bool:
        """Whether it is not the disk any more with which the server began. To be called often."""
        now = time.monotonic() if now is None else now
        if self._mark is None or now < self._due:
            return False
        self._due = now + LOOK_SECONDS
        found = _content(self._mark)
        if found is None:
            return False
        self._own = self._own or found
        self._missed = self._missed + 1 if found != self._own else 0
        return self._missed >= LOOKS


def _content(mark: Path) -> bytes | None:
    """Empty if it is not there; None if that cannot be told."""
    try:
        return mark.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError:
        return None
