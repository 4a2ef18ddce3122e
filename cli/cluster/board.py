"""What the user sees of a running cluster: plain lines, or a live board on a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.cluster.supervisor.child import Child, State

_COLOURS = {State.RUNNING: "green", State.DOWN: "yellow", State.ENDING: "yellow", State.WAITING: "red"}
_REFRESH_SECONDS = 0.25
_LINES = 6


def invitation(url: str) -> list[str]:
    """Three lines to try."""
    return [
        f"curl -F archivo=@README.md {url}/cargar",
        f"curl {url}/descargar/README.md --output downloaded.md",
        f"curl -X DELETE {url}/eliminar/README.md",
    ]


class Plain:
    """Lines: into the log with the time, and on standard output unless it works in the background."""

    def __init__(self, url: str, log: Path, quiet: bool = False) -> None:
        self._url = url
        self._log = log
        self._quiet = quiet

    def say(self, line: str) -> None:
        # A full disk, or a reader of our output that went away, is no reason to end what runs.
        with suppress(OSError), self._log.open("a") as log:
            log.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {line}\n")
        self.tell(line)

    def tell(self, line: str) -> None:
        if not self._quiet:
            with suppress(OSError):
                click.echo(line)

    def show(self, children: Sequence[Child]) -> None:
        pass

    def up(self, children: Sequence[Child]) -> None:
        for child in children:
            if child.spec.launch.endpoint:
                self.tell(f"  {child.spec.name:<8} {child.spec.launch.endpoint}")
        self.say(f"Bóveda is up at {self._url}")
        for line in invitation(self._url):
            self.tell(f"  {line}")

    def fail(self, why: str) -> None:
        """It ends, with this as its reason."""
        self.say(why)


class Board(Plain):
    """A table that follows what happens, the last lines said, and what to try."""

    def __init__(self, url: str, log: Path) -> None:
        super().__init__(url, log)
        self._said: list[str] = []
        self._why = ""
        self._up = False
        self._shown_at = 0.0
        self._live = Live(auto_refresh=False, transient=True)

    def __enter__(self) -> Board:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()
        if self._why:
            click.echo(self._why, err=True)
        click.echo("stopped; the data are kept")

    def tell(self, line: str) -> None:
        self._said = [*self._said, *line.splitlines()][-_LINES:]
        self._shown_at = 0.0

    def up(self, children: Sequence[Child]) -> None:
        self._up = True
        self._said = []
        self.say("up")

    def fail(self, why: str) -> None:
        """The board is gone at the end: the reason is said behind it."""
        self._why = why
        super().fail(why)

    def show(self, children: Sequence[Child]) -> None:
        now = time.monotonic()
        if now - self._shown_at >= _REFRESH_SECONDS:
            self._shown_at = now
            self._live.update(self._drawn(children), refresh=True)

    def _drawn(self, children: Sequence[Child]) -> Group:
        table = Table(
            title=f"Bóveda · {self._url}", title_justify="left", title_style="bold", box=None, header_style="bold"
        )
        for heading in ("process", "kind", "state", "pid", "restarts", "address"):
            table.add_column(heading, justify="right" if heading in ("pid", "restarts") else "left")
        for child in children:
            state = Text(child.state.value, style=_COLOURS[child.state])
            pid, restarts = str(child.pid or "-"), str(child.restarts or "-")
            table.add_row(child.spec.name, child.spec.kind, state, pid, restarts, child.spec.launch.endpoint or "-")
        said = Text("\n".join(self._said), style="dim")
        if not self._up:
            return Group(table, Text(), said)
        tries = Text("\n".join(["Try in another window:", *(f"  {line}" for line in invitation(self._url))]))
        return Group(table, Text(), tries, Text("Ctrl-C stops all of it and keeps the data."), Text(), said)
