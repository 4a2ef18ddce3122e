"""What a bench says of memory and files is what a process did meanwhile, also of what was gone again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.peaks import Watch

GREEDY = """
import os, sys, tempfile
folder = sys.argv[1]
sys.stdin.readline()
memory = bytearray(os.urandom(1 << 20) * 64)
del memory
with tempfile.TemporaryFile(dir=folder) as spool, open(f"{folder}/node/blob", "wb") as blob:
    spool.write(bytes(5 << 20)), spool.flush()
    blob.write(bytes(9 << 20)), blob.flush()
    print("done", flush=True)
    sys.stdin.readline()
"""


def test_memory_given_back_and_a_deleted_file_are_seen_and_the_nodes_own_are_not(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "log").write_bytes(bytes(7 << 20))  # it was there before: nothing grows
    process = subprocess.Popen(
        [sys.executable, "-c", GREEDY, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    with process, Watch({"api": [process.pid]}, [tmp_path], [tmp_path / "node"]) as watch:
        process.stdin.write("begin\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        watch.look()
        process.stdin.write("end\n")
    peaks = watch.peaks()
    assert 64 < peaks.resident["api"] < 200
    assert peaks.grown == 5
    assert "(deleted)" in peaks.grown_file
