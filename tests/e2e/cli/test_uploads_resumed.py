"""`boveda put` of a large file on a cluster whose gateway is killed, over lines that are cut, and killed itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.cluster import BIN, Cluster
from tests.support.proxy import Proxy

MIB = 1 << 20
SIZE = 200 * MIB
NAME = "grande"
OPTIONS = ("--content-type", "a/b", "--meta", "Origen=clase", "--write-copies", "2")


@pytest.fixture
def digest(tmp_path: Path) -> str:
    """That of a large file, which is made here."""
    sha256, piece = hashlib.sha256(), bytearray(os.urandom(MIB))
    with (tmp_path / NAME).open("wb") as out:
        for number in range(SIZE // MIB):
            piece[:8] = number.to_bytes(8)
            out.write(piece)
            sha256.update(piece)
    return sha256.hexdigest()


def begin(proxy: Proxy, cluster: Cluster, folder: Path) -> subprocess.Popen[bytes]:
    env = {**cluster.env, "BOVEDA_URL": f"http://127.0.0.1:{proxy.port}", "XDG_STATE_HOME": str(folder / "state")}
    command = [str(BIN / "boveda"), "put", NAME, *OPTIONS, "--json"]
    return subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def notes(folder: Path) -> list[Path]:
    return list((folder / "state/boveda/uploads").glob("*.json"))


def offset(cluster: Cluster, folder: Path) -> int:
    """How far the upload is that is noted there."""
    try:
        upload = json.loads(notes(folder)[0].read_text())["upload"]
    except (IndexError, ValueError, FileNotFoundError):
        return 0
    answer = cluster.ask("HEAD", upload, headers={"Tus-Resumable": "1.0.0"})
    return int(answer.headers.get("Upload-Offset", 0))


def wait_for_offset(process: subprocess.Popen[bytes], cluster: Cluster, folder: Path, least: int) -> None:
    while offset(cluster, folder) < least:  # ends by pytest's timeout if it never comes
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def ended_whole(process: subprocess.Popen[bytes], cluster: Cluster, folder: Path, digest: str) -> None:
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
    (stored,) = json.loads(output)["objects"]
    assert (stored["key"], stored["size"], stored["content_type"]) == (NAME, SIZE, "a/b")
    assert stored["metadata"] == {"origen": "clase"}
    assert stored["copies"]["stored"] >= 2
    assert notes(folder) == []
    assert cluster.boveda("get", NAME, "back", cwd=folder).returncode == 0
    with (folder / "back").open("rb") as back:
        assert hashlib.file_digest(back, "sha256").hexdigest() == digest
    assert cluster.boveda("rm", NAME).returncode == 0


def test_an_upload_goes_on_when_the_gateway_was_killed_and_is_back(
    cluster: Cluster, proxy: Proxy, digest: str, tmp_path: Path
) -> None:
    process = begin(proxy, cluster, tmp_path)
    wait_for_offset(process, cluster, tmp_path, 48 * MIB)
    proxy.hang()  # or the rest may be through before the kill
    cluster.act("kill", "api")
    assert process.poll() is None
    cluster.act("start", "api")
    proxy.forward()
    ended_whole(process, cluster, tmp_path, digest)
    assert proxy.sent < SIZE * 3 // 2


def test_an_upload_that_was_killed_goes_on_when_it_is_begun_again(
    cluster: Cluster, proxy: Proxy, digest: str, tmp_path: Path
) -> None:
    process = begin(proxy, cluster, tmp_path)
    wait_for_offset(process, cluster, tmp_path, 80 * MIB)
    process.kill()
    process.communicate()
    assert cluster.get(NAME).status == 404
    ended_whole(begin(proxy, cluster, tmp_path), cluster, tmp_path, digest)
    assert proxy.sent < SIZE * 3 // 2


def test_lines_that_are_cut_again_and_again_let_it_through(
    cluster: Cluster, proxy: Proxy, digest: str, tmp_path: Path
) -> None:
    proxy.cut(after=40 * MIB)
    process = begin(proxy, cluster, tmp_path)
    ended_whole(process, cluster, tmp_path, digest)
    assert proxy.connections > SIZE // (40 * MIB)
