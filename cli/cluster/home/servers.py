"""How each foreign server is started: its command, environment and files, as values. Nothing is started here.

Secrets go by environment or by files of mode 0600, never by arguments, which every user of a machine can read. A node
gets an environment of its own making: none of ours, where the queue's password is.

A node answers requests signed with its credentials, on one port, and nothing else to anybody: neither another user of
the machine nor a page in the user's browser, which can send to every port of 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cli.cluster.home.certificate import key_and_certificate

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
    calls, with argv as its arguments. mark: see `diskwatch`.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    endpoint: str
    ready: str = ""
    files: Mapping[Path, str] = field(default_factory=dict, repr=False)
    grace: float = 5.0
    main: str = ""
    mark: Path | None = None


def node(kind: NodeKind, program: str, data: Path, ports: Sequence[int], credentials: Credentials) -> Launch:
    """A storage node that keeps its blobs in `data/data` and everything else it writes in `data`."""
    build = _minio if kind == "minio" else _seaweedfs
    return build(program, data.resolve(), ports, credentials)


def _minio(program: str, data: Path, ports: Sequence[int], credentials: Credentials) -> Launch:
    serving, console = ports
    arguments = ("--address", f"{HOST}:{serving}", "--console-address", f"{HOST}:{console}", str(data / "data"))
    endpoint = f"http://{HOST}:{serving}"
    environment = {
        **_environment(data),
        "MINIO_ROOT_USER": credentials.access_key,
        "MINIO_ROOT_PASSWORD": credentials.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_API_CORS_ALLOW_ORIGIN": endpoint,  # its default is every page
    }
    return Launch((program, "server", "--quiet", *arguments), environment, endpoint, "/minio/health/live")


_WEED_PORTS = (
    *("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port"),
    *("volume.port.grpc", "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc"),
)
_WEED_OPTIONS = (
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1"),  # its default is every address of the machine
    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-s3.iam=false"),
    "-s3.autoCreateBucket=false",  # or a node that lost its disk would take blobs as if nothing had happened
    "-master.telemetry=false",
    "-disableHttp",  # of master and filer: their parts speak gRPC
    # In the folder where it runs, since a path from the root may be too long for a socket; its default is /tmp.
    *("-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"),
)
_WEED_GRPC = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT")
_WEED_HTTPS = ("MASTER", "VOLUME", "FILER", "ADMIN", "CLIENT")


def _seaweedfs(program: str, data: Path, ports: Sequence[int], credentials: Credentials) -> Launch:
    """All of its parts in one process. They talk over ports which have no passwords, but ask for this certificate."""
    config, certificate, endpoint = data / "s3.json", data / "parts.pem", f"http://{HOST}:{ports[0]}"
    identity = {
        "name": "boveda",
        "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    named = (f"-{name}={port}" for name, port in zip(_WEED_PORTS, ports, strict=True))
    argv = (
        *(program, "-logtostderr=true", "mini", f"-dir={data / 'data'}", f"-s3.config={config}"),
        *_WEED_OPTIONS,
        f"-s3.allowedOrigins={endpoint}",  # its default is every page
        *named,
    )
    files = {
        config: json.dumps({"identities": [identity]}) + "\n",
        certificate: key_and_certificate(HOST),
    }
    environment = {**_environment(data), **_weed_tls(str(certificate))}
    return Launch(argv, environment, endpoint, "/healthz", files, mark=data / "data" / "vol_dir.uuid")


def _weed_tls(certificate: str) -> dict[str, str]:
    """What would stand in its security.toml: both ends of each connection show the certificate and want to see it."""
    grpc = {f"WEED_GRPC_{part}_{item}": certificate for part in _WEED_GRPC for item in ("CERT", "KEY")}
    https = {f"WEED_HTTPS_{part}_{item}": certificate for part in _WEED_HTTPS for item in ("CERT", "KEY", "CA")}
    return {"WEED_GRPC_CA": certificate, "WEED_HTTPS_CLIENT_ENABLED": "true", **grpc, **https}


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
