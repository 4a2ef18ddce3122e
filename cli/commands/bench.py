"""`bench`: how fast a running store is, as a client sees it, and whether each of its answers is right.

1. A bucket of its own name is made. 2. Clients upload, each object of its own content, for so many seconds; 3. download
at random what was acknowledged, and compare every byte; 4. delete. 5. What is left is deleted, and the bucket: also
after Ctrl-C and after an error.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, Final

import click

from cli.client.address import Address
from cli.client.http import Client, Refused, connect
from cli.command import FAILED, ClientCommand
from cli.commands.objects import list_pages
from cli.output import columns, document, size
from common.errors import BovedaError

SIZE_MAX: Final = 1 << 30
_REST_SECONDS: Final = 0.1  # after a failure: a store that is away is not stormed
_STAMP: Final = 16
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Size(click.ParamType[int]):
    """Bytes, as in `16k`, `1MiB`, `100`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d{1,10})\s*([kmg]?)(?:i?b)?", str(value), re.ASCII | re.IGNORECASE)
        count = int(found[1]) * _UNITS[found[2].lower()] if found else -1
        if not 0 <= count <= SIZE_MAX:
            self.fail(f"{value!r} is no size from 0 to 1 GiB, as in 16k or 1MiB", param, ctx)
        return count


class Wrong(Exception):
    """An answer that may not be: other bytes than were stored, or none where they were acknowledged."""


class Content:
    """What objects hold: random bytes, the same for all but for a stamp of the name at the beginning."""

    def __init__(self, length: int) -> None:
        self.length = length
        self._bytes = memoryview(os.urandom(length))

    def pieces(self, name: str) -> Sequence[bytes | memoryview]:
        stamp = name.encode().ljust(_STAMP)[: min(_STAMP, self.length)]
        return [stamp, self._bytes[len(stamp) :]]

    def check(self, name: str, chunks: Iterator[bytes]) -> None:
        stamp, rest = self.pieces(name)
        at = 0
        for chunk in chunks:
            head = bytes(stamp[at : at + len(chunk)])
            begin = max(0, at - len(stamp))
            if chunk != head + bytes(rest[begin : begin + len(chunk) - len(head)]):
                raise Wrong(f"{name}: other bytes than were stored")
            at += len(chunk)
        if at != self.length:
            raise Wrong(f"{name}: {at} bytes instead of {self.length}")


@dataclass
class Measurement:
    """What became of one kind of request. `took`: seconds of each that was done; `elapsed`: of all, side by side."""

    took: list[float] = field(default_factory=list)
    failed: int = 0
    wrong: int = 0
    elapsed: float = 0.0
    first_failure: str | None = None

    def figures(self, length: int) -> Figures:
        rate = len(self.took) / self.elapsed if self.elapsed else 0.0
        ordered = sorted(self.took)
        return Figures(
            len(self.took),
            self.failed,
            self.wrong,
            round(rate, 2),
            round(rate * length / 1e6, 3),
            percentile(ordered, 50),
            percentile(ordered, 99),
            self.first_failure,
        )


