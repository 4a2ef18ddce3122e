"""tus-js-client, the client that browsers have, uploads to a cluster: as it is, after it was killed, while the API is.

It is installed from its lock file into a temporary folder; what it is told to do is `tus_js/upload.mjs`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster
from tests.support.proxy import Proxy
from tests.support.servers import absent, tool

MIB = 1 << 20
SIZE = 40 * MIB
CHUNK = 4 * MIB
SECONDS = 90
INSTALL_SECONDS = 240
PROJECT = Path(__file__).parent / "tus_js"
HALF_WAY = 3 * CHUNK  # here a chunk ends; a whole MiB of the next one is nothing but MARK
MARK = b"the line hangs when this goes by"
OWN_FAULTS = ("EINTEGRITY", "EUSAGE")  # what npm says when package.json, the lock file and the packages do not agree

Event = dict[str, Any]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with upload.mjs and the client. Skips where npm or its registry is not there."""
    tool("node")
    npm = tool("npm")
    folder = shutil.copytree(PROJECT, tmp_path_factory.mktemp("npm") / "client")
    quickly = ("--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
    patiently = ("--fetch-retries=5", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000")
    command = [npm, "ci", *quickly, *patiently, "--fetch-timeout=20000"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        absent(f"npm could not install tus-js-client within {INSTALL_SECONDS} s")
    if done.returncode:
        assert not any(code in done.stderr for code in OWN_FAULTS), done.stderr
        absent(f"npm could not install tus-js-client: {done.stderr.strip().splitlines()[:1]}")
    return folder


class Client:
    """A process that uploads `film` from its folder, and goes on where an earlier one ended."""

    def __init__(self, cluster: Cluster, proxy: Proxy, installed: Path, folder: Path, key: str) -> None:
        self._key = key
        self._cluster = cluster
        self._proxy = proxy
        command = [tool("node"), str(installed / "upload.mjs"), f"http://127.0.0.1:{proxy.port}/v1/uploads"]
        self._command = [*command, "film", str(CHUNK), "archivos", key]
        self._folder = folder
        self.digest = hashlib.sha256(_film(folder)).hexdigest()

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Killed in the end, if it did not end before."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(self._command, cwd=self._folder, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=SECONDS)

    @contextmanager
    def stuck(self) -> Iterator[tuple[subprocess.Popen[str], list[Event]]]:
        """Running, in the middle of the chunk after HALF_WAY until the line is healed; and what it has told so far."""
        self._proxy.cut_at(MARK, hang=True)
        with self.running() as process:
            events: list[Event] = []
            while not events or events[-1].get("accepted", 0) < HALF_WAY:  # ends by pytest's timeout if it never comes
                line = process.stdout.readline() if process.stdout else ""
                assert line, events[-5:]
                events.append(json.loads(line))
            assert self._proxy.marked.wait(SECONDS)
            yield process, events

    def rest(self, process: subprocess.Popen[str]) -> list[Event]:
        """What it tells until it ends, with success; its last progress was that all is sent."""
        # `communicate` would lose what `stuck` has buffered.
        events = [json.loads(line) for line in process.stdout or ()]
        assert process.wait(SECONDS) == 0, events[-5:]
        assert events[-1] == {"event": "success"}
        assert named(events, "progress")[-1] == {"event": "progress", "sent": SIZE, "total": SIZE}
        assert named(events, "chunk")[-1]["accepted"] == SIZE
        return events

    def check_stored(self) -> None:
        answer = self._cluster.get(self._key)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "video/x-matroska"
        assert hashlib.sha256(answer.data).hexdigest() == self.digest
        assert json.loads((self._folder / "urls.json").read_text()) == {}


def _film(folder: Path) -> bytes:
    film = bytearray(os.urandom(SIZE))
    film[HALF_WAY + MIB : HALF_WAY + 2 * MIB] = MARK * (MIB // len(MARK))
    (folder / "film").write_bytes(film)
    return bytes(film)


def named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event["event"] == name]


def methods(events: list[Event]) -> list[str]:
    return [event["method"] for event in named(events, "request")]


def rises(events: list[Event]) -> bool:
    sent = [event["sent"] for event in named(events, "progress")]
    return sent == sorted(sent) and len(set(sent)) > SIZE // CHUNK


def test_a_file_goes_up_in_chunks_and_its_progress_is_told(
    cluster: Cluster, proxy: Proxy, installed: Path, tmp_path: Path
) -> None:
    client = Client(cluster, proxy, installed, tmp_path, "tus-js/plain")
    with client.running() as process:
        events = client.rest(process)
    assert methods(events) == ["POST"] + ["PATCH"] * (SIZE // CHUNK)
    assert [event["accepted"] for event in named(events, "chunk")] == list(range(CHUNK, SIZE + 1, CHUNK))
    assert rises(events)
    client.check_stored()


def test_a_client_that_was_killed_goes_on_at_the_url_it_had_noted(
    cluster: Cluster, proxy: Proxy, installed: Path, tmp_path: Path
) -> None:
    client = Client(cluster, proxy, installed, tmp_path, "tus-js/killed")
    with client.stuck() as (process, before):
        process.kill()
        assert process.wait(SECONDS) == -signal.SIGKILL
    proxy.forward()
    assert cluster.get("tus-js/killed").status == 404
    with client.running() as process:
        events = client.rest(process)
    assert methods(events)[0] == "HEAD"
    assert "POST" not in methods(events)
    assert named(events, "url")[0] == named(before, "url")[0]
    assert named(events, "progress")[0]["sent"] >= HALF_WAY
    client.check_stored()


def test_a_client_goes_on_by_itself_when_the_api_was_killed_and_is_back(
    cluster: Cluster, proxy: Proxy, installed: Path, tmp_path: Path
) -> None:
    client = Client(cluster, proxy, installed, tmp_path, "tus-js/api-killed")
    api = cluster.process("api")["pid"]
    with client.stuck() as (process, _):
        os.killpg(api, signal.SIGKILL)
        proxy.forward()
        events = client.rest(process)
    assert methods(events).count("HEAD") >= 1, "it asked where to go on"
    assert "POST" not in methods(events)
    assert named(events, "chunk")[0]["accepted"] >= HALF_WAY
    client.check_stored()
