"""Resumable uploads on the wire: a client library, curl, bodies that break off, and requests that overlap."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from base64 import b64encode
from pathlib import Path

import pytest
from tusclient.client import TusClient

from tests.integration.api.conftest import BLOB, MAX_OBJECT, Server, body_of, read_all, status_of
from tests.support.servers import tool
from tests.support.waiting import wait_until

MIB = 1 << 20
TUS = "Tus-Resumable: 1.0.0\r\n"
BYTES = "Content-Type: application/offset+octet-stream\r\n"
BASE = "/v1/buckets/casa/objects/"


def header(answer: bytes, name: str) -> str:
    for line in answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]:
        if line.lower().startswith(name.lower() + ":"):
            return line.partition(":")[2].strip()
    raise AssertionError(f"no {name} in {answer[:500]!r}")


def begin(server: Server, key: str, length: int) -> str:
    named = f"bucket {b64encode(b'casa').decode()},key {b64encode(key.encode()).decode()}"
    created = server.ask("POST", "/v1/uploads", f"{TUS}Upload-Length: {length}\r\nUpload-Metadata: {named}\r\n")
    assert status_of(created) == 201, created
    return header(created, "Location")


def patch(server: Server, url: str, offset: int, data: bytes) -> bytes:
    return server.ask("PATCH", url, f"{TUS}{BYTES}Upload-Offset: {offset}\r\n", data)


def head_of_patch(url: str, offset: int, length: int) -> bytes:
    return (
        f"PATCH {url} HTTP/1.1\r\nHost: localhost\r\n{TUS}{BYTES}"
        f"Upload-Offset: {offset}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def offset(server: Server, url: str) -> int:
    answer = server.ask("HEAD", url, TUS)
    assert status_of(answer) == 200, answer
    return int(header(answer, "Upload-Offset"))


@pytest.mark.parametrize("size", [0, 1, BLOB, 3 * BLOB + 17])
@pytest.mark.parametrize("checksum", [False, True])
def test_a_client_library_uploads_in_parts(server: Server, tmp_path: Path, size: int, checksum: bool) -> None:
    data = os.urandom(size)
    (tmp_path / "data").write_bytes(data)
    uploader = TusClient(f"{server.url}/v1/uploads").uploader(
        str(tmp_path / "data"),
        chunk_size=BLOB + 1000,
        metadata={"bucket": "casa", "key": "from tuspy", "content_type": "text/x-tus"},
        upload_checksum=checksum,
    )
    uploader.upload()
    got = server.ask("GET", f"{BASE}from%20tuspy")
    assert (status_of(got), body_of(got), header(got, "Content-Type")) == (200, data, "text/x-tus")


def test_a_client_library_goes_on_where_another_one_stopped(server: Server, tmp_path: Path) -> None:
    data = os.urandom(3 * BLOB)
    (tmp_path / "data").write_bytes(data)
    client = TusClient(f"{server.url}/v1/uploads")
    names = {"bucket": "casa", "key": "continued"}
    first = client.uploader(str(tmp_path / "data"), chunk_size=1_000_000, metadata=names)
    first.upload(stop_at=1_500_000)
    second = client.uploader(str(tmp_path / "data"), url=first.url)
    assert second.offset == 1_500_000
    second.upload()
    assert body_of(server.ask("GET", f"{BASE}continued")) == data


def test_curl_uploads_with_nothing_but_headers(server: Server, tmp_path: Path) -> None:
    data = os.urandom(2 * BLOB + 5)
    (tmp_path / "data").write_bytes(data)
    url = begin(server, "curl", len(data))
    arguments = ["-sS", "-X", "PATCH", "-T", "data", "-H", TUS.strip(), "-H", BYTES.strip(), "-H", "Upload-Offset: 0"]
    for chunked in ([], ["-H", "Transfer-Encoding: chunked"]):
        url = begin(server, "curl", len(data))
        done = subprocess.run(
            [tool("curl"), *arguments, *chunked, "-w", "%{http_code}", server.url + url],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == b"204"
        assert body_of(server.ask("GET", f"{BASE}curl")) == data


@pytest.mark.parametrize("come", [0, 1, MIB, MIB + 1, 2 * MIB + 500_000, 3 * MIB])
@pytest.mark.parametrize("reset", [False, True])
def test_what_came_before_a_connection_broke_is_kept_to_the_last_whole_chunk(
    server: Server, come: int, reset: bool
) -> None:
    data = os.urandom(5 * MIB)
    url = begin(server, "broken", len(data))
    with server.connect() as sock:
        sock.sendall(head_of_patch(url, 0, len(data)) + data[:come])
        if reset:
            wait_until(lambda: offset(server, url) >= come // BLOB * BLOB, what="its whole blobs are put")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        else:
            sock.shutdown(socket.SHUT_WR)
            assert status_of(read_all(sock)) == 400
    kept = offset(server, url)
    assert kept == come // MIB * MIB
    wait_until(lambda: status_of(patch(server, url, kept, data[kept:])) == 204, what="it goes on")
    assert body_of(server.ask("GET", f"{BASE}broken")) == data


def test_a_client_that_stalls_is_told_so_and_keeps_what_came(server: Server) -> None:
    url = begin(server, "stalled", 4 * MIB)
    with server.connect() as sock:
        sock.sendall(head_of_patch(url, 0, 4 * MIB) + bytes(2 * MIB + 7))
        assert status_of(read_all(sock)) == 408
    assert offset(server, url) == 2 * MIB


def test_of_overlapping_requests_one_wins(server: Server) -> None:
    bodies = [bytes([number]) * (2 * MIB) for number in range(3)]
    url = begin(server, "overlap", 2 * MIB)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda body=body: answers.append(status_of(patch(server, url, 0, body))))
        for body in bodies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [204, 409, 409]
    assert body_of(server.ask("GET", f"{BASE}overlap")) in bodies


def test_a_refused_request_is_told_before_its_body_comes(server: Server) -> None:
    url = begin(server, "refused", 10)
    head = head_of_patch(url, 5, 5).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with server.connect() as sock:
        sock.sendall(head)
        answer = read_all(sock)
    assert status_of(answer) == 409
    assert b"100 Continue" not in answer
    assert (
        status_of(
            server.ask(
                "POST",
                "/v1/uploads",
                f"{TUS}Upload-Length: {MAX_OBJECT + 1}\r\nUpload-Metadata: "
                f"bucket {b64encode(b'casa').decode()},key YQ==\r\n",
            )
        )
        == 413
    )


def test_a_wrong_checksum_has_a_status_of_its_own_on_the_wire(server: Server) -> None:
    url = begin(server, "checked", 3)
    wrong = b64encode(hashlib.sha1(b"abd").digest()).decode()
    headers = f"{TUS}{BYTES}Upload-Offset: 0\r\nUpload-Checksum: sha1 {wrong}\r\n"
    answer = server.ask("PATCH", url, headers, b"abc")
    assert answer.startswith(b"HTTP/1.1 460 ")
    assert offset(server, url) == 0
