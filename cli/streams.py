"""Bytes on their way between the terminal's files and the API, counted and digested as they pass, in constant memory.

A download becomes visible in four steps: 1. a temporary file beside the target, 2. every byte written to it, 3. its
length and SHA-256 compared with what the API announced, 4. the rename. Before 4 the target is as it was.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cli.progress import Advance
from common.errors import BovedaError


class WrongBytes(BovedaError):
    """What was transferred is not what was announced."""


class LocalFile(BovedaError):
    """A file of this machine cannot be read or written."""


class Upload:
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
        _same_length(self._name, self.count, stored)


def sha256_of(source: io.RawIOBase) -> str:
    """The Repr-Digest header of a file's whole content; the file stands at its beginning afterwards.

    The API compares it before the upload becomes visible; that is worth reading the file twice.
    """
    digest = hashlib.file_digest(source, "sha256").digest()
    source.seek(0)
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def copy_verified(
    name: str, chunks: Iterable[bytes], headers: Mapping[str, str], out: IO[bytes], advance: Advance
) -> int:
    """Write an answer's body to `out`; the bytes written. WrongBytes if length or digest are not as announced."""
    digest = hashlib.sha256()
    count = 0
    for chunk in chunks:
        out.write(chunk)
        digest.update(chunk)
        count += len(chunk)
        advance(len(chunk))
    out.flush()
    _same_length(name, count, int(headers.get("Content-Length", count)))
    announced = repr_digest(headers.get("Repr-Digest", ""))
    if announced is not None and announced != digest.digest():
        raise WrongBytes(f"{name}: the SHA-256 of the bytes is not the one the API tells of")
    return count


def _same_length(name: str, count: int, told: int) -> None:
    if count != told:
        raise WrongBytes(f"{name}: {count} bytes were transferred, the API tells of {told}")


def repr_digest(header: str) -> bytes | None:
    """The sha-256 of a Repr-Digest header (RFC 9530); None if there is none in it."""
    for member in header.split(","):
        algorithm, _, value = member.strip().partition("=")
        if algorithm.lower() == "sha-256" and value.startswith(":") and value.endswith(":"):
            with suppress(ValueError):
                return base64.b64decode(value[1:-1], validate=True)
    return None


@contextmanager
def written_whole(target: Path) -> Iterator[IO[bytes]]:
    """A file that becomes `target` when the block ends well, and leaves no trace otherwise.

    Through a symbolic link its destination is replaced. Devices and pipes have no "beside": they are written to
    directly.
    """
    try:
        target = Path(os.path.realpath(target))
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            with target.open("wb") as out:
                yield out
            return
        # The name is known before the file is there: an interrupt at any moment finds it to delete.
        temporary = target.parent / f".boveda-{secrets.token_hex(8)}.part"
        try:
            with open(temporary, "xb", opener=_private) as out:
                yield out
                os.fchmod(out.fileno(), _mode_for(target))
            os.replace(temporary, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise LocalFile(f"cannot write {target}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _mode_for(target: Path) -> int:
    """The mode a file written in place would have: that of the one replaced, else the umask's."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
