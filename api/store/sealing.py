"""One blob of a body, sealed whole in a buffer before anything of it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from blake3 import blake3

from api.store.buffers import Buffer, BufferPool
from api.store.receiving import Receiver
from common.crypto.envelope import CHUNK, BlobSealer, cipher_length
from common.model.names import blob_name, new_id
from common.model.versions import Blob


@dataclass(frozen=True, slots=True)
class Sealed:
    """A blob with its ciphertext, which lies in the buffer it was sealed into."""

    blob: Blob
    data: memoryview

    @property
    def name(self) -> str:
        return blob_name(self.blob.id)


@dataclass(frozen=True, slots=True)
class Sealing:
    """How the blobs of one version are sealed: under its own data key, `blob_size` bytes of plaintext each."""

    dek: bytes = field(repr=False)
    version_id: str
    blob_size: int

    def first(self, receiver: Receiver, pool: BufferPool, number: int = 0, offset: int = 0) -> tuple[Sealed, Buffer]:
        """The first blob of a body that goes on with `number` at `offset` of the version, and its buffer.

        One of its own size if the whole body fits into one chunk, else a pooled one.
        """
        chunk = receiver.take(min(CHUNK, self.blob_size))
        small = receiver.complete
        buffer = Buffer(bytearray(cipher_length(len(chunk)))) if small else pool.take()
        try:
            return self.seal(number, offset, receiver, buffer, chunk), buffer
        except BaseException:
            buffer.release()
            raise

    def seal(
        self, number: int, offset: int, receiver: Receiver, buffer: Buffer, chunk: memoryview | None = None
    ) -> Sealed:
        """Take bytes of the body, `chunk` first if it was taken already, until the blob is full or they end."""
        sealer = BlobSealer(self.dek, self.version_id, number, buffer.view)
        length = 0
        while True:
            if chunk is None:
                chunk = receiver.take(min(CHUNK, self.blob_size - length))
            length += len(chunk)
            sealer.write(chunk)
            if len(chunk) < CHUNK or length == self.blob_size or receiver.complete:
                break
            chunk = None
        data = buffer.view[: sealer.finish()]
        digest = blake3(data).digest()
        return Sealed(Blob(new_id(), number, offset, length, len(data), digest, sealer.salt), data)
