"""The systems that are compared, on the same three nodes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import click
import urllib3
from minio import Minio

from bench.cluster import Running, free_port

BUCKET = "bench"
RCLONE = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "rclone"
START_SECONDS = 20.0


class System(Protocol):
    """`sessions`: the sessions whose processes are this system's, its nodes included.

    `form`: where files are posted as a form's field `archivo`; then the path of a PUT is only the file's name.
    """

    name: str
    endpoint: str
    form: str | None
    sessions: Sequence[int]

    def path(self, method: str, name: str) -> str:
        """With its query, as this method's request line has it: signed where the system asks for that."""

    def wait_whole(self) -> None:
        """Return when everything acknowledged has all its copies."""


class Signed:
    """An S3 server that is asked with signed addresses."""

    form: str | None = None

    def __init__(self, name: str, endpoint: str, keys: tuple[str, str], sessions: Sequence[int]) -> None:
        self.name = name
        self.endpoint = endpoint
        self.sessions = sessions
        self._client = Minio(endpoint.split("://")[1], *keys, secure=False, region="us-east-1")
        if not self._client.bucket_exists(BUCKET):
            self._client.make_bucket(BUCKET)

    def path(self, method: str, name: str) -> str:
        return self._client.get_presigned_url(method, BUCKET, name, timedelta(days=1)).removeprefix(self.endpoint)

    def wait_whole(self) -> None:
        """An answer says that every copy is there."""


class Boveda:
    form: str | None = None

    def __init__(self, cluster: Running, write_copies: int, sessions: Sequence[int]) -> None:
        self._cluster = cluster
        self.name = f"boveda, write_copies {write_copies}"
        self.endpoint = cluster.url
        self.sessions = sessions
        self.bucket = f"{BUCKET}{write_copies}"
        body = json.dumps({"copies": 3, "write_copies": write_copies})
        answer = urllib3.request("PUT", f"{cluster.url}/v1/buckets/{self.bucket}", body=body, retries=False)
        if answer.status not in (200, 201):
            raise click.ClickException(f"no bucket: {answer.data.decode()}")

    def path(self, method: str, name: str) -> str:
        return f"/v1/buckets/{self.bucket}/objects/{name}"

    def wait_whole(self) -> None:
        self._cluster.wait_converged(poll=0.2)


class Prototype:
    """The prototype's design (`bench.prototype_server`)."""

    name = "prototype"
    form: str | None = "/cargar"

    def __init__(self, endpoint: str, sessions: Sequence[int]) -> None:
        self.endpoint = endpoint
        self.sessions = sessions

    def path(self, method: str, name: str) -> str:
        return name if method == "PUT" else f"/descargar/{name}"

    def wait_whole(self) -> None:
        """An answer says that every copy is there."""


def upload(http: urllib3.PoolManager, system: System, name: str, body: bytes) -> None:
    if system.form:
        answer = http.request("POST", system.endpoint + system.form, fields={"archivo": (name, body)})
    else:
        answer = http.request("PUT", system.endpoint + system.path("PUT", name), body=body)
    if not 200 <= answer.status < 300:
        raise click.ClickException(f"{system.name}: {answer.status} {answer.data[:200]!r}")


def node_client(node: Mapping[str, Any]) -> Minio:
    """A node of `Running.nodes`, asked directly."""
    keys = _keys(Path(node["credentials"]))
    return Minio(node["endpoint"].split("://")[1], *keys, secure=False, region="us-east-1")


def raw_node(cluster: Running) -> Signed:
    """The cluster's first node, asked directly, in a bucket of its own."""
    node = cluster.nodes()[0]
    return Signed("one raw node", node["endpoint"], _keys(Path(node["credentials"])), [node["pid"]])


@contextmanager
def systems(cluster: Running) -> Iterator[Sequence[System]]:
    """One raw node; rclone and the prototype over all three; Bóveda with one, two, three copies before the answer."""
    nodes = cluster.nodes()
    keys = [_keys(Path(node["credentials"])) for node in nodes]
    all_of_it = [process["pid"] for process in cluster.describe()["processes"]]
    with (
        _rclone([node["endpoint"] for node in nodes], keys) as (endpoint, pair, pid),
        running_prototype(cluster) as prototype,
    ):
        yield [
            raw_node(cluster),
            Signed("rclone", endpoint, pair, [pid, *(node["pid"] for node in nodes)]),
            prototype,
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
        [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "safe:"],
        env=environment,
        stderr=subprocess.DEVNULL,  # a line for each client that wrk ends
        start_new_session=True,
    )
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}", pair, process.pid
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def running_prototype(cluster: Running) -> Iterator[Prototype]:
    nodes, port = cluster.nodes(), free_port()
    places = [(node["endpoint"].split("://")[1], *_keys(Path(node["credentials"]))) for node in nodes]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.prototype_server", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # a line for each request
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"nodes": places, "key": secrets.token_hex(16)}).encode())
        process.stdin.close()
        _wait_for(port, process)
        yield Prototype(f"http://127.0.0.1:{port}", [process.pid, *(node["pid"] for node in nodes)])
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise click.ClickException(f"{process.args!r} does not serve")
