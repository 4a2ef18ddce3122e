"""A request's body, cut into chunks, counted and digested as it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.crypto.envelope import CHUNK
from common.errors import BodyCut, BodyTimeout, DigestMismatch, TooLarge


class Body(Protocol):
    """Where the bytes of an upload come from."""

    def readinto(self, buffer: memoryview) -> int:
        """Put up to len(buffer) bytes there; how many, 0 at the end. BodyCut, BodyTimeout, TooLarge."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the client announced of the body: its length, and raw digests of it."""

    length: int | None = None
    md5: bytes | None = None
    sha256: bytes | None = None


class Receiver:
    """Hands the body out in whole chunks; holds one chunk, never more. `beat` is called whenever bytes came."""

    def __init__(self, body: Body, expected: Expected, limit: int, beat: Callable[[], None]) -> None:
        if expected.length is not None and expected.length > limit:
            raise _too_large(limit)
        self._body = body
        self._expected = expected
        self._limit = limit
        self._beat = beat
        self._left = limit + 1 if expected.length is None else expected.length
        self._memory = memoryview(bytearray(min(CHUNK, self._left)))
        self._held = 0
        self._sha256 = hashlib.sha256()
        self._md5 = None if expected.md5 is None else hashlib.md5(usedforsecurity=False)
        self.received = 0

    def take(self, most: int) -> memoryview:
        """The next bytes: `most` of them (at most one chunk), fewer only at the end. Valid until the next call."""
        most = min(most, len(self._memory))
        self._fill(most, most)
        piece = self._memory[: self._held]
        self._held = 0
        self._sha256.update(piece)
        if self._md5 is not None:
            self._md5.update(piece)
        return piece

    def more(self) -> bool:
        """Whether there are bytes that were not taken yet. Waits for the client until that is known."""
        self._fill(1, len(self._memory))
        return self._held > 0

    @property
    def complete(self) -> bool:
        """The end was seen, or all announced bytes came: `more` will not have to wait for the client."""
        return self._left == 0

    def check(self) -> bytes:
        """The body's SHA-256, once length and digests are what was announced. BodyCut, DigestMismatch."""
        length = self._expected.length
        if length is not None and self.received != length:
            raise BodyCut(f"the body ended after {self.received} of {length} bytes")
        if self._md5 is not None and self._md5.digest() != self._expected.md5:
            raise DigestMismatch("the body does not have the digest of Content-MD5")
        sha256 = self._sha256.digest()
        if self._expected.sha256 is not None and sha256 != self._expected.sha256:
            raise DigestMismatch("the body does not have the digest of Repr-Digest")
        return sha256

    def _fill(self, want: int, room: int) -> None:
        """Read until `want` bytes are held, at most `room`. What comes behind the announced length is not ours."""
        while self._held < want and self._left:
            got = self._body.readinto(self._memory[self._held : min(room, self._held + self._left)])
            self._left = self._left - got if got else 0
            self._held += got
            self.received += got
            if self.received > self._limit:
                raise _too_large(self._limit)
            self._beat()


class BreakingReceiver(Receiver):
    """For a body that may break off: it ends with its last whole chunk then, and `error` says how."""

    error: BodyCut | BodyTimeout | None = None

    def take(self, most: int) -> memoryview:
        try:
            return super().take(most)
        except (BodyCut, BodyTimeout) as error:
            self._break_off(error)
            return self._memory[:0]

    def more(self) -> bool:
        try:
            return super().more()
        except (BodyCut, BodyTimeout) as error:
            self._break_off(error)
            return False

    def _break_off(self, error: BodyCut | BodyTimeout) -> None:
        self.error = error
        self._held = self._left = 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body has more than the {limit} bytes that are taken here")
