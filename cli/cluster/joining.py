"""`boveda cluster add` and `remove`: a storage node joins the embedded cluster, or leaves it, while it runs.

Joining: 1. the supervisor gives it ports and credentials and starts it (from here on each start does) · 2. when it
serves, it is registered with the store, as any other node · 3. when the store has seen it, it is there.

Leaving: the store must have let it go before (`boveda nodes drain`, `remove`); then 1. its process is ended · 2. the
supervisor forgets it · 3. its data and credentials are deleted. Broken off, it can be done again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import click

from cli.client.http import Client, Refused
from cli.cluster import process_control
from cli.cluster.home import layout
from cli.cluster.home.home import Home
from cli.cluster.home.state import ProcessRow
from cli.cluster.host import ready
from cli.cluster.supervisor import control
from cli.command import ClientCommand
from cli.output import document
from common import settings
from common.errors import Conflict, NotAllowed

_NODES = "/v1/nodes"


@click.command(cls=ClientCommand)
def add(as_json: bool) -> None:
    """Start one more storage node, of the kind of the others, and let the store use it."""
    home = Home.of(settings.load().home)
    found = process_control.running(home)
    name = next(layout.next_names(home, (row.name for row in found.rows)))
    control.ask(found.control, "add", name)
    row = process_control.now(home, name)
    endpoint = row.endpoint or ""
    process_control.wait(
        lambda: ready.answers(endpoint, row.ready), process_control.STARTED_SECONDS, f"{name} does not serve"
    )
    client = _client(found.url)
    client.send_document("POST", _NODES, _entry(row))
    process_control.wait(
        lambda: _seen(client, name), process_control.STARTED_SECONDS, f"{name} is not seen by the store"
    )
    shown = process_control.now(home, name).document()
    if as_json:
        document(shown)
    else:
        click.echo(f"{name}: running (pid {shown['pid']})")


@click.command(cls=ClientCommand)
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool, as_json: bool) -> None:
    """End storage node NAME for good and delete its data, once the store has let it go (`boveda nodes remove`)."""
    home = Home.of(settings.load().home)
    found = process_control.running(home)
    row = process_control.row_of(found, name)
    if row.kind != "node":
        raise NotAllowed("NAME", f"{name} is no storage node")
    if _listed(_client(found.url), name):
        raise Conflict(
            f"{name} is still a node of the store: `boveda nodes drain {name}`, `boveda nodes remove {name}`"
        )
    folder = home.node(name)
    if not yes:
        click.confirm(f"End {name} and delete what is left in {folder}?", abort=True, err=True)
    process_control.end(home, "stop", name)
    control.ask(found.control, "remove", name)
    shutil.rmtree(folder, ignore_errors=True)
    if row.credentials:
        Path(row.credentials).unlink(missing_ok=True)
    if as_json:
        document({"name": name})
    else:
        click.echo(f"{name}: removed")


def _client(url: str) -> Client:
    """This cluster's own API, whatever BOVEDA_URL says."""
    return Client(url, os.environ.get("BOVEDA_TOKEN", "").strip() or None)


def _entry(row: ProcessRow) -> dict[str, Any]:
    return {"name": row.name, "endpoint": row.endpoint, "bucket": row.bucket, "credentials": row.name}


def _seen(client: Client, name: str) -> bool:
    return bool(client.json("GET", f"{_NODES}/{name}")["health"] == "up")


def _listed(client: Client, name: str) -> bool:
    try:
        client.json("GET", f"{_NODES}/{name}")
    except Refused as error:
        if error.status == 404:
            return False
        raise
    return True
