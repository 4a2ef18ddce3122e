"""jobs: started, followed, cancelled, tried again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.commands.jobs import jobs
from tests.unit.cli.conftest import Run
from tests.unit.cli.stand_in import Reply, Request, StandIn, document, problem

JOB: dict[str, Any] = {
    "id": "0" * 32, "kind": "repair", "scope": {"bucket": "casa"}, "dry_run": False, "state": "queued",
    "progress": {"done": 3, "total": 9, "bytes": 2048}, "report": {"before": {"good": 2, "missing": 1}, "repaired": 1},
    "created_at": "2026-01-01T00:00:00Z", "finished_at": None, "error": None,
}  # fmt: skip
PATH = f"/v1/jobs/{JOB['id']}"


def asked(api: StandIn) -> list[tuple[str, str]]:
    return [(request.method, request.path) for request in api.requests]


def test_jobs_are_listed_with_and_without_the_word(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document({"jobs": [JOB]})
    assert run(jobs).stdout == run(jobs, "list").stdout
    for words in ("repair", "bucket casa", "queued", "3 of 9"):
        assert words in run(jobs).stdout
    assert json.loads(run(jobs, "--json").stdout) == {"jobs": [JOB]}


def test_a_job_is_shown_with_its_report(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document(JOB)
    shown = run(jobs, "show", JOB["id"]).stdout
    for words in ("report before", "good 2, missing 1", "report repaired", "2.0 KiB"):
        assert words in shown
    assert json.loads(run(jobs, "show", JOB["id"], "--json").stdout) == JOB
    assert asked(api) == [("GET", PATH)] * 2


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ((), {"scope": {}, "dry_run": False, "force": False}),
        (("--dry-run", "--force"), {"scope": {}, "dry_run": True, "force": True}),
        (("--bucket", "b", "--prefix", ""), {"scope": {"bucket": "b", "prefix": ""}, "dry_run": False, "force": False}),
        (("--bucket", "b", "--key", "k", "--node", "n"),
         {"scope": {"bucket": "b", "key": "k", "node": "n"}, "dry_run": False, "force": False}),
    ],
)  # fmt: skip
def test_a_job_is_started_over_what_the_options_say(
    run: Run, api: StandIn, options: tuple[str, ...], body: dict[str, Any]
) -> None:
    api.answer = lambda request: document(JOB, 202)
    assert run(jobs, "start", "scrub", *options).stdout == JOB["id"] + "\n"
    (request,) = api.requests
    assert (request.method, request.path) == ("POST", "/v1/jobs")
    assert json.loads(request.body) == {"kind": "scrub", **body}


def test_an_unknown_kind_is_wrong_use(run: Run, api: StandIn) -> None:
    assert run(jobs, "start", "fly").exit_code == 2
    assert api.requests == []


def ending(*states: str) -> Any:
    """A job that is in the next of these states at each look, and stays in the last."""
    left = list(states)

    def answer(request: Request) -> Reply:
        state = left.pop(0) if request.method == "GET" and len(left) > 1 else left[0]
        return document({**JOB, "state": state}, 202 if request.method == "POST" else 200)

    return answer


@pytest.mark.parametrize(("state", "exit_code"), [("done", 0), ("failed", 1), ("cancelled", 1)])
@pytest.mark.parametrize(
    "command", [("wait", JOB["id"]), ("start", "repair", "--wait"), ("retry", JOB["id"], "--wait")]
)
def test_a_job_is_followed_to_its_end_and_the_end_is_the_exit_status(
    run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], state: str, exit_code: int
) -> None:
    monkeypatch.setattr("cli.waiting.LOOK_SECONDS", 0.001)
    for options in ((), ("--json",)):
        api.answer = ending("queued", "queued", "running", "running", state)
        result = run(jobs, *command, *options)
        assert result.exit_code == exit_code
        assert json.loads(result.stdout)["state"] == state if options else state in result.stdout


def test_a_job_is_cancelled_and_tried_again(run: Run, api: StandIn) -> None:
    api.answer = lambda request: document({**JOB, "state": "cancelled"})
    assert "cancelled" in run(jobs, "cancel", JOB["id"]).stdout
    assert run(jobs, "retry", JOB["id"]).stdout == JOB["id"] + "\n"
    assert asked(api) == [("POST", f"{PATH}/cancel"), ("POST", f"{PATH}/retry")]


@pytest.mark.parametrize(("status", "exit_code"), [(404, 3), (409, 1), (503, 4)])
def test_a_refusal_is_an_exit_status(run: Run, api: StandIn, status: int, exit_code: int) -> None:
    api.answer = lambda request: problem(status, "no")
    for command in ("show", "cancel", "retry", "wait"):
        assert run(jobs, command, "x").exit_code == exit_code
