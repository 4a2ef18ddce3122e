"""`jobs`: work that an operator asks for, followed while it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from cli.client.http import Client, connect
from cli.command import FAILED, ClientCommand, ListingGroup
from cli.output import columns, document, size
from cli.waiting import Step, wait

KINDS = ("repair", "scrub", "rebalance", "reclaim")
_ENDED = ("done", "failed", "cancelled")
_waits = click.option("--wait", "waits", is_flag=True, help="Until it ends; exit status 1 unless it is done.")


@click.group(cls=ListingGroup, short_help="Repairs, scrubs and other jobs.")
def jobs() -> None:
    """Jobs: work over the whole store or a part of it. Without a command: list the latest."""


@jobs.command("list", cls=ClientCommand, short_help="List the latest.")
def list_jobs(as_json: bool) -> None:
    """List the latest jobs, the newest first."""
    found = connect().json("GET", "/v1/jobs")
    if as_json:
        document(found)
        return
    rows: list[Sequence[object]] = [("JOB", "KIND", "SCOPE", "STATE", "DONE", "CREATED", "ERROR")]
    for job in found["jobs"]:
        kind = job["kind"] + (", dry run" if job["dry_run"] else "")
        rows.append((job["id"], kind, _scope(job), job["state"], _share(job), job["created_at"], job["error"]))
    columns(rows)


@jobs.command(cls=ClientCommand, short_help="Show one with its report.")
@click.argument("job_id", metavar="ID")
def show(job_id: str, as_json: bool) -> None:
    """Show job ID: how far it is, and its report."""
    _show(connect().json("GET", _path(job_id)), as_json)


@jobs.command(cls=ClientCommand, short_help="Start one.")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--bucket", help="Only this bucket.")
@click.option("--prefix", help="Only keys that begin with this; needs --bucket.")
@click.option("--key", help="Only this object; needs --bucket.")
@click.option("--node", help="Only copies on this node.")
@click.option("--dry-run", is_flag=True, help="Report what would be done; change nothing.")
@click.option("--force", is_flag=True, help="Go on where a brake would stop it (reclaim).")
@_waits
def start(kind: str, dry_run: bool, force: bool, waits: bool, as_json: bool, **scope: str | None) -> None:
    """Start a job over everything, or over what the options say."""
    client = connect()
    named = {name: value for name, value in scope.items() if value is not None}
    body = {"kind": kind, "scope": named, "dry_run": dry_run, "force": force}
    _begun(client, client.send_document("POST", "/v1/jobs", body), waits, as_json)


@jobs.command(cls=ClientCommand, short_help="Stop one.")
@click.argument("job_id", metavar="ID")
def cancel(job_id: str, as_json: bool) -> None:
    """Stop job ID. What it did stays done; `retry` goes on from there."""
    _show(connect().json("POST", _path(job_id) + "/cancel"), as_json)


@jobs.command(cls=ClientCommand, short_help="Queue one again.")
@click.argument("job_id", metavar="ID")
@_waits
def retry(job_id: str, waits: bool, as_json: bool) -> None:
    """Let job ID, which failed or was cancelled, go on from where it was."""
    client = connect()
    _begun(client, client.json("POST", _path(job_id) + "/retry"), waits, as_json)


@jobs.command("wait", cls=ClientCommand, short_help="Wait until one ends.")
@click.argument("job_id", metavar="ID")
def wait_(job_id: str, as_json: bool) -> None:
    """Wait until job ID ends. Exit status 1 if it failed or was cancelled."""
    _wait(connect(), job_id, as_json)


def _begun(client: Client, job: Any, waits: bool, as_json: bool) -> None:
    if waits:
        _wait(client, job["id"], as_json)
    elif as_json:
        document(job)
    else:
        click.echo(job["id"])


def _wait(client: Client, job_id: str, as_json: bool) -> None:
    job: Any = None

    def look() -> Step:
        nonlocal job
        job = client.json("GET", _path(job_id))
        progress = job["progress"]
        return Step(f"{job['kind']} {job['state']}", progress["done"], progress["total"], job["state"] in _ENDED)

    wait(look, quiet=as_json)
    _show(job, as_json)
    if job["state"] != "done":
        click.get_current_context().exit(FAILED)


def _show(job: Any, as_json: bool) -> None:
    if as_json:
        document(job)
        return
    rows = [("id", job["id"]), ("kind", job["kind"]), ("scope", _scope(job)), ("dry run", _yes_or_no(job["dry_run"]))]
    rows += [("state", job["state"]), ("done", f"{_share(job)}, {size(job['progress']['bytes'])}")]
    rows += [("created", job["created_at"]), ("finished", job["finished_at"]), ("error", job["error"])]
    rows += [(f"report {name}", _value(value)) for name, value in job["report"].items()]
    columns(rows)


def _scope(job: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in job["scope"].items()) or "everything"


def _share(job: Any) -> str:
    return f"{job['progress']['done']} of {job['progress']['total']}"


def _yes_or_no(flag: bool) -> str:
    return "yes" if flag else "no"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
