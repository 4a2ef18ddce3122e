"""Commands of the client against a stand-in for the API, in this process and as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.unit.cli.stand_in import StandIn

ROOT = Path(__file__).parents[3]
Run = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def api() -> Iterator[StandIn]:
    stand_in = StandIn()
    thread = threading.Thread(target=stand_in.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield stand_in
    stand_in.server.shutdown()
    thread.join()
    stand_in.server.server_close()


@pytest.fixture
def run(api: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder against the stand-in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOVEDA_URL", api.url)
    monkeypatch.delenv("BOVEDA_TOKEN", raising=False)
    return lambda command, *args: CliRunner().invoke(command, args)


@pytest.fixture
def start(api: StandIn, tmp_path: Path) -> Iterator[Start]:
    """Start a command as a process of its own, with pipes."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: click.Command, *args: str) -> subprocess.Popen[bytes]:
        assert command.callback is not None
        program = f"from {command.callback.__module__} import {command.name} as command; command()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *args],
            cwd=tmp_path,
            env={**os.environ, "BOVEDA_URL": api.url, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
