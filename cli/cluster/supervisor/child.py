"""One supervised process: started, watched, ended, and started again when it dies by itself.

    down --start()--> running --end()--> ending --(it is gone)--> down
                        |  ^
         (it dies)      v  |   (the back-off is over)
                       waiting --end()--> down

What ends by request stays down. The whole session of a process ends with its leader, so that no orphan of it holds a
port or a lock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path

from cli.cluster.home.plan import Spec
from cli.cluster.home.servers import Launch
from cli.cluster.host import private_file
from cli.cluster.host.processes import ProcessIdentity
from cli.cluster.supervisor import forked
from cli.cluster.supervisor.diskwatch import DiskWatch
from cli.cluster.supervisor.forked import Forked

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
LONG_RUN = 30.0
"""Seconds after which a process counts as having worked, and its next death as the first."""
LOG_MAX = 10 << 20


class State(Enum):
    DOWN = "stopped"
    RUNNING = "running"
    ENDING = "ending"
    WAITING = "restarting"


def delay(deaths: int) -> float:
    """Seconds before the start after so many deaths in a row."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(deaths - 1, 10))


class Child:
    """`poll` is called often; it does what is due and says what happened. What lost its disk is started anew."""

    def __init__(self, spec: Spec, restart: bool = True) -> None:
        self.spec = spec
        self.state = State.DOWN
        self.identity: ProcessIdentity | None = None
        self.restarts = 0
        self.status: int | None = None
        self._restart = restart
        self._deaths = 0
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._since = 0.0
        self._due = 0.0
        self._disk = DiskWatch(spec.launch.mark)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start it unless it runs already; what happened, in words."""
        if self.state in (State.RUNNING, State.ENDING):
            return ""
        self._deaths = 0
        return self._spawn()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end and stay down; SIGKILL takes all of its session at once."""
        if self._process is None:
            self.state = State.DOWN
            return
        if self.state is not State.ENDING:
            self._due = time.monotonic() + self.spec.launch.grace
        self.state = State.ENDING
        if how is signal.SIGKILL:
            self._kill_session()
        else:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, how)
                os.killpg(self._process.pid, signal.SIGCONT)  # what hangs in a SIGSTOP could not end

    def wait(self) -> None:
        """Until what was killed is gone."""
        if self._process is not None:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self.poll()

    def poll(self) -> str:
        """Notice its death, kill it when its time is over, start it again when due. What happened, in words."""
        now = time.monotonic()
        if self._process is not None:
            if self._is_dead():
                return self._bury(now)
            if self.state is State.ENDING and now > self._due:
                self._kill_session()
            elif self.state is State.RUNNING and self._disk.gone():
                self._kill_session()
                return "its disk is gone from under it, and what it still says is not to be believed: killed"
        elif self.state is State.WAITING and now >= self._due:
            self.restarts += 1
            return self._spawn()
        return ""

    def _spawn(self) -> str:
        launch, spec = self.spec.launch, self.spec
        try:
            spec.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path, text in launch.files.items():
                private_file.write(path, text)
            _rotate(spec)
            with spec.log.open("ab") as log:
                folder = _folder(spec)
                self._process = (
                    forked.start(spec.name, launch, folder, log.fileno())
                    if launch.main
                    else _program(launch, folder, log.fileno())
                )
        except OSError as error:
            return self._after_death(time.monotonic(), f"cannot be started ({error.strerror})")
        self._since = time.monotonic()
        self._disk.begin()
        self.identity = ProcessIdentity.of(self._process.pid)
        self.state = State.RUNNING
        return f"started (pid {self._process.pid})"

    def _is_dead(self) -> bool:
        # Not reaped yet: while it is a zombie its number, which is also its session's, cannot become another's.
        assert self._process is not None
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _bury(self, now: float) -> str:
        assert self._process is not None
        self._kill_session()
        self.status = self._process.wait()
        self._process, self.identity = None, None
        asked, long = self.state is State.ENDING, now - self._since >= LONG_RUN
        if asked or not self._restart:
            self.state = State.DOWN
            return "stopped" if asked else f"ended with status {self.status}"
        if long:
            self._deaths = 0
        return self._after_death(now, f"died ({_cause(self.status)})")

    def _after_death(self, now: float, what: str) -> str:
        self._deaths += 1
        wait = delay(self._deaths)
        self.state, self._due = State.WAITING, now + wait
        return f"{what}, starts again in {wait:g} s; its log is {self.spec.log}"

    def _kill_session(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _program(launch: Launch, folder: Path, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        launch.argv,
        env=dict(launch.env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        umask=0o077,
    )


def _folder(spec: Spec) -> Path:
    """Where it runs: a node beside its disk, on which nothing but blobs has to be."""
    return {"node": spec.data.parent, "queue": spec.data}.get(spec.kind, spec.log.parent)


def _cause(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def _rotate(spec: Spec) -> None:
    with suppress(FileNotFoundError):
        if spec.log.stat().st_size > LOG_MAX:
            os.replace(spec.log, spec.log.with_suffix(".log.1"))
