"""A file that is read for an upload over several requests, and is to stay the same meanwhile."""

from __future__ import annotations

import base64
import hashlib
import io
import os

from cli.client.http import CHUNK
from cli.progress import Advance
from cli.transfer.streams import LocalFile, UploadBody


class SourceFile:
    """A regular file; its `size` and `mark` (modification time and inode) are those it had when this was made."""

    def __init__(self, raw: io.RawIOBase, name: str) -> None:
        self._raw = raw
        self.name = name
        self.size, *self.mark = self._look()

    def piece(self, offset: int, length: int, advance: Advance) -> tuple[str, UploadBody]:
        """These bytes as a body, with their Upload-Checksum. LocalFile, also if the file is not what it was."""
        digest = hashlib.sha256()
        self._seek(offset)
        reader = UploadBody(self._raw, self.name, length, lambda count: None)
        while piece := reader.read(CHUNK):
            digest.update(piece)
        if self.changed():
            raise LocalFile(f"{self.name} changed while it was read; nothing was stored")
        self._seek(offset)
        return f"sha256 {base64.b64encode(digest.digest()).decode()}", UploadBody(self._raw, self.name, length, advance)

    def changed(self) -> bool:
        return self._look() != (self.size, *self.mark)

    def _look(self) -> tuple[int, int, int]:
        status = os.fstat(self._raw.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ino

    def _seek(self, offset: int) -> None:
        try:
            self._raw.seek(offset)
        except OSError as error:
            raise LocalFile(f"cannot read {self.name}: {error.strerror}") from error
