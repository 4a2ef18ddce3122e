"""Processes of this machine by pid *and* start time, so that a number used again is never taken for the old process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_KILL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process: its pid, and when it began (clock ticks since the start of the machine, with the id of that start)."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """None if there is no such process, or only its remains."""
        stat = _stat(pid)
        return None if stat is None or stat.dead else cls(pid, f"{_boot()}:{stat.started}")

    def alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    session: int
    started: int

    @property
    def dead(self) -> bool:
        return self.state in "ZX"


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
    # The first thread of a killed process is a zombie while others still end, and hold its ports and locks.
    state = "R" if fields[0] == "Z" and int(fields[17]) > 1 else fields[0]
    return _Stat(state, int(fields[3]), int(fields[19]))


def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def members(leader: ProcessIdentity) -> list[int]:
    """Living processes of the session that this process led: also when it is gone, its children are not.

    A session's number is not given away while it has members; one that began before the leader belongs to another.
    """
    boot, _, ticks = leader.started.partition(":")
    if boot != _boot():
        return []
    return [pid for pid, stat in _all() if stat.session == leader.pid and stat.started >= int(ticks) and not stat.dead]


def session_of(pid: int) -> int | None:
    stat = _stat(pid)
    return None if stat is None else stat.session


def _all() -> Iterator[tuple[int, _Stat]]:
    for entry in os.listdir(PROC):
        stat = _stat(int(entry)) if entry.isdigit() else None
        if stat is not None:
            yield int(entry), stat


def send(pids: Collection[int], how: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, how)


def end_sessions(leaders: Collection[ProcessIdentity], grace: float) -> int:
    """End what is left of these sessions: asked to at first, killed after `grace` seconds. How many there were."""
    left = [pid for leader in leaders for pid in members(leader)]
    count = len(left)
    send(left, signal.SIGTERM)
    send(left, signal.SIGCONT)
    end = time.monotonic() + grace
    killed = False
    while left and time.monotonic() < end + _KILL_SECONDS:
        if time.monotonic() > end and not killed:
            send(left, signal.SIGKILL)
            killed = True
        time.sleep(0.05)
        left = [pid for leader in leaders for pid in members(leader)]
    return count
