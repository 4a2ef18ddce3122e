"""Stop, kill or start one process of the running cluster of a home, and wait until that is so."""

from __future__ import annotations

import time
from collections.abc import Callable

from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.home.state import ClusterState, ProcessRow
from cli.cluster.host import ready
from cli.cluster.supervisor import control
from cli.cluster.supervisor.control import Action
from common.errors import NotFound, Unavailable

STARTED_SECONDS, _STOPPED_SECONDS = 30.0, 15.0
_POLL = 0.05


def end(home: Home, action: Action, name: str) -> ProcessRow:
    """`stop` or `kill`; its row once it is gone. NotFound, NotAllowed, Unavailable."""
    row = _ask(home, action, name)
    wait(lambda: row.identity is None or not row.identity.alive(), _STOPPED_SECONDS, f"{name} does not end")
    wait(lambda: now(home, name).identity is None, _STOPPED_SECONDS, f"{name} does not end")
    return now(home, name)


def start(home: Home, name: str, hostname: str | None) -> ProcessRow:
    """Its row once it serves. `hostname`: what the API wants to be called. NotFound, NotAllowed, Unavailable."""
    row = _ask(home, "start", name)
    if row.endpoint:
        endpoint, path = row.endpoint, row.ready
        called = hostname if row.kind == "api" else None
        wait(lambda: ready.answers(endpoint, path, called), STARTED_SECONDS, f"{name} does not serve")
    return now(home, name)


def now(home: Home, name: str) -> ProcessRow:
    """What the supervisor has written about it. Unavailable without one."""
    found = state.read(home)
    for row in found.rows if found else []:
        if row.name == name:
            return row
    raise Unavailable("the cluster is gone")


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Unavailable when the condition does not hold in time."""
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise Unavailable(f"{what} within {seconds:.0f} s; `boveda cluster` shows where its log is")
        time.sleep(_POLL)


def running(home: Home) -> ClusterState:
    """What the supervisor has written; Unavailable if none runs."""
    found = state.read(home)
    if found is None or found.supervisor is None or not found.supervisor.alive():
        raise Unavailable(f"no cluster runs in {home.path} (`boveda up` starts one)")
    return found


def row_of(found: ClusterState, name: str) -> ProcessRow:
    """NotFound, with the names there are."""
    row = next((row for row in found.rows if row.name == name and row.kind != "setup"), None)
    if row is None:
        names = ", ".join(row.name for row in found.rows)
        raise NotFound(f"no process is called {name} here; there are {names}")
    return row


def _ask(home: Home, action: Action, name: str) -> ProcessRow:
    found = running(home)
    row = row_of(found, name)
    control.ask(found.control, action, name)
    return row
