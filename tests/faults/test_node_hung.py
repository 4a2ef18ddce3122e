"""A node hangs (SIGSTOP): no request up to 8 MiB takes more than three seconds, from the first moment on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.cluster import Cluster
from tests.support.running_time import running_time
from tests.support.shared import wish
from tests.support.waiting import wait_until

CLUSTER = wish(quick=False)
pytestmark = pytest.mark.alone

MIB = 1024 * 1024
WATCHED_SECONDS = 9.0  # longer than the node takes to be seen as down
MOST_SECONDS = 3.0


@contextmanager
def hung(cluster: Cluster, name: str) -> Iterator[None]:
    (pid,) = [process["pid"] for process in cluster.processes("node") if process["name"] == name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("name", ["node1", "node3"])
def test_no_request_takes_over_three_seconds_while_a_node_hangs(cluster: Cluster, name: str) -> None:
    small, large = os.urandom(16 * 1024), os.urandom(8 * MIB)
    stored = {f"{name}-{number}": small for number in range(30)} | {
        f"{name}-large-{number}": large for number in range(4)
    }
    for key, data in stored.items():
        assert cluster.put(key, data).status == 201
    cluster.wait_converged()
    until = time.monotonic() + WATCHED_SECONDS
    took: list[tuple[float, str]] = []
    failed: list[str] = []

    def client(get: Callable[[int], bool], put: Callable[[int], bool], size: str) -> None:
        number = 0
        while time.monotonic() < until:
            for what, request in ((f"{size} get", get), (f"{size} put", put)):
                started = running_time().now()
                if not request(number):
                    failed.append(f"{what} {number}")
                took.append((running_time().now() - started, what))
            number += 1

    def gets(keys: list[str]) -> Callable[[int], bool]:
        return lambda number: cluster.get(keys[number % len(keys)]).data == stored[keys[number % len(keys)]]

    def puts(prefix: str, data: bytes) -> Callable[[int], bool]:
        return lambda number: cluster.put(f"{name}-{prefix}-{number}", data).status == 201

    small_keys, large_keys = [[key for key in stored if ("large" in key) is large] for large in (False, True)]
    clients = [
        (gets(small_keys), puts("new", small), "small"),
        (gets(large_keys), puts("new-large", large), "large"),
    ]
    with hung(cluster, name):
        threads = [threading.Thread(target=client, args=one) for one in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    slowest = {what: max(seconds for seconds, of in took if of == what) for _, what in took}
    assert failed == []
    assert max(slowest.values()) <= MOST_SECONDS, slowest
    wait_until(lambda: cluster.states()[name] == "up", 30, "it is seen to be back")
    cluster.wait_converged()
