"""The HTTP client: which answers and which silences become which message and exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from cli.cluster.home import state
from cli.cluster.home.home import Home
from cli.cluster.home.state import ClusterState
from cli.commands.objects import ls, rm
from cli.commands.status import status
from tests.unit.cli.conftest import Run
from tests.unit.cli.stand_in import Reply, StandIn, document, problem


@pytest.mark.parametrize("as_json", [False, True])
def test_an_api_that_does_not_run_is_status_4_and_says_how_to_start_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    with socket.socket() as reserved:  # bound, not listening: connections are refused
        reserved.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BOVEDA_URL", f"http://127.0.0.1:{reserved.getsockname()[1]}")
        result = run(ls, *(["--json"] if as_json else []))
    assert result.exit_code == 4
    message = json.loads(result.stderr)["detail"] if as_json else result.stderr
    assert "start it with `make up`" in message


@pytest.mark.parametrize("token", ["secret€", "secret\nX-Other: a"])
def test_a_token_that_is_no_header_is_wrong_use_and_is_not_repeated(
    run: Run, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("BOVEDA_TOKEN", token)
    result = run(ls)
    assert (result.exit_code, "BOVEDA_TOKEN" in result.stderr, "secret" in result.stderr) == (2, True, False)


@pytest.mark.parametrize("url", ["nowhere", "ftp://host", "http://", "http://user:secret@host", "http://h:99999"])
def test_a_wrong_address_is_wrong_use_and_is_not_repeated(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("BOVEDA_URL", url)
    result = run(ls)
    assert (result.exit_code, "BOVEDA_URL" in result.stderr, "secret" in result.stderr) == (2, True, False)


@pytest.mark.parametrize(
    ("reply", "exit_code"),
    [
        (problem(400, "d"), 1),
        (problem(401, "d"), 1),
        (problem(403, "d"), 1),
        (problem(404, "d"), 3),
        (problem(405, "d"), 2),
        (problem(408, "d"), 4),
        (problem(409, "d"), 1),
        (problem(412, "d"), 1),
        (problem(422, "d"), 2),
        (problem(429, "d"), 4),
        (problem(500, "d"), 1),
        (problem(502, "d"), 1),
        (problem(503, "d"), 4),
        (problem(507, "d"), 1),
        (Reply(502, b"<html>Bad Gateway"), 4),
        (Reply(503, b""), 4),
        (Reply(404, b"<html>Not Found"), 1),
        (Reply(500, b"{}", {"Content-Type": "application/problem+json", "Content-Length": "20"}, cut=2), 1),
        (Reply(302, b"", {"Location": "/elsewhere"}), 1),
        (Reply(200, b"<html>hello"), 1),
    ],
)
def test_every_refusal_has_its_exit_status_and_is_asked_for_once(
    run: Run, api: StandIn, reply: Reply, exit_code: int
) -> None:
    api.answer = lambda request: reply
    result = run(rm, "a")
    assert (result.exit_code, len(api.requests)) == (exit_code, 1)
    assert result.stderr.startswith("boveda: ")


def test_the_problem_document_reaches_the_script_whole(run: Run, api: StandIn) -> None:
    api.answer = lambda request: problem(409, "the bucket is not empty")
    result = run(rm, "a", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr) == {
        "type": "about:blank", "title": "refused", "status": 409, "detail": "the bucket is not empty",
    }  # fmt: skip


def test_wrong_use_is_a_problem_document_too(run: Run) -> None:
    result = run(rm, "--json", "--nonsense")
    assert (result.exit_code, json.loads(result.stderr)["title"]) == (2, "wrong use")


def test_the_token_is_sent_and_shown_nowhere(run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOVEDA_TOKEN", " tok-en-1234 \n")
    api.answer = lambda request: problem(401, "this token is not known")
    result = run(rm, "a")
    assert api.requests[0].headers["Authorization"] == "Bearer tok-en-1234"
    assert (result.exit_code, "BOVEDA_TOKEN" in result.output, "tok-en-1234" in result.output) == (1, True, False)


def test_an_api_below_a_path_is_found(run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOVEDA_URL", f"{api.url}/store/")
    api.answer = lambda request: document({"buckets": []})
    assert run(ls).exit_code == 0
    assert api.requests[0].path == "/store/v1/buckets"


def test_a_change_without_an_answer_is_told_as_open(run: Run, api: StandIn) -> None:
    api.answer = lambda request: Reply(200, b"x" * 10, cut=0)
    reading = run(status)
    changing = run(rm, "a")
    assert (reading.exit_code, changing.exit_code) == (4, 4)


def test_the_cluster_of_the_home_is_found_by_itself_unless_a_port_is_named(
    run: Run, api: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    api.answer = lambda request: document({"buckets": []})
    monkeypatch.delenv("BOVEDA_URL")
    monkeypatch.delenv("BOVEDA_PORT", raising=False)
    monkeypatch.setenv("BOVEDA_HOME", str(tmp_path))
    state.write(Home.of(tmp_path), ClusterState(api.url, "", None, []))
    assert run(ls).exit_code == 0
    monkeypatch.setenv("BOVEDA_PORT", "")
    assert run(ls).exit_code == 0, "an empty value names none"
    monkeypatch.setenv("BOVEDA_PORT", "1")
    result = run(ls)
    assert (result.exit_code, "http://127.0.0.1:1" in result.stderr) == (4, True)
