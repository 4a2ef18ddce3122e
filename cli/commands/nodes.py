"""`nodes`: the storage nodes, and what an operator does with them. What takes copies away shows a preview and asks."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from cli.client.http import Client, connect
from cli.command import ClientCommand, ListingGroup
from cli.output import columns, document, size
from cli.waiting import Step, wait
from common.errors import Conflict, NotAllowed
from common.model.times import rfc3339

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})(s|m|min|h|d)")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group(cls=ListingGroup, short_help="Show the storage nodes, or change one.")
def nodes() -> None:
    """The storage nodes. Without a command: list them."""


@nodes.command("list", cls=ClientCommand, short_help="List them.")
def list_nodes(as_json: bool) -> None:
    """List the nodes: what they are asked to be, how they are, what lies on them."""
    found = connect().json("GET", "/v1/nodes")
    if as_json:
        document(found)
    else:
        columns(rows_of(found["nodes"]))


def rows_of(found: Sequence[Any]) -> Sequence[Sequence[object]]:
    """A table of the nodes, with its headings."""
    rows: list[Sequence[object]] = [("NODE", "STATE", "COPIES", "BYTES", "MISSING", "LAST SEEN", "LAST ERROR")]
    for node in found:
        numbers = node["copies"], size(node["bytes"]), node["missing"]
        rows.append((node["name"], _state(node), *numbers, node["last_seen"], node["last_error"]))
    return rows


def _state(node: Any) -> str:
    words = [node["state"]]
    if node["mode_until"]:
        words.append(f"until {node['mode_until']}")
    if node["safe_to_remove"]:
        words.append("empty: can be removed")
    if not node["writable"]:
        words.append("not writable")
    if node["locked_names"]:
        words.append(f"{node['locked_names']} locked names")
    return ", ".join(words)


@nodes.command(cls=ClientCommand, short_help="Add a node.")
@click.argument("name")
@click.argument("endpoint")
@click.argument("bucket")
@click.option("--credentials", help="Name of its credentials file on the server, without .json [default: NAME].")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--zone", default="", help="Copies go to distinct zones first; without one the node is its own.")
@click.option("--weight", type=float, default=1.0, show_default=True, help="Its share of the copies.")
def add(name: str, endpoint: str, bucket: str, credentials: str | None, as_json: bool, **placing: str | float) -> None:
    """Add node NAME, the S3 server at ENDPOINT (http://host:port) with BUCKET.

    Its credentials have to lie in BOVEDA_CREDENTIALS_DIR of the API and of the workers first.
    """
    entry = {"name": name, "endpoint": endpoint, "bucket": bucket, "credentials": credentials or name, **placing}
    _tell(connect().send_document("POST", "/v1/nodes", entry), "added", as_json)


@nodes.command(cls=ClientCommand, short_help="Move everything off a node.")
@click.argument("name")
@click.option("--wait", "waits", is_flag=True, help="Until it is empty and can be removed.")
@_yes
def drain(name: str, waits: bool, yes: bool, as_json: bool) -> None:
    """Move all copies on node NAME to other nodes. It is read as long as it has some; `resume` ends it."""
    client = connect()
    if not yes:
        preview = _change(client, name, {"mode": "draining", "dry_run": True})["preview"]
        _ask(_words(name, preview), "Drain it?")
    changed = _change(client, name, {"mode": "draining"})
    if waits:
        changed = _until_empty(client, name, as_json)
    _tell(changed, "can be removed:" if waits else "draining", as_json)


def _words(name: str, preview: Any) -> str:
    places = [f"{count} to {place}" for place, count in sorted(preview["to"].items())]
    if preview["unplaced"]:
        places.append(f"{preview['unplaced']} fit nowhere and stay until a node is added")
    about = "about " if preview["estimated"] else ""
    return f"{name} has {preview['copies']} copies, {size(preview['bytes'])}: {about}" + (", ".join(places) or "none")


def _until_empty(client: Client, name: str, quiet: bool) -> Any:
    most, node = 0, {}

    def look() -> Step:
        nonlocal most, node
        node = client.json("GET", _path(name))
        if node["mode"] != "draining":
            raise Conflict(f"node {name} is not draining any more, but {node['mode']}")
        left = node["copies"] + node["missing"]
        most = max(most, left)
        return Step(f"{name}: {left} copies left", most - left, most, node["safe_to_remove"])

    wait(look, quiet)
    return node


@nodes.command(cls=ClientCommand, short_help="Stop work towards a node for a while.")
@click.argument("name")
@click.option("--until", help="A time as in RFC 3339, such as 2026-01-31T12:00:00Z.")
@click.option("--for", "duration", help="A duration, such as 90s, 30m, 2h, 1d.")
def pause(name: str, until: str | None, duration: str | None, as_json: bool) -> None:
    """Send node NAME no work: no new copies, no repairs, no deletes. It is read only where no other can.

    Without --until or --for until `resume`.
    """
    if until is not None and duration is not None:
        raise click.UsageError("--until and --for cannot be together")
    if duration is not None:
        until = rfc3339(time.time() + _seconds(duration))
    _tell(_change(connect(), name, {"mode": "paused", "until": until}), "paused", as_json)


def _seconds(duration: str) -> int:
    found = _DURATION.fullmatch(duration.replace(" ", ""))
    if found is None or not int(found[1]):
        raise NotAllowed("--for", "must be a duration such as 90s, 30m, 2h, 1d")
    return int(found[1]) * _SECONDS[found[2]]


@nodes.command(cls=ClientCommand, short_help="End a pause or a drain.")
@click.argument("name")
def resume(name: str, as_json: bool) -> None:
    """Let node NAME take part again: after a pause, a drain, or when a node that was given up is there after all."""
    _tell(_change(connect(), name, {"mode": "active"}), "resumed", as_json)


@nodes.command(cls=ClientCommand, short_help="Take in a node that came back as another.")
@click.argument("name")
def accept(name: str, as_json: bool) -> None:
    """Take in node NAME, which is `foreign`: an empty or swapped disk behind a known name.

    What should lie on it is looked at and, where absent, made again from other copies.
    """
    _tell(_change(connect(), name, {"accept": True}), "accepted", as_json)


@nodes.command(cls=ClientCommand, short_help="Remove a node.")
@click.argument("name")
@click.option("--lost", is_flag=True, help="It is gone for good: give up what lies on it.")
@_yes
def remove(name: str, lost: bool, yes: bool, as_json: bool) -> None:
    """Remove node NAME, which was drained and is empty; or, with --lost, declare it gone as it is."""
    client = connect()
    if lost and not yes:
        _ask(_loss_words(_simulate(client, [name])), f"Give up {name} and what lies on it?")
    answer = client.json("DELETE", _path(name), query={"lost": "true"} if lost else None)
    if as_json:
        document({"name": name, **(answer or {})})
    elif lost:
        click.echo(f"given up {name}: {answer['lost']} blobs have no other copy")
    else:
        click.echo(f"removed {name}")


@nodes.command("locked-names", cls=ClientCommand, short_help="Names that a node can do nothing with.")
@click.argument("name")
def locked_names(name: str, as_json: bool) -> None:
    """List the names on node NAME that were given up: the node fails at them whatever is asked, and serves others.

    Their copies lie under other names or on other nodes. Remove what is left of them on the node's disk, then start a
    reclaim job: it forgets what is gone.
    """
    found = connect().json("GET", f"{_path(name)}/locked-names")
    if as_json:
        document(found)
        return
    rows: list[Sequence[object]] = [("NAME", "SINCE", "ERROR")]
    columns([*rows, *((each["name"], each["since"], each["error"]) for each in found["locked_names"])])


@nodes.command("simulate-loss", cls=ClientCommand, short_help="What if nodes were gone?")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
def simulate_loss(names: Sequence[str], as_json: bool) -> None:
    """Tell which objects could not be read if the nodes NAME… went away now. Changes nothing."""
    found = _simulate(connect(), names)
    if as_json:
        document(found)
        return
    click.echo(_loss_words(found))
    for gone in found["objects"]:
        click.echo(f"{gone['bucket']}/{gone['key']}")


def _simulate(client: Client, names: Sequence[str]) -> Any:
    return client.send_document("POST", "/v1/nodes/simulate-loss", {"nodes": list(names)})


def _loss_words(found: Any) -> str:
    return f"{found['unavailable']} objects could not be read, {found['at_one_copy']} only from one copy"


def _path(name: str) -> str:
    return f"/v1/nodes/{quote(name, safe='')}"


def _change(client: Client, name: str, change: dict[str, object]) -> Any:
    return client.send_document("PATCH", _path(name), change)


def _ask(words: str, question: str) -> None:
    click.echo(words, err=True)
    click.confirm(question, abort=True, err=True)


def _tell(node: Any, done: str, as_json: bool) -> None:
    if as_json:
        document(node)
    else:
        click.echo(f"{done} {node['name']}: {node['state']}")
