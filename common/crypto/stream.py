"""The C2SP chunked-encryption construction (c2sp.org/chunked-encryption) over AES-GCM. Pure: no I/O, no randomness.

Sealing a message:
1. HKDF-Expand-SHA-512(input key, label ‖ AEAD name ‖ 0x00 ‖ salt ‖ context) gives key, base nonce and commitment.
2. The header is salt ‖ commitment.
3. The plaintext is cut into chunks; the last one is always shorter than the others, and may be empty.
4. Each chunk is sealed by itself, its nonce the base nonce XOR its index. Nothing else is authenticated per chunk.

A missing end shows because a message ends with its first short chunk. The commitment binds the input key, the salt and
the context, so a wrong one is noticed before any chunk is opened. Chunk size and label are parameters: with 16 KiB and
the official label this is Cobblestone, with whose vectors it is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from hmac import digest as hmac_digest

from Crypto.Cipher import AES

from common.errors import IntegrityError

Bytes = bytes | bytearray | memoryview

SALT = 24
COMMITMENT = 32
HEADER = SALT + COMMITMENT
TAG = 16
CHUNKS_MAX = 1 << 38  # by the specification: further chunks would wear the key out
_NONCE = 12
_HASH_BYTES = 64  # SHA-512's


def hkdf_expand(key: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes by RFC 5869, 2.3, with SHA-512; ValueError above its 255 blocks.

    Written here because PyCryptodome offers only extract and expand together, over the standard library's HMAC, which
    takes a tenth of the time.
    """
    count = -(-length // _HASH_BYTES)
    if count > 255:
        raise ValueError("HKDF-Expand gives at most 255 blocks")
    block = output = b""
    for counter in range(1, count + 1):
        block = hmac_digest(key, block + info + bytes([counter]), "sha512")
        output += block
    return output[:length]


@dataclass(frozen=True, slots=True)
class Construction:
    """What is fixed for all messages of a format. `aead` is the IANA name of AES-GCM with keys of `key_size` bytes."""

    aead: str
    key_size: int
    chunk: int
    label: bytes

    @property
    def sealed_chunk(self) -> int:
        """Bytes of a chunk with its tag, unless it is the last one."""
        return self.chunk + TAG

    def last(self, plain_length: int) -> int:
        """Index of the last chunk, the short one."""
        return plain_length // self.chunk

    def body_length(self, plain_length: int) -> int:
        """Bytes of all sealed chunks, without the header."""
        return plain_length + TAG * (self.last(plain_length) + 1)

    def plain_length(self, body_length: int) -> int:
        """The inverse; IntegrityError for lengths that no message has. Only opening the last chunk proves it."""
        last, rest = divmod(body_length, self.sealed_chunk)
        if rest < TAG:
            raise IntegrityError("the sealed message is cut off")
        return last * self.chunk + rest - TAG

    def derive(self, key: bytes, salt: bytes, context: bytes) -> ChunkCipher:
        """The cipher of one message. ValueError unless key and salt have their sizes."""
        if len(key) != self.key_size or len(salt) != SALT:
            raise ValueError(f"{self.aead} takes a key of {self.key_size} bytes and a salt of {SALT}")
        info = self.label + self.aead.encode() + b"\0" + salt + context
        output = hkdf_expand(key, info, self.key_size + _NONCE + COMMITMENT)
        return ChunkCipher(output[: self.key_size], output[self.key_size : -COMMITMENT], output[-COMMITMENT:])


class ChunkCipher:
    """Seals and opens the chunks of one message, in any order. Holds a key: never printed. Safe across threads."""

    __slots__ = ("_base", "_key", "commitment")

    def __init__(self, key: bytes, base_nonce: bytes, commitment: bytes) -> None:
        self._key = key
        self._base = int.from_bytes(base_nonce)
        self.commitment = commitment

    def check(self, commitment: Bytes) -> None:
        """IntegrityError unless the message was sealed under this input key, salt and context."""
        if not compare_digest(self.commitment, commitment):
            raise IntegrityError("sealed under another key or in another context")

    def seal(self, index: int, plain: Bytes, out: memoryview) -> int:
        """Write ciphertext and tag to the front of `out`; their length."""
        size = len(plain)
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=self._nonce(index), mac_len=TAG)
        cipher.encrypt(plain, output=out[:size])
        out[size : size + TAG] = cipher.digest()
        return size + TAG

    def open(self, index: int, sealed: Bytes) -> bytes:
        """The plaintext of a whole sealed chunk; IntegrityError. Its length is the caller's to check."""
        if len(sealed) < TAG:
            raise IntegrityError(f"chunk {index} is cut off")
        view = memoryview(sealed)
        cipher = AES.new(self._key, AES.MODE_GCM, nonce=self._nonce(index), mac_len=TAG)
        try:
            return cipher.decrypt_and_verify(view[:-TAG], view[-TAG:])
        except ValueError:
            raise IntegrityError(f"chunk {index} is not what was sealed") from None

    def _nonce(self, index: int) -> bytes:
        if not 0 <= index < CHUNKS_MAX:
            raise ValueError("a message has at most 2**38 chunks")
        return (self._base ^ index).to_bytes(_NONCE)


class Reader:
    """Opens a sealed message from front to back, one authenticated chunk at a time.

    `source(n)` gives the next n bytes, fewer only at the end. Once failed it stays failed.
    """

    def __init__(self, construction: Construction, key: bytes, context: bytes, source: Callable[[int], bytes]) -> None:
        self._construction = construction
        self._source = source
        self._index = 0
        self._failed = self._ended = False
        header = source(HEADER)
        if len(header) < HEADER:
            raise IntegrityError("the header is cut off")
        self._cipher = construction.derive(key, header[:SALT], context)
        self._cipher.check(header[SALT:])

    def read(self) -> bytes | None:
        """The next chunk of plaintext, None behind the last one. IntegrityError, then and at every later call."""
        if self._failed:
            raise IntegrityError("the message failed before")
        if self._ended:
            return None
        self._failed = True  # until the chunk has proved good
        sealed = self._source(self._construction.sealed_chunk)
        plain = self._cipher.open(self._index, sealed)
        self._ended = len(plain) < self._construction.chunk
        self._index += 1
        self._failed = False
        return plain
