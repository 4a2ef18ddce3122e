"""The embedded cluster as a drill touches it: its API as any client, its processes and disks as a disaster would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from cli.client.http import Client
from cli.cluster import process_control
from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.home.state import ProcessRow
from common.blobstore.base import BlobStore
from common.blobstore.s3_store import open_store
from common.errors import BovedaError, Unavailable
from common.model.nodes import NodeSpec
from common.model.times import parse_rfc3339

POLL_SECONDS: Final = 0.1
_JSON: Final = {"Content-Type": "application/json"}
_PAGE: Final = "1000"


class TooSlow(BovedaError):
    """Something that has to come about did not, in the time it has."""


class Stage:
    """`bucket` is the drill's own. Safe across threads as far as `client` is called in each."""

    def __init__(self, home: Home, url: str, token: str | None, hostname: str | None, bucket: str) -> None:
        self._home = home
        self._url = url
        self._token = token
        self._hostname = hostname
        self.bucket = bucket
        self._api = self.client()

    # -- as a client

    def client(self) -> Client:
        """A connection of its own."""
        return Client(self._url, self._token)

    def path(self, key: str, family: str = "objects") -> str:
        return f"/v1/buckets/{self.bucket}/{family}/{quote(key, safe='')}"

    def ask(self, method: str, path: str, document: object = None, query: Mapping[str, str] | None = None) -> Any:
        body = None if document is None else json.dumps(document)
        return self._api.json(method, path, query=query, headers=_JSON if body else None, body=body)

    def states(self) -> dict[str, str]:
        """Each node's shown state."""
        return {node["name"]: node["state"] for node in self.ask("GET", "/v1/nodes")["nodes"]}

    def missing(self, name: str) -> int:
        """How many copies a node does not have yet."""
        return next(int(node["missing"]) for node in self.ask("GET", "/v1/nodes")["nodes"] if node["name"] == name)

    def copies(self, key: str) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.ask("GET", self.path(key, "copies"))["copies"]
        return found

    def wait_whole(self, seconds: float, what: str) -> float:
        """Wait until every object there is now has all its copies; the seconds it took. TooSlow.

        While counting is slow, a status may have been counted before this began.
        """
        began = time.time()

        def whole() -> bool:
            status = self.ask("GET", "/v1/status")
            waiting = any(count for shown, count in status["objects"].items() if shown != "protected")
            return not waiting and parse_rfc3339(status["counted_at"]) >= began

        return self.wait(whole, seconds, what)

    def objects(self, bucket: str) -> Iterator[Mapping[str, Any]]:
        """Every object of a bucket, page by page."""
        query = {"limit": _PAGE}
        while True:
            page = self.ask("GET", f"/v1/buckets/{bucket}/objects", query=query)
            yield from page["objects"]
            if page["next"] is None:
                return
            query["after"] = page["next"]

    def everything(self) -> Iterator[Mapping[str, Any]]:
        """Every object of every bucket."""
        for bucket in self.ask("GET", "/v1/buckets")["buckets"]:
            yield from self.objects(bucket["name"])

    # -- as a disaster

    def rows(self, kind: str) -> Sequence[ProcessRow]:
        found = state.read(self._home)
        return [row for row in found.rows if row.kind == kind] if found else []

    def kill(self, name: str) -> None:
        """It stays down until it is started."""
        process_control.end(self._home, "kill", name)

    def start(self, name: str) -> None:
        process_control.start(self._home, name, self._hostname)

    def kill_workers(self) -> None:
        """All of them at once; their supervisor starts them again."""
        before = {row.name: row.identity for row in self.rows("worker")}
        for identity in before.values():
            if identity is not None:
                with suppress(ProcessLookupError):
                    os.kill(identity.pid, signal.SIGKILL)
        self.wait(lambda: self._are_others(before), 60, "the workers run again")

    def _are_others(self, before: Mapping[str, object]) -> bool:
        return all(row.identity is not None and row.identity != before[row.name] for row in self.rows("worker"))

    def wipe(self, name: str) -> None:
        """The whole disk of a node that does not run."""
        shutil.rmtree(self._row(name).data)

    def disk(self, name: str) -> BlobStore:
        """The node itself, behind the store's back; the caller closes it."""
        row = self._row(name)
        assert row.endpoint
        assert row.bucket
        assert row.credentials
        return open_store(NodeSpec(name, row.endpoint, row.bucket, name), Path(row.credentials))

    def _row(self, name: str) -> ProcessRow:
        return next(row for row in self.rows("node") if row.name == name)

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> float:
        """Seconds until the condition held. An API that is away for a moment is no answer. TooSlow."""
        began = time.monotonic()
        while True:
            with suppress(Unavailable):
                if condition():
                    return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise TooSlow(f"not within {seconds:.0f} s: {what}")
            time.sleep(POLL_SECONDS)
