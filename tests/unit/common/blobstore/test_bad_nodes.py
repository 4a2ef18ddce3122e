"""Nodes that hang, trickle, refuse, cut or lie: what each turns into, and that no deadline is ever overrun."""

from __future__ import annotations

import base64
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from common.blobstore.base import Bytes, Deadline
from common.blobstore.s3_store import S3Store
from common.errors import (
    BlobMissing,
    BlobStoreError,
    BlobTooLong,
    BucketMissing,
    CallCut,
    NodeError,
    NodeReadOnly,
    NodeRefused,
    NodeTimeout,
)
from common.model.nodes import NodeSpec
from tests.unit.common.blobstore.rawserver import Script, always, answer, request, serving

SLACK = 0.5  # for a busy machine
LIMIT = 16 << 20  # bytes that a read may give


def store(endpoint: str) -> S3Store:
    return S3Store(NodeSpec("n", endpoint, "bucket", "n"), "access", "secret")


def hang(sock: socket.socket, _number: int) -> None:
    while sock.recv(65536):
        continue


def trickle(head: bytes) -> Script:
    """The head, then a byte now and then: each within any timeout of a single read."""

    def script(sock: socket.socket, _number: int) -> None:
        request(sock)
        sock.sendall(head)
        while True:
            sock.sendall(b"x")
            time.sleep(0.02)

    return script


def no_reader(sock: socket.socket, _number: int) -> None:
    """Take a connection and never read from it."""
    time.sleep(3)


@pytest.mark.parametrize(
    ("script", "call"),
    [
        pytest.param(hang, lambda s, d: s.read("x", d, LIMIT), id="hung, read"),
        pytest.param(hang, lambda s, d: s.put("x", b"data", d), id="hung, put"),
        pytest.param(no_reader, lambda s, d: s.put("x", bytes(16 << 20), d), id="takes no data"),
        pytest.param(trickle(b""), lambda s, d: s.read("x", d, LIMIT), id="trickles a status line"),
        pytest.param(trickle(b"HTTP/1.1 200 OK\r\n"), lambda s, d: s.read("x", d, LIMIT), id="trickles a header"),
        pytest.param(
            trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
            lambda s, d: s.read("x", d, LIMIT),
            id="trickles",
        ),
        pytest.param(
            trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"),
            lambda s, d: s.list("", d),
            id="trickles a chunk",
        ),
        pytest.param(
            trickle(b"HTTP/1.1 403 No\r\nContent-Length: 100000\r\n\r\n"),
            lambda s, d: s.read("x", d, LIMIT),
            id="slow refusal",
        ),
    ],
)
def test_a_call_ends_at_its_deadline(script: Script, call: Callable[[S3Store, Deadline], object]) -> None:
    with serving(script) as server:
        started = time.monotonic()
        with pytest.raises(NodeTimeout):
            call(store(server.endpoint), Deadline(0.4))
        assert 0.3 < time.monotonic() - started < 0.4 + SLACK


def test_the_first_byte_has_a_limit_of_its_own_for_reads() -> None:
    with serving(hang) as server:
        started = time.monotonic()
        with pytest.raises(NodeTimeout):
            store(server.endpoint).read("x", Deadline(5, first_byte=0.2), LIMIT)
        assert time.monotonic() - started < 0.2 + SLACK


def test_a_late_first_byte_is_told_once_and_the_call_goes_on() -> None:
    def slow(sock: socket.socket, _number: int) -> None:
        request(sock)
        time.sleep(0.3)
        sock.sendall(answer(body=b"data"))

    told: list[float] = []
    with serving(slow) as server:
        started = time.monotonic()
        deadline = Deadline(5)
        deadline.when_late(0.1, lambda: told.append(time.monotonic() - started))
        assert store(server.endpoint).read("x", deadline, LIMIT) == b"data"
    assert len(told) == 1
    assert 0.1 <= told[0] < 0.3


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"], ids=["before", "after"])
def test_a_call_is_cut_by_another_thread_whether_its_answer_has_begun_or_not(head: bytes) -> None:
    def stuck(sock: socket.socket, _number: int) -> None:
        request(sock)
        sock.sendall(head)
        hang(sock, 0)

    with serving(stuck) as server:
        deadline = Deadline(5)
        deadline.watch()
        started = time.monotonic()
        threading.Timer(0.1, deadline.cut).start()
        with pytest.raises(CallCut):
            store(server.endpoint).read("x", deadline, LIMIT)
        assert 0.1 <= time.monotonic() - started < 0.1 + SLACK


def test_a_put_may_be_answered_after_the_first_bytes_limit() -> None:
    def late(sock: socket.socket, _number: int) -> None:
        request(sock)
        time.sleep(0.3)
        sock.sendall(answer())

    with serving(late) as server:
        store(server.endpoint).put("x", b"data", Deadline(5, first_byte=0.1))


