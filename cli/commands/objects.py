"""`ls`, `stat`, `rm`, `mb`, `rb`: what there is, what becomes of it, and the buckets it lies in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from cli.client.address import BUCKET, OBJECT, OBJECT_OR_BUCKET, PREFIX, Address
from cli.client.http import Client, connect
from cli.command import ClientCommand
from cli.output import columns, document, size

PAGE = "1000"


@click.command(cls=ClientCommand, short_help="List buckets, or objects.")
@click.argument("where", type=PREFIX, required=False, metavar="[BUCKET[/PREFIX]]")
@click.option("-r", "--recursive", is_flag=True, help="Every key, instead of folding them at the next `/`.")
def ls(where: Address | None, recursive: bool, as_json: bool) -> None:
    """List the buckets, or the objects of BUCKET whose keys begin with PREFIX."""
    client = connect()
    if where is None:
        _show_buckets(client.json("GET", "/v1/buckets"), as_json)
        return
    pages = list_pages(client, where, "" if recursive else "/")
    if as_json:
        whole: dict[str, Any] = {"objects": [], "prefixes": [], "next": None}
        for page in pages:
            whole["objects"] += page["objects"]
            whole["prefixes"] += page["prefixes"]
        document(whole)
        return
    for page in pages:
        _show_page(page)


def list_pages(client: Client, where: Address, delimiter: str) -> Iterator[Any]:
    """The pages of a listing, each asked for when the one before was used."""
    query = {"prefix": where.key, "delimiter": delimiter, "limit": PAGE}
    while True:
        page = client.json("GET", f"{where.bucket_path}/objects", query=query)
        yield page
        if page["next"] is None:
            return
        query["after"] = page["next"]


def _show_buckets(answer: Any, as_json: bool) -> None:
    if as_json:
        document(answer)
        return
    rows = [(b["name"], b["copies"], b["write_copies"]) for b in answer["buckets"]]
    columns([("BUCKET", "COPIES", "WRITE COPIES"), *rows], right=(1, 2))


def _show_page(page: Any) -> None:
    """Objects and folded prefixes, merged in the byte order they are listed in."""
    rows = [(o["key"], o["created_at"][:19] + "Z", size(o["size"]), o["state"]) for o in page["objects"]]
    rows += [(prefix, "", "", "") for prefix in page["prefixes"]]
    rows.sort(key=lambda row: row[0].encode())
    columns([(when, length, state, key) for key, when, length, state in rows], right=(1,))


@click.command(cls=ClientCommand, short_help="Show an object and its copies.")
@click.argument("what", type=OBJECT_OR_BUCKET, metavar="[BUCKET/]KEY | BUCKET/")
def stat(what: Address, as_json: bool) -> None:
    """Show an object, with each copy of each of its blobs; or a bucket, with its settings and totals."""
    client = connect()
    if not what.key:
        _show_fields(client.json("GET", what.bucket_path), as_json)
        return
    found = client.json("GET", what.path("copies"))
    if as_json:
        document(found)
        return
    _show_fields(found["object"], as_json)
    click.echo()
    _show_copies(found["copies"])


def _show_fields(fields: Any, as_json: bool) -> None:
    if as_json:
        document(fields)
        return
    columns((name, _field(name, value)) for name, value in fields.items())


def _field(name: str, value: Any) -> str:
    if name == "copies" and isinstance(value, dict):
        return f"{value['stored']} of {value['wanted']}"
    if name in ("size", "bytes"):
        return f"{value} ({size(value)})"
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return str(value)


def _show_copies(copies: Sequence[Any]) -> None:
    header = ("BLOB", "NODE", "STATE", "VERIFIED", "ATTEMPTS", "NEXT ATTEMPT", "LAST ERROR", "NAME ON THE NODE")
    names = ("blob", "node", "state", "verified_at", "attempts", "next_attempt_at", "last_error", "blob_key")
    columns([header, *([copy.get(name) for name in names] for copy in copies)], right=(4,))


@click.command(cls=ClientCommand, short_help="Delete objects.")
@click.argument("what", type=OBJECT, nargs=-1, required=True, metavar="[BUCKET/]KEY…")
def rm(what: Sequence[Address], as_json: bool) -> None:
    """Delete objects. The first failure ends the command; what was deleted before it stays deleted."""
    client = connect()
    gone: list[str] = []
    try:
        for address in what:
            client.json("DELETE", address.path())
            gone.append(str(address))
    finally:
        _say("deleted", gone, as_json)


@click.command(cls=ClientCommand, short_help="Make a bucket, or change its settings.")
@click.argument("bucket", type=BUCKET)
@click.option("--copies", type=click.IntRange(1), help="How many nodes each blob belongs on.")
@click.option("--write-copies", type=click.IntRange(1), help="How many of them have it before an upload is answered.")
def mb(bucket: str, copies: int | None, write_copies: int | None, as_json: bool) -> None:
    """Make BUCKET, or change its settings, which hold for what is uploaded from then on."""
    asked = {"copies": copies, "write_copies": write_copies}
    answer = connect().json(
        "PUT",
        Address(bucket, "").bucket_path,
        headers={"Content-Type": "application/json"},
        body=json.dumps({name: number for name, number in asked.items() if number is not None}),
    )
    _show_fields(answer, as_json)


@click.command(cls=ClientCommand, short_help="Delete an empty bucket.")
@click.argument("bucket", type=BUCKET)
def rb(bucket: str, as_json: bool) -> None:
    """Delete BUCKET, which must be empty."""
    connect().json("DELETE", Address(bucket, "").bucket_path)
    _say("deleted", [bucket], as_json)


def _say(what: str, names: Sequence[str], as_json: bool) -> None:
    if as_json and names:
        document({what: names})
    elif not as_json:
        for name in names:
            click.echo(f"{what} {name}")
