"""What is kept of an upload that may have to be gone on with: one small file per store, object and local file.

It lies in $XDG_STATE_HOME/boveda/uploads (~/.local/state/boveda/uploads), of mode 0600: whoever knows an upload's
address can send to it. A lock keeps a second `put` of the same file to the same object out, while the first is at it.
Where no such file can be written, uploads work, but cannot be gone on with after an interruption.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from cli.transfer.tus import UPLOAD
from common.errors import Unavailable


class InUse(Unavailable):
    """Another process sends the same file to the same object."""


def folder() -> Path | None:
    """Where they lie; None for a user without a home."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    with suppress(RuntimeError):
        return (given if given.is_absolute() else Path.home() / ".local" / "state") / "boveda" / "uploads"
    return None


class UploadRecord:
    """The record of one upload, locked until `close`. `upload`: its address; `terms`: of which bytes, and stored how.

    `lasting`: whether the record outlives this process.
    """

    def __init__(self, store: str, target: str, file: str) -> None:
        self._names = {"store": store, "object": target, "file": os.path.realpath(file)}
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self.upload: str | None = None
        self.terms: str | None = None
        where = folder()
        if where is not None:
            name = hashlib.sha256(json.dumps(self._names).encode()).hexdigest()[:40]
            with suppress(OSError):
                where.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._open(where / f"{name}.json")
            self._read()

    @property
    def lasting(self) -> bool:
        return self._file is not None

    def note(self, upload: str, terms: str) -> None:
        self.upload, self.terms = upload, terms
        self._write({**self._names, "upload": upload, "terms": terms})

    def forget(self) -> None:
        self.upload = self.terms = None
        self._write(None)

    def close(self) -> None:
        """Without an upload nothing of it is left."""
        if self._file is None or self._path is None:
            return
        with suppress(OSError):
            if self.upload is None:
                os.unlink(self._path)
        self._drop()

    def _open(self, path: Path) -> None:
        while True:
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", buffering=0)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(path).st_ino == os.fstat(self._file.fileno()).st_ino:
                    self._path = path
                    return
            except FileNotFoundError:
                pass  # whoever had it has just finished
            except BlockingIOError:
                self._drop()
                raise InUse("another `boveda put` is sending this file to this object; try again later") from None
            except OSError:
                self._drop()
                raise
            self._drop()

    def _read(self) -> None:
        """What cannot be understood was never finished writing."""
        if self._file is None:
            return
        try:
            kept: Any = json.loads(self._file.read())
            upload, terms = kept["upload"], kept["terms"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        if isinstance(upload, str) and UPLOAD.fullmatch(upload):
            self.upload, self.terms = upload, str(terms)

    def _write(self, value: object) -> None:
        if self._file is None:
            return
        try:
            self._file.seek(0)
            self._file.truncate(0)
            if value is not None:
                self._file.write(json.dumps(value, indent=2).encode())
        except OSError:  # a full disk: what is left is not understood, as if it were not there
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._path = None
