"""What clients were told, so that the end can be compared with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import urllib3

from tests.cluster import Cluster


class History:
    """Uploads under fresh names, and checks: an acknowledged object is there, byte for byte."""

    def __init__(self, cluster: Cluster, prefix: str) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._number = 0
        self._lock = threading.Lock()
        self.acknowledged: dict[str, bytes] = {}
        self.refused: list[str] = []

    def upload(self, size: int = 16 * 1024) -> bool:
        """Whether the upload was acknowledged. An error or a broken connection promises nothing."""
        with self._lock:
            self._number += 1
            key = f"{self._prefix}-{self._number:04}"
        body = os.urandom(size)
        try:
            answer = self._cluster.put(key, body)
            told = f"{answer.status} {answer.data[:200]!r}"
        except urllib3.exceptions.HTTPError as error:
            told = repr(error)
        else:
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
            answer = self._cluster.get(key)
            if answer.status != 200:
                return f"{key}: {answer.status} {answer.data[:200]!r}"
            return None if answer.data == body else f"{key}: {len(answer.data)} other bytes"

        with ThreadPoolExecutor(4) as pool:
            return [found for found in pool.map(check, list(self.acknowledged.items())) if found]

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
