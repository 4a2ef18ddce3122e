"""A file system of a few mebibytes, so that it can be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import absent
from tests.support.waiting import wait_until


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """Only root may mount one; for others the test is skipped, or fails where all of them are required."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        absent("a small disk can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """As a kernel leaves a file system on which it found errors."""
    _remount(disk, "ro")
    yield
    _remount(disk, "rw")


def _remount(disk: Path, how: str) -> None:
    """Refused (busy) for as long as a file is open for writing."""
    command = ("mount", "-o", f"remount,{how}", disk)
    wait_until(lambda: not subprocess.run(command, check=False).returncode, 10, f"the disk is {how}")


def fill(disk: Path) -> Path:
    """Until not a byte is left; the file to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            try:
                while file.write(bytes(size)):
                    continue
            except OSError:
                continue
    return filler
