"""`status`: how the store is doing as a whole."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from cli.client.http import Client, connect
from cli.command import ClientCommand
from cli.commands.nodes import rows_of
from cli.output import age, columns, document
from common.errors import Unavailable

WATCH_SECONDS = 2.0
CLEAR = "\x1b[H\x1b[2J"


@click.command(cls=ClientCommand, short_help="Show how the store is doing.")
@click.option("--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
def status(watch: bool, as_json: bool) -> None:
    """Show nodes, objects by state, work that waits, and alerts. `--watch --json` writes one document a line."""
    client = connect()
    if not watch and as_json:
        document(client.json("GET", "/v1/status"))
        return
    if not watch:
        _show(*_look(client))
        return
    while True:
        _turn(client, as_json)
        time.sleep(WATCH_SECONDS)


def _turn(client: Client, as_json: bool) -> None:
    """One picture. An API that is away for a while is part of the picture, but only for a person who watches."""
    if as_json:
        click.echo(json.dumps(client.json("GET", "/v1/status"), ensure_ascii=False))
        return
    terminal = sys.stdout.isatty()
    try:
        found, nodes = _look(client)
    except Unavailable as error:
        if not terminal:
            raise
        click.echo(f"{CLEAR}{error.detail}")
        return
    click.echo(CLEAR if terminal else "", nl=not terminal)
    _show(found, nodes)


def _look(client: Client) -> tuple[Any, Sequence[Any]]:
    return client.json("GET", "/v1/status"), client.json("GET", "/v1/nodes")["nodes"]


def _show(found: Any, nodes: Sequence[Any]) -> None:
    sections: dict[str, Sequence[Sequence[object]]] = {
        "Nodes": rows_of(nodes),
        "Objects": [*found["objects"].items(), ("as of", found["counted_at"])],
        "Work": _work_rows(found),
        "Last ended": [(what, age(end["age"])) for what, end in found["last_ends"].items()],
        "Alerts": [(alert["name"], alert["since"], alert["detail"]) for alert in found["alerts"]],
    }
    for title, rows in sections.items():
        click.echo(title)
        columns([("", *row) for row in rows or [("none",)]])


def _work_rows(found: Any) -> Sequence[Sequence[object]]:
    return [
        *((f"copies {state}", count) for state, count in found["copies"].items()),
        ("oldest unprotected", age(found["oldest_unprotected"])),
        ("dead letters", found["dead_letters"]),
        ("jobs open", found["jobs_open"]),
        *((f"queue {name}", depth) for name, depth in (found["queues"] or {"": "does not answer"}).items()),
    ]
