"""A large file on its way to the store over several requests, which goes on where it broke off.

1. If an earlier run left an upload of the same file, with the same options, ask where it stands. One of a file that has
   changed is ended; one that expired, or whose object was replaced since, is left. Then, or else, begin one, note it.
2. Send piece by piece, each with its SHA-256 and its offset, until all bytes are there.
3. If that breaks, wait (`Backoff`), ask where to go on, and go on from there; every piece that came through begins the
   waits anew. The first request is sent once, as all others of this client.
4. **Commit point**: the answer to the last piece, or to the question after it, names the object's version.
5. What was noted goes; the size that the store tells of is compared with the file's.

Why pieces have checksums: the store compares no digest of the whole here, and TCP's sum finds too little. The price,
that nothing is kept of a piece that broke off, is bounded by the size of a piece, which is halved on each break: a line
that never lets PIECE through still lets the file through. And it makes sure of what is stored: a piece is read for its
checksum, the file is seen to be unchanged after that, and bytes that are others when they are sent do not count. So the
object is the file as it was at one moment, the last look before the last piece.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from cli.client.address import Address
from cli.client.http import Client, Refused, Unreachable
from cli.output import size
from cli.progress import Advance, Bars
from cli.transfer.backoff import Backoff
from cli.transfer.source_file import SourceFile
from cli.transfer.streams import LocalFile, same_length
from cli.transfer.tus import CHECKSUM, GONE, HELD, Tus, UploadState
from cli.transfer.upload_record import UploadRecord
from common.errors import BovedaError, Unavailable

LARGE = 64 << 20  # files above this go this way
PIECE = 16 << 20  # whole blobs of the default size: the object has no more of them than one sent in one request
PIECE_LEAST = 1 << 20
_ASK_AGAIN = frozenset({HELD, CHECKSUM, 500})  # after a 500, too, the store tells what became of it
_NOT_NOW = (401, 403)  # with another token it may go on

Tell = Callable[[str], None]


class ResumableUpload:
    """One file to one object. `headers` are those of a PUT; `tell` says what the user should know of."""

    def __init__(
        self,
        client: Client,
        target: Address,
        source: SourceFile,
        headers: Mapping[str, str],
        noted: UploadRecord,
        bars: Bars,
        tell: Tell,
    ) -> None:
        self._client = client
        self._tus = Tus(client, source.size)
        self._target = target
        self._source = source
        self._headers = headers
        self._noted = noted
        self._bars = bars
        self._tell = tell
        terms = json.dumps([source.size, *source.mark, dict(headers)], sort_keys=True)
        self._terms = hashlib.sha256(terms.encode()).hexdigest()
        self._backoff = Backoff(also=_ASK_AGAIN)
        self._piece = PIECE
        self._furthest = 0
        self._shown = -1
        self._advance: Advance

    def run(self) -> Any:
        """The object's document. What `Client` raises, LocalFile, WrongBytes."""
        try:
            etag = self._send()
        except LocalFile:
            if self._source.changed():
                self._end()
            raise
        except (Unavailable, Refused) as error:
            raise self._given_up(error) from None
        finally:
            if not self._noted.lasting:
                self._end()
        stored = None
        with suppress(BovedaError):  # it is stored, whatever becomes of this question
            stored = self._document(etag)
        stored = stored or self._as_sent(etag)
        same_length(self._source.name, self._source.size, int(stored["size"]))
        return stored

    def _send(self) -> str:
        at: UploadState | None = self._resume() or self._begin()
        while at is None or at.etag is None:
            if at is not None and at.offset > self._furthest:
                self._furthest = at.offset
                self._backoff.moved()
            try:
                at = self._append(at.offset) if at is not None else self._tus.look(self._upload)
            except (Unavailable, Refused) as error:
                if self._furthest and isinstance(error, Refused) and error.status in GONE:
                    self._expired()
                    at = self._begin()
                else:
                    at = None
                    self._backoff.wait(error)
        self._noted.forget()
        return at.etag

    def _append(self, offset: int) -> UploadState:
        if self._shown != offset:
            self._advance = self._bars.start(str(self._target), self._source.size, offset)
            self._shown = offset
        length = min(self._piece, self._source.size - offset)
        checksum, body = self._source.piece(offset, length, self._passed)
        try:
            at = self._tus.append(self._upload, offset, length, checksum, body)
        except BovedaError:
            self._piece = max(self._piece // 2, PIECE_LEAST)
            raise
        self._piece = min(self._piece * 2, PIECE)
        return at

    def _passed(self, count: int) -> None:
        self._shown += count
        self._advance(count)

    # -- an upload's beginning and end

    def _resume(self) -> UploadState | None:
        """Where an earlier run's upload stands; None if there is none to go on with."""
        if self._noted.upload is None:
            return None
        if self._noted.terms != self._terms:
            self._end()
            self._tell(
                f"{self._source.name}: it or the options are others than when it was sent in part; it is sent anew"
            )
            return None
        try:
            at = self._tus.look(self._upload)
        except Refused as error:
            if error.status not in GONE:
                raise
            self._expired()
            return None
        if at.etag is not None and not self._is_there(at.etag):
            self._noted.forget()
            return None
        return at

    def _begin(self) -> UploadState:
        self._noted.note(self._tus.begin(self._target, self._headers), self._terms)
        if not self._noted.lasting:
            self._tell(f"{self._source.name}: nowhere to note how far it is; interrupted, it will have to be sent anew")
        return UploadState(0, None)

    @property
    def _upload(self) -> str:
        assert self._noted.upload is not None
        return self._noted.upload

    def _expired(self) -> None:
        self._tell(f"{self._target}: what was sent before has expired or was ended; it is sent anew")
        self._noted.forget()
        self._furthest = 0

    def _end(self) -> None:
        """It is not wanted any more. If that cannot be said now, it expires by itself."""
        if self._noted.upload is not None:
            with suppress(BovedaError):
                self._tus.end(self._upload)
            self._noted.forget()

    def _given_up(self, error: Unavailable | Refused) -> BovedaError:
        """The same error, with what is kept. An upload that the store will not take to its end is ended."""
        if not self._backoff.passes(error) and not (isinstance(error, Refused) and error.status in _NOT_NOW):
            self._end()
        if not self._furthest or not self._noted.lasting or self._noted.upload is None:
            return error
        kept = f"{size(self._furthest)} of {size(self._source.size)} are kept, the same command goes on from there"
        if isinstance(error, Refused) and error.status != HELD:
            return Refused({**error.problem, "detail": f"{error.detail}; {kept}"})
        return Unreachable(f"{error.detail}; {kept}")

    # -- what is stored

    def _document(self, etag: str) -> Any:
        """The object's document; None if it is not of this version."""
        query = {"prefix": self._target.key, "limit": "1"}
        found = self._client.json("GET", f"{self._target.bucket_path}/objects", query=query)["objects"]
        here = found and found[0]["key"] == self._target.key and found[0]["etag"] == etag
        return found[0] if here else None

    def _is_there(self, etag: str) -> bool:
        """Whether what an earlier run stored has not been replaced or deleted since, as far as may be seen."""
        try:
            return self._document(etag) is not None
        except Refused:
            return False

    def _as_sent(self, etag: str) -> Any:
        """The document as far as it is known here: the token may not read, or the object was replaced at once."""
        metadata = {name[7:].lower(): value for name, value in self._headers.items() if name.startswith("X-Meta-")}
        return {
            "bucket": self._target.bucket,
            "key": self._target.key,
            "version": etag.strip('"'),
            "size": self._source.size,
            "etag": etag,
            "content_type": self._headers["Content-Type"],
            "metadata": metadata,
            "created_at": None,
            "copies": None,
            "state": None,
        }
