"""status."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

from cli.commands.status import status
from tests.unit.cli.conftest import Run, Start
from tests.unit.cli.stand_in import Reply, Request, StandIn, document

STATUS: dict[str, Any] = {
    "nodes": {"up": 2, "down": 1}, "objects": {"protected": 5, "degraded": 1},
    "copies": {"missing": 2, "suspect": 0, "doomed": 0}, "oldest_unprotected": 3725.4, "queues": {"replicate": 9},
    "counted_at": "2026-01-31T12:00:00Z",
    "dead_letters": 0, "jobs_open": 0, "alerts": [],
    "last_ends": {"sweep": {"ended_at": "2026-01-31T12:00:00Z", "age": 7265.0, "awaited_since": None},
                  "reclaim": {"ended_at": None, "age": None, "awaited_since": None}},
}  # fmt: skip
NODES: list[dict[str, Any]] = [
    {"name": "node1", "state": "up", "writable": True, "copies": 6, "bytes": 99, "missing": 0, "last_seen": "now",
     "last_error": None, "mode_until": None, "safe_to_remove": False, "locked_names": 0},
    {"name": "node2", "state": "draining", "writable": True, "copies": 4, "bytes": 66, "missing": 2, "last_seen": None,
     "last_error": "it was cut", "mode_until": None, "safe_to_remove": False, "locked_names": 0},
]  # fmt: skip


def shown(status: dict[str, Any]) -> Callable[[Request], Reply]:
    return lambda request: document({"nodes": NODES} if request.path == "/v1/nodes" else status)


def test_status_tells_of_nodes_objects_work_and_alerts(run: Run, api: StandIn) -> None:
    api.answer = shown(STATUS)
    text = run(status).stdout
    for words in (
        "node1",
        "draining",
        "it was cut",
        "protected",
        "2026-01-31T12:00:00Z",
        "1 h 2 min",
        "copies missing",
        "queue replicate",
        "Last ended",
        "2 h 1 min",
        "none",
    ):
        assert words in text
    assert json.loads(run(status, "--json").stdout) == STATUS


def test_status_still_answers_while_the_queue_cannot_be_asked(run: Run, api: StandIn) -> None:
    alert = {"name": "queue-down", "since": None, "detail": "Redis does not answer"}
    api.answer = shown({**STATUS, "queues": None, "alerts": [alert], "oldest_unprotected": None})
    result = run(status)
    assert result.exit_code == 0
    assert "Redis does not answer" in result.stdout
    assert "does not answer" in result.stdout.replace("Redis does not answer", "")


def test_watching_writes_a_document_a_line_until_ctrl_c(start: Start, api: StandIn) -> None:
    api.answer = shown(STATUS)
    process = start(status, "--watch", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == STATUS
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, b"Traceback" in errors) == (1, False)


def test_watching_shows_every_node_and_what_is_missing_again_and_again(start: Start, api: StandIn) -> None:
    api.answer = shown(STATUS)
    process = start(status, "--watch")
    assert process.stdout is not None
    lines: list[str] = []
    while sum("oldest unprotected" in line for line in lines) < 2:
        lines.append(process.stdout.readline().decode())
        assert lines[-1], "it ended"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    for words in ("node2  draining", "copies missing", "1 h 2 min"):
        assert sum(words in line for line in lines) >= 1, words
