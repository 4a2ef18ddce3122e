"""`boveda bench` against a store that is right, and against stores that are not."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import pytest

from cli.commands.bench import Content, Size, Wrong, bench, percentile
from tests.unit.cli.conftest import Run, Start
from tests.unit.cli.stand_in import Reply, Request, StandIn, document, problem

SHORT = ("--seconds", "0.2", "--clients", "2", "--json")


class Store:
    """Buckets and objects as the API answers for them. A request may be asked twice: deletes are idempotent."""

    def __init__(self) -> None:
        self.buckets: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.gone: set[str] = set()
        self.seen = {"PUT": 0, "GET": 0, "DELETE": 0}

    def __call__(self, request: Request) -> Reply:
        parts = urlsplit(request.path)
        _, _, bucket, *rest = parts.path.strip("/").split("/")
        if rest == ["objects"]:
            return self.page(parse_qs(parts.query))
        if not rest:
            (self.buckets.add if request.method == "PUT" else self.buckets.discard)(bucket)
            return document({"name": bucket})
        return self.object(request, rest[1])

    def page(self, query: dict[str, list[str]]) -> Reply:
        return document({"objects": [{"key": key} for key in self.objects], "prefixes": [], "next": None})

    def object(self, request: Request, key: str) -> Reply:
        self.seen[request.method] += 1
        if request.method == "PUT":
            self.objects[key] = request.body
            return document({"size": len(request.body)}, 201)
        if request.method == "DELETE":
            self.gone.add(key)
            self.objects.pop(key, None)
            return Reply(204)
        found = self.objects.get(key)
        return problem(404, "no such object") if found is None else Reply(200, found)


class Flipping(Store):
    def object(self, request: Request, key: str) -> Reply:
        reply = super().object(request, key)
        return Reply(200, reply.body[:-1] + bytes([reply.body[-1] ^ 1])) if request.method == "GET" else reply


class Forgetful(Store):
    def object(self, request: Request, key: str) -> Reply:
        return problem(404, "no such object") if request.method == "GET" else super().object(request, key)


class Short(Store):
    def object(self, request: Request, key: str) -> Reply:
        reply = super().object(request, key)
        return Reply(200, reply.body[:-1]) if request.method == "GET" else reply


class Busy(Store):
    def object(self, request: Request, key: str) -> Reply:
        return problem(503, "too busy") if request.method == "GET" else super().object(request, key)


class Cutting(Store):
    def object(self, request: Request, key: str) -> Reply:
        reply = super().object(request, key)
        return Reply(200, reply.body, cut=100) if request.method == "GET" else reply


def ran(run: Run, api: StandIn, store: Store, *more: str) -> tuple[int, dict[str, Any]]:
    api.answer = store
    done = run(bench, *SHORT, *more)
    assert not store.buckets
    assert not store.objects
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize("size", ["0", "1", "100", "16k", "1MiB"])
def test_a_store_that_is_right_is_measured_and_left_as_it_was(run: Run, api: StandIn, size: str) -> None:
    store = Store()
    status, found = ran(run, api, store, "--size", size)
    assert status == 0
    for name in ("put", "get", "delete"):
        assert found[name]["done"] > 0
        assert (found[name]["failed"], found[name]["wrong"]) == (0, 0)
        assert found[name]["p50_ms"] <= found[name]["p99_ms"]


@pytest.mark.parametrize("store", [Flipping, Forgetful, Short])
def test_a_wrong_answer_is_counted_and_is_status_1(run: Run, api: StandIn, store: Callable[[], Store]) -> None:
    status, found = ran(run, api, store())
    assert status == 1
    assert found["get"]["wrong"] > 0
    assert (found["get"]["done"], found["put"]["wrong"]) == (0, 0)


@pytest.mark.parametrize("store", [Busy, Cutting])
def test_a_refusal_or_a_cut_is_a_failure_and_not_wrong(run: Run, api: StandIn, store: Callable[[], Store]) -> None:
    status, found = ran(run, api, store())
    assert status == 0
    assert found["get"]["failed"] > 0
    assert found["get"]["wrong"] == 0
    assert found["get"]["first_failure"]


def test_a_store_that_takes_nothing_in_is_told_in_the_table(run: Run, api: StandIn) -> None:
    api.answer = lambda request: problem(503, "no node") if "/objects/" in request.path else Store()(request)
    done = run(bench, *SHORT[:-1])
    assert done.exit_code == 0
    assert "put: no node" in done.stderr


def test_no_bucket_no_load(run: Run, api: StandIn) -> None:
    api.answer = lambda request: problem(403, "not with this token")
    assert run(bench, *SHORT).exit_code == 1
    assert [request.method for request in api.requests] == ["PUT"]


def test_after_ctrl_c_nothing_is_left(start: Start, api: StandIn) -> None:
    store = Store()
    api.answer = store
    process = start(bench, "--seconds", "60")
    until = time.monotonic() + 20
    while store.seen["PUT"] < 50 and time.monotonic() < until:
        time.sleep(0.01)
    assert store.objects
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 1
    assert not store.objects
    assert not store.buckets


def test_a_bucket_that_stays_is_named(run: Run, api: StandIn) -> None:
    store = Store()

    def answer(request: Request) -> Reply:
        return problem(503, "not now") if request.method == "DELETE" else store(request)

    api.answer = answer
    done = run(bench, *SHORT)
    (bucket,) = store.buckets
    assert done.exit_code == 4
    assert bucket in done.stderr


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("piece", [1, 7, 16, 4096])
def test_content_is_compared_to_the_last_byte_however_it_comes(length: int, piece: int) -> None:
    content = Content(length)
    whole = b"".join(map(bytes, content.pieces("000000000007")))
    assert len(whole) == length

    def check(body: bytes) -> None:
        content.check("000000000007", iter([body[at : at + piece] for at in range(0, len(body), piece)]))

    check(whole)
    for at in {0, length // 2, length - 1} if length else ():
        damaged = bytearray(whole)
        damaged[at] ^= 1
        with pytest.raises(Wrong):
            check(bytes(damaged))
        with pytest.raises(Wrong):
            check(whole[:at])
    with pytest.raises(Wrong):
        check(whole + b"x")


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("100", 100), ("16k", 16384), ("16KiB", 16384), ("1 MiB", 1 << 20), ("1g", 1 << 30)]
)
def test_sizes(text: str, count: int) -> None:
    assert Size().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["", "-1", "k", "1.5M", "2g", "1073741825", "16x", "１６k"])
def test_what_is_no_size_is_wrong_use(text: str, run: Run) -> None:
    with pytest.raises(click.UsageError):
        Size().convert(text, None, None)
    assert run(bench, "--size", text).exit_code == 2


@pytest.mark.parametrize(
    ("seconds", "percent", "milliseconds"),
    [([], 50, None), ([0.002], 99, 2.0), ([0.001, 0.002], 50, 1.0), ([n / 1000 for n in range(1, 201)], 99, 198.0)],
)
def test_percentiles(seconds: list[float], percent: int, milliseconds: float | None) -> None:
    assert percentile(seconds, percent) == milliseconds
