"""`boveda up`, in order: 1 the home and its lock, 2 end what a killed `up` left behind, 3 look whether everything that
is needed is there and free, 4 only then start anything: here, or in the background until /readyz answers.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from cli.cluster.board import Board, Plain, invitation
from cli.cluster.home import layout, plan, state
from cli.cluster.home.home import Home, HomeLock
from cli.cluster.home.plan import ClusterPlan
from cli.cluster.host import ports, ready
from cli.cluster.supervisor.leftovers import end_leftovers
from cli.cluster.supervisor.supervisor import Supervisor
from common.errors import ConfigurationError
from common.settings import Settings

UP_SECONDS = 120.0
RESTARTS_MOST = 3
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Wanted:
    nodes: int | None
    workers: int
    kind: str
    detach: bool


def up(settings: Settings, wanted: Wanted) -> int:
    """The exit status. Conflict, ConfigurationError before anything is started."""
    os.umask(0o077)  # nothing in the home is anybody else's
    home = Home.of(settings.home)
    _make(home)
    lock = HomeLock(home)
    lock.take()
    try:
        end_leftovers(home, click.echo)
        _check_ports(settings)
        _check_token(settings)
        _say_what_is_not_used()
        prepared = plan.make(home, settings, layout.establish(home, wanted.nodes, wanted.kind), wanted.workers)
        return _in_background(prepared, lock) if wanted.detach else _here(prepared)
    finally:
        lock.leave()


def _make(home: Home) -> None:
    try:
        home.make()
    except OSError as error:
        raise ConfigurationError(f"BOVEDA_HOME: {home.path} cannot be written ({error.strerror})") from None


def _check_ports(settings: Settings) -> None:
    wrong = []
    wanted = [("BOVEDA_PORT", settings.host, settings.port)]
    if settings.flower_port:
        wanted.append(("BOVEDA_FLOWER_PORT", "127.0.0.1", settings.flower_port))
    for name, host, port in wanted:
        try:
            ports.listen(port, host)
        except OSError as error:
            wrong.append(f"{name}: cannot listen on {host}:{port} ({error.strerror})")
    if settings.port == settings.flower_port:
        wrong.append("BOVEDA_PORT and BOVEDA_FLOWER_PORT are the same")
    if wrong:
        raise ConfigurationError("; ".join(wrong))


def _check_token(settings: Settings) -> None:
    path = settings.admin_token_file
    if settings.auth == "token" and path is not None and not os.access(path, os.R_OK):
        raise ConfigurationError(f"BOVEDA_ADMIN_TOKEN_FILE: {path} cannot be read")


def _say_what_is_not_used() -> None:
    for name in ("BOVEDA_NODES_FILE", "BOVEDA_CREDENTIALS_DIR", "BOVEDA_REDIS_URL"):
        if os.environ.get(name):
            click.echo(f"{name} is not used by `boveda up`: it starts nodes and a queue of its own", err=True)


def _here(prepared: ClusterPlan) -> int:
    log = prepared.home.log("cluster")
    if not sys.stdout.isatty():
        return Supervisor(prepared, Plain(prepared.url, log)).run()
    with Board(prepared.url, log) as board:
        return Supervisor(prepared, board).run()


def _in_background(prepared: ClusterPlan, lock: HomeLock) -> int:
    log = prepared.home.log("cluster")
    offset = log.stat().st_size if log.exists() else 0
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_as_daemon(prepared, log))
    lock.leave()  # the child holds it on
    return _follow(prepared, pid, log, offset)


def _as_daemon(prepared: ClusterPlan, log: Path) -> int:
    """The supervisor in a session of its own. Its words, and a trace should it fail, go to the log."""
    os.setsid()
    os.chdir(prepared.home.path)
    with open(os.devnull) as nothing, log.open("a") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    try:
        return Supervisor(prepared, Plain(prepared.url, log, quiet=True)).run()
    except BaseException:  # noqa: BLE001 - the edge of this process: nothing may return into the command's own code
        sys.excepthook(*sys.exc_info())
        return 1


def _follow(prepared: ClusterPlan, pid: int, log: Path, offset: int) -> int:
    """Show what the supervisor says until the API can take an upload; end it all if that does not come about."""
    end = time.monotonic() + UP_SECONDS
    missing = _missing(prepared)
    while missing and time.monotonic() < end and not _keeps_dying(prepared):
        offset = _show(log, offset)
        if os.waitpid(pid, os.WNOHANG)[0]:
            _show(log, offset)
            click.echo(f"boveda: the cluster did not start; its log is {log}", err=True)
            return 1
        time.sleep(_POLL)
        missing = _missing(prepared)
    offset = _show(log, offset)
    if not missing:
        for line in ("", *invitation(prepared.url), ""):
            click.echo(f"  {line}".rstrip())
        click.echo("`boveda cluster` shows what runs, `boveda down` stops it")
        return 0
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    _show(log, offset)
    (api,) = (spec for spec in prepared.ours if spec.kind == "api")
    click.echo(f"boveda: not ready: {missing}; {api.end_of_log()}", err=True)
    return 1


def _keeps_dying(prepared: ClusterPlan) -> bool:
    """The API died again and again before it ever answered: waiting longer changes nothing."""
    recorded = state.read(prepared.home)
    return any(row.kind == "api" and row.restarts >= RESTARTS_MOST for row in recorded.rows) if recorded else False


def _missing(prepared: ClusterPlan) -> str:
    """What is not ready yet, in words: what /readyz says, or a process that was not started so far."""
    recorded = state.read(prepared.home)
    waiting = [row.name for row in recorded.rows if row.identity is None] if recorded else ["the supervisor"]
    return ready.why_not(prepared.url, prepared.hostname) or ", ".join(waiting)


def _show(log: Path, offset: int) -> int:
    with suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(offset)
        text = file.read()
        click.echo(text.decode(errors="replace"), nl=False)
        return offset + len(text)
    return offset
