"""What a supervisor that was killed left running, by the pids and start times that it recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.host import processes

_GRACE = 3.0


def end_leftovers(home: Home, say: Callable[[str], object]) -> None:
    """End what a killed supervisor left. The caller holds the home's lock, so nothing of it is still wanted."""
    left = state.read(home)
    if left is None:
        return
    count = processes.end_sessions(left.leftovers, _GRACE)
    if count:
        say(f"ended {count} processes that an earlier cluster left behind")
    control = Path(left.control)
    if left.control and control.parent != home.path:
        with suppress(OSError):
            control.unlink(missing_ok=True)
            control.parent.rmdir()
