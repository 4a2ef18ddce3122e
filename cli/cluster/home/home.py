"""The home folder: what lies where, who holds it, and how it is emptied."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.errors import Conflict

SOCKET_MAX = 107
"""Longest path of a Unix socket, bytes (sun_path of Linux without its final zero)."""

_FOLDERS = ("nodes", "queue", "beat")
# Everything that any part of Bóveda puts into a home. Emptying it deletes these and nothing that a user put beside.
_OURS = (
    *("nodes", "queue", "beat", "api-metrics", "credentials", "logs"),
    *("catalogue.db*", "keyring.json*", "passphrase", ".keyring*", ".passphrase*"),
    *("cluster.json", "layout.json", "nodes.json", "control.sock", "cluster.lock"),
)


@dataclass(frozen=True, slots=True)
class Home:
    """Paths in a home folder; `path` is absolute."""

    path: Path

    @classmethod
    def of(cls, path: Path) -> Home:
        return cls(path.expanduser().resolve())

    @property
    def state(self) -> Path:
        return self.path / "cluster.json"

    @property
    def layout(self) -> Path:
        return self.path / "layout.json"

    @property
    def nodes_file(self) -> Path:
        return self.path / "nodes.json"

    @property
    def credentials(self) -> Path:
        return self.path / "credentials"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def writer_lock(self) -> Path:
        """The catalogue's file lock, which names its holder while it is held."""
        return self.path / "catalogue.db.lock"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def node(self, name: str) -> Path:
        return self.path / "nodes" / name

    def make(self) -> None:
        """The folders that every start needs."""
        for folder in (self.path, self.credentials, self.logs, *(self.path / name for name in _FOLDERS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def socket(self) -> Path:
        """Where the control socket is to be: in the home, or in a folder of its own where that path is too long."""
        path = self.path / "control.sock"
        if len(os.fsencode(path)) <= SOCKET_MAX:
            return path
        return Path(tempfile.mkdtemp(prefix="boveda-")) / "control.sock"

    def wipe(self) -> list[str]:
        """Delete all state. What is left, because it is none of ours."""
        for pattern in _OURS:
            for path in self.path.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        left = sorted(entry.name for entry in self.path.iterdir())
        if not left:
            self.path.rmdir()
        return left


class HomeLock:
    """One cluster per home: held by the supervisor for as long as it lives, however it ends."""

    def __init__(self, home: Home) -> None:
        self._path = home.path / "cluster.lock"
        self._file: int | None = None

    def try_take(self) -> bool:
        """Take it if nobody has it; its folder has to be there."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def take(self) -> None:
        """Conflict if another cluster has it."""
        if not self.try_take():
            raise Conflict(f"a cluster runs in {self._path.parent} already (`boveda cluster` shows it)")

    def leave(self) -> None:
        """Close it in this process. A child that was forked with it goes on holding it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
