"""`boveda down`: the supervisor is asked to end and waited for; what a killed one left is ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace

import click

from cli.cluster.home import state
from cli.cluster.home.home import Home, HomeLock
from cli.cluster.supervisor.leftovers import end_leftovers
from common.errors import Conflict

_DOWN_SECONDS = 30.0
_POLL = 0.05


def down(home: Home) -> HomeLock | None:
    """End the cluster of this home, if one runs. The lock of the home, held; None if there is no such home."""
    if not (home.path / "cluster.lock").exists():
        return None
    lock = HomeLock(home)
    if not lock.try_take():
        _ask_to_end(home)
        _wait_for(lock)
        click.echo("stopped")
    end_leftovers(home, click.echo)
    _forget(home)
    return lock


def wipe(home: Home, lock: HomeLock) -> None:
    """Delete all that is in the home; its lock is held by the caller."""
    left = home.wipe()
    lock.leave()
    click.echo(f"deleted {home.path}" if not left else f"deleted, but for what is not Bóveda's: {', '.join(left)}")


def _ask_to_end(home: Home) -> None:
    found = state.read(home)
    if found is not None and found.supervisor is not None and found.supervisor.alive():
        with suppress(ProcessLookupError):
            os.kill(found.supervisor.pid, signal.SIGTERM)


def _wait_for(lock: HomeLock) -> None:
    end = time.monotonic() + _DOWN_SECONDS
    while not lock.try_take():
        if time.monotonic() > end:
            raise Conflict(f"the cluster did not end within {_DOWN_SECONDS:.0f} s; its supervisor may hang")
        time.sleep(_POLL)


def _forget(home: Home) -> None:
    """Nothing of the last state runs any more."""
    left = state.read(home)
    if left is not None and left.leftovers:
        rows = [replace(row, identity=None) for row in left.rows]
        state.write(home, replace(left, supervisor=None, rows=rows))
