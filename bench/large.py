"""Large objects in and out by every door: seconds, memory, and what lies on disks on the way.

    python -m bench.large                       5 GiB by each door, about a quarter of an hour and 25 GB of disk
    python -m bench.large --gib 1 --blob-size 8 --blob-size 16 --rounds 3 --only PUT

1. A file of bytes that repeat nowhere is written, outside the cluster: the client's.
2. Way by way it is stored; then the workers make all copies; then it is fetched, and compared by its digest.
3. The next way begins on a cluster of its own: MinIO takes up to five minutes to free what was deleted.

Peaks are those of the largest process of a kind, from the first byte of the upload to the last copy, and during the
download. Of files outside the nodes' folders (the cluster's own, temporary ones, open ones that were deleted) the one
that grew most is named.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import IO, Any

import click
from blake3 import blake3

from bench import report
from bench.cluster import BOVEDA, Running, running_cluster
from bench.peaks import Peaks, Watch

MIB = 1 << 20
NAME = "large"
SECONDS_A_GIB = 60


@dataclass(frozen=True)
class Way:
    """A command that stores, from standard input if `piped`, and one that fetches. `{…}` are filled in."""

    put: Sequence[str]
    get: Sequence[str]
    piped: bool = False
    into_file: bool = False


_CURL = ["curl", "--fail", "-sS"]
_OBJECT = "{url}/v1/buckets/archivos/objects/" + NAME
_GET = [*_CURL, _OBJECT]
WAYS = {
    "PUT | GET": Way([*_CURL, "-T", "{source}", _OBJECT], _GET),
    "PUT chunked, from a pipe | GET": Way([*_CURL, "-T", "-", _OBJECT], _GET, piped=True),
    "POST /cargar | GET /descargar": Way(
        [*_CURL, "-F", "archivo=@{source};filename=" + NAME, "{url}/cargar"], [*_CURL, "{url}/descargar/" + NAME]
    ),
    "boveda put | boveda get": Way(
        [*BOVEDA, "put", "--json", "{source}", f"archivos/{NAME}"],
        [*BOVEDA, "get", "--json", f"archivos/{NAME}", "{target}"],
        into_file=True,
    ),
    "boveda put - | boveda cat": Way(
        [*BOVEDA, "put", "--json", "-", f"archivos/{NAME}"], [*BOVEDA, "cat", f"archivos/{NAME}"], piped=True
    ),
}


@dataclass(frozen=True)
class Step:
    """Seconds of an upload, then until its last copy, and of the download; the peaks of both."""

    put: float
    copies: float
    get: float
    put_peaks: Peaks
    get_peaks: Peaks


class Client:
    """Runs the commands, on the file that is stored again and again."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._source = folder / "source"
        self._target = folder / "target"
        self._digest = _write(self._source, size)

    def put(self, cluster: Running, way: Way, watch: Watch) -> float:
        with self._input(way) as source:
            _, seconds = self._run(way.put, cluster, watch, source, discard=True)
        return seconds

    def get(self, cluster: Running, way: Way, watch: Watch) -> float:
        """Seconds; the bytes are those that were stored."""
        digest, seconds = self._run(way.get, cluster, watch, None, discard=way.into_file)
        if way.into_file:
            digest = blake3().update_mmap(self._target).digest()
            self._target.unlink()
        if digest != self._digest:
            raise click.ClickException(f"other bytes came than were stored: {' '.join(way.get)}")
        return seconds

    def _input(self, way: Way) -> IO[bytes]:
        """Standard input of the upload. A pipe, if it is to be one: a file's length could be told."""
        if not way.piped:
            return open(os.devnull, "rb")
        source = subprocess.Popen(["cat", str(self._source)], stdout=subprocess.PIPE).stdout
        assert source is not None
        return source

    def _run(
        self, command: Sequence[str], cluster: Running, watch: Watch, source: IO[bytes] | None, discard: bool
    ) -> tuple[bytes, float]:
        """The digest of what came out, unless it is to be discarded, and seconds."""
        names = {"url": cluster.url, "source": self._source, "target": self._target}
        filled = [part.format(**names) if "{" in part else part for part in command]
        started = time.monotonic()
        out = subprocess.DEVNULL if discard else subprocess.PIPE
        with (
            subprocess.Popen(filled, stdin=source, stdout=out, env=cluster.environment) as process,
            watch.client(process.pid),
        ):
            late = threading.Timer(_patience(self.size), process.kill)
            late.start()
            digest = _digest(process.stdout) if process.stdout is not None else b""
            status = process.wait()
            late.cancel()
        if status:
            raise click.ClickException(f"status {status}: {' '.join(filled)}")
        return digest, time.monotonic() - started


