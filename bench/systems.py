"""The systems that are compared, on the same three nodes, and what they cost while they work."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import click
import urllib3
from minio import Minio

from bench.cluster import Running, free_port

BUCKET = "bench"
RCLONE = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "rclone"
RCLONE_START_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1 << 20


class System(Protocol):
    """`sessions`: the sessions whose processes are this system's, its nodes included."""

    name: str
    endpoint: str
    sessions: Sequence[int]

    def path(self, method: str, name: str) -> str:
        """With its query, as this method's request line has it: signed where the system asks for that."""

    def settle(self) -> None:
        """Return when everything acknowledged has all its copies."""


class Signed:
    """An S3 server that is asked with signed addresses."""

    def __init__(self, name: str, endpoint: str, keys: tuple[str, str], sessions: Sequence[int]) -> None:
        self.name = name
        self.endpoint = endpoint
        self.sessions = sessions
        self._client = Minio(endpoint.split("://")[1], *keys, secure=False, region="us-east-1")
        if not self._client.bucket_exists(BUCKET):
            self._client.make_bucket(BUCKET)

    def path(self, method: str, name: str) -> str:
        return self._client.get_presigned_url(method, BUCKET, name, timedelta(days=1)).removeprefix(self.endpoint)

    def settle(self) -> None:
        """An answer says that every copy is there."""


class Boveda:
    def __init__(self, cluster: Running, write_copies: int, sessions: Sequence[int]) -> None:
        self._cluster = cluster
        self.name = f"boveda, write_copies {write_copies}"
        self.endpoint = cluster.url
        self.sessions = sessions
        self._bucket = f"{BUCKET}{write_copies}"
        body = json.dumps({"copies": 3, "write_copies": write_copies})
        answer = urllib3.request("PUT", f"{cluster.url}/v1/buckets/{self._bucket}", body=body, retries=False)
        if answer.status not in (200, 201):
            raise click.ClickException(f"no bucket: {answer.data.decode()}")

    def path(self, method: str, name: str) -> str:
        return f"/v1/buckets/{self._bucket}/objects/{name}"

    def settle(self) -> None:
        self._cluster.wait_converged(poll=0.2)


def raw_node(cluster: Running) -> Signed:
    """The cluster's first node, asked directly, in a bucket of its own."""
    node = cluster.nodes()[0]
    return Signed("one raw node", node["endpoint"], _keys(Path(node["credentials"])), [node["pid"]])


@contextmanager
def systems(cluster: Running) -> Iterator[Sequence[System]]:
    """One raw node, rclone over all three, and Bóveda with one, two and three copies before the answer."""
    nodes = cluster.nodes()
    keys = [_keys(Path(node["credentials"])) for node in nodes]
    all_of_it = [process["pid"] for process in cluster.describe()["processes"]]
    with _rclone([node["endpoint"] for node in nodes], keys) as (endpoint, pair, pid):
        yield [
            raw_node(cluster),
            Signed("rclone", endpoint, pair, [pid, *(node["pid"] for node in nodes)]),
            *(Boveda(cluster, write_copies, all_of_it) for write_copies in (1, 2, 3)),
        ]


def _keys(path: Path) -> tuple[str, str]:
    found = json.loads(path.read_text())
    return found["access_key"], found["secret_key"]


@contextmanager
def _rclone(endpoints: Sequence[str], keys: Sequence[tuple[str, str]]) -> Iterator[tuple[str, tuple[str, str], int]]:
    """`rclone serve s3` over crypt over a union that writes to all nodes; its address, its keys and its pid.

    Settings go through the environment, where `ps` shows no secret.
    """
    pair, port = (secrets.token_hex(8), secrets.token_hex(16)), free_port()
    remotes: dict[str, dict[str, str]] = {
        f"N{number}": {
            "TYPE": "s3",
            "PROVIDER": "Minio",
            "ENDPOINT": endpoint,
            "ACCESS_KEY_ID": access,
            "SECRET_ACCESS_KEY": secret,
        }
        for number, (endpoint, (access, secret)) in enumerate(zip(endpoints, keys, strict=True), 1)
    }
    upstreams = " ".join(f"n{number}:rclone" for number in range(1, len(endpoints) + 1))
    remotes["ALL"] = {"TYPE": "union", "UPSTREAMS": upstreams, "CREATE_POLICY": "all", "ACTION_POLICY": "all"}
    obscured = subprocess.run(
        [RCLONE, "obscure", "-"], input=secrets.token_hex(16), check=True, capture_output=True, text=True
    ).stdout.strip()
    remotes["SAFE"] = {"TYPE": "crypt", "REMOTE": "all:", "PASSWORD": obscured}
    environment = dict(os.environ) | {
        f"RCLONE_CONFIG_{remote}_{key}": value for remote, options in remotes.items() for key, value in options.items()
    }
    environment |= {"RCLONE_AUTH_KEY": f'"{",".join(pair)}"', "RCLONE_CONFIG": os.devnull}
    process = subprocess.Popen(
        [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "safe:"], env=environment, start_new_session=True
    )
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}", pair, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + RCLONE_START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise click.ClickException("rclone does not serve")


# -- what they cost


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far, and MiB resident now, of all processes of some sessions."""

    cpu: float
    resident: float

    @classmethod
    def of(cls, sessions: Sequence[int]) -> Usage:
        ticks = pages = 0
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                # Behind the name in parentheses: state, ppid, pgrp, session (3), …, utime (11), stime (12), rss (21).
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in sessions:
                ticks += int(fields[11]) + int(fields[12])
                pages += int(fields[21])
        return cls(ticks / _TICKS, pages * os.sysconf("SC_PAGE_SIZE") / _MIB)
