"""`boveda up`, `down` and `cluster`: the embedded cluster as its user sees it."""

from __future__ import annotations

import sys

import click

from cli import output
from cli.cluster import joining, process_control, stop
from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.home.layout import DEFAULT_NODES
from cli.cluster.home.plan import own_url
from cli.cluster.home.servers import NODE_KINDS
from cli.cluster.home.state import ClusterState, ProcessRow
from cli.command import ClientCommand, edge
from common import settings


class _Command(click.Command):
    """One whose errors become a line and an exit status, and that has no document to print."""

    def invoke(self, ctx: click.Context) -> object:
        with edge(ctx, as_json=False):
            return super().invoke(ctx)


@click.command(cls=_Command)
@click.option("--detach", is_flag=True, help="Return once the API can take an upload, and leave it running.")
@click.option("--nodes", type=click.IntRange(1, 64), help=f"Storage nodes (default: {DEFAULT_NODES}, or as before).")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Shared workers.")
@click.option(
    "--node-kind",
    type=click.Choice(["auto", *NODE_KINDS]),
    default="auto",
    show_default=True,
    help="What the nodes are; auto: MinIO where there is one.",
)
def up(detach: bool, nodes: int | None, workers: int, node_kind: str) -> None:
    """Start the embedded cluster: storage nodes, queue, API, workers, beat, Flower.

    Ctrl-C, or `boveda down`, stops all of it and keeps the data.
    """
    from cli.cluster import start  # loads what draws the board: not for every look at what runs

    sys.exit(start.up(settings.load(), start.Wanted(nodes, workers, node_kind, detach)))


@click.command(cls=_Command)
@click.option("--wipe", is_flag=True, help="Delete all data and keys as well.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def down(wipe: bool, yes: bool) -> None:
    """Stop the embedded cluster, and keep its data unless told otherwise."""
    home = Home.of(settings.load().home)
    if wipe and not yes:
        click.confirm(f"Delete every object and every key in {home.path}?", abort=True)
    lock = stop.down(home)
    if lock is None:
        click.echo(f"there is no cluster in {home.path}")
    elif wipe:
        stop.wipe(home, lock)
    else:
        lock.leave()


class _Group(click.Group):
    """`boveda cluster --json` is a command of its own; with a name of a command behind it, a family of commands."""

    def invoke(self, ctx: click.Context) -> object:
        with edge(ctx, as_json=bool(ctx.params.get("as_json"))):
            return super().invoke(ctx)


@click.group(cls=_Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for scripts.")
@click.pass_context
def cluster(context: click.Context, as_json: bool) -> None:
    """Show what runs; stop, start or kill one process of it; add a storage node, or take one away."""
    if context.invoked_subcommand is not None:
        return
    config = settings.load()
    home = Home.of(config.home)
    found = state.read(home)
    rows = found.rows if found else []
    documents = [row.document() for row in rows if row.kind != "setup"]
    if as_json:
        url = found.url if found else own_url(config)
        output.document({"home": str(home.path), "url": url, "processes": documents})
    else:
        _show(home, found)


def _show(home: Home, found: ClusterState | None) -> None:
    if found is None or found.supervisor is None or not found.supervisor.alive():
        click.echo(f"no cluster runs in {home.path} (`boveda up` starts one)")
        if found is None or not any(row.document()["pid"] for row in found.rows):
            return
    table = [("PROCESS", "KIND", "STATE", "PID", "RESTARTS", "ADDRESS", "LOG")]
    for row in found.rows:
        pid = row.document()["pid"]
        seen = row.state if pid or row.state != "running" else "dead"
        table.append((row.name, row.kind, seen, pid, str(row.restarts), row.endpoint or "-", row.log))
    click.echo(f"{found.url} in {home.path}")
    output.columns(table)


@cluster.command("stop", cls=ClientCommand)
@click.argument("name")
def stop_(name: str, as_json: bool) -> None:
    """End one process in good order; it stays down until it is started."""
    _answer(process_control.end(_home(), "stop", name), as_json)


@cluster.command(cls=ClientCommand)
@click.argument("name")
def kill(name: str, as_json: bool) -> None:
    """Kill one process (SIGKILL); it stays down until it is started."""
    _answer(process_control.end(_home(), "kill", name), as_json)


@cluster.command("start", cls=ClientCommand)
@click.argument("name")
def start_(name: str, as_json: bool) -> None:
    """Start one process that was stopped or killed, and wait until it serves."""
    config = settings.load()
    _answer(process_control.start(Home.of(config.home), name, next(iter(config.allowed_hosts), None)), as_json)


def _home() -> Home:
    return Home.of(settings.load().home)


def _answer(row: ProcessRow, as_json: bool) -> None:
    document = row.document()
    if as_json:
        output.document(document)
    else:
        click.echo(f"{row.name}: " + (f"running (pid {document['pid']})" if document["pid"] else "stopped"))


cluster.add_command(joining.add)
cluster.add_command(joining.remove)
