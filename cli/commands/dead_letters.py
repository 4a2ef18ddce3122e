"""`dead-letters`: copies whose attempts are exhausted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from cli.client.http import Client, connect
from cli.command import ClientCommand, ListingGroup
from cli.output import columns, document

PAGE = "1000"
_ids = click.argument("ids", nargs=-1, type=click.IntRange(0), metavar="ID…")


@click.group("dead-letters", cls=ListingGroup, short_help="Copies whose attempts are exhausted.")
def dead_letters() -> None:
    """Copies that could not be made, verified or deleted, often enough that it is no longer tried. Without a command:
    list them."""


@dead_letters.command("list", cls=ClientCommand, short_help="List them.")
def list_letters(as_json: bool) -> None:
    """List the dead letters that nobody acknowledged, oldest first: what, where, since when, and why."""
    pages = _pages(connect())
    if as_json:
        document({"dead_letters": [letter for page in pages for letter in page], "next": None})
        return
    header = ("ID", "NODE", "STATE", "ATTEMPTS", "DEAD SINCE", "FIRST ERROR", "LAST ERROR", "OBJECT")
    rows: list[Sequence[object]] = [header]
    for letter in (letter for page in pages for letter in page):
        errors = (_words(letter["first_error"]), _words(letter["last_error"]))
        name = f"{letter['bucket'] or '(deleted bucket)'}/{letter['key']}"
        numbers = (letter["state"], letter["attempts"], letter["dead_since"])
        rows.append((letter["id"], letter["node"], *numbers, *errors, name))
    columns(rows, right=(0, 3))


def _pages(client: Client) -> Iterator[Sequence[Any]]:
    query = {"limit": PAGE}
    while True:
        page = client.json("GET", "/v1/dead-letters", query=query)
        yield page["dead_letters"]
        if page["next"] is None:
            return
        query["after"] = page["next"]


def _words(failure: Any) -> str | None:
    return None if failure is None else f"{failure['error']} ({failure['kind']})"


@dead_letters.command(cls=ClientCommand, short_help="Try them again.")
@_ids
@click.option("--all", "everything", is_flag=True, help="All that are listed.")
def retry(ids: Sequence[int], everything: bool, as_json: bool) -> None:
    """Try dead letters ID… again, now and with a clean count. The first failure ends the command."""
    if bool(ids) == everything:
        raise click.UsageError("name dead letters by their ids, or --all")
    client = connect()
    if everything:
        _say("retried", client.json("POST", "/v1/dead-letters/retry")["retried"], as_json)
        return
    count = 0
    try:
        for letter in ids:
            client.json("POST", f"/v1/dead-letters/{letter}/retry")
            count += 1
    finally:
        _say("retried", count, as_json)


@dead_letters.command(cls=ClientCommand, short_help="Take them off the list.")
@_ids
def acknowledge(ids: Sequence[int], as_json: bool) -> None:
    """Take dead letters ID… off the list and the alarm. Their copies stay wanted."""
    if not ids:
        raise click.UsageError("name dead letters by their ids")
    client, count = connect(), 0
    try:
        for letter in ids:
            client.json("DELETE", f"/v1/dead-letters/{letter}")
            count += 1
    finally:
        _say("acknowledged", count, as_json)


def _say(what: str, count: int, as_json: bool) -> None:
    if as_json:
        document({what: count})
    else:
        click.echo(f"{what} {count}")
