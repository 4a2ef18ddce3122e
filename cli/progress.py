"""Progress bars with rate and time left, on standard error, and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


class Bars:
    """One line per transfer. Without a terminal every transfer advances silently."""

    def start(self, name: str, total: int | None) -> Advance:
        """A transfer of `total` bytes (None: not known) begins; call the result with each number of bytes done."""
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
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    class TerminalBars(Bars):
        def start(self, name: str, total: int | None) -> Advance:
            # A total of 0 would stay at 0 %: an empty object is one step, already done.
            task = progress.add_task(escape(name), total=1 if total == 0 else total, completed=1 if total == 0 else 0)
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
