"""A node that answers whatever it likes: nothing but a BlobStoreError comes out, and no value that cannot be."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.blobstore.base import Deadline, Page
from common.blobstore.s3_store import S3Store
from common.errors import BlobStoreError
from common.model.nodes import NodeSpec
from tests.unit.common.blobstore.rawserver import request, serving

PREFIX, AFTER, LIMIT = "blobs/", "blobs/05", 20


class Hostile:
    """A server that answers with `reply` and ends the connection, and a client of it."""

    def __init__(self, endpoint: str) -> None:
        self.reply = b""
        self.store = S3Store(NodeSpec("n", endpoint, "bucket", "n"), "access", "secret")

    def __call__(self, call: Callable[[S3Store], object], reply: bytes) -> None:
        self.reply = reply
        with suppress(BlobStoreError):
            call(self.store)


@contextmanager
def hostile() -> Iterator[Hostile]:
    here: list[Hostile] = []

    def script(sock: socket.socket, _number: int) -> None:
        request(sock)
        sock.sendall(here[0].reply)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            continue

    with serving(script) as server:
        here.append(Hostile(server.endpoint))
        yield here[0]
        here[0].store.close()


def soon() -> Deadline:
    return Deadline(10)


def streamed(store: S3Store) -> None:
    with store.get("x", soon(), 3, 4) as reader:
        assert sum(map(len, reader.chunks(1000))) == reader.size <= 4


def looked(store: S3Store) -> None:
    found = store.stat("x", soon())
    assert (found.size >= 0, math.isfinite(found.modified)) == (True, True)


def listed(store: S3Store) -> None:
    check(store.list(PREFIX, soon(), AFTER, LIMIT))


def check(page: Page) -> None:
    names = [blob.name for blob in page.blobs]
    assert len(names) <= LIMIT
    assert all(name.startswith(PREFIX) for name in names)
    assert [AFTER, *names] == sorted({AFTER, *names})
    assert all(blob.size >= 0 and math.isfinite(blob.modified) for blob in page.blobs)
    assert page.next is None or page.next == names[-1]


def deleted(store: S3Store) -> None:
    assert store.delete_many(["a", "b"], soon()).keys() <= {"a", "b"}


CALLS: dict[str, Callable[[S3Store], object]] = {
    "put": lambda store: store.put("x", b"data", soon()),
    "get": streamed,
    "read": lambda store: store.read("x", soon(), 100),
    "stat": looked,
    "delete": lambda store: store.delete("x", soon()),
    "delete_many": deleted,
    "list": listed,
    "clock": lambda store: store.clock(soon()),
    "create": lambda store: store.create(soon()),
}

NUMBERS = st.one_of(
    st.sampled_from(
        ["", "-1", "+5", " 5", "1_0", "5,5", "0x5", "²", "٣", "1e5", "NaN", "9" * 15, "9" * 16, "9" * 5000]
    ),
    st.integers(-1, 20).map(str),
)
DATES = st.sampled_from(
    [
        "",
        "Mon, 05 Jan 2026 10:00:00 GMT",
        "Mon, 05 Jan 0001 00:00:00 -0000",
        "Mon, 05 Jan 2026 10:00:00 +9999999999",
        "Mon, 31 Feb 2026 10:00:00 GMT",
        "Mon, 05 Jan 99999 10:00:00 GMT",
        "Mon, 05 Jan 2026 10:00:00 -0000",
        "0001-01-01T00:00:00",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-01-01T00:00:00.123456789Z",
        "2026-01-01T00:00:00+99:99",
        "2026-13-01T00:00:00Z",
        "2026-01-01",
        "nonsense",
    ]
)
RANGES = st.sampled_from(
    ["bytes 3-6/10", "bytes 3-4/*", "bytes 3-999999999999999/1", "bytes 3-2/10", "bytes 3-", "3-6"]
)
LINES = st.one_of(
    st.tuples(st.just("Content-Length"), NUMBERS),
    st.tuples(st.sampled_from(["Last-Modified", "Date"]), DATES),
    st.tuples(st.just("Content-Range"), RANGES),
    st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "Chunked", "identity", "gzip, chunked"])),
    st.tuples(st.text("abc-:\x00\xff ", max_size=5), st.text("abc\x00\xff ", max_size=5)),
)
EXPECTED = st.tuples(
    NUMBERS.map(lambda value: ("Content-Length", value)),
    DATES.map(lambda value: ("Last-Modified", value)),
    DATES.map(lambda value: ("Date", value)),
    RANGES.map(lambda value: ("Content-Range", value)),
)
HEADERS = st.one_of(st.lists(LINES, max_size=6), EXPECTED).map(
    lambda pairs: "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1", "replace")
)
STATUS = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.0 206 Part", b"HTTP/1.1 404 No", b"HTTP/1.1 416 No", b"HTTP/1.1 500", b"HTTP/2 200"]
)


NAMES = st.one_of(st.sampled_from(["", "blobs/05", "other", "blobs/~"]), st.integers(4, 12).map("blobs/{:02}".format))


def listing(items: list[tuple[str, str, str]], more: bool) -> str:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{when}</LastModified></Contents>"
        for key, size, when in items
    )
    return f"<ListBucketResult>{contents}<IsTruncated>{str(more).lower()}</IsTruncated></ListBucketResult>"


RIGHT_ITEMS = st.tuples(NAMES, st.just("7"), st.just("2026-01-01T00:00:00Z"))
DOCUMENTS = st.one_of(
    st.builds(listing, st.lists(RIGHT_ITEMS, max_size=3), st.booleans()),
    st.builds(listing, st.lists(st.tuples(NAMES, NUMBERS, DATES), max_size=2), st.booleans()),
    st.builds("<DeleteResult><Error><Key>{}</Key><Code>{}</Code></Error></DeleteResult>".format, NAMES, NUMBERS),
    st.just("<Error><Code>SlowDown</Code></Error>"),
)
BEFORE = st.sampled_from(["<!DOCTYPE a>", '<?xml version="1.0" encoding="UTF-16"?>', "<!-- --><?pi ?>", "\ufeff", "<"])
ENCODED = st.builds(
    lambda before, text, encoding: (before + text).encode(encoding, "replace"),
    BEFORE,
    DOCUMENTS,
    st.sampled_from(["utf-8", "utf-16", "utf-16-be", "cp037"]),
)
BODIES = st.one_of(
    DOCUMENTS.map(str.encode),
    ENCODED,
    st.binary(max_size=40),
    st.sampled_from([b"ffffffff\r\n", b"-1\r\n", b"0\r\n" * 5]),
)


def chunked(body: bytes) -> bytes:
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def announced(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


OK = b"HTTP/1.1 200 OK\r\n"
REPLIES = st.one_of(
    st.binary(max_size=100),
    st.builds(lambda status, headers, body: status + b"\r\n" + headers + b"\r\n" + body, STATUS, HEADERS, BODIES),
    st.builds(lambda headers, body: OK + headers + announced(body), HEADERS, st.binary(max_size=9)),
    HEADERS.map(lambda headers: OK + headers + b"\r\n"),
    BODIES.map(lambda body: OK + announced(body)),
    BODIES.map(lambda body: OK + chunked(body)),
)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whatever_a_node_answers_only_errors_of_blob_stores_come_out(call: Callable[[S3Store], object]) -> None:
    with hostile() as node:

        @settings(max_examples=300, deadline=None)
        @given(REPLIES)
        def answered(reply: bytes) -> None:
            node(call, reply)

        answered()
