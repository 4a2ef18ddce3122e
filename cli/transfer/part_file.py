"""Where a download's bytes go: a part of a file beside its target, or a stream that takes nothing back.

A file becomes visible in four steps: 1. the part `.NAME.VERSION.boveda-part` beside the target, of mode 0600, 2. every
byte written to it, 3. its length and SHA-256 compared with what the API announced (`cli/transfer/download.py`), 4. the
rename. Before 4 the target is as it was. A part that was left behind is gone on with: its name says which version it is
of, a lock keeps a second download out of it, and the bytes that are there are read again for the digest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from cli.transfer.streams import LocalFile
from common.errors import BovedaError

SUFFIX = ".boveda-part"
READ_BYTES = 1 << 20
_NAME_BYTES = 120  # of the target's name in the part's: file systems allow 255 in all
_VERSION = re.compile(r"[A-Za-z0-9-]{1,64}")
_ETAG = re.compile(rf'"({_VERSION.pattern})"')


class Replaced(BovedaError):
    """The object was replaced while it was read, and what went out cannot be taken back."""


class Sink(Protocol):
    """`count` bytes of the version `etag` are there; `sha256` is that of these bytes."""

    count: int
    etag: str | None
    sha256: hashlib._Hash

    def begin(self, etag: str | None) -> None:
        """What was written is forgotten: the bytes of this version follow, from its first. Replaced if it cannot be."""

    def write(self, data: bytes) -> None:
        """LocalFile if that cannot be done."""


class Stream:
    """Standard output, a device or a pipe."""

    def __init__(self, out: IO[bytes], name: str) -> None:
        self._out = out
        self._name = name
        self.count = 0
        self.etag: str | None = None
        self.sha256 = hashlib.sha256()

    def begin(self, etag: str | None) -> None:
        if self.count:
            raise Replaced(f"the object was replaced while it was read; {self._name} has the beginning of the old one")
        self.etag = etag

    def write(self, data: bytes) -> None:
        with _local(self._name):
            self._out.write(data)
        self.sha256.update(data)
        self.count += len(data)

    def flush(self) -> None:
        with _local(self._name):
            self._out.flush()


class PartFile:
    """The part of one target. Close it at the end; without `keep` or `finish` before that, nothing of it is left."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path: Path | None = None
        self._file: IO[bytes] | None = None
        self.etag: str | None = None
        self._clear()
        for path in self._left_behind():
            if self._resume(path):
                break

    def begin(self, etag: str | None) -> None:
        self.discard()
        version = _ETAG.fullmatch(etag or "")
        with _local(str(self._target)):
            if version is None or not self._open(self._beside(version[1]), os.O_CREAT):
                self._open_private()
            self._out.truncate(0)
        self.etag = etag

    def write(self, data: bytes) -> None:
        with _local(str(self._target)):
            self._out.write(data)
        self.sha256.update(data)
        self.count += len(data)

    def finish(self) -> None:
        """The part becomes the target, and what earlier downloads to it left behind goes."""
        with _local(str(self._target)):
            assert self._path is not None
            self._out.flush()
            os.fchmod(self._out.fileno(), _mode_for(self._target))
            os.replace(self._path, self._target)
            self._path = None
            for path in self._left_behind():
                if self._open(path):  # not while another download is at it
                    os.unlink(path)
                    self._path = None

    def keep(self) -> bool:
        """Leave the part for a later download, on the disk; whether there is one that will be found."""
        if self._path is None or not self.count or self._path not in self._left_behind():
            return False
        with suppress(OSError):
            self._out.flush()
            os.fsync(self._out.fileno())
        self._path = None
        return True

    def discard(self) -> None:
        if self._path is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
        with suppress(OSError):  # what a full disk did not take is not wanted any more
            self._close()
        self._clear()

    close = discard

    @property
    def _out(self) -> IO[bytes]:
        assert self._file is not None
        return self._file

    def _clear(self) -> None:
        self._path = self._file = self.etag = None
        self.count = 0
        self.sha256 = hashlib.sha256()

    def _stem(self) -> str:
        name = os.fsencode(self._target.name)
        if len(name) > _NAME_BYTES:
            name = name[: _NAME_BYTES - 18] + b"-" + hashlib.sha256(name).hexdigest()[:16].encode()
        return f".{os.fsdecode(name)}."

    def _left_behind(self) -> list[Path]:
        stem = self._stem()
        try:
            names = os.listdir(self._target.parent)
        except OSError:
            return []
        own = (name for name in names if name.startswith(stem) and name.endswith(SUFFIX))
        return [self._target.parent / name for name in own if _VERSION.fullmatch(name[len(stem) : -len(SUFFIX)])]

    def _resume(self, path: Path) -> bool:
        """Go on with a part. Its last byte is asked for again: then there is always something left to ask for."""
        with _local(str(path)):
            if not self._open(path):
                return False
            left = max(os.fstat(self._out.fileno()).st_size - 1, 0)
            while left and (data := self._out.read(min(left, READ_BYTES))):
                self.sha256.update(data)
                self.count += len(data)
                left -= len(data)
            self._out.truncate(self.count)
        self.etag = f'"{path.name[len(self._stem()) : -len(SUFFIX)]}"'
        return True

    def _beside(self, version: str) -> Path:
        return self._target.parent / f"{self._stem()}{version}{SUFFIX}"

    def _open(self, path: Path, flags: int = 0) -> bool:
        """Open and lock a part; False if it is not ours, or another download has it or has just finished it."""
        self._close()
        with suppress(OSError):
            self._file = os.fdopen(os.open(path, flags | os.O_RDWR | os.O_NOFOLLOW, 0o600), "r+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            opened, there = os.fstat(self._file.fileno()), os.stat(path, follow_symlinks=False)
            if (there.st_ino, there.st_uid) == (opened.st_ino, os.geteuid()) and stat.S_ISREG(opened.st_mode):
                self._path = path
                return True
        self._close()
        return False

    def _open_private(self) -> None:
        """A part that no other download will find, for a version whose own is not to be had."""
        path = self._beside("." + secrets.token_hex(8))
        self._path = path  # before the file is there: an interrupt at any moment finds it to delete
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def _local(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalFile(f"cannot write {name}: {error.strerror}") from error


def _mode_for(target: Path) -> int:
    """The mode a file written in place would have: that of the one replaced, else the umask's."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
