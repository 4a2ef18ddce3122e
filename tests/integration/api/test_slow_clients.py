"""Clients that stall keep no thread for long, and what is in flight may end before the server does."""

from __future__ import annotations

import os
import signal
import threading
import time

from tests.integration.api.conftest import IDLE_SECONDS, Server, status_of, stop
from tests.support.waiting import wait_until

BASE = "/v1/buckets/casa/objects/"


def test_connections_that_say_nothing_hold_no_thread(server: Server) -> None:
    silent = [server.connect() for _ in range(30)]
    began = time.monotonic()
    assert status_of(server.ask("GET", "/healthz")) == 200
    assert time.monotonic() - began < 4
    for sock in silent:
        sock.close()


def test_half_sent_headers_give_their_thread_back(server: Server) -> None:
    """As many as there are threads; without a limit the server would answer nobody any more."""
    halves = [server.connect() for _ in range(4)]
    for sock in halves:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
    assert status_of(server.ask("GET", "/healthz")) == 200
    for sock in halves:
        assert status_of(sock.recv(1000)) == 408
        sock.close()


def test_stalled_body_answers_408(server: Server) -> None:
    began = time.monotonic()
    head = f"PUT {BASE}stalled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode()
    answer = server.send(head + b"x" * 10)
    assert status_of(answer) == 408
    assert IDLE_SECONDS * 0.9 < time.monotonic() - began < IDLE_SECONDS + 10
    assert status_of(server.ask("GET", BASE + "stalled")) == 404


def test_request_in_flight_ends_before_the_server_does(own_server: Server) -> None:
    answers: list[bytes] = []
    request = threading.Thread(target=lambda: answers.append(own_server.ask("GET", "/prueba/lento")))
    request.start()
    silent = own_server.connect()
    wait_until((own_server.log.parent / "lento").exists, 20, "it is in flight")
    os.kill(own_server.process.pid, signal.SIGTERM)
    request.join(20)
    assert [status_of(answer) for answer in answers] == [200]
    began = time.monotonic()
    assert stop(own_server) == 0
    assert time.monotonic() - began < 10  # the silent connection is not waited for
    silent.close()