def _write(path: Path, size: int) -> bytes:
    """A file of so many bytes, and its digest: a MiB of noise, at another offset each time."""
    noise = memoryview(random.Random(size).randbytes(2 * MIB))
    digest = blake3()
    with path.open("wb") as out:
        for start in range(0, size, MIB):
            offset = start // MIB * 4099 % MIB
            piece = noise[offset : offset + min(MIB, size - start)]
            digest.update(piece)
            out.write(piece)
        os.fsync(out.fileno())  # nothing of it is written while something is measured
    return digest.digest()


def _digest(stream: IO[bytes]) -> bytes:
    digest, memory = blake3(), memoryview(bytearray(MIB))
    while count := stream.readinto(memory):  # type: ignore[attr-defined]
        digest.update(memory[:count])
    return digest.digest()


def _patience(size: int) -> float:
    """Seconds that any step of an object of so many bytes may take."""
    return 60 + SECONDS_A_GIB * size / report.GIB


def measure(cluster: Running, client: Client, way: Way, folders: Sequence[Path]) -> Step:
    processes = cluster.describe()["processes"]
    nodes = [Path(process["data"]) for process in processes if process["kind"] == "node"]
    sessions: dict[str, list[int]] = {}
    for process in processes:
        if process["kind"] != "node":
            sessions.setdefault(process["kind"], []).append(process["pid"])
    with Watch(sessions, folders, nodes) as putting:
        put = client.put(cluster, way, putting)
        started = time.monotonic()
        cluster.wait_converged(_patience(client.size), 0.25)
        copies = time.monotonic() - started
    with Watch(sessions, folders, nodes) as getting:
        get = client.get(cluster, way, getting)
    return Step(put, copies, get, putting.peaks(), getting.peaks())


@click.command()
@click.option("--gib", default=5.0, show_default=True, help="the object's size")
@click.option("--blob-size", "blob_sizes", multiple=True, default=[8], show_default=True, help="MiB; repeatable")
@click.option("--rounds", default=1, show_default=True, help="of every way with every blob size")
@click.option("--only", default="", help="only ways whose name contains this")
@click.option("--json", "as_json", is_flag=True, help="one JSON document instead of the table")
def main(gib: float, blob_sizes: Sequence[int], rounds: int, only: str, as_json: bool) -> None:
    """Large objects by every door."""
    ways = {name: way for name, way in WAYS.items() if only in name}
    steps: dict[str, dict[str, list[dict[str, Any]]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        client = Client(folder, int(gib * report.GIB))
        own = [folder / "home", folder / "tmp", folder / "state"]
        for one in own:
            one.mkdir()
        for _, (words, way), blob_size in product(range(rounds), ways.items(), blob_sizes):
            with running_cluster(
                own[0], BOVEDA_BLOB_SIZE=str(blob_size * MIB), TMPDIR=str(own[1]), XDG_STATE_HOME=str(own[2])
            ) as cluster:
                step = measure(cluster, client, way, own)
            steps.setdefault(words, {}).setdefault(str(blob_size), []).append(asdict(step))
            click.echo(f"{words}, blobs of {blob_size} MiB: {step.put:.1f} s, {step.get:.1f} s", err=True)
    document = {"bytes": client.size, "rounds": rounds, "steps": steps}
    if as_json:
        click.echo(json.dumps(document))
    else:
        report.large(document).show()


if __name__ == "__main__":
    main()
