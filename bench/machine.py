"""On what it was measured: the machine, and the versions of all that took part."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.systems import RCLONE
from cli.cluster.home.programs import find_minio, find_queue, find_seaweedfs

_PACKAGES = ("flask", "gunicorn", "celery", "sqlalchemy", "pycryptodome", "minio", "urllib3")
_GIB = 1 << 30


def machine() -> dict[str, object]:
    return {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}


def described() -> dict[str, str]:
    """Words for a report: what, and which."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    found = {
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": f"{memory:.0f} GiB",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "commit": _first_line(["git", "describe", "--always", "--dirty"]),
        "node": _first_line([find_minio() or find_seaweedfs() or "", "--version"]),
        "queue": _first_line([find_queue() or "", "--version"]),
        "rclone": _first_line([RCLONE, "version"]),
        "wrk": _first_line(["wrk", "-v"]),
        "ab": _first_line(["ab", "-V"]),
        "curl": _first_line(["curl", "--version"]),
    }
    return found | {package: _installed(package) for package in _PACKAGES}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: Sequence[str]) -> str:
    if shutil.which(command[0]) is None:
        return "not there"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "says nothing"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not there"
