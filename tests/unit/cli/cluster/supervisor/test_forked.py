"""A process of our own, forked from the supervisor: it has nothing of the supervisor's, and ends like a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.cluster.home.plan import LIBRARIES

PARENT = """
import os, signal, sys, tempfile
from pathlib import Path
from cli.cluster.supervisor.child import Child
from cli.cluster.supervisor.forked import load
from cli.cluster.home.plan import Spec
from cli.cluster.home.servers import Launch

folder, main = Path(sys.argv[1]), sys.argv[2]
kept = tempfile.TemporaryFile()  # a file that is none of the fork's
signal.signal(signal.SIGTERM, lambda number, frame: None)
os.umask(0o022)
print("said once", end="")
launch = Launch(("program", "argument"), {"ONLY": "this"}, endpoint="", main=main)
child = Child(Spec("worker1", "worker", launch, folder / "data", folder / "worker1.log"), restart=False)
try:
    child.start()
    child.wait()
finally:
    print(child.status)
"""


def looks_around() -> None:
    handlers = {name: signal.getsignal(getattr(signal, name)) for name in ("SIGTERM", "SIGHUP", "SIGCHLD")}
    seen = {
        "leads": os.getsid(0) == os.getpid(),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "arguments": sys.argv,
        "files": [int(name) for name in os.listdir("/proc/self/fd")][:-1],  # the last is the listing's own
        "umask": os.umask(0),
        "default": [name for name, handler in handlers.items() if handler is signal.SIG_DFL],
        "name": Path("/proc/self/comm").read_text().strip(),
        "input": sys.stdin.read(),
    }
    print(json.dumps(seen))


def says_why_it_ends() -> None:
    sys.exit("the reason")


def ends_with_a_status() -> int:
    return 3


def fails() -> None:
    raise RuntimeError("broken")


def leaves_work_behind() -> None:
    import atexit
    import threading

    go = threading.Event()
    atexit.register(lambda: print("at the end"))
    threading.Thread(target=lambda: (go.wait(), print("the thread's work"))).start()
    threading.Timer(0.01, go.set).start()


Ends = Callable[[Callable[[], object]], tuple[int, str]]


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    """Call a function of this module in a fork: its exit status, and its log."""

    def run(function: Callable[[], object]) -> tuple[int, str]:
        main = f"tests.unit.cli.cluster.supervisor.test_forked:{function.__name__}"
        command = [sys.executable, "-c", PARENT, str(tmp_path), main]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[5])}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        said, status = ran.stdout.split("said once")
        assert said == ""
        return int(status), (tmp_path / "worker1.log").read_text()

    return run


def test_a_fork_has_a_session_environment_and_files_of_its_own(ends: Ends, tmp_path: Path) -> None:
    status, log = ends(looks_around)
    seen: dict[str, Any] = json.loads(log)
    assert status == 0
    assert seen == {
        "leads": True,
        "folder": str(tmp_path),
        "environment": {"ONLY": "this"},
        "arguments": ["program", "argument"],
        "files": [0, 1, 2],
        "umask": 0o077,
        "default": ["SIGTERM", "SIGHUP", "SIGCHLD"],
        "name": "boveda-worker1",
        "input": "",
    }


@pytest.mark.parametrize(
    ("function", "status", "words"),
    [(says_why_it_ends, 1, "the reason\n"), (ends_with_a_status, 3, ""), (fails, 1, "RuntimeError: broken\n")],
)
def test_a_fork_ends_with_its_functions_status_and_last_words(
    ends: Ends, function: Callable[[], object], status: int, words: str
) -> None:
    ended, log = ends(function)
    assert ended == status
    assert log.endswith(words)


def test_a_forks_threads_and_exit_functions_come_to_their_end(ends: Ends) -> None:
    assert ends(leaves_work_behind) == (0, "the thread's work\nat the end\n")


def test_loading_the_libraries_starts_no_thread_opens_no_file_and_makes_no_metric() -> None:
    program = """
import os, sys, threading
from cli.cluster.supervisor.forked import load
before = os.listdir("/proc/self/fd")
load(sys.argv[1:])
assert os.listdir("/proc/self/task") == [str(os.getpid())], threading.enumerate()
assert os.listdir("/proc/self/fd") == before
assert not {"api", "workers"} & set(sys.modules)
from prometheus_client import REGISTRY
print(*sorted(metric.name.split("_")[0] for metric in REGISTRY.collect()))
"""
    ran = subprocess.run([sys.executable, "-c", program, *LIBRARIES], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) == {"process", "python"}
