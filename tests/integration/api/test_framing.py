"""How requests begin and end on the wire: nothing that was cut becomes visible, and refusals reach the client."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time

import pytest

from tests.integration.api.conftest import BLOB, MAX_OBJECT, Server, body_of, read_all, status_of
from tests.support.waiting import wait_until

BASE = "/v1/buckets/casa/objects/"
HOST = "Host: localhost\r\n"


def absent(server: Server, key: str) -> bool:
    """Not visible, and on nodes nothing of it but what will be deleted."""
    assert server.left_over() <= {"doomed"}
    return status_of(server.ask("GET", BASE + key)) == 404


def test_body_cut_short_answers_400_and_is_not_visible(server: Server) -> None:
    for sent in (0, 1, 50, 99):
        head = f"PUT {BASE}cut HTTP/1.1\r\n{HOST}Content-Length: 100\r\n\r\n".encode()
        answer = server.send(head + b"x" * sent, end=True)
        assert status_of(answer) == 400
        assert json.loads(body_of(answer))["type"].endswith("/body-cut")
        assert absent(server, "cut")


def test_long_body_cut_short_is_not_visible(server: Server) -> None:
    head = f"PUT {BASE}longcut HTTP/1.1\r\n{HOST}Content-Length: {6 << 20}\r\n\r\n".encode()
    answer = server.send(head + os.urandom(5 << 20), end=True)
    assert status_of(answer) == 400
    assert absent(server, "longcut")


def test_reset_in_the_middle_of_a_body_is_not_visible(server: Server) -> None:
    with server.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        sock.sendall(f"PUT {BASE}reset HTTP/1.1\r\n{HOST}Content-Length: 100\r\n\r\n".encode() + b"x" * 50)
    assert absent(server, "reset")


def test_reset_behind_the_first_blobs_of_a_long_body_leaves_only_what_will_be_deleted(server: Server) -> None:
    with server.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        sock.sendall(f"PUT {BASE}longreset HTTP/1.1\r\n{HOST}Content-Length: {6 * BLOB}\r\n\r\n".encode())
        sock.sendall(os.urandom(4 * BLOB))
        wait_until(lambda: "uploading" in server.left_over(), what="its first blob is on a node")
    wait_until(lambda: "uploading" not in server.left_over(), what="it is given up")
    assert absent(server, "longreset")


@pytest.mark.parametrize("sizes", [[], [1], [5, 0xFFFF, 1, 300_000]])
def test_chunked_body_is_stored_whole(server: Server, sizes: list[int]) -> None:
    data = [os.urandom(size) for size in sizes]
    head = f"PUT {BASE}chunked HTTP/1.1\r\n{HOST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in data)
    answer = server.send(head + chunks + b"0\r\nX-Trailer: 1\r\n\r\n")
    assert status_of(answer) in (200, 201)
    assert body_of(server.ask("GET", BASE + "chunked")) == b"".join(data)


@pytest.mark.parametrize(
    "tail", [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"zz\r\n", b"5\r\nhelloXX", b"5\r\nhello\r\n0\r\n"]
)
def test_chunked_body_cut_or_wrong_is_not_visible(server: Server, tail: bytes) -> None:
    head = f"PUT {BASE}badchunk HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n".encode()
    answer = server.send(head + b"4\r\nabcd\r\n" + tail, end=True)
    assert answer == b"" or status_of(answer) == 400
    assert absent(server, "badchunk")


def test_expect_100_continue_is_answered_before_the_body(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(
            f"PUT {BASE}expect HTTP/1.1\r\n{HOST}Connection: close\r\nExpect: 100-continue\r\n"
            "Content-Length: 5\r\n\r\n".encode()
        )
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert status_of(read_all(sock)) == 201


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (BASE + "x", f"Content-Length: {MAX_OBJECT + 1}\r\n", 413),
        ("/v1/buckets/nadie/objects/x", "Content-Length: 5\r\n", 404),
        (BASE + "x", 'Content-Length: 5\r\nIf-Match: "none"\r\n', 412),
        ("/v1/buckets/NO/objects/x", "Content-Length: 5\r\n", 422),
    ],
)
def test_refusal_comes_instead_of_100_continue(server: Server, path: str, headers: str, status: int) -> None:
    answer = server.send(f"PUT {path} HTTP/1.1\r\n{HOST}Expect: 100-continue\r\n{headers}\r\n".encode())
    assert status_of(answer) == status
    assert b"Connection: close" in answer


def test_too_large_chunked_body_answers_413(server: Server) -> None:
    piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    head = f"PUT {BASE}huge HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n".encode()
    answer = server.send(head + piece * 9 + b"0\r\n\r\n")
    assert status_of(answer) == 413
    assert "doomed" in server.left_over(), "its first blobs were there already"
    assert absent(server, "huge")


def test_client_that_sends_on_sees_the_refusal(server: Server) -> None:
    """The body is larger than any buffer between the two: a reset would overtake the answer."""
    body = bytes(24 << 20)
    head = f"PUT /v1/buckets/NO/objects/x HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n".encode()
    answer = server.send(head + body)
    assert status_of(answer) == 422
    assert json.loads(body_of(answer))["field"] == "bucket"


def test_body_in_another_coding_is_refused_not_stored_as_it_comes(server: Server) -> None:
    head = f"PUT {BASE}gzip HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n".encode()
    assert status_of(server.send(head + b"1\r\nx\r\n0\r\n\r\n")) == 400
    assert absent(server, "gzip")


def test_http_1_0_without_host_works_and_closes(server: Server) -> None:
    put = server.send(f"PUT {BASE}old HTTP/1.0\r\nContent-Length: 3\r\n\r\nold".encode())
    assert status_of(put) in (200, 201)
    got = server.send(f"GET {BASE}old HTTP/1.0\r\n\r\n".encode())
    assert (status_of(got), body_of(got)) == (200, b"old")


def test_http_1_1_without_host_answers_400(server: Server) -> None:
    assert status_of(server.send(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")) == 400


def test_put_without_length_is_an_empty_object(server: Server) -> None:
    assert status_of(server.send(f"PUT {BASE}void HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())) == 201
    assert body_of(server.ask("GET", BASE + "void")) == b""


def test_connection_is_kept_for_the_next_request(server: Server) -> None:
    """After errors too, once the body was read."""
    connection = http.client.HTTPConnection("localhost", server.port, timeout=20)
    connection.connect()
    sock = connection.sock
    wrong = {"Content-MD5": "A" * 22 + "=="}
    for method, body, headers, status in (("GET", None, {}, 404), ("PUT", b"abc", wrong, 400), ("GET", None, {}, 404)):
        connection.request(method, BASE + "kept", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert connection.sock is sock
    connection.close()


def test_two_lengths_or_both_framings_are_refused(server: Server) -> None:
    for headers in (
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +3\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ):
        answer = server.send(f"PUT {BASE}smuggled HTTP/1.1\r\n{HOST}{headers}\r\nabc\r\n".encode(), end=True)
        assert status_of(answer) == 400
        assert json.loads(body_of(answer))["status"] == 400
    assert absent(server, "smuggled")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Meta-A: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ],
)
def test_malformed_request_answers_a_problem_document(server: Server, request_bytes: bytes, status: int) -> None:
    answer = server.send(request_bytes, end=True)
    assert status_of(answer) == status
    assert json.loads(body_of(answer))["status"] == status


def test_longest_key_fits_percent_encoded(server: Server) -> None:
    key = "%C3%B1" * 512
    assert status_of(server.ask("PUT", BASE + key, body=b"1")) == 201
    assert body_of(server.ask("GET", BASE + key)) == b"1"


def test_keys_arrive_as_they_were_sent(server: Server) -> None:
    for raw, key in (("a//b", "a//b"), ("../x", "../x"), ("a%2Fb", "a/b"), ("x/", "x/"), ("/", "/"), ("%2E%2E", "..")):
        answer = server.ask("PUT", BASE + raw, body=raw.encode())
        assert json.loads(body_of(answer))["key"] == key
        assert body_of(server.ask("GET", BASE + raw)) == raw.encode()


def test_absolute_form_brings_its_own_host(server: Server) -> None:
    server.ask("PUT", BASE + "absolute", body=b"1")
    own = server.send(
        f"GET http://localhost{BASE}absolute HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n".encode()
    )
    assert (status_of(own), body_of(own)) == (200, b"1")
    foreign = f"GET http://evil{BASE}absolute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert status_of(server.send(foreign.encode())) == 403


def test_damage_behind_the_first_chunk_ends_the_download_in_a_reset(server: Server) -> None:
    server.ask("PUT", BASE + "damaged", body=os.urandom(3_200_000))
    assert status_of(server.ask("POST", "/prueba/estropear")) == 204
    came = bytearray()
    with server.connect() as sock:
        sock.sendall(f"GET {BASE}damaged HTTP/1.1\r\n{HOST}\r\n".encode())
        with pytest.raises(ConnectionResetError):
            read_into(came, sock)
    assert status_of(bytes(came)) == 200
    assert b"Content-Length: 3200000" in came
    assert len(body_of(bytes(came))) < 3_200_000


def test_a_client_that_reads_in_pieces_does_not_take_a_broken_download_for_whole(server: Server) -> None:
    server.ask("PUT", BASE + "broken", body=os.urandom(3_200_000))
    assert status_of(server.ask("POST", "/prueba/estropear")) == 204
    connection = http.client.HTTPConnection("localhost", server.port)
    connection.request("GET", BASE + "broken")
    answer = connection.getresponse()
    with pytest.raises(ConnectionResetError):
        read_in_pieces(answer)
    connection.close()


def read_into(came: bytearray, sock: socket.socket) -> None:
    while piece := sock.recv(1 << 16):
        came += piece


def read_in_pieces(answer: http.client.HTTPResponse) -> None:
    while answer.read(1 << 16):
        continue


@pytest.mark.parametrize(
    ("first", "status"),
    [("GET", 200), ("HEAD", 200), ("DELETE", 204), ("GET", 304)],
    ids=["read", "head", "deleted", "not modified"],
)
@pytest.mark.parametrize("cut", [1, 20, -3])
def test_a_request_in_two_pieces_is_answered_after_one_whose_body_nobody_read(
    server: Server, first: str, status: int, cut: int
) -> None:
    for key in ("unread", "next"):
        server.ask("PUT", BASE + key, body=key.encode())
    condition = "If-None-Match: *\r\n" if status == 304 else ""
    unread = f"{first} {BASE}unread HTTP/1.1\r\n{HOST}{condition}Content-Length: 5\r\n\r\nhello".encode()
    following = f"GET {BASE}next HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode()
    with server.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(unread)
        assert status_of(sock.recv(1 << 16)) == status
        sock.sendall(following[:cut])
        time.sleep(0.05)  # the head comes in two pieces: that is what this is about
        sock.sendall(following[cut:])
        answers = read_all(sock)
    assert answers.endswith(b"\r\n\r\nnext")
