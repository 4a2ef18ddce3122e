"""An upload byte by byte."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from tests.support.cluster import Cluster


class Sending:
    """A request on a bare socket, so that it can end as no client library would let it."""

    def __init__(self, cluster: Cluster, line: str, size: int, *headers: str) -> None:
        address = urlsplit(cluster.url)
        self._socket = socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=20)
        head = [f"{line} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *headers, "", ""]
        self._socket.sendall("\r\n".join(head).encode())

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def status(self) -> int:
        """0 if the connection ended without an answer."""
        try:
            head = self._socket.recv(4096)
        except ConnectionError:
            return 0
        return int(head.split(b" ", 2)[1]) if head else 0


class BarePut(Sending):
    """A PUT of an object."""

    def __init__(self, cluster: Cluster, key: str, size: int) -> None:
        super().__init__(cluster, f"PUT /v1/buckets/archivos/objects/{key}", size)


class BarePatch(Sending):
    """A PATCH of a resumable upload."""

    def __init__(self, cluster: Cluster, url: str, offset: int, size: int) -> None:
        headers = ("Tus-Resumable: 1.0.0", f"Upload-Offset: {offset}", "Content-Type: application/offset+octet-stream")
        super().__init__(cluster, f"PATCH {url}", size, *headers)
