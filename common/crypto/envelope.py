"""The production blob: a prefix of 16 bytes, then a message of `stream` with 1 MiB chunks. Pure but for the salt drawn.

Layout: prefix 16 ‖ salt 24 ‖ commitment 32 ‖ sealed chunks. The prefix stands in the context, so no bit of it can
change unseen; version id and blob number stand there too, so a blob opens only in its own place. The catalogue keeps
salt and plain length, so a range is read without the header. The normative text is docs/format.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from common.crypto.fields import fields
from common.crypto.stream import COMMITMENT, HEADER, SALT, TAG, Bytes, Construction
from common.errors import IntegrityError

CHUNK = 1 << 20
DEK = 32
PREFIX = b"BVDA" + bytes([1, 1, CHUNK.bit_length() - 1]) + bytes(9)  # magic, version, suite, log2 of the chunk size
OVERHEAD_HEADER = len(PREFIX) + SALT + COMMITMENT
SUITE = Construction("AEAD_AES_256_GCM", DEK, CHUNK, b"boveda/blob-v1/1MiB+")


def cipher_length(plain_length: int) -> int:
    """Bytes of the blob that holds `plain_length` bytes of plaintext."""
    return OVERHEAD_HEADER + SUITE.body_length(plain_length)


def blob_context(version_id: str, number: int) -> bytes:
    """What binds a blob to its format and its place."""
    return PREFIX + fields(version_id, number)


def dek_context(bucket_id: str, key: str, version_id: str, size: int, blob_count: int) -> bytes:
    """What binds the data key of a committed version to that version. The keyring adds the kek's id."""
    return fields(bucket_id, key, version_id, size, blob_count)


def upload_context(version_id: str) -> bytes:
    """The same for a version that is being uploaded; never equal to a committed one's, having fewer fields."""
    return fields("upload", version_id)


class BlobSealer:
    """Seals one blob straight into the caller's buffer, which has room for `cipher_length` of the whole plaintext."""

    __slots__ = ("_at", "_cipher", "_ended", "_index", "_out", "salt")

    def __init__(
        self,
        dek: bytes,
        version_id: str,
        number: int,
        out: memoryview,
        *,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Draw the salt and write the header. `draw` is another source of randomness only where vectors are made."""
        self.salt = draw(SALT)
        self._cipher = SUITE.derive(dek, self.salt, blob_context(version_id, number))
        self._out = out
        self._out[:OVERHEAD_HEADER] = PREFIX + self.salt + self._cipher.commitment
        self._at = OVERHEAD_HEADER
        self._index = 0
        self._ended = False

    def write(self, chunk: Bytes) -> None:
        """Seal the next CHUNK bytes; fewer only once, at the end. ValueError if it does not fit or comes too late."""
        if self._ended or len(chunk) > CHUNK:
            raise ValueError("a blob is written in whole chunks, and ends with the first shorter one")
        if self._at + len(chunk) + TAG > len(self._out):
            raise ValueError("the blob does not fit its buffer")
        self._at += self._cipher.seal(self._index, chunk, self._out[self._at :])
        self._index += 1
        self._ended = len(chunk) < CHUNK

    def finish(self) -> int:
        """Seal the empty last chunk if the last one written was whole; the blob's length."""
        if not self._ended:
            self.write(b"")
        return self._at


@dataclass(frozen=True, slots=True)
class Span:
    """Which sealed chunks hold a plain range: indexes, where they lie in the blob, plaintext bytes to drop in front."""

    first: int
    count: int
    offset: int
    length: int
    skip: int


def span(plain_length: int, start: int, length: int) -> Span:
    """The chunks to read for `length` bytes from `start` of a blob. ValueError unless the range lies in the blob.

    A range that reaches the blob's end takes in the last chunk even when that is empty: opening it proves the length.
    An empty range still names one chunk.
    """
    if start < 0 or length < 0 or start + length > plain_length:
        raise ValueError("the range lies outside of the blob")
    end = start + length
    first = start // CHUNK
    last = SUITE.last(plain_length) if end == plain_length else max(first, (end - 1) // CHUNK)
    tail = cipher_length(plain_length) if last == SUITE.last(plain_length) else _offset(last + 1)
    return Span(first, last - first + 1, _offset(first), tail - _offset(first), start - first * CHUNK)


def _offset(index: int) -> int:
    return OVERHEAD_HEADER + index * SUITE.sealed_chunk


class BlobOpener:
    """Opens the chunks of one blob in any order, knowing what the catalogue knows. Safe across threads."""

    __slots__ = ("_cipher", "_plain_length", "_salt")

    def __init__(self, dek: bytes, version_id: str, number: int, salt: bytes, plain_length: int) -> None:
        self._cipher = SUITE.derive(dek, salt, blob_context(version_id, number))
        self._salt = salt
        self._plain_length = plain_length

    def sealed_size(self, index: int) -> int:
        """Bytes of this chunk in the blob: CHUNK and a tag, fewer for the last. IntegrityError where there is none."""
        rest = self._plain_length - index * CHUNK
        if index < 0 or rest < 0:
            raise IntegrityError(f"the blob has no chunk {index}")
        return min(rest, CHUNK) + TAG

    def open(self, index: int, chunk: Bytes) -> bytes:
        """The plaintext of one whole sealed chunk. IntegrityError unless length and every byte are right."""
        if len(chunk) != self.sealed_size(index):
            raise IntegrityError(f"chunk {index} has a wrong length")
        return self._cipher.open(index, chunk)

    def check_header(self, header: Bytes) -> None:
        """For whole reads: IntegrityError unless the first OVERHEAD_HEADER bytes are this blob's own."""
        view = memoryview(header)
        if len(view) != OVERHEAD_HEADER or view[:-HEADER] != PREFIX or view[-HEADER:-COMMITMENT] != self._salt:
            raise IntegrityError("the blob's header is not what was sealed")
        self._cipher.check(view[-COMMITMENT:])
