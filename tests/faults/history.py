"""What clients were told, so that the end can be compared with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import urllib3

from tests.support.cluster import Cluster
from tests.support.nodes import DirectNode
from tests.support.running_time import running_time


class History:
    """Uploads under fresh names, and checks: an acknowledged object is there, byte for byte.

    `slowest`: seconds that the longest answered request took, of those for up to 8 MiB, less what
    the machine stood still.
    """

    def __init__(self, cluster: Cluster, prefix: str, write_copies: int = 1) -> None:
        self._cluster = cluster
        self._headers = {"X-Write-Copies": str(write_copies)}
        self._prefix = prefix
        self._number = 0
        self._lock = threading.Lock()
        self.acknowledged: dict[str, bytes] = {}
        self.refused: list[str] = []
        self.slowest = 0.0

    def upload(self, size: int = 16 * 1024) -> bool:
        """Whether the upload was acknowledged. An error or a broken connection promises nothing."""
        with self._lock:
            self._number += 1
            key = f"{self._prefix}-{self._number:04}"
        body = os.urandom(size)
        began = running_time().now()
        try:
            answer = self._cluster.put(key, body, headers=self._headers)
            told = f"{answer.status} {answer.data[:200]!r}"
        except urllib3.exceptions.HTTPError as error:
            told = repr(error)
        else:
            self._timed(began, size)
            if answer.status == 201:
                with self._lock:
                    self.acknowledged[key] = body
                return True
        with self._lock:
            self.refused.append(told)
        return False

    def upload_many(self, count: int, clients: int = 4) -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda _: self.upload(), range(count)))

    def wrong(self) -> list[str]:
        """Acknowledged objects that cannot be downloaded whole now, with what came instead."""

        def check(item: tuple[str, bytes]) -> str | None:
            key, body = item
            began = running_time().now()
            answer = self._cluster.get(key)
            self._timed(began, len(body))
            if answer.status != 200:
                return f"{key}: {answer.status} {answer.data[:200]!r}"
            return None if answer.data == body else f"{key}: {len(answer.data)} other bytes"

        with ThreadPoolExecutor(4) as pool:
            return [found for found in pool.map(check, list(self.acknowledged.items())) if found]

    def wrong_on(self, nodes: Mapping[str, DirectNode]) -> list[str]:
        """Blobs of acknowledged objects that a node does not have, or not with the bytes the others have."""
        found = []
        for key in self.acknowledged:
            for name in self._cluster.blobs(key):
                held = {node: direct.read(name) for node, direct in nodes.items()}
                if len(set(held.values())) > 1 or None in held.values():
                    found.append(f"{key}: " + ", ".join(f"{node} {len(data or b'')}" for node, data in held.items()))
        return found

    def _timed(self, began: float, size: int) -> None:
        with self._lock:
            if size <= 8 << 20:
                self.slowest = max(self.slowest, running_time().now() - began)

    def during(self, happening: Callable[[], object]) -> None:
        """Upload without a pause while something happens."""
        done = threading.Event()

        def keep_on() -> None:
            while not done.is_set():
                self.upload()

        with ThreadPoolExecutor(3) as pool:
            for _ in range(3):
                pool.submit(keep_on)
            try:
                happening()
            finally:
                done.set()