@dataclass(frozen=True)
class Figures:
    """Rates a second; milliseconds, None where nothing was done."""

    done: int
    failed: int
    wrong: int
    ops_per_second: float
    megabytes_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    first_failure: str | None


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Of seconds in order, in milliseconds: the least that so many percent do not exceed."""
    return round(ordered[max(0, ceil(len(ordered) * percent / 100) - 1)] * 1000, 2) if ordered else None


class Bench:
    """Clients at work on one bucket, a thread and a connection for each."""

    def __init__(self, bucket: str, content: Content, clients: int, seconds: float) -> None:
        self._bucket = bucket
        self._content = content
        self._clients = [connect() for _ in range(clients)]
        self._seconds = seconds
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._named = 0
        self._stored: list[str] = []

    def put(self) -> Measurement:
        return self._phase(self._put, lambda: True)

    def get(self) -> Measurement:
        return self._phase(self._get, lambda: bool(self._stored))

    def delete(self) -> Measurement:
        return self._phase(self._delete, lambda: bool(self._stored))

    def clean(self) -> None:
        """Whatever lies in the bucket, and the bucket; BovedaError if that cannot be done."""
        here = Address(self._bucket, "")
        left = [found["key"] for page in list_pages(self._clients[0], here, "") for found in page["objects"]]
        shares = [left[number :: len(self._clients)] for number in range(len(self._clients))]
        with ThreadPoolExecutor(len(self._clients)) as pool:
            list(pool.map(self._remove, self._clients, shares))
        self._clients[0].json("DELETE", here.bucket_path)

    def _remove(self, client: Client, keys: Sequence[str]) -> None:
        for key in keys:
            client.json("DELETE", Address(self._bucket, key).path())

    def _phase(self, act: Callable[[Client], None], possible: Callable[[], bool]) -> Measurement:
        phase = Measurement()
        began = time.monotonic()
        with ThreadPoolExecutor(len(self._clients)) as pool:
            try:
                for done in [pool.submit(self._work, client, act, possible, phase) for client in self._clients]:
                    done.result()
            except BaseException:
                self._stopping.set()
                raise
        phase.elapsed = time.monotonic() - began
        return phase

    def _work(
        self, client: Client, act: Callable[[Client], None], possible: Callable[[], bool], phase: Measurement
    ) -> None:
        end = time.monotonic() + self._seconds
        while time.monotonic() < end and possible() and not self._stopping.is_set():
            began = time.perf_counter()
            try:
                act(client)
            except Wrong as error:
                self._failed(phase, str(error), wrong=True)
            except BovedaError as error:
                self._failed(phase, error.detail, wrong=False)
                self._stopping.wait(_REST_SECONDS)
            else:
                with self._lock:
                    phase.took.append(time.perf_counter() - began)

    def _failed(self, phase: Measurement, why: str, wrong: bool) -> None:
        with self._lock:
            phase.wrong += wrong
            phase.failed += not wrong
            phase.first_failure = phase.first_failure or why

    def _put(self, client: Client) -> None:
        with self._lock:
            self._named += 1
            name = f"{self._named:012}"
        path = Address(self._bucket, name).path()
        headers = {"Content-Length": str(self._content.length), "Content-Type": "application/octet-stream"}
        stored = client.json("PUT", path, headers=headers, body=self._content.pieces(name))
        if stored["size"] != self._content.length:
            raise Wrong(f"{name}: {stored['size']} bytes are said to be stored instead of {self._content.length}")
        with self._lock:
            self._stored.append(name)

    def _get(self, client: Client) -> None:
        name = random.choice(self._stored)  # noqa: S311 - which one, not a secret
        with _acknowledged(name):
            answer = client.send("GET", Address(self._bucket, name).path())
        self._content.check(name, iter(client.chunks(answer)))

    def _delete(self, client: Client) -> None:
        with self._lock:
            if not self._stored:
                return
            name = self._stored.pop()
        with _acknowledged(name):
            client.json("DELETE", Address(self._bucket, name).path())


@contextmanager
def _acknowledged(name: str) -> Iterator[None]:
    """Within, that there is no such object is a wrong answer."""
    try:
        yield
    except Refused as error:
        if error.status == 404:
            raise Wrong(f"{name}: it was acknowledged, and is not there") from None
        raise


@click.command(cls=ClientCommand, short_help="Measure uploads, downloads and deletes.")
@click.option(
    "--seconds", type=click.FloatRange(0, min_open=True), default=5.0, show_default=True, help="Of each kind."
)
@click.option("--size", "length", type=Size(), default="16k", show_default=True, help="Of each object, up to 1 GiB.")
@click.option("--clients", type=click.IntRange(1, 256), default=8, show_default=True, help="Side by side.")
def bench(seconds: float, length: int, clients: int, as_json: bool) -> None:
    """Measure the store that runs: uploads, downloads whose every byte is compared, deletes.

    It works in a bucket of its own, and removes it with all that is in it. Exit status 1 if any answer was wrong.
    """
    bucket = f"bench-{secrets.token_hex(6)}"
    work = Bench(bucket, Content(length), clients, seconds)
    connect().send_document("PUT", Address(bucket, "").bucket_path, {})
    results: dict[str, Figures] = {}
    try:
        for name, phase in (("put", work.put), ("get", work.get), ("delete", work.delete)):
            if not as_json:
                click.echo(f"{name} …", err=True)
            results[name] = phase().figures(0 if name == "delete" else length)
    finally:
        try:
            work.clean()
        except BaseException:
            click.echo(f"boveda: the bucket {bucket} could not be removed; its objects may be left", err=True)
            raise
    _show(results, length, clients, as_json)
    if any(of.wrong for of in results.values()):
        sys.exit(FAILED)


def _show(results: dict[str, Figures], length: int, clients: int, as_json: bool) -> None:
    if as_json:
        document({"size": length, "clients": clients, **{name: asdict(of) for name, of in results.items()}})
        return
    click.echo(f"{size(length)}, {clients} clients")
    header = ("", "OPS/S", "MB/S", "P50 MS", "P99 MS", "DONE", "FAILED", "WRONG")
    rows = [
        (name, of.ops_per_second, of.megabytes_per_second, of.p50_ms, of.p99_ms, of.done, of.failed, of.wrong)
        for name, of in results.items()
    ]
    columns([header, *rows], right=range(1, len(header)))
    for name, of in results.items():
        if of.first_failure:
            click.echo(f"{name}: {of.first_failure}", err=True)
