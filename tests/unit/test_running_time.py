"""The clock for limits counts what passes, but not what a sleep that should be short took too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.support.running_time import MOST, RunningTime

MEASURE = """
import time
from tests.support.running_time import RunningTime
clock = RunningTime()
began, ran = time.monotonic(), clock.now()
print(flush=True)
input()
print(time.monotonic() - began, clock.now() - ran)
"""


def test_it_counts_what_passes() -> None:
    clock = RunningTime()
    began, ran = time.monotonic(), clock.now()
    time.sleep(0.5)
    counted = clock.now() - ran
    assert 0 < counted <= time.monotonic() - began


def test_it_does_not_count_what_the_process_stood_still() -> None:
    with subprocess.Popen([sys.executable, "-c", MEASURE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(process.pid, signal.SIGCONT)
        said, _ = process.communicate(b"\n")
    passed, counted = map(float, said.split())
    assert passed >= 1
    assert counted <= passed - 1 + 2 * MOST
