"""The `sh` blocks of the documents, line by line as a reader would type them, against a running cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster import BIN, Cluster

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", "README.es.md", "docs/operations.md"])
def test_what_a_document_says_to_type_works(cluster: Cluster, tmp_path: Path, document: str) -> None:
    blocks = BLOCK.findall((ROOT / document).read_text())
    assert blocks
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/bin").symlink_to(BIN)
    env = {**cluster.env, "PATH": f"{BIN}{os.pathsep}{cluster.env['PATH']}"}
    for line in "".join(blocks).splitlines():
        # `curl` alone would take a 503 for a success.
        typed = line.replace("http://localhost:5000", cluster.url).replace("curl ", "curl --fail-with-body -sS ")
        done = subprocess.run(
            ["bash", "-c", typed], cwd=tmp_path, env=env, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout.decode()}\n{done.stderr.decode()}"
