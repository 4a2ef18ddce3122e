"""Logs are one JSON object a line, carry bound ids, and never a secret; metrics of several processes add up."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import urllib3
from prometheus_client import Counter

from common import telemetry
from tests.support.servers import free_port


@pytest.fixture(autouse=True)
def _put_logging_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    structlog.contextvars.clear_contextvars()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capture: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capture.readouterr().err.splitlines()]


def test_event_is_one_json_object_with_bound_ids(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info", "json")
    with telemetry.bound(request_id="r1"):
        structlog.get_logger("a").info("something_happened", blob="b1")
    structlog.get_logger("a").debug("not_shown")
    logging.getLogger("library").warning("said %s", "hello")
    first, second = lines(capsys)
    assert (first["event"], first["request_id"], first["blob"], first["level"]) == (
        "something_happened",
        "r1",
        "b1",
        "info",
    )
    assert (second["event"], second["level"]) == ("said hello", "warning")
    assert "request_id" not in second


def test_secrets_are_blotted_out(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("info", "json")
    structlog.get_logger("a").info(
        "connected",
        secret_key="hunter2",
        Authorization="hunter2",
        passphrase="hunter2",
        token="hunter2",
        url="redis://:hunter2@127.0.0.1/0",
        node="n1",
    )
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert '"n1"' in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_traceback_shows_no_values_of_locals(capsys: pytest.CaptureFixture[str], form: str) -> None:
    telemetry.configure("info", form)

    def fail() -> None:
        dek = "hunter" + str(2)  # noqa: F841 - what must not be shown
        raise ValueError("wrong")

    try:
        fail()
    except ValueError as error:
        structlog.get_logger("a").error("failed", exc_info=error)
    text = capsys.readouterr().err
    assert "ValueError: wrong" in text
    assert "hunter2" not in text


def test_a_process_without_an_address_serves_its_metrics_at_one_of_its_own() -> None:
    port = free_port()
    Counter("test_served_things", "x").inc(3)
    telemetry.serve(f"127.0.0.1:{port}")
    assert b"test_served_things_total 3.0" in urllib3.request("GET", f"http://127.0.0.1:{port}/metrics").data
    with pytest.raises(OSError, match="in use"):
        telemetry.serve(f"127.0.0.1:{port}")


def test_metrics_of_processes_that_share_a_folder_add_up(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from prometheus_client import Counter; from common import telemetry;"
        "telemetry.share(Path(sys.argv[1])); c = Counter('things', 'x'); c.inc(2);"
        "sys.stdout.write(telemetry.expose()[0].decode())"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert "things_total 2.0" in outputs[0]
    assert "things_total 4.0" in outputs[1]
