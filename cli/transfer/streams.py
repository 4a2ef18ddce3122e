"""Bytes on their way to the API, counted and digested as they pass, in constant memory."""

from __future__ import annotations

import base64
import hashlib
import io
from contextlib import suppress

from cli.progress import Advance
from common.errors import BovedaError


class TransferMismatch(BovedaError):
    """What was transferred is not what was announced."""


class LocalFile(BovedaError):
    """A file of this machine cannot be read or written."""


class UploadBody:
    """A body for one request: at most `length` bytes of `source`, and the count of what was read."""

    def __init__(self, source: io.RawIOBase, name: str, length: int | None, advance: Advance) -> None:
        self._source = source
        self._name = name
        self._length = length
        self._advance = advance
        self.count = 0

    def read(self, size: int) -> bytes:
        if self._length is not None:
            size = min(size, self._length - self.count)
        try:
            piece = self._source.read(size) if size else b""
        except OSError as error:
            raise LocalFile(f"cannot read {self._name}: {error.strerror}") from error
        if piece is None:
            raise LocalFile(f"{self._name} is in non-blocking mode; its end cannot be told from a pause")
        if not piece and self._length is not None and self.count < self._length:
            raise LocalFile(f"{self._name} became shorter while it was read; nothing was stored")
        self.count += len(piece)
        self._advance(len(piece))
        return piece

    def check(self, stored: int) -> None:
        """WrongBytes unless the API stored as many bytes as were read."""
        same_length(self._name, self.count, stored)


def sha256_of(source: io.RawIOBase) -> str:
    """The Repr-Digest header of a file's whole content; the file stands at its beginning afterwards.

    The API compares it before the upload becomes visible; that is worth reading the file twice.
    """
    digest = hashlib.file_digest(source, "sha256").digest()
    source.seek(0)
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def same_length(name: str, count: int, told: int) -> None:
    if count != told:
        raise TransferMismatch(f"{name}: {count} bytes were transferred, the API tells of {told}")


def repr_digest(header: str) -> bytes | None:
    """The sha-256 of a Repr-Digest header (RFC 9530); None if there is none in it."""
    for member in header.split(","):
        algorithm, _, value = member.strip().partition("=")
        if algorithm.lower() == "sha-256" and value.startswith(":") and value.endswith(":"):
            with suppress(ValueError):
                return base64.b64decode(value[1:-1], validate=True)
    return None
