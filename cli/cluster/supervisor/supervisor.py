"""The parent of all processes of an embedded cluster. One thread, one loop: signals, control socket, what is due.

Its life, in order:
1. storage nodes and queue are started; while they begin to serve, the libraries of our own processes are loaded, then
   the schema is brought up to date and the keyring made
2. when those two are done and the servers answer: the API, then workers, beat, Flower, as forks
3. when /readyz answers: up. What dies starts again; what `boveda cluster stop|kill` ended stays down
4. when asked to end (SIGINT, SIGTERM): the API, then beat, Flower and the workers, then queue and nodes. Asked a second
   time: everything at once

HOME/cluster.json is rewritten at every change, so that whoever comes after a kill -9 finds what is left.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from types import FrameType
from typing import Protocol

from cli.cluster.home import layout, state
from cli.cluster.home.plan import ClusterPlan, Kind, Spec, node
from cli.cluster.home.state import ClusterState, ProcessRow
from cli.cluster.host import ready
from cli.cluster.host.lockwatch import stuck_holder
from cli.cluster.host.processes import ProcessIdentity, session_of
from cli.cluster.supervisor import forked
from cli.cluster.supervisor.child import Child, State
from cli.cluster.supervisor.control import ACTIONS, Listener, Request
from common.errors import BovedaError

_TICK = 0.1
_SERVERS_SECONDS = 20.0
"""How long the start waits for nodes and queue; the rest can start without them and say what is missing."""
_API_SECONDS = 8.0
_WATCH_SECONDS = 1.0
IMPATIENT = 0.5
"""Seconds after which another signal is meant as one: make and a terminal may send the same one twice."""


class Display(Protocol):
    """What the user sees of it."""

    def say(self, line: str) -> None: ...
    def show(self, children: Sequence[Child]) -> None: ...
    def up(self, children: Sequence[Child]) -> None: ...
    def fail(self, why: str) -> None: ...


class Supervisor:
    """Holds the home's lock by being alive: whoever starts it has taken that before."""

    def __init__(self, plan: ClusterPlan, face: Display) -> None:
        self._plan = plan
        self._face = face
        self._servers = [Child(spec) for spec in plan.servers]
        self._setup = [Child(spec, restart=False) for spec in plan.setup]
        self._ours = [Child(spec) for spec in plan.ours]
        self._children: dict[str, Child] = {child.spec.name: child for child in (*self._servers, *self._ours)}
        self._asked_at = 0.0
        self._exit = 0
        self._control = ""
        self._written: ClusterState | None = None
        self._watched_at = 0.0

    def run(self) -> int:
        """Until it is asked to end. 0, or 1 if the start failed."""
        socket_path = self._plan.home.socket()
        self._control = str(socket_path)
        listener = Listener(socket_path, self._handle)
        try:
            with _Wakeup(self._on_signal) as wakeup, selectors.DefaultSelector() as selector:
                selector.register(listener.socket, selectors.EVENT_READ, listener.serve)
                selector.register(wakeup.socket, selectors.EVENT_READ, wakeup.drain)
                try:
                    self._loop(selector)
                finally:
                    self._leave_nothing()
        finally:
            listener.close()
        return self._exit

    def _leave_nothing(self) -> None:
        for child in self._all():
            child.end(signal.SIGKILL)
        for child in self._all():
            child.wait()
        self._write(supervisor=None)

    def _loop(self, selector: selectors.BaseSelector) -> None:
        life, ending = self._live(), False
        while True:
            if self._asked_at and not ending:
                life, ending = self._end(), True
            if next(life, _OVER) is _OVER:
                if ending:
                    return
                self._asked_at = time.monotonic()
                continue
            self._tick()
            for key, _ in selector.select(_TICK):
                key.data()

    def _tick(self) -> None:
        for child in self._all():
            self._tell(child, child.poll())
        self._watch_lock()
        self._write(ProcessIdentity.of(os.getpid()))
        self._face.show(list(self._children.values()))

    def _all(self) -> Iterable[Child]:
        return (*self._servers, *self._setup, *self._ours)

    # -- its life, a step at a time: each `yield` is a turn of the loop

    def _live(self) -> Iterator[None]:
        for child in self._servers:
            self._tell(child, child.start())
        self._write(ProcessIdentity.of(os.getpid()))  # before a second in which nothing else is done here
        forked.load(self._plan.libraries)
        for child in self._setup:
            self._tell(child, child.start())
        yield
        end = time.monotonic() + _SERVERS_SECONDS
        while True:
            if failed := [child for child in self._setup if child.status]:
                self._fail(failed[0].spec)
                return
            if all(child.state is State.DOWN for child in self._setup) and not self._starting(self._servers, end):
                break
            yield
        # The API first and for a moment alone: on few cores, loading the others' code at once would only delay it.
        end = time.monotonic() + _API_SECONDS
        for child in self._of_kind("api"):
            self._tell(child, child.start())
        while self._starting(self._of_kind("api"), end):
            yield
        for child in self._ours:
            self._tell(child, child.start())
        yield
        while ready.why_not(self._plan.url, self._plan.hostname):
            yield
        self._face.up(list(self._children.values()))
        while True:
            yield

    def _starting(self, servers: Sequence[Child], end: float) -> bool:
        if time.monotonic() > end:
            return False
        return not all(
            child.state is State.DOWN
            or ready.answers(child.spec.launch.endpoint, child.spec.launch.ready, self._plan.hostname)
            for child in servers
        )

    def _of_kind(self, kind: Kind) -> list[Child]:
        return [child for child in self._ours if child.spec.kind == kind]

    def _fail(self, spec: Spec) -> None:
        self._exit = 1
        self._face.fail(f"{spec.name} failed; {spec.end_of_log()}")

    def _end(self) -> Iterator[None]:
        self._face.say("ending")
        for stage in ([*self._of_kind("api"), *self._setup], self._ours, self._servers):
            for child in stage:
                child.end()
            while any(child.state is not State.DOWN for child in stage):
                yield

    # -- what comes from outside

    def _handle(self, request: Request) -> str:
        child = self._children.get(request.name)
        if request.action not in ACTIONS or (child is None) != (request.action == "add"):
            return "no such process or action"
        if self._asked_at:
            return "the cluster is ending"
        if child is None:
            return self._add(request.name)
        if request.action == "remove":
            return self._remove(child)
        if request.action == "start":
            if child.state is State.ENDING:
                return f"{request.name} is still ending; try again"
            self._tell(child, child.start())
        else:
            child.end(signal.SIGKILL if request.action == "kill" else signal.SIGTERM)
            self._tell(child, child.poll())
        self._write(ProcessIdentity.of(os.getpid()))
        return ""

    def _add(self, name: str) -> str:
        """A storage node more, here and at each start to come."""
        home = self._plan.home
        try:
            spec = node(home, layout.add(home, name), name)
        except (BovedaError, OSError) as error:
            return str(error)
        child = Child(spec)
        nodes = sum(server.spec.kind == "node" for server in self._servers)
        self._servers.insert(nodes, child)
        self._tell(child, child.start())
        self._enlist()
        return ""

    def _remove(self, child: Child) -> str:
        """A storage node less. What it has on disk stays."""
        if child.spec.kind != "node" or child.state is not State.DOWN:
            return f"{child.spec.name} is no storage node that was stopped"
        try:
            layout.forget(self._plan.home, child.spec.name)
        except (BovedaError, OSError) as error:
            return str(error)
        self._servers.remove(child)
        self._enlist()
        return ""

    def _enlist(self) -> None:
        self._children = {child.spec.name: child for child in (*self._servers, *self._ours)}
        self._write(ProcessIdentity.of(os.getpid()))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._asked_at:
            self._asked_at = now
        elif now - self._asked_at > IMPATIENT:
            for child in self._all():
                child.end(signal.SIGKILL)

    def _watch_lock(self) -> None:
        now = time.monotonic()
        if now - self._watched_at < _WATCH_SECONDS:
            return
        self._watched_at = now
        pid = stuck_holder(self._plan.home.writer_lock)
        if pid is not None and session_of(pid) in {child.pid for child in self._ours}:
            self._face.say(f"process {pid} keeps the catalogue's lock and does not go on: killed")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- what is told and written

    def _tell(self, child: Child, what: str) -> None:
        if what and not (child in self._setup and not child.status):
            self._face.say(f"{child.spec.name}: {what}")

    def _write(self, supervisor: ProcessIdentity | None) -> None:
        now = ClusterState(self._plan.url, self._control, supervisor, [_row(child) for child in self._recorded()])
        if now != self._written:
            # On a full disk what runs goes on running; this is tried again at the next turn.
            with suppress(OSError):
                state.write(self._plan.home, now)
                self._written = now

    def _recorded(self) -> Iterable[Child]:
        running = [child for child in self._setup if child.pid is not None]
        return (*self._children.values(), *running)


_OVER = object()


def _row(child: Child) -> ProcessRow:
    spec = child.spec
    return ProcessRow(
        name=spec.name,
        kind=spec.kind,
        identity=child.identity,
        endpoint=spec.launch.endpoint or None,
        data=str(spec.data),
        log=str(spec.log),
        bucket=spec.bucket,
        credentials=str(spec.credentials) if spec.credentials else None,
        ready=spec.launch.ready,
        state=child.state.value,
        restarts=child.restarts,
    )


class _Wakeup:
    """Signals wake the loop: those that ask it to end, and the death of a child."""

    def __init__(self, on_signal: signal._HANDLER) -> None:
        self.socket, self._inside = socket.socketpair()
        self.socket.setblocking(False)
        self._inside.setblocking(False)
        self._on_signal = on_signal
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Wakeup:
        self._fd = signal.set_wakeup_fd(self._inside.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._on_signal)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._fd)
        self.socket.close()
        self._inside.close()

    def drain(self) -> None:
        with suppress(BlockingIOError):
            self.socket.recv(4096)
