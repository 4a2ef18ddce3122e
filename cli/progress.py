"""Progress bars with rate and time left, on standard error, and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


class Bars:
    """One line per transfer. Without a terminal every transfer advances silently."""

    def start(self, name: str, total: int | None, done: int = 0) -> Advance:
        """A transfer of `total` bytes (None: not known) begins; call the result with each number of bytes done.

        `done` were there before. A transfer that begins anew replaces the one of its name.
        """
        return _nowhere


def _nowhere(_count: int) -> None:
    return None


@contextmanager
def bars(*, quiet: bool) -> Iterator[Bars]:
    if quiet or not sys.stderr.isatty():
        yield Bars()
        return
    # Loaded only where it shows: scripts start faster without it.
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    tasks: dict[str, TaskID] = {}

    class TerminalBars(Bars):
        def start(self, name: str, total: int | None, done: int = 0) -> Advance:
            if name in tasks:
                progress.remove_task(tasks.pop(name))
            # A total of 0 would stay at 0 %: an empty object is one step, already done.
            steps, first = (1, 1) if total == 0 else (total, done)
            task = tasks[name] = progress.add_task(escape(name), total=steps, completed=first)
            return lambda count: progress.update(task, advance=count)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Standard output stays what it is: redirected, results would land among the bars.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        yield TerminalBars()