def test_time_given_back_prolongs_a_read() -> None:
    def slow(sock: socket.socket, _number: int) -> None:
        request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        time.sleep(0.5)
        sock.sendall(b"b")

    with serving(slow) as server:
        deadline = Deadline(0.3)
        with store(server.endpoint).get("x", deadline) as reader:
            deadline.extend(3)
            assert b"".join(reader.chunks(2)) == b"ab"


def test_a_refused_connection_is_the_nodes_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NodeError, match="Connection refused") as caught:
        store(endpoint).read("x", Deadline(1), LIMIT)
    assert not isinstance(caught.value, NodeTimeout)


def test_an_address_that_answers_nothing_is_left_after_half_a_second() -> None:
    """A listener whose backlog is full drops further handshakes, as a dead machine does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for sock in fill:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        started = time.monotonic()
        with pytest.raises(NodeTimeout):
            store(f"http://127.0.0.1:{listener.getsockname()[1]}").read("x", Deadline(5), LIMIT)
        assert time.monotonic() - started < 0.5 + SLACK
        for sock in fill:
            sock.close()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", id="half a body"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", id="a header without colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, id="endless head"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nall until the end", id="no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", id="length without end"),
    ],
)
def test_a_read_that_is_cut_or_malformed_is_the_nodes_failure(reply: bytes) -> None:
    def script(sock: socket.socket, _number: int) -> None:
        request(sock)
        sock.sendall(reply)

    with serving(script) as server, pytest.raises(NodeError) as caught:
        store(server.endpoint).read("x", Deadline(3), LIMIT)
    assert not isinstance(caught.value, NodeTimeout)


@pytest.mark.parametrize("length", [LIMIT + 1, 400_000_000, 999_999_999_999_999])
def test_a_copy_that_is_announced_longer_than_it_may_be_takes_no_memory_and_is_the_copys_failure(length: int) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
    with serving(always(head + bytes(1000))) as server:
        tracemalloc.start()
        with pytest.raises(BlobTooLong, match=str(length)):
            store(server.endpoint).read("x", Deadline(3), LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"Content-Length: 9999999\r\n\r\n", id="too long"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", id="a chunk too long"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", id="a chunk without number"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcdef\r\n", id="a chunk longer than it says"),
        pytest.param(b"Content-Length: 5\r\n\r\n<oops", id="not XML"),
        pytest.param(b"Content-Length: 20\r\n\r\n<!DOCTYPE a><a></a> ", id="a document type"),
        pytest.param(
            b"Content-Length: 67\r\n\r\n<ListBucketResult><Contents><Key>a</Key></Contents>\n</ListBucketResult>"[:-2],
            id="half a listing",
        ),
    ],
)
def test_a_listing_that_is_malformed_or_without_bounds_is_the_nodes_failure(reply: bytes) -> None:
    with serving(always(b"HTTP/1.1 200 OK\r\n" + reply)) as server, pytest.raises(NodeError):
        store(server.endpoint).list("", Deadline(3))


def test_a_chunked_listing_is_read() -> None:
    body = (
        b"<ListBucketResult><Contents><Key>a</Key><Size>1</Size>"
        b"<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
    )
    chunked = b"".join(b"%x;note\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\nTrailer: x\r\n\r\n"
    with serving(always(reply)) as server:
        node = store(server.endpoint)
        for _ in range(2):
            assert [blob.name for blob in node.list("", Deadline(3)).blobs] == ["a"]
        assert server.connections == 1


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (404, "NoSuchKey", BlobMissing),
        (404, "NoSuchBucket", BucketMissing),
        (404, "", NodeRefused),
        (416, "InvalidRange", BlobMissing),
        (403, "AccessDenied", NodeRefused),
        (403, "RequestTimeTooSkewed", NodeRefused),
        (400, "Malformed", NodeRefused),
        (400, "XMinioAdminBucketQuotaExceeded", NodeReadOnly),
        (400, "BadDigest", NodeError),
        (400, "XAmzContentChecksumMismatch", NodeError),
        (408, "", NodeError),
        (429, "SlowDown", NodeError),
        (500, "InternalError", NodeError),
        (503, "SlowDown", NodeError),
        (503, "XMinioStorageFull", NodeReadOnly),
        (507, "XMinioStorageFull", NodeReadOnly),
        (507, "", NodeReadOnly),
        (301, "PermanentRedirect", NodeRefused),
    ],
)
def test_each_status_has_its_error(status: int, code: str, error: type[BlobStoreError]) -> None:
    body = f"<Error><Code>{code}</Code><Message>secret words of the node</Message></Error>".encode()
    with serving(always(answer(body, f"{status} Words"))) as server, pytest.raises(BlobStoreError) as caught:
        store(server.endpoint).read("x", Deadline(3), LIMIT)
    assert type(caught.value) is error
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize("cause", ["no space left on device", "read-only file system"])
def test_an_internal_error_over_a_full_disk_is_told_as_read_only(cause: str) -> None:
    body = f"<Error><Code>InternalError</Code><Message>We failed.: cause({cause})</Message></Error>".encode()
    with serving(always(answer(body, "500 No"))) as server, pytest.raises(NodeReadOnly):
        store(server.endpoint).put("x", b"data", Deadline(3))


def test_writes_that_are_denied_are_told_as_read_only_and_reads_as_refused() -> None:
    body = b"<Error><Code>AccessDenied</Code></Error>"
    with serving(always(answer(body, "403 No"))) as server:
        node = store(server.endpoint)
        with pytest.raises(NodeReadOnly):
            node.put("x", b"data", Deadline(3))
        with pytest.raises(NodeRefused):
            node.read("x", Deadline(3), LIMIT)


@pytest.mark.parametrize("data", [b"", b"data", bytearray(b"data"), memoryview(b"data")])
def test_a_put_carries_a_signed_checksum_of_its_bytes(data: Bytes) -> None:
    seen: list[bytes] = []

    def script(sock: socket.socket, _number: int) -> None:
        seen.append(request(sock))
        sock.sendall(answer())

    with serving(script) as server:
        store(server.endpoint).put("x", data, Deadline(3))
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    assert b"\r\nx-amz-checksum-crc32: " + checksum + b"\r\n" in seen[0]
    assert b"X-Amz-SignedHeaders=host%3Bx-amz-checksum-crc32&" in seen[0]


def test_a_refusal_before_the_whole_body_was_taken_is_told_as_one() -> None:
    def script(sock: socket.socket, _number: int) -> None:
        sock.recv(100)
        sock.sendall(answer(b"<Error><Code>NoSuchBucket</Code></Error>", "404 No", "Connection: close\r\n"))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):  # what a well-behaved server does before it closes
            continue

    with serving(script) as server, pytest.raises(BucketMissing):
        store(server.endpoint).put("x", bytes(8 << 20), Deadline(5))


def test_a_connection_is_used_again_after_answers_read_to_their_end() -> None:
    with serving(always(answer(b"data"))) as server:
        node = store(server.endpoint)
        for _ in range(5):
            assert node.read("x", Deadline(3), LIMIT) == b"data"
        node.put("x", b"data", Deadline(3))
        assert server.connections == 1


def test_a_connection_is_not_used_again_when_the_answer_was_left() -> None:
    with serving(always(answer(b"data" * 1000))) as server:
        node = store(server.endpoint)
        with node.get("x", Deadline(3)) as reader:
            reader.readinto(memoryview(bytearray(5)))
        assert node.read("x", Deadline(3), LIMIT) == b"data" * 1000
        assert server.connections == 2


@pytest.mark.parametrize("header", ["Connection: close\r\n", "connection: Close\r\n"])
def test_a_connection_is_not_used_again_when_the_node_says_so(header: str) -> None:
    with serving(always(answer(b"data", headers=header))) as server:
        node = store(server.endpoint)
        for _ in range(2):
            node.read("x", Deadline(3), LIMIT)
        assert server.connections == 2


def test_bytes_behind_an_answer_are_never_taken_for_the_next_one() -> None:
    def script(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(answer(b"good" if number > 1 else b"first") + answer(b"smuggled"))
        request(sock)

    with serving(script) as server:
        node = store(server.endpoint)
        assert node.read("x", Deadline(3), LIMIT) == b"first"
        assert node.read("x", Deadline(3), LIMIT) == b"good"


@pytest.mark.parametrize(
    "call", [lambda s: s.read("x", Deadline(3), LIMIT), lambda s: s.put("x", b"data", Deadline(3))]
)
def test_a_stale_connection_is_replaced_once(call: Callable[[S3Store], object]) -> None:
    """The node closes an idle connection at the moment at which it is used again."""

    def script(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(answer(b"data"))
        if number == 1:
            request(sock)  # take the second request, close without a word

    with serving(script) as server:
        node = store(server.endpoint)
        node.read("x", Deadline(3), LIMIT)
        call(node)
        assert server.connections == 2


def test_a_fresh_connection_that_ends_without_an_answer_is_not_tried_again() -> None:
    with serving(lambda sock, _number: (request(sock), None)[1]) as server:
        with pytest.raises(NodeError):
            store(server.endpoint).read("x", Deadline(3), LIMIT)
        assert server.connections == 1


def test_interim_answers_are_passed_over() -> None:
    with serving(always(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"data"))) as server:
        assert store(server.endpoint).read("x", Deadline(3), LIMIT) == b"data"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(b"0123456789"), id="all of it"),
        pytest.param(answer(b"45", "206 Partial Content", "Content-Range: bytes 4-5/10\r\n"), id="another range"),
    ],
)
def test_a_node_that_ignores_the_range_is_not_believed(reply: bytes) -> None:
    with serving(always(reply)) as server, pytest.raises(NodeError, match="range"):
        store(server.endpoint).get("x", Deadline(3), 5, 2).__enter__()


def test_more_than_the_answer_has_cannot_be_read() -> None:
    with (
        serving(always(answer(b"data"))) as server,
        store(server.endpoint).get("x", Deadline(3)) as reader,
        pytest.raises(NodeError),
    ):
        reader.readinto(memoryview(bytearray(5)))
