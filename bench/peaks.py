"""What processes take at their peak while something runs: memory, and files outside the nodes' folders."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

POLL_SECONDS = 0.2
_MIB = 1 << 20
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Peaks:
    """MiB resident of the largest process of each kind, and how much MiB the file that grew most grew."""

    resident: Mapping[str, float]
    grown: float
    grown_file: str


@dataclass
class Watch:
    """Of all processes in `sessions` (of each kind), their open files, and all files below `folders`.

    Files below `nodes` are not looked at. Kernels that do not let a process's peak be forgotten tell of one before.
    """

    sessions: Mapping[str, Sequence[int]]
    folders: Sequence[Path]
    nodes: Sequence[Path]
    _peaks: dict[int, float] = field(default_factory=dict)
    _kinds: dict[int, str] = field(default_factory=dict)
    _before: dict[tuple[int, int], int] = field(default_factory=dict)
    _grown: tuple[int, str] = (0, "")

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        for pid in self._find():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._before = {inode: size for inode, size, _ in self._files()}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.look()

    @contextmanager
    def client(self, pid: int) -> Iterator[None]:
        """This process is one of kind `client` meanwhile; its files are its own business."""
        self._kinds[pid] = "client"
        try:
            yield
        finally:
            self.look()

    def peaks(self) -> Peaks:
        resident: dict[str, float] = {}
        for pid, peak in self._peaks.items():
            kind = self._kinds[pid]
            resident[kind] = max(resident.get(kind, 0.0), peak)
        return Peaks(resident, self._grown[0] / _MIB, self._grown[1])

    def _run(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            self.look()

    def look(self) -> None:
        self._find()
        for pid in list(self._kinds):
            with suppress(OSError):
                found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
                if found:
                    self._peaks[pid] = max(self._peaks.get(pid, 0.0), int(found[1]) / 1024)
        for inode, size, name in self._files():
            self._grown = max(self._grown, (size - self._before.get(inode, 0), name))

    def _find(self) -> Sequence[int]:
        """All processes of the sessions now."""
        kinds = {session: kind for kind, of in self.sessions.items() for session in of}
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                # Behind the name in parentheses: state, ppid, pgrp, session.
                session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
                if session in kinds:
                    self._kinds[int(entry.name)] = kinds[session]
                    found.append(int(entry.name))
        return found

    def _files(self) -> Iterator[tuple[tuple[int, int], int, str]]:
        """Device and inode, size, name: of what lies in the folders, and what is open, though it may be deleted."""
        for folder in self.folders:
            for parent, names, files in os.walk(folder):
                names[:] = [name for name in names if Path(parent, name) not in self.nodes]
                yield from _regular(Path(parent, name) for name in files)
        for pid, kind in list(self._kinds.items()):
            if kind != "client":
                with suppress(OSError):
                    yield from filter(self._is_ours, _regular(Path(f"/proc/{pid}/fd").iterdir()))

    def _is_ours(self, found: tuple[tuple[int, int], int, str]) -> bool:
        return not any(Path(found[2]).is_relative_to(node) for node in self.nodes)


def _regular(paths: Iterator[Path]) -> Iterator[tuple[tuple[int, int], int, str]]:
    for path in paths:
        with suppress(OSError):
            about = path.stat()
            if stat.S_ISREG(about.st_mode):
                name = os.readlink(path) if path.is_symlink() else str(path)
                yield (about.st_dev, about.st_ino), about.st_size, name
