"""A download that goes on where it broke off.

1. Ask for the object; if a part of it is there, for the rest, `If-Range` its version: another one comes from its start.
2. Write what comes. If the connection breaks or the store is away, wait (`Backoff`) and go on from 1; every new byte
   begins the waits anew. The first request is sent once, as all others of this client: a store that is away is told of.
3. Compare length and SHA-256 with what was announced. If they are wrong and an earlier run had left a part, that may be
   the reason: fetch the whole once more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from urllib3.response import BaseHTTPResponse

from cli.client.address import Address
from cli.client.http import AnswerCut, Client, Foreign, Refused, Unreachable
from cli.progress import Advance, Bars
from cli.transfer.backoff import Backoff
from cli.transfer.part_file import Sink
from cli.transfer.streams import TransferMismatch, repr_digest, same_length

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Announced:
    """What the API says of the whole object."""

    size: int | None
    sha256: bytes | None


class Download:
    """One object into one sink."""

    def __init__(self, client: Client, source: Address, sink: Sink, bars: Bars) -> None:
        self._client = client
        self._source = source
        self._sink = sink
        self._bars = bars
        self._advance: Advance | None = None
        self._furthest = 0

    def run(self) -> None:
        """The sink has all bytes of one version, and they are right. What `Client` raises, WrongBytes, LocalFile."""
        resumed = self._sink.count > 0
        try:
            self._fetch()
        except TransferMismatch:
            if not resumed:
                raise
            self._sink.begin(None)
            self._fetch()

    def _fetch(self) -> None:
        backoff = Backoff()
        while True:
            self._furthest = max(self._furthest, self._sink.count)
            try:
                return self._check(self._go_on())
            except (AnswerCut, Unreachable, Refused) as error:
                if self._sink.count > self._furthest:
                    backoff.moved()
                if self._advance is None:
                    raise
                backoff.wait(error)

    def _go_on(self) -> Announced:
        sink = self._sink
        answer = self._ask()
        announced = self._announced(answer)
        if self._advance is None or answer.status != 206:
            self._advance = self._bars.start(str(self._source), announced.size, sink.count)
        for chunk in self._client.chunks(answer):
            sink.write(chunk)
            self._advance(len(chunk))
        return announced

    def _ask(self) -> BaseHTTPResponse:
        sink, path = self._sink, self._source.path()
        headers = {"Range": f"bytes={sink.count}-", "If-Range": sink.etag} if sink.count and sink.etag else {}
        try:
            return self._client.send("GET", path, headers=headers)
        except Refused as refused:
            if refused.status != 416 or not headers:
                raise
        return self._client.send("GET", path)  # the part is longer than the object

    def _announced(self, answer: BaseHTTPResponse) -> Announced:
        """Brings the sink to where the answer begins."""
        sink, headers = self._sink, answer.headers
        digest = repr_digest(headers.get("Repr-Digest", ""))
        if answer.status != 206:
            if sink.etag != headers.get("ETag"):
                self._furthest = 0
            sink.begin(headers.get("ETag"))
            length = headers.get("Content-Length")
            return Announced(None if length is None else int(length), digest)
        span = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if span is None or int(span[1]) != sink.count or headers.get("ETag") != sink.etag:
            answer.close()
            raise Foreign(f"what answers at {self._client.url} is not a Bóveda API (another range than was asked for)")
        return Announced(int(span[3]), digest)

    def _check(self, announced: Announced) -> None:
        name, sink = str(self._source), self._sink
        if announced.size is not None:
            same_length(name, sink.count, announced.size)
        if announced.sha256 is not None and announced.sha256 != sink.sha256.digest():
            raise TransferMismatch(f"{name}: the SHA-256 of the bytes is not the one the API tells of")
