"""What the catalogue's size costs: the same work with a thousand objects and with a million.

    python -m bench.catalogue               two embedded clusters side by side, rounds in turn
    python -m bench.catalogue --rows 200000

1. Objects of one blob and three copies are written straight into both catalogues, as rows: all stored and verified, so
   nobody has work with them. Nothing lies on the nodes; the scrub's worker, which would notice, is stopped.
2. In each round each cluster takes uploads and gives out downloads (wrk, 16 KiB, 8 clients), and lists pages of a
   thousand keys at the beginning, amid and at the end; then what operators look at: status, nodes, a bucket's totals.
   Uploads go amid the rows.
3. A hundred thousand keys are listed page by page; and each cluster is left alone, to see what it costs at rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import urllib3
from sqlalchemy import Connection, select, text

from bench.cluster import BOVEDA, Running, running_cluster
from bench.load import wrk
from bench.report import grown
from bench.systems import Boveda, upload
from bench.usage import Usage
from common.catalogue.sql import open_catalogue
from common.catalogue.sql.engine.tables import buckets, keks
from common.model.names import id_at

SIZE = 16 * 1024
CLIENTS = 8
STORED = 200
UPLOADS = 8000  # names; more than are used up in a round
PAGE = 1000
PAGES = 15
LISTED = 100_000
BATCH = 4000  # a fraction of a second: whoever keeps the writer's lock for long is taken for hung
FEW = 2 * PAGE
OVERVIEWS = ("/v1/status", "/v1/nodes", "/v1/buckets/{bucket}")


@dataclass(frozen=True)
class Filled:
    """A cluster with so many rows, and its bucket as a system that is asked."""

    rows: int
    cluster: Running
    bucket: Boveda

    @property
    def listing(self) -> str:
        return f"{self.cluster.url}/v1/buckets/{self.bucket.bucket}/objects"


# As the API would have written them, ids in the order of time; made by the database itself, which is many times faster.
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :end) "
_VERSION, _BLOB, _KEY = (
    ":made || '7a' || printf('%018x', i)",
    ":made || '7b' || printf('%018x', i)",
    "printf('row-%08d', i)",
)
_ROWS = tuple(
    text(f"INSERT INTO {table} {_NUMBERS} SELECT {values} FROM {source}")
    for table, values, source in (
        (
            "versions (id, bucket_id, key, state, wanted, size, blob_count, kek_id, wrapped_dek, sha256, content_type, "
            "metadata, created_at)",
            f"{_VERSION}, :bucket, {_KEY}, 'current', 3, {SIZE}, 1, :kek, randomblob(48), randomblob(32), "
            "'application/octet-stream', '{}', :now",
            "n",
        ),
        (
            'blobs (id, version_id, number, "offset", length, cipher_length, digest, salt)',
            f"{_BLOB}, {_VERSION}, 0, 0, {SIZE}, {SIZE + 64}, randomblob(32), randomblob(32)",
            "n",
        ),
        (
            "copies (blob_id, node_id, state, stored_at, verified_at)",
            f"{_BLOB}, nodes.id, 'stored', :now, :now",
            "n CROSS JOIN nodes",
        ),
        ("objects (bucket_id, key, version_id)", f":bucket, {_KEY}, {_VERSION}", "n"),
    )
)


def fill(home: Path, bucket: str, rows: int) -> None:
    """`rows` objects of 16 KiB into the catalogue of a cluster, whose nodes have nothing of them."""
    catalogue = open_catalogue(f"sqlite:///{home / 'catalogue.db'}")
    try:
        with catalogue.database.engine.connect() as connection:
            of = connection.execute(select(buckets.c.id).where(buckets.c.name == bucket)).scalar_one()
            kek = connection.execute(select(keks.c.id)).scalars().first()
        now = time.time()
        same = {"bucket": of, "kek": kek, "now": now, "made": id_at(now)}
        for first in range(0, rows, BATCH):
            these = {**same, "first": first, "end": min(first + BATCH, rows)}

            def work(connection: Connection, these: Mapping[str, object] = these) -> None:
                for statement in _ROWS:
                    connection.execute(statement, these)

            catalogue.database.write(work)
    finally:
        catalogue.close()


def _key(number: int) -> str:
    return f"row-{number:08}"


class Bench:
    """Values by cluster and what was measured: requests a second, or milliseconds."""

    def __init__(self, folder: Path, clusters: Sequence[Filled]) -> None:
        self._folder = folder
        self._clusters = list(clusters)
        self._uploads = 0
        self._body = folder / "body"
        self._body.write_bytes(os.urandom(SIZE))
        self.values: dict[str, dict[int, list[float]]] = {}

    def store(self) -> None:
        with urllib3.PoolManager(retries=False) as http:
            for one in self._clusters:
                for number in range(STORED):
                    upload(http, one.bucket, _amid(one, f"stored-{number}"), self._body.read_bytes())
                one.bucket.wait_whole()

    def round(self, seconds: float) -> None:
        """The two clusters take turns at being first."""
        self._uploads += 1
        self._clusters.reverse()
        for one in self._clusters:
            names = [_amid(one, f"put-{self._uploads}-{number}") for number in range(UPLOADS)]
            self._load("PUT, /s", one, "PUT", names, seconds)
        for one in self._clusters:
            self._load("GET, /s", one, "GET", [_amid(one, f"stored-{number}") for number in range(STORED)], seconds)
        for one in self._clusters:
            for where, after in (("first", ""), ("middle", _key(one.rows // 2)), ("last", _key(one.rows - PAGE - 1))):
                for _ in range(PAGES):
                    self._note(f"{where} page, ms", one, _page(one, after)[1])
        for what in OVERVIEWS:
            for _ in range(PAGES):
                for one in self._clusters:
                    self._note(f"{what}, ms", one, _overview(one, what))

    def rest(self, seconds: float) -> None:
        for one in self._clusters:
            before = Usage.of(one.bucket.sessions)
            time.sleep(seconds)
            self._note("CPU at rest, %", one, 100 * (Usage.of(one.bucket.sessions).cpu - before.cpu) / seconds)

    def _load(self, what: str, one: Filled, method: str, names: Sequence[str], seconds: float) -> None:
        paths = self._folder / "paths"
        paths.write_text("\n".join(one.bucket.path(method, name) for name in names))
        load = wrk(one.bucket.endpoint, method, paths, CLIENTS, seconds, self._body if method == "PUT" else None)
        if load.bad:
            raise click.ClickException(f"{load.bad} of {load.requests} requests failed ({what})")
        one.bucket.wait_whole()
        self._note(what, one, load.rate)
        self._note(f"{what.partition(',')[0]} p99, ms", one, load.p99)

    def _note(self, what: str, one: Filled, value: float) -> None:
        self.values.setdefault(what, {}).setdefault(one.rows, []).append(value)


def _amid(one: Filled, name: str) -> str:
    return f"{_key(one.rows // 3)}-{name}"


def _page(one: Filled, after: str) -> tuple[str | None, float]:
    """The key to go on from, and milliseconds."""
    started = time.perf_counter()
    answer = urllib3.request("GET", one.listing, fields={"limit": str(PAGE), "after": after}, retries=False)
    if answer.status != 200:
        raise click.ClickException(f"a listing answered {answer.status}: {answer.data[:200]!r}")
    took = (time.perf_counter() - started) * 1000
    document = answer.json()
    if len(document["objects"]) != PAGE and document["next"] is not None:
        raise click.ClickException(f"a page has {len(document['objects'])} keys")
    return document["next"], took


def _overview(one: Filled, what: str) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    answer = urllib3.request("GET", one.cluster.url + what.format(bucket=one.bucket.bucket), retries=False)
    if answer.status != 200:
        raise click.ClickException(f"{what} answered {answer.status}")
    return (time.perf_counter() - started) * 1000


def list_all(one: Filled, keys: int) -> float:
    """Seconds for so many keys, page by page."""
    started, after = time.perf_counter(), ""
    for _ in range(keys // PAGE):
        following, _ = _page(one, after)
        if following is None:
            break
        after = following
    return time.perf_counter() - started


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="objects in the large catalogue")
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="of each load in a round")
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of the table")
def main(rows: int, rounds: int, seconds: float, as_json: bool) -> None:
    """What the catalogue's size costs."""
    if shutil.which("wrk") is None:
        raise click.ClickException("not found: wrk")
    with (
        tempfile.TemporaryDirectory() as name,
        running_cluster(Path(name) / "few") as few,
        running_cluster(Path(name) / "many") as many,
    ):
        clusters = [_filled(few, Path(name) / "few", FEW), _filled(many, Path(name) / "many", rows)]
        bench = Bench(Path(name), clusters)
        bench.store()
        for _ in range(rounds):
            bench.round(seconds)
        bench.rest(5 * seconds)
        listed = list_all(clusters[1], min(rows, LISTED))
    document = {
        "rows": [FEW, rows],
        "values": {what: {str(rows): of for rows, of in by.items()} for what, by in bench.values.items()},
        "listed": min(rows, LISTED),
        "seconds_to_list": listed,
    }
    if as_json:
        click.echo(json.dumps(document))
    else:
        grown(document).show()


def _filled(cluster: Running, home: Path, rows: int) -> Filled:
    subprocess.run([*BOVEDA, "cluster", "stop", "scrub"], check=True, capture_output=True, env=cluster.environment)
    bucket = Boveda(cluster, 1, [process["pid"] for process in cluster.describe()["processes"] if process["pid"]])
    started = time.monotonic()
    fill(home, bucket.bucket, rows)
    click.echo(f"{rows:,} objects written in {time.monotonic() - started:.0f} s", err=True)
    return Filled(rows, cluster, bucket)


if __name__ == "__main__":
    main()
