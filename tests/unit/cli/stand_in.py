"""A stand-in for the API: a real HTTP server whose answers a test writes, and which remembers what it was asked."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """`unread`: answer without reading the request's body. `cut`: announce all of the body, send so many bytes.

    `lost`: the connection ends without an answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    unread: bool = False
    cut: int | None = None
    lost: bool = False
    hang: threading.Event | None = None


def document(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def problem(status: int, detail: str) -> Reply:
    content = json.dumps({"type": "about:blank", "title": "refused", "status": status, "detail": detail}).encode()
    return Reply(status, content, {"Content-Type": "application/problem+json; charset=utf-8"})


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is part of the tests, and no news."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class StandIn:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda request: problem(404, "nothing is here")
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                stand_in.serve(self)

            def log_message(self, *args: object) -> None: ...

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        request = Request(handler.command, handler.path, dict(handler.headers.items()), b"")
        reply = self.answer(request)
        if not reply.unread and _has_body(request):
            request = Request(request.method, request.path, request.headers, _body(handler))
            reply = self.answer(request)
        self.requests.append(request)
        if reply.lost:
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body[: reply.cut])
        handler.wfile.flush()
        if reply.hang is not None:
            reply.hang.wait(20)
        handler.close_connection = handler.close_connection or reply.unread or reply.cut is not None


def _has_body(request: Request) -> bool:
    return "Transfer-Encoding" in request.headers or request.headers.get("Content-Length", "0") != "0"


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") == "chunked":
        pieces = []
        while length := int(handler.rfile.readline(), 16):
            pieces.append(handler.rfile.read(length))
            handler.rfile.readline()
        handler.rfile.readline()
        return b"".join(pieces)
    return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
