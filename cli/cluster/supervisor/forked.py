"""A process of our own, forked from the supervisor: the libraries that most of them need are loaded once, and shared.

1. The supervisor loads the libraries (`load`). That starts no thread and opens no file, so a fork is as good as new.
2. A fork becomes what a program started from a file would be (`_become`): it has a session, folder, environment,
   streams and signals of its own, and none of the supervisor's files.
3. Only then does the supervisor go on, so it never signals a session that is not there yet.
4. The fork calls its function and ends as Python ends a program (`_end`). It never returns into the supervisor's code,
   which would end the cluster.

Of Python's insides this needs `threading._shutdown` and `atexit._run_exitfuncs`, by which a program ends.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from cli.cluster.home.servers import Launch

_HANDLED = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
"""Signals that the supervisor handles, beside SIGINT."""
_NAME_MAX = 15
"""Bytes of a process's name that Linux keeps."""


def load(libraries: Sequence[str]) -> None:
    """Import them, and keep garbage collections away: they write to what they look at, which ends the sharing."""
    gc.disable()
    for name in libraries:
        import_module(name)
    gc.freeze()
    gc.enable()


@dataclass(frozen=True, slots=True)
class Forked:
    """A fork, in place of a `subprocess.Popen`."""

    pid: int

    def wait(self) -> int:
        """Its exit status; negative for the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(name: str, launch: Launch, folder: Path, log: int) -> Forked:
    """Call `launch.main` in a fork, which leads its session when this returns. `log`: an open file. OSError."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError):
            stream.flush()  # or the fork would write it a second time
    there, here = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            _end(_live(name, launch, folder, log))
    finally:
        os.close(here)
        with os.fdopen(there, "rb") as file:
            file.read()  # ends when the fork has closed its side, or is dead
    return Forked(pid)


def _live(name: str, launch: Launch, folder: Path, log: int) -> int:
    """The fork's whole life; its exit status."""
    try:
        _become(name, launch, folder, log)
        return _call(launch)
    except BaseException:  # noqa: BLE001 - the edge of this process
        sys.excepthook(*sys.exc_info())
        return 1


def _become(name: str, launch: Launch, folder: Path, log: int) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o077)
    os.chdir(folder)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # The supervisor's frames keep its objects of these files, so none is deleted later and closes another's number.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process lives
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(launch.env)
    sys.argv = list(launch.argv)
    # All of them have the supervisor's command line; `ps -o comm` and `top` tell them apart by this.
    with suppress(OSError):
        Path("/proc/self/comm").write_bytes(f"boveda-{name}".encode()[:_NAME_MAX])


def _call(launch: Launch) -> int:
    module, _, function = launch.main.partition(":")
    try:
        return int(getattr(import_module(module), function)() or 0)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)  # noqa: T201 - as Python does
        return 1


def _end(status: int) -> NoReturn:
    """As at the end of a program: threads are waited for, then exit functions run, and what is written goes out."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
