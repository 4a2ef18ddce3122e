"""Waiting for what the store does by itself, with a bar on standard error where that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """How far it is. `total` 0: not known."""

    words: str
    done: int
    total: int
    ended: bool


def wait(look: Callable[[], Step], quiet: bool) -> None:
    """Look every second until it has ended. What `look` raises ends the waiting, not what is waited for."""
    if quiet or not sys.stderr.isatty():
        while not look().ended:
            time.sleep(LOOK_SECONDS)
        return
    # Loaded only where it shows: scripts start faster without it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar, console=Console(stderr=True), redirect_stdout=False) as progress:
        task = progress.add_task("", total=None)
        while True:
            step = look()
            progress.update(task, description=step.words, completed=step.done, total=step.total or None)
            if step.ended:
                return
            time.sleep(LOOK_SECONDS)
