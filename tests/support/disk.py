"""A node's disk, damaged in the server's own files while it runs.

A byte that is changed by a put makes a right object of other bytes. One that is changed on the disk is rot: the server
finds its own checksum wrong, and refuses the name. Neither MinIO nor SeaweedFS keeps bytes in memory that hide it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from common.blobstore.base import Deadline
from common.blobstore.s3_store import S3Store, open_store
from common.errors import BlobMissing, BlobStoreError, NodeError
from common.model.nodes import NodeSpec

WINDOW: Final = 64
PATIENCE: Final = 2.0
"""Seconds; SeaweedFS tries a rotten chunk for 13 s before it refuses it, a right one comes at once."""


class Disk:
    """The folder in which a MinIO or a SeaweedFS keeps a bucket; `store` is a client of that server.

    Each kind of damage is there when the method returns: the server was asked.
    """

    def __init__(self, folder: Path, store: S3Store, bucket: str = "boveda") -> None:
        self._folder = folder
        self._store = store
        self._bucket = bucket
        self._minio = (folder / ".minio.sys").is_dir()

    @classmethod
    def of(cls, process: dict[str, Any]) -> Disk:
        """Of a node of a running cluster: a row of `boveda cluster --json`."""
        spec = NodeSpec(process["name"], process["endpoint"], process["bucket"], process["name"])
        return cls(Path(process["data"]), open_store(spec, Path(process["credentials"])), process["bucket"])

    def read(self, name: str) -> bytes | None:
        """None where the server does not give the whole object, for whatever reason, within a moment."""
        try:
            with self._store.get(name, Deadline(PATIENCE)) as answer:
                return b"".join(answer.chunks(1 << 20))
        except BlobStoreError:
            return None

    def names(self, prefix: str) -> set[str]:
        """Up to a thousand of them."""
        return {blob.name for blob in self._store.list(prefix, Deadline(10)).blobs}

    def close(self) -> None:
        self._store.close()

    # -- what can happen to an object

    def flip(self, name: str, stored: bytes, offset: int) -> None:
        """Change the byte at `offset` of an object whose bytes are `stored` (random ones: they are searched for)."""
        path, at = self._find(name, stored, offset)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([stored[offset] ^ 1]))
        self._store.stat(name, Deadline(PATIENCE))  # nothing is known to be wrong with it
        self._refuses(name, offset, NodeError)

    def cut(self, name: str) -> None:
        """MinIO: the file with a larger object's bytes loses its second half."""
        part = self._part(name)
        size = part.stat().st_size // 2
        with part.open("r+b") as file:
            file.truncate(size)
        self._refuses(name, size, NodeError)

    def remove_part(self, name: str) -> None:
        """MinIO: the file with a larger object's bytes is gone; what is known about it is not."""
        self._part(name).unlink()
        self._refuses(name, 0, NodeError)

    def lock(self, name: str) -> None:
        """MinIO: what it knows about the object is rotten. The name is refused to all, to PUT and DELETE as well."""
        with self._meta(name).open("r+b") as file:
            file.write(b"\0")
        self._refuses(name, 0, NodeError)

    def forget(self, name: str) -> None:
        """MinIO: what it knows about the object has no bytes any more. To the server there is no such object."""
        with self._meta(name).open("r+b") as file:
            file.truncate(0)
        self._refuses(name, 0, BlobMissing)

    def remove(self, name: str) -> None:
        """MinIO: the object's folder is removed by hand."""
        shutil.rmtree(self._folder / self._bucket / name)
        self._refuses(name, 0, BlobMissing)

    # -- where it lies

    def _find(self, name: str, stored: bytes, offset: int) -> tuple[Path, int]:
        """The file and the place in it. The last one: SeaweedFS appends, and leaves the bytes that were replaced."""
        start = min(offset, len(stored) - WINDOW)
        for path in self._files(name):
            at = path.read_bytes().rfind(stored[start : start + WINDOW])
            if at >= 0:
                return path, at + offset - start
        raise AssertionError(f"no file in {self._folder} has these bytes of {name}")

    def _files(self, name: str) -> list[Path]:
        if not self._minio:
            return sorted(self._folder.glob("*.dat"))
        return [path for path in (self._folder / self._bucket / name).rglob("*") if path.is_file()]

    def _meta(self, name: str) -> Path:
        return self._folder / self._bucket / name / "xl.meta"

    def _part(self, name: str) -> Path:
        (part,) = (self._folder / self._bucket / name).glob("*/part.1")
        return part

    def _refuses(self, name: str, offset: int, error: type[BlobStoreError]) -> None:
        try:
            with self._store.get(name, Deadline(PATIENCE), offset, 1) as answer:
                answer.readinto(memoryview(bytearray(1)))
        except error:
            return
        raise AssertionError(f"the server still gives out byte {offset} of {name}")
