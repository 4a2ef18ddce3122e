"""What processes cost while they work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1 << 20


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far, and MiB resident now, of all processes of some sessions."""

    cpu: float
    resident: float

    @classmethod
    def of(cls, sessions: Sequence[int]) -> Usage:
        ticks = pages = 0
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                # Behind the name in parentheses: state, ppid, pgrp, session (3), …, utime (11), stime (12), rss (21).
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in sessions:
                ticks += int(fields[11]) + int(fields[12])
                pages += int(fields[21])
        return cls(ticks / _TICKS, pages * os.sysconf("SC_PAGE_SIZE") / _MIB)
