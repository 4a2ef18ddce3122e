"""The `sh` blocks of the documents, line by line as a reader would type them, against a running cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.cluster import BIN, Cluster
from tests.support.servers import tool

ROOT = Path(__file__).parents[3]
# Just after a node came back, one process of the API may trust it seconds before another: as the documents say, such an
# answer means to try again.
AGAIN_SECONDS = 20
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", "docs/operations.md"])
def test_what_a_document_says_to_type_works(cluster: Cluster, tmp_path: Path, document: str) -> None:
    tool("curl")
    blocks = BLOCK.findall((ROOT / document).read_text())
    assert blocks
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(BIN)
    for line in "".join(blocks).splitlines():
        done = typed(cluster, line, tmp_path)
        end = time.monotonic() + AGAIN_SECONDS
        while unavailable(done) and time.monotonic() < end:
            done = typed(cluster, line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout.decode()}\n{done.stderr.decode()}"


def typed(cluster: Cluster, line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    # `curl` alone would take a refusal for a success.
    command = line.replace("http://localhost:5000", cluster.url).replace("curl ", "curl --fail-with-body -sS ")
    env = {**cluster.env, "PATH": f"{BIN}{os.pathsep}{cluster.env['PATH']}"}
    return subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, timeout=60, check=False)


def unavailable(done: subprocess.CompletedProcess[bytes]) -> bool:
    """Exit status 4 of `boveda`, or what `curl` says of a 503."""
    return done.returncode == 4 or (done.returncode == 22 and b"503" in done.stderr)
