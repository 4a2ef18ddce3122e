"""`boveda get` on a cluster whose gateways die, whose connections are cut, and which is interrupted itself."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.cluster import BIN, Cluster
from tests.support.proxy import Proxy

MIB = 1 << 20
SIZE = 48 * MIB
NAME = "largo"


@pytest.fixture
def content(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("largo")
    data = os.urandom(SIZE)
    (folder / NAME).write_bytes(data)
    assert cluster.boveda("put", NAME, cwd=folder).returncode == 0
    return data


def begin(proxy: Proxy, cluster: Cluster, folder: Path) -> subprocess.Popen[bytes]:
    env = {**cluster.env, "BOVEDA_URL": f"http://127.0.0.1:{proxy.port}"}
    command = [str(BIN / "boveda"), "get", NAME, "back"]
    return subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def part_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(".back.*.boveda-part"))


def wait_for_part(process: subprocess.Popen[bytes], folder: Path, size: int) -> None:
    while part_size(folder) < size:  # ends by pytest's timeout if it never comes
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def ended_whole(process: subprocess.Popen[bytes], folder: Path, content: bytes) -> None:
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    assert hashlib.sha256((folder / "back").read_bytes()).digest() == hashlib.sha256(content).digest()
    assert os.listdir(folder) == ["back"]


def test_connections_cut_again_and_again_cost_no_byte_twice(
    cluster: Cluster, proxy: Proxy, content: bytes, tmp_path: Path
) -> None:
    proxy.cut(after=20 * MIB)
    process = begin(proxy, cluster, tmp_path)
    ended_whole(process, tmp_path, content)
    assert 3 <= proxy.connections <= 5  # what is on its way when a connection is reset may be lost


def test_a_download_goes_on_when_the_gateways_were_killed_and_are_back(
    cluster: Cluster, proxy: Proxy, content: bytes, tmp_path: Path
) -> None:
    proxy.trickle(8 * MIB)
    process = begin(proxy, cluster, tmp_path)
    wait_for_part(process, tmp_path, 4 * MIB)
    cluster.signal("api", signal.SIGKILL)  # the supervisor starts it again
    proxy.forward()
    ended_whole(process, tmp_path, content)


def test_a_download_that_was_killed_goes_on_when_it_is_begun_again(
    cluster: Cluster, proxy: Proxy, content: bytes, tmp_path: Path
) -> None:
    proxy.trickle(8 * MIB)
    process = begin(proxy, cluster, tmp_path)
    wait_for_part(process, tmp_path, 4 * MIB)
    process.kill()
    process.communicate()
    had = part_size(tmp_path)
    assert not (tmp_path / "back").exists()
    proxy.cut(after=SIZE - had + MIB)  # the whole would not come through
    ended_whole(begin(proxy, cluster, tmp_path), tmp_path, content)
    assert proxy.connections == 2
